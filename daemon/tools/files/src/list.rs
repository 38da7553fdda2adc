//! Lists one directory.

use crate::{
    entry::{self, Kind, Leads},
    walk,
};
use rustix::fs::{Dir, FileType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool, error::IoContext as _};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

pub(crate) struct FilesList;

/// Entries between two looks at whether the call is still wanted.
const CHECK_EVERY: usize = 256;

fn default_path() -> String {
    ".".into()
}

const fn default_limit() -> u32 {
    1000
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The directory.
    #[serde(default = "default_path")]
    path: String,
    /// Include hidden names.
    #[serde(default)]
    hidden: bool,
    /// Only names that fit this glob.
    #[serde(default)]
    pattern: Option<String>,
    /// Add size, mode and time of change to every entry.
    #[serde(default)]
    details: bool,
    /// Most entries.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 10000))]
    limit: u32,
    /// Entries that sort after this name: the last of a truncated answer, to go on.
    #[serde(default)]
    after: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of name.
    entries: Vec<Entry>,
    /// Entries in the directory that match, returned or not.
    total: usize,
    /// Whether entries were left out at the end.
    truncated: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Entry {
    /// Its name; bytes that are no UTF-8 are shown as U+FFFD.
    name: String,
    /// What it is; absent for a regular file.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    /// Of a symbolic link, what it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Of a symbolic link, where it leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    leads: Option<Leads>,
    /// With `details`: bytes of content.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    /// With `details`: permissions in octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// With `details`: RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_at: Option<String>,
}

impl Tool for FilesList {
    const NAME: &'static str = "files_list";
    const SUMMARY: &'static str = "List one directory: names and kinds, on request sizes and times. Symbolic links say where they lead.";
    const KEYWORDS: &'static str = "ls dir directory folder inside contents entries what is in this folder show files | lister contenu dossier répertoire fichiers entrées";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&input.path)?;
        let directory = workspace.open_directory(&path)?;
        let glob = input.pattern.as_deref().map(walk::glob).transpose()?;
        let fits = |name: &[u8]| glob.as_ref().is_none_or(|glob| glob.is_match(OsStr::from_bytes(name)));
        let mut names: Vec<(Vec<u8>, FileType)> = Vec::new();
        for (count, found) in Dir::read_from(&directory).on(&path)?.enumerate() {
            if count % CHECK_EVERY == 0 {
                ctx.check_canceled()?;
            }
            let found = found.on(&path)?;
            let name = found.file_name().to_bytes();
            let is_wanted = name != b"." && name != b".." && (input.hidden || !name.starts_with(b"."));
            if is_wanted && fits(name) && input.after.as_ref().is_none_or(|after| name > after.as_bytes()) {
                names.push((name.to_vec(), found.file_type()));
            }
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let total = names.len();
        let limit = input.limit as usize;
        let mut entries = Vec::with_capacity(total.min(limit));
        for (name, kind) in names.into_iter().take(limit) {
            let raw = OsStr::from_bytes(&name);
            let place = || path.join(Path::new(raw));
            // Some filesystems do not tell the kind while listing.
            let stat = if input.details || kind == FileType::Unknown {
                // An entry that vanished meanwhile is simply not there.
                let Ok(stat) = entry::stat_in(&directory, raw, &place()) else {
                    continue;
                };
                Some(stat)
            } else {
                None
            };
            let kind = stat.as_ref().map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode));
            let link = if kind == FileType::Symlink {
                entry::read_link(workspace, &directory, raw, &place()).ok()
            } else {
                None
            };
            let details = stat.filter(|_| input.details);
            entries.push(Entry {
                kind: Some(Kind::from(kind)).filter(|kind| *kind != Kind::File),
                target: link.as_ref().map(|link| link.target.clone()),
                leads: link.map(|link| link.leads),
                size_bytes: details.as_ref().map(entry::size_of),
                mode: details.as_ref().map(|stat| entry::octal(stat.st_mode)),
                modified_at: details.as_ref().map(entry::modified_at),
                name: String::from_utf8(name)
                    .unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()),
            });
        }
        Ok(Output { entries, total, truncated: total > limit })
    }
}
