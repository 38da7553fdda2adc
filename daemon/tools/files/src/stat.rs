//! Tells what one path is.

use crate::{
    content::{digest, read_all},
    entry::{self, Kind, Link},
    text,
};
use rustix::fs::FileType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool, target::open_regular};

/// Larger files are described without reading them.
const MOST_READ_BYTES: u64 = 64 << 20;

pub(crate) struct FilesStat;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Path relative to the workspace; a link is described, not followed.
    path: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What it is.
    kind: Kind,
    /// Bytes of content.
    size_bytes: u64,
    /// Permissions in octal.
    mode: String,
    /// The owner's number.
    uid: u32,
    /// The group's number.
    gid: u32,
    /// Last change of the content, RFC 3339, UTC.
    modified_at: String,
    /// Names of this file.
    links: u64,
    /// Of a symbolic link.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<Link>,
    /// Of a regular file up to 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Of a regular file up to 64 MiB: whether it holds bytes that are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary: Option<bool>,
}

impl Tool for FilesStat {
    const NAME: &'static str = "files_stat";
    const SUMMARY: &'static str =
        "Describe one path: kind, size, permissions, owner, time of change, sha256, where a link leads.";
    const KEYWORDS: &'static str = "size permissions owner mode modified metadata exists checksum hash sha256 big old file | taille fichier droits permissions propriétaire date modification existe empreinte poids";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let path = workspace.relative(&input.path)?;
        let stat = workspace.stat(&path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let size_bytes = entry::size_of(&stat);
        let link = if kind == FileType::Symlink {
            let (parent, name) = path.split()?;
            let directory = workspace.open_directory(&parent)?;
            Some(entry::read_link(workspace, &directory, name.as_os_str(), &path)?)
        } else {
            None
        };
        let content = if kind == FileType::RegularFile && size_bytes <= MOST_READ_BYTES {
            // A file that may be described but not read has no digest.
            open_regular(workspace, &path)
                .and_then(|mut file| read_all(&mut file, MOST_READ_BYTES, &path))
                .ok()
        } else {
            None
        };
        Ok(Output {
            kind: kind.into(),
            size_bytes,
            mode: entry::octal(stat.st_mode),
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified_at: entry::modified_at(&stat),
            links: stat.st_nlink,
            link,
            sha256: content.as_deref().map(digest),
            binary: content.as_deref().map(text::is_binary),
        })
    }
}
