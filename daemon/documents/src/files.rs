//! The files of a workspace, as ripgrep would list them.

use crate::{
    access::{self, Documents},
    document::About,
    list::{CHECK_EVERY, Entry, List, Listing},
    read::Read,
    source::{Attribution, Content, Fetched, Source, SourceKind},
    walk::{Scope, walk},
};
use async_trait::async_trait;
use rustix::fs::{Mode, OFlags};
use skynet_core::{CallCtx, Result, Workspace, target::regular};
use std::{fs::File, os::unix::fs::MetadataExt as _};

pub(crate) struct Files(pub(crate) Box<dyn Attribution>);

#[async_trait]
impl Source for Files {
    fn is_for(&self, kind: &SourceKind) -> bool {
        *kind == SourceKind::Files
    }

    /// Always all of them: looking at each is how a change is found. The cursor is about who wrote them.
    async fn list(&self, ctx: &CallCtx, list: &List, scope: &Scope) -> Result<Listing> {
        let workspace = ctx.workspace()?;
        let attributed = self.0.since(ctx, &list.path, list.cursor.as_deref()).await;
        let mut listing = Listing {
            cursor: attributed.as_ref().map(|attributed| attributed.cursor.clone()),
            ..Listing::default()
        };
        let mut authors = attributed.unwrap_or_default().authors;
        for (number, found) in walk(workspace, &workspace.relative(&list.path)?)?.enumerate() {
            if number % CHECK_EVERY == 0 {
                ctx.check_canceled()?;
            }
            let Ok(found) = found else {
                listing.unreadable += 1;
                continue;
            };
            if !found.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let path = found.path().strip_prefix(workspace.path()).ok().and_then(|path| path.to_str());
            match path {
                Some(path) if !scope.holds(path) => {}
                Some(path) => match found.metadata() {
                    Ok(metadata) => {
                        let entry = Entry::of_file(path.to_owned(), &metadata);
                        listing.push(Entry { about: authors.remove(path).unwrap_or_default(), ..entry })?;
                    }
                    Err(_) => listing.unreadable += 1,
                },
                None => listing.unreadable += 1,
            }
        }
        Ok(listing)
    }

    async fn fetch(&self, ctx: &CallCtx, read: &Read) -> Result<Vec<Fetched>> {
        let workspace = ctx.workspace()?;
        let opened = read.paths.iter().map(|path| {
            let file = open(workspace, path).map_err(|err| err.to_string())?;
            let changed_at = file.metadata().ok().map(|metadata| metadata.mtime());
            Ok(Content { name: path.clone(), file, about: About::default(), changed_at })
        });
        Ok(opened.collect())
    }

    async fn readable(&self, _: &CallCtx, documents: &Documents) -> Result<Vec<bool>> {
        Ok(access::of_files(documents))
    }
}

/// Links are not followed: what they lead to is read where it is.
fn open(workspace: &Workspace, path: &str) -> Result<File> {
    let path = workspace.relative(path)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    regular(workspace.open_at(&path, flags, Mode::empty())?, &path)
}
