//! Repositories as sources of documents: the files that a commit holds, and the commits themselves.

use crate::{repository::Repository, revision::Revision};
use async_trait::async_trait;
use skynet_core::{CallCtx, Error, Result};
use skynet_documents::{
    About, Attributed, Attribution, Content, Entry, Fetched, IGNORE_FILE, Ignored, List, Listing, Read,
    Scope, Source, SourceKind, held,
};
use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Component, Path},
};

/// Commits that are documents: the newest ones.
const MOST_COMMITS: usize = 50_000;

/// Commits that are looked through for who wrote a file last.
const MOST_AUTHORS: usize = 5000;

/// Larger files are not read, whatever is wanted: what Git writes of a few of them is held in memory.
const MOST_BYTES: u64 = 16 << 20;

/// An author's name and address, in characters.
const LONGEST_AUTHOR: usize = 200;

/// What keeps output to what is asked for, whatever a configuration says.
const PLAIN: [&str; 3] = ["--no-color", "--no-show-signature", "--encoding=UTF-8"];

/// Letters of a commit's name that people write, at least (git-config(1), `core.abbrev`).
const SHORT_NAME: usize = 7;

/// Files that are named of one commit.
const MOST_NAMED: usize = 200;

/// What repositories have for collections.
#[must_use]
pub fn sources() -> Vec<Box<dyn Source>> {
    vec![Box::new(Files), Box::new(Commits)]
}

/// What they know of the files in their working trees.
#[must_use]
pub fn attribution() -> Box<dyn Attribution> {
    Box::new(Authors)
}

/// The commit that a name means now.
async fn commit(ctx: &CallCtx, repository: &Repository, name: &str) -> Result<String> {
    let revision = Revision::new(name.to_owned())
        .map_err(|why| Error::invalid_input(format!("`{}`: {why}", name.escape_debug())))?;
    let wanted = format!("{}^{{commit}}", revision.as_str());
    let found =
        repository.run(ctx, &[], ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]).await?;
    if !found.status.success() {
        return Err(Error::not_found(format!("the repository has no commit `{name}`")));
    }
    Ok(found.text()?.trim_end().to_owned())
}

/// The files of one commit.
struct Files;

#[async_trait]
impl Source for Files {
    fn is_for(&self, kind: &SourceKind) -> bool {
        matches!(kind, SourceKind::Revision(_))
    }

    async fn list(&self, ctx: &CallCtx, list: &List, scope: &Scope) -> Result<Listing> {
        let SourceKind::Revision(name) = &list.source else { return Ok(Listing::default()) };
        let workspace = ctx.workspace()?;
        let repository = Repository::find(workspace, &list.path)?;
        let commit = commit(ctx, &repository, name).await?;
        let mut listing = Listing { cursor: Some(commit.clone()), ..Listing::default() };
        if list.cursor.as_ref() == Some(&commit) {
            listing.is_partial = true;
            return Ok(listing);
        }
        let below = repository.pathspec(workspace, &list.path)?;
        let below: &[OsString] = if below == "." { &[] } else { &[below] };
        let ignored = ignored(ctx, &repository, &commit).await?;
        // Without authors, its files are there.
        let mut authors = authors(ctx, &repository, &commit).await.unwrap_or_default();
        for blob in blobs(ctx, &repository, &commit, below).await? {
            let path = repository.place().join(&blob.name);
            let Some(path) = path.to_str().filter(|_| is_plain(&blob.name)) else {
                listing.unreadable += 1;
                continue;
            };
            if scope.holds(path) && !is_hidden(&blob.name) && !ignored.holds(&blob.name) {
                let entry = Entry::of_digest(path.to_owned(), blob.size, &blob.object);
                listing.push(Entry { about: authors.remove(&blob.name).unwrap_or_default(), ..entry })?;
            }
        }
        listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(listing)
    }

    async fn fetch(&self, ctx: &CallCtx, read: &Read) -> Result<Vec<Fetched>> {
        let repository = Repository::find(ctx.workspace()?, &read.path)?;
        let commit = read.cursor.as_deref();
        let commit =
            commit.ok_or_else(|| Error::internal("what a commit holds is read after it was listed"))?;
        let below = |path: &str| Path::new(path).strip_prefix(repository.place()).ok().map(Path::to_owned);
        let wanted: Vec<OsString> = read.paths.iter().filter_map(|path| Some(below(path)?.into())).collect();
        let found = blobs(ctx, &repository, commit, &wanted).await?;
        let found: HashMap<&str, &Blob> = found.iter().map(|blob| (blob.name.as_str(), blob)).collect();
        let blob_of = |path: &str| below(path)?.to_str().and_then(|name| found.get(name).copied());
        let largest = read.max_bytes.min(MOST_BYTES);
        let small = read.paths.iter().filter_map(|path| blob_of(path)).filter(|blob| blob.size <= largest);
        let objects: String = small.map(|blob| format!("{}\n", blob.object)).collect();
        let asked = held(objects.as_bytes())?;
        let contents = repository.check_fed(ctx, asked, ["cat-file", "--batch"]).await?.bytes()?;
        let mut rest = contents.as_slice();
        let mut fetched = Vec::with_capacity(read.paths.len());
        for path in &read.paths {
            fetched.push(match blob_of(path) {
                None => Err("the commit has no such file".to_owned()),
                Some(blob) if blob.size > largest => Err(format!("larger than {largest} bytes")),
                Some(_) => {
                    let (content, after) = object(rest)
                        .ok_or_else(|| Error::internal("git wrote fewer files than it was asked for"))?;
                    rest = after;
                    Ok(Content {
                        name: path.clone(),
                        file: held(content)?,
                        about: About::default(),
                        changed_at: None,
                    })
                }
            });
        }
        Ok(fetched)
    }
}

/// A file of a commit.
struct Blob {
    /// Relative to the repository.
    name: String,
    object: String,
    size: u64,
}

/// The regular files of a commit below some paths, or all; names that are no UTF-8 are left out.
async fn blobs(
    ctx: &CallCtx,
    repository: &Repository,
    commit: &str,
    below: &[OsString],
) -> Result<Vec<Blob>> {
    let fixed = ["ls-tree", "-r", "-z", "--long", "--full-tree", commit, "--"].map(OsString::from);
    let listed = repository.check(ctx, &[], fixed.into_iter().chain(below.iter().cloned())).await?.bytes()?;
    let lines = listed.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok());
    // `100644 blob 4b825dc642cb6eb9a060e54bf8d69288fbee4904    1234<TAB>src/main.rs` (git-ls-tree(1)).
    let blob = |line: &str| {
        let (about, name) = line.split_once('\t')?;
        let mut about = about.split_whitespace();
        let (mode, _, object, size) = (about.next()?, about.next()?, about.next()?, about.next()?);
        let is_regular = matches!(mode, "100644" | "100755");
        let size = size.parse().ok()?;
        is_regular.then(|| Blob { name: name.to_owned(), object: object.to_owned(), size })
    };
    Ok(lines.filter_map(blob).collect())
}

/// A tree may hold any name, also such as no checkout would make.
fn is_plain(name: &str) -> bool {
    !name.starts_with("./")
        && !name.chars().any(char::is_control)
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// As in a listing of files.
fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.'))
}

/// What the commit's own `.skynetignore` names.
async fn ignored(ctx: &CallCtx, repository: &Repository, commit: &str) -> Result<Ignored> {
    let found = blobs(ctx, repository, commit, &[IGNORE_FILE.into()]).await?;
    let Some(file) = found.first().filter(|file| file.size <= MOST_BYTES) else {
        return Ok(Ignored::default());
    };
    let text = repository.check(ctx, &[], ["cat-file", "blob", &file.object]).await?.text()?;
    Ignored::new(&text)
}

/// The first object of what git-cat-file(1) writes with `--batch`: `<object> blob <size>`, a line feed, the content and one more.
fn object(written: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = written.iter().position(|byte| *byte == b'\n')?;
    let (head, rest) = written.split_at_checked(end)?;
    let size: usize = std::str::from_utf8(head).ok()?.rsplit(' ').next()?.parse().ok()?;
    let (content, rest) = rest.get(1..)?.split_at_checked(size)?;
    Some((content, rest.get(1..)?))
}

/// Who changed each file last, and when, as far as the newest commits of a range tell; by its path in the repository.
async fn authors(ctx: &CallCtx, repository: &Repository, range: &str) -> Result<HashMap<String, About>> {
    let mark = Mark::new();
    let most = format!("--max-count={MOST_AUTHORS}");
    let format = format!("--format={}%an <%ae>{}%at", mark.record(), mark.field());
    let mut arguments = vec!["log", &format, "--name-only", "--no-renames", "-z"];
    arguments.extend(PLAIN);
    arguments.extend([most.as_str(), "--end-of-options", range, "--"]);
    let log = repository.check(ctx, &[], arguments).await?.text()?;
    let mut authors = HashMap::new();
    for record in log.split(&mark.record()) {
        let Some((author, rest)) = record.split_once(&mark.field()) else { continue };
        let mut rest = rest.split(['\0', '\n']);
        let at = rest.next().and_then(|at| at.trim().parse().ok());
        for path in rest.filter(|path| !path.is_empty()) {
            // The newest comes first.
            authors.entry(path.to_owned()).or_insert_with(|| About {
                author: Some(shortened(author)),
                at,
                tags: Vec::new(),
            });
        }
    }
    Ok(authors)
}

/// Of a working tree, who committed each file last.
struct Authors;

#[async_trait]
impl Attribution for Authors {
    async fn since(&self, ctx: &CallCtx, path: &str, cursor: Option<&str>) -> Option<Attributed> {
        let repository = Repository::find(ctx.workspace().ok()?, path).ok()?;
        let commit = commit(ctx, &repository, "HEAD").await.ok()?;
        if cursor == Some(commit.as_str()) {
            return Some(Attributed { cursor: commit, authors: HashMap::new() });
        }
        let range = match cursor {
            Some(known) if is_ancestor(ctx, &repository, known, &commit).await.ok()? => {
                format!("{known}..{commit}")
            }
            _ => commit.clone(),
        };
        // What Git does not tell now it is asked for again.
        let authors = authors(ctx, &repository, &range).await.ok()?.into_iter();
        let place = repository.place();
        let authors =
            authors.filter_map(|(path, about)| Some((place.join(path).to_str()?.to_owned(), about)));
        Some(Attributed { cursor: commit, authors: authors.collect() })
    }
}

/// Whether one commit leads to another.
async fn is_ancestor(ctx: &CallCtx, repository: &Repository, known: &str, commit: &str) -> Result<bool> {
    let asked = ["merge-base", "--is-ancestor", known, commit];
    Ok(repository.run(ctx, &[], asked).await?.status.success())
}

/// What keeps records apart that hold what anybody wrote: nobody who wrote it knows this.
struct Mark(String);

impl Mark {
    fn new() -> Self {
        Self(uuid::Uuid::new_v4().as_simple().to_string())
    }

    fn record(&self) -> String {
        format!("{}-record-", self.0)
    }

    fn field(&self) -> String {
        format!("{}-field-", self.0)
    }
}

fn shortened(author: &str) -> String {
    author.chars().take(LONGEST_AUTHOR).collect()
}

/// The commits that lead to one.
struct Commits;

/// What names a commit among the documents of a collection.
const COMMIT: &str = "commit/";

#[async_trait]
impl Source for Commits {
    fn is_for(&self, kind: &SourceKind) -> bool {
        matches!(kind, SourceKind::Commits(_))
    }

    async fn list(&self, ctx: &CallCtx, list: &List, _: &Scope) -> Result<Listing> {
        let SourceKind::Commits(name) = &list.source else { return Ok(Listing::default()) };
        let repository = Repository::find(ctx.workspace()?, &list.path)?;
        let commit = commit(ctx, &repository, name).await?;
        let mut listing = Listing { cursor: Some(commit.clone()), ..Listing::default() };
        let mut range = commit.clone();
        if let Some(known) = &list.cursor
            && is_ancestor(ctx, &repository, known, &commit).await?
        {
            listing.is_partial = true;
            range = format!("{known}..{commit}");
        }
        let most = format!("--max-count={MOST_COMMITS}");
        let listed = repository
            .check(ctx, &[], ["rev-list", &most, "--end-of-options", &range, "--"])
            .await?
            .text()?;
        for commit in listed.lines() {
            listing.push(Entry::of_digest(format!("{COMMIT}{commit}"), 0, commit))?;
        }
        listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(listing)
    }

    async fn fetch(&self, ctx: &CallCtx, read: &Read) -> Result<Vec<Fetched>> {
        let repository = Repository::find(ctx.workspace()?, &read.path)?;
        let wanted: Vec<&str> =
            read.paths.iter().map(|path| path.strip_prefix(COMMIT).unwrap_or(path)).collect();
        if let Some(wrong) = wanted.iter().find(|name| !name.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(Error::internal(format!("`{}` is no commit", wrong.escape_debug())));
        }
        let mut fetched = Vec::with_capacity(wanted.len());
        // The first of them is last. What says too much together may not one by one.
        let mut todo = vec![wanted.as_slice()];
        while let Some(part) = todo.pop() {
            ctx.check_canceled()?;
            match show(ctx, &repository, part).await {
                Ok(shown) => fetched.extend(shown),
                Err(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    todo.extend([second, first]);
                }
                Err(err) => fetched.push(Err(err.to_string())),
            }
        }
        Ok(fetched)
    }
}

/// Some commits as documents, in their order.
async fn show(ctx: &CallCtx, repository: &Repository, wanted: &[&str]) -> Result<Vec<Fetched>> {
    let mark = Mark::new();
    let field = mark.field();
    let format = format!("--format={}%H{field}%an <%ae>{field}%at{field}%B{field}", mark.record());
    let mut arguments = vec!["show", &format, "--name-only", "--no-renames", "--ignore-missing"];
    arguments.extend(PLAIN);
    arguments.push("--end-of-options");
    arguments.extend(wanted);
    arguments.push("--");
    // Names of files are found as they are written.
    let settings = ["-c", "core.quotePath=false"].map(str::to_owned);
    let shown = repository.check(ctx, &settings, arguments).await?.text()?;
    let mut documents: HashMap<&str, (About, String)> = HashMap::new();
    let separator = mark.record();
    for record in shown.split(&separator) {
        let fields: Vec<&str> = record.split(&field).collect();
        if let [commit, author, at, message, files] = fields.as_slice() {
            let about = About { author: Some(shortened(author)), at: at.parse().ok(), tags: Vec::new() };
            documents.insert(commit, (about, text_of(commit, message, files)));
        }
    }
    let fetched = wanted.iter().map(|commit| match documents.remove(commit) {
        Some((about, text)) => Ok(Ok(Content {
            name: format!("{commit}.md"),
            file: held(text.as_bytes())?,
            about,
            changed_at: None,
        })),
        None => Ok(Err("it is gone from the repository".to_owned())),
    });
    fetched.collect()
}

/// A commit as Markdown: its subject is the heading, and at the end are its name, as it is told and in full, and the files that it
/// touches.
fn text_of(commit: &str, message: &str, files: &str) -> String {
    let (subject, body) = message.trim().split_once('\n').unwrap_or((message.trim(), ""));
    let short = commit.get(..SHORT_NAME).unwrap_or(commit);
    let mut text = format!("# {}\n\n{}\n\ncommit {short} {commit}\n", subject.trim(), body.trim());
    let files: Vec<&str> = files.lines().filter(|file| !file.is_empty()).collect();
    for file in files.iter().take(MOST_NAMED) {
        text.push_str(&format!("\n- `{file}`"));
    }
    if files.len() > MOST_NAMED {
        text.push_str(&format!("\n- and {} more", files.len() - MOST_NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_told_apart_by_their_sizes() {
        let written = b"aa blob 6\none\ntw\nbb blob 0\n\n";
        let (first, rest) = object(written).unwrap();
        assert_eq!((first, object(rest).unwrap()), (&b"one\ntw"[..], (&b""[..], &b""[..])));
        assert_eq!(object(b"aa missing\n"), None);
    }

    #[test]
    fn names_that_no_checkout_would_make_are_told() {
        for name in ["a", "src/main.rs", "a b/é"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["/etc/passwd", "../up", "a/../b", "./x", "secret.txt\r", "two\nlines"] {
            assert!(!is_plain(name), "{name}");
        }
        assert!(is_hidden(".env") && is_hidden("a/.b/c") && !is_hidden("a.b/c"));
    }

    #[test]
    fn a_commit_reads_as_its_message() {
        let text = text_of("0123456789ab", "Bound the queue\n\nIt grew.\n", "\nsrc/a.rs\nsrc/b.rs\n");
        let expected =
            "# Bound the queue\n\nIt grew.\n\ncommit 0123456 0123456789ab\n\n- `src/a.rs`\n- `src/b.rs`";
        assert_eq!(text, expected);
    }
}
