//! `skynetctl index`: collections of documents, through the same tools as an agent's.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, is_unseen, table},
};
use clap::Subcommand;
use serde_json::{Map, Value, json};
use skynet_proto::{
    CallToolRequest, ListSharedCollectionsRequest, ShareCollectionRequest, SharedCollection,
    UnshareCollectionRequest, call_tool_response::Outcome,
};
use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The workspace whose collections these are; the current directory by default.
    #[arg(long, value_name = "DIR", global = true)]
    workspace: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List collections, and how far they are.
    List,
    /// Index a directory, so that it can be searched.
    Add {
        /// A directory or file of the workspace.
        #[arg(default_value = ".")]
        path: String,
        /// How it is called; as the directory by default.
        #[arg(long)]
        name: Option<String>,
        /// Only files that match this glob; may be given again.
        #[arg(long, value_name = "GLOB")]
        include: Vec<String>,
        /// No files that match this glob; may be given again.
        #[arg(long, value_name = "GLOB")]
        exclude: Vec<String>,
    },
    /// Index what is no file: commits, a branch, manual pages, the journal, pages of the web.
    AddSource {
        /// What it is of.
        #[command(subcommand)]
        source: Source,
        /// How it is called; as its kind by default.
        #[arg(long, global = true)]
        name: Option<String>,
    },
    /// Index what changed since.
    Refresh {
        /// The collection.
        name: String,
    },
    /// Forget a collection; its files stay.
    Remove {
        /// The collection.
        name: String,
    },
    /// Let all users of the host search a user's collection, each what he may read himself. For administrators.
    Share {
        /// What its user calls it.
        name: String,
        /// Whose it is: a name or number.
        #[arg(long, value_name = "USER")]
        user: String,
    },
    /// End that. For administrators.
    Unshare {
        /// What everybody calls it, such as alice/handbook.
        name: String,
    },
    /// List what is shared with all users of the host.
    Shared,
    /// Search by meaning and by words.
    Search {
        /// A question, or words.
        query: String,
        /// Only in these collections; may be given again.
        #[arg(long, value_name = "NAME")]
        collection: Vec<String>,
        /// Only files whose path matches this glob.
        #[arg(long, value_name = "GLOB")]
        path: Option<String>,
        /// Only code in this language.
        #[arg(long, value_name = "LANGUAGE")]
        language: Option<String>,
        /// Only by an author whose name or address has this part.
        #[arg(long)]
        author: Option<String>,
        /// Only what was written or changed on this day or later, such as 2026-01-31.
        #[arg(long, value_name = "DATE")]
        since: Option<String>,
        /// Only what was written or changed before that.
        #[arg(long, value_name = "DATE")]
        until: Option<String>,
        /// Only what is filed under this; may be given again.
        #[arg(long)]
        tag: Vec<String>,
        /// Most passages to show.
        #[arg(long, default_value_t = 8)]
        limit: u32,
    },
}

#[derive(Subcommand)]
enum Source {
    /// The files of a Git repository as a branch, tag or commit has them.
    Revision {
        /// The branch, tag or commit.
        revision: String,
        /// Any directory of the repository.
        #[arg(long, value_name = "DIR", default_value = ".")]
        repository: String,
    },
    /// The commits of a Git repository: messages, authors, dates, files.
    Commits {
        /// A branch, tag or commit that they lead to.
        #[arg(default_value = "HEAD")]
        revision: String,
        /// Any directory of the repository.
        #[arg(long, value_name = "DIR", default_value = ".")]
        repository: String,
    },
    /// The manual pages of this host.
    Manuals {
        /// Sections, such as 1 or 3pm; 1, 5, 7 and 8 by default.
        sections: Vec<String>,
    },
    /// The systemd journal of this host.
    Journal {
        /// Only these units; all by default.
        units: Vec<String>,
        /// How many days back.
        #[arg(long, default_value_t = 7)]
        days: u32,
    },
    /// Pages of the web. The same name again fetches them again.
    Pages {
        /// Their addresses.
        #[arg(required = true)]
        urls: Vec<String>,
    },
}

impl Source {
    fn input(self) -> Value {
        match self {
            Self::Revision { revision, repository } => {
                json!({ "kind": "revision", "revision": revision, "repository": repository })
            }
            Self::Commits { revision, repository } => {
                json!({ "kind": "commits", "revision": revision, "repository": repository })
            }
            Self::Manuals { sections } => json!({ "kind": "manuals", "sections": sections }),
            Self::Journal { units, days } => json!({ "kind": "journal", "units": units, "days": days }),
            Self::Pages { urls } => json!({ "kind": "pages", "urls": urls }),
        }
    }
}

/// A workspace, asked through the daemon.
struct Asked<'daemon> {
    daemon: &'daemon Daemon,
    workspace: String,
}

pub(crate) async fn run(daemon: &Daemon, arguments: Arguments, output: &mut Output) -> Result<(), Failure> {
    let here = std::env::current_dir()?;
    let given = arguments.workspace.map(|given| here.join(given));
    let workspace = given.clone().unwrap_or(here);
    let asked = Asked { daemon, workspace: workspace.to_string_lossy().into_owned() };
    match arguments.command {
        Command::List => {
            let listed = asked.call("knowledge_list_collections", json!({})).await?;
            let collections = at(&listed, "collections").as_array().cloned().unwrap_or_default();
            output.show(&Value::Array(collections.clone()), || {
                table(
                    ["collection", "of", "files", "passages", "vectors", "state"],
                    collections.iter().map(row),
                )
            })
        }
        Command::Add { path, name, include, exclude } => {
            let mut input = json!({ "path": path, "include": include, "exclude": exclude });
            set(&mut input, "name", name.map(Value::from));
            let added = asked.call_with_progress("knowledge_add_collection", input).await?;
            output.show(&added, || format!("`{}`: {}", text(at(&added, "collection")), counts(&added)))
        }
        Command::AddSource { source, name } => {
            let mut input = source.input();
            set(&mut input, "name", name.map(Value::from));
            let added = asked.call_with_progress("knowledge_add_source", input).await?;
            output.show(&added, || format!("`{}`: {}", text(at(&added, "collection")), counts(&added)))
        }
        Command::Refresh { name } => {
            let refreshed =
                asked.call_with_progress("knowledge_refresh_collection", json!({ "name": name })).await?;
            output.show(&refreshed, || format!("`{name}`: {}", counts(&refreshed)))
        }
        Command::Remove { name } => {
            let removed = asked.call("knowledge_remove_collection", json!({ "name": name })).await?;
            output.show(&removed, || format!("`{name}` is forgotten; its files are as they were"))
        }
        Command::Share { name, user } => {
            // As the daemon knows it: without links.
            let workspace = given.map(|given| given.canonicalize().unwrap_or(given));
            let workspace = workspace.map(|given| given.to_string_lossy().into_owned()).unwrap_or_default();
            let request = ShareCollectionRequest { user, name, workspace };
            let shared = daemon.collections().await?.share(request).await?.into_inner();
            output.show(&shared_json(&shared), || {
                format!(
                    "`{}` is shared: once its user's next search has looked for what is everybody's, all users of this host search it, each in what he may read himself",
                    shared.name
                )
            })
        }
        Command::Unshare { name } => {
            let request = UnshareCollectionRequest { name };
            let ended = daemon.collections().await?.unshare(request).await?.into_inner();
            output.show(&shared_json(&ended), || {
                format!("`{}` is shared no longer; its user keeps it", ended.name)
            })
        }
        Command::Shared => {
            let listed = daemon.collections().await?.list_shared(ListSharedCollectionsRequest {}).await?;
            let collections = listed.into_inner().collections;
            output.show(&Value::Array(collections.iter().map(shared_json).collect()), || {
                let rows = collections.iter().map(|one| {
                    let of = if one.source == "files" { one.path.clone() } else { one.source.clone() };
                    [one.name.clone(), of, one.workspace.clone()]
                });
                table(["collection", "of", "workspace"], rows)
            })
        }
        Command::Search { query, collection, path, language, author, since, until, tag, limit } => {
            let mut input = json!({ "query": query, "collections": collection, "tags": tag, "limit": limit });
            let options = [
                ("path", path),
                ("language", language),
                ("author", author),
                ("since", since),
                ("until", until),
            ];
            for (name, value) in options {
                set(&mut input, name, value.map(Value::from));
            }
            let answer = asked.call("knowledge_search", input).await?;
            output.show(&answer, || shown(&answer))
        }
    }
}

impl Asked<'_> {
    async fn call(&self, tool: &str, input: Value) -> Result<Value, Failure> {
        let request = CallToolRequest {
            name: tool.to_owned(),
            input: input.to_string().into(),
            workspace: self.workspace.clone(),
        };
        match self.daemon.tools().await?.call(request).await?.into_inner().outcome {
            Some(Outcome::Output(json)) => Ok(serde_json::from_slice(&json).unwrap_or_default()),
            Some(Outcome::Error(error)) => Err(Failure::tool(error.kind, error.message)),
            None => Err(Failure::refused("the daemon answered nothing")),
        }
    }

    /// On a terminal, tells meanwhile how far it is.
    async fn call_with_progress(&self, tool: &str, input: Value) -> Result<Value, Failure> {
        let calling = self.call(tool, input);
        if !std::io::stderr().is_terminal() {
            return calling.await;
        }
        tokio::pin!(calling);
        let mut ticks = tokio::time::interval(SHOW_EVERY);
        loop {
            tokio::select! {
                done = &mut calling => {
                    eprint!("\r\x1b[K");
                    return done;
                }
                _ = ticks.tick() => {
                    let listed = self.call("knowledge_list_collections", json!({})).await.unwrap_or_default();
                    let doing = at(&listed, "collections").as_array().into_iter().flatten().find_map(|one| one["doing"].as_str());
                    if let Some(doing) = doing {
                        eprint!("\r\x1b[K{doing}");
                        // What cannot be shown is progress only.
                        let _ = std::io::stderr().flush();
                    }
                }
            }
        }
    }
}

fn shared_json(shared: &SharedCollection) -> Value {
    json!({
        "name": shared.name,
        "uid": shared.uid,
        "workspace": shared.workspace,
        "source": shared.source,
        "path": shared.path,
    })
}

fn set(input: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(input), Some(value)) = (input.as_object_mut(), value) {
        Map::insert(input, key.to_owned(), value);
    }
}

fn at<'value>(value: &'value Value, key: &str) -> &'value Value {
    value.get(key).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn row(one: &Value) -> [String; 6] {
    let vectors = one["vectors"].as_array().into_iter().flatten();
    let vectors =
        vectors.map(|of| format!("{} {}", of["count"], text(&of["model"]))).collect::<Vec<_>>().join(", ");
    let states = ["doing", "failure", "unwatched"].iter().find_map(|state| one[*state].as_str());
    [
        text(&one["name"]).to_owned(),
        match (text(&one["source"]), text(&one["revision"])) {
            ("files" | "", _) => text(&one["path"]).to_owned(),
            (source, "") => source.to_owned(),
            (source, revision) => format!("{source} {revision}"),
        },
        one["files"].to_string(),
        one["passages"].to_string(),
        if vectors.is_empty() { "none".into() } else { vectors },
        states.unwrap_or("ready").to_owned(),
    ]
}

fn counts(value: &Value) -> String {
    format!(
        "{} files, of them {} read, {} skipped; {} are gone",
        value["files"], value["changed"], value["skipped"], value["removed"]
    )
}

/// What documents say is anybody's: a terminal obeys none of it.
fn unobeyed(text: &str) -> String {
    let is_text = |letter: char| letter == '\n' || letter == '\t' || !is_unseen(letter);
    text.chars().map(|letter| if is_text(letter) { letter } else { '\u{fffd}' }).collect()
}

fn shown(answer: &Value) -> String {
    let found = answer["found"].as_array().into_iter().flatten().map(|one| {
        let within: Vec<&str> = one["within"].as_array().into_iter().flatten().map(text).collect();
        let defines: Vec<&str> = one["defines"].as_array().into_iter().flatten().map(text).collect();
        let place = [within, defines].concat().join(" > ");
        let separator = if place.is_empty() { "" } else { "  " };
        let body: String = text(&one["text"]).lines().map(|line| format!("    {line}\n")).collect();
        let about: Vec<&str> = ["collection", "author", "at"].iter().map(|name| text(&one[*name])).collect();
        let about: Vec<&str> = about.into_iter().filter(|one| !one.is_empty()).collect();
        let shown = format!(
            "{}:{}-{}  [{}]{separator}{place}\n{body}",
            text(&one["path"]),
            one["first_line"],
            one["last_line"],
            about.join(", ")
        );
        unobeyed(&shown)
    });
    let found: Vec<String> = found.collect();
    let notes =
        answer["notes"].as_array().into_iter().flatten().map(|note| format!("note: {}\n", text(note)));
    let nothing = if found.is_empty() { "nothing was found\n" } else { "" };
    format!("{}{nothing}{}", found.join("\n"), notes.collect::<String>()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_which_revision_a_collection_is_of() {
        let of = |one: Value| row(&one)[1].clone();
        let revision = json!({ "name": "old", "source": "revision", "revision": "v1.4", "path": "." });
        assert_eq!(of(revision), "revision v1.4");
        assert_eq!(of(json!({ "source": "commits", "revision": "HEAD", "path": "." })), "commits HEAD");
        assert_eq!(of(json!({ "source": "journal", "path": "." })), "journal");
        assert_eq!(of(json!({ "source": "files", "path": "docs" })), "docs");
    }
}
