//! Makes a collection of what is no file of the workspace.

use crate::{
    Library,
    add_collection::{Output, add, default_max_file_bytes},
};
use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use skynet_documents::SourceKind;
use skynet_knowledge::Wanted;
use std::{sync::Arc, time::Duration};

/// Sections of the manual that are read where none is named: commands, formats, overviews, administration (man-pages(7)).
const SECTIONS: [&str; 4] = ["1", "5", "7", "8"];

pub(crate) struct KnowledgeAddSource(pub(crate) Arc<Library>);

/// What it is of.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The files of a Git repository at a branch, tag or commit.
    Revision,
    /// The commits of a Git repository: messages, authors, dates, files.
    Commits,
    /// The manual pages of this host.
    Manuals,
    /// The systemd journal of this host, as far as the caller may read it.
    Journal,
    /// Pages of the web. Adding them again by the same name fetches them again.
    Pages,
}

const fn default_days() -> u32 {
    7
}

fn default_repository() -> String {
    ".".into()
}

fn default_revision() -> String {
    "HEAD".into()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What it is of.
    kind: Kind,
    /// How it is called; as its kind by default.
    #[serde(default)]
    name: Option<String>,
    /// Of `revision` and `commits`: a directory of the repository, relative to the workspace; of `revision`, what is below it.
    #[serde(default = "default_repository")]
    repository: String,
    /// Of `revision` and `commits`: a branch, tag or commit. A branch is followed as it moves.
    #[serde(default = "default_revision")]
    revision: String,
    /// Of `manuals`: sections such as `1` or `3pm`; 1, 5, 7 and 8 by default.
    #[serde(default)]
    #[schemars(length(max = 20))]
    sections: Vec<String>,
    /// Of `journal`: only these units; all by default.
    #[serde(default)]
    #[schemars(length(max = 50))]
    units: Vec<String>,
    /// Of `journal`: how many days back.
    #[serde(default = "default_days")]
    #[schemars(range(min = 1, max = 365))]
    days: u32,
    /// Of `pages`: their addresses, `https://` or `http://`. Links are not followed.
    #[serde(default)]
    #[schemars(length(max = 100))]
    urls: Vec<String>,
    /// Globs of the documents in it, where these have paths; all by default.
    #[serde(default)]
    #[schemars(length(max = 100))]
    include: Vec<String>,
    /// Globs of documents to leave out.
    #[serde(default)]
    #[schemars(length(max = 100))]
    exclude: Vec<String>,
    /// Larger documents are left out, in bytes.
    #[serde(default = "default_max_file_bytes")]
    #[schemars(range(min = 1, max = 16_777_216))]
    max_file_bytes: u64,
}

impl Input {
    fn source(&self) -> Result<SourceKind> {
        Ok(match self.kind {
            Kind::Revision => SourceKind::Revision(self.revision.clone()),
            Kind::Commits => SourceKind::Commits(self.revision.clone()),
            Kind::Manuals if self.sections.is_empty() => {
                SourceKind::Manuals(SECTIONS.map(str::to_owned).to_vec())
            }
            Kind::Manuals => {
                let is_one = |section: &&String| {
                    section.starts_with(|first: char| matches!(first, '1'..='9'))
                        && section.chars().all(|letter| letter.is_ascii_alphanumeric())
                };
                match self.sections.iter().find(|section| !is_one(section)) {
                    Some(wrong) => {
                        return Err(Error::invalid_input(format!(
                            "`{}` is no section of the manual; sections are such as `1`, `5`, `8` or `3pm`",
                            wrong.escape_debug()
                        )));
                    }
                    None => SourceKind::Manuals(self.sections.clone()),
                }
            }
            Kind::Journal => SourceKind::Journal { units: self.units.clone(), days: self.days },
            Kind::Pages if self.urls.is_empty() => {
                return Err(Error::invalid_input("`pages` needs `urls`, the addresses of the pages"));
            }
            Kind::Pages => {
                self.urls.iter().try_for_each(|url| skynet_documents::host_of(url).map(drop))?;
                let mut urls = self.urls.clone();
                urls.sort();
                urls.dedup();
                SourceKind::Pages(urls)
            }
        })
    }
}

impl Tool for KnowledgeAddSource {
    const NAME: &'static str = "knowledge_add_source";
    const SUMMARY: &'static str = "Index what is no file of the workspace, for knowledge_search: a branch or the commits of a Git repository, manual pages, the systemd journal, pages of the web.";
    const KEYWORDS: &'static str = "make searchable git history commits branch tag man pages manual journal logs web page url documentation online | rendre cherchable historique commits branche pages de manuel journal page web adresse documentation en ligne";
    const EFFECT: Effect = Effect::Write;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Daemon;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        if input.kind == Kind::Pages { Effect::External } else { Effect::Write }
    }

    fn check(&self, input: &Input) -> Result<()> {
        let source = input.source()?;
        let is_without_paths = matches!(source, SourceKind::Commits(_) | SourceKind::Pages(_));
        if is_without_paths && (!input.include.is_empty() || !input.exclude.is_empty()) {
            return Err(Error::invalid_input(format!(
                "`include` and `exclude` are of paths, which `{}` have not",
                source.as_str()
            )));
        }
        Ok(())
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let source = input.source()?;
        let is_of_repository = matches!(source, SourceKind::Revision(_) | SourceKind::Commits(_));
        let wanted = Wanted {
            name: Some(input.name.unwrap_or_else(|| source.as_str().to_owned())),
            path: if is_of_repository { input.repository } else { ".".to_owned() },
            source,
            include: input.include,
            exclude: input.exclude,
            max_file_bytes: input.max_file_bytes,
        };
        add(self.0.open()?, ctx, wanted).await
    }
}
