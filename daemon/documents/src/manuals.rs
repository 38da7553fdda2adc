//! The manual pages of the host.

use crate::{
    access::{self, Documents},
    document::About,
    list::{Entry, List, Listing},
    read::Read,
    source::{Content, Fetched, Source, SourceKind},
    walk::Scope,
};
use async_trait::async_trait;
use rustix::fs::{CWD, Mode, OFlags, openat};
use skynet_core::{CallCtx, Error, Result};
use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// Where pages are, those of an administrator's own programs first (hier(7)).
const PLACES: [&str; 2] = ["/usr/local/share/man", "/usr/share/man"];

/// The sections that there are (man-pages(7)), besides those that extend one, such as `3pm`.
const SECTIONS: &str = "123456789";

pub(crate) struct Manuals;

#[async_trait]
impl Source for Manuals {
    fn is_for(&self, kind: &SourceKind) -> bool {
        matches!(kind, SourceKind::Manuals(_))
    }

    async fn list(&self, ctx: &CallCtx, list: &List, scope: &Scope) -> Result<Listing> {
        let wanted = match &list.source {
            SourceKind::Manuals(sections) => sections.as_slice(),
            _ => &[],
        };
        let mut listing = Listing::default();
        for place in PLACES {
            for section in SECTIONS.chars() {
                ctx.check_canceled()?;
                // Hosts without one of these directories, or without manuals at all, are usual.
                let Ok(pages) = fs::read_dir(format!("{place}/man{section}")) else { continue };
                for page in pages.flatten() {
                    let path = page.path();
                    let Some(path) = path.to_str() else {
                        listing.unreadable += 1;
                        continue;
                    };
                    let is_wanted = |of: &str| wanted.is_empty() || wanted.iter().any(|one| of == one);
                    // A link is another name of a page that is there as well.
                    let metadata = page.metadata().ok().filter(|metadata| metadata.file_type().is_file());
                    if let (Some(of), Some(metadata)) = (section_of(path), metadata)
                        && (is_wanted(of) || is_wanted(&section.to_string()))
                        && scope.holds(path)
                    {
                        listing.push(Entry::of_file(path.to_owned(), &metadata))?;
                    }
                }
            }
        }
        if listing.files.is_empty() {
            return Err(Error::not_found(format!(
                "there are no such manual pages in {}; minimal systems leave them out when they install packages",
                PLACES.join(" and ")
            )));
        }
        listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(listing)
    }

    async fn fetch(&self, _: &CallCtx, read: &Read) -> Result<Vec<Fetched>> {
        Ok(read.paths.iter().map(|path| open(path)).collect())
    }

    async fn readable(&self, _: &CallCtx, documents: &Documents) -> Result<Vec<bool>> {
        Ok(access::of_files(documents))
    }
}

/// Only what a listing could have named.
fn open(path: &str) -> Fetched {
    let is_page = PLACES.iter().any(|place| {
        let below = path.strip_prefix(place).and_then(|below| below.strip_prefix("/man"));
        below.is_some_and(|below| below.split('/').count() == 2 && !below.contains(".."))
    });
    let section = section_of(path).filter(|_| is_page).ok_or("it is no manual page")?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|err| err.to_string())?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(|err| err.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".into());
    }
    let about = About { tags: vec![section.to_owned()], ..About::default() };
    Ok(Content { name: path.to_owned(), file, about, changed_at: Some(metadata.mtime()) })
}

/// `3pm` of `.../man3/IO::File.3pm.gz`.
fn section_of(path: &str) -> Option<&str> {
    let name = Path::new(path).file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let (_, section) = name.rsplit_once('.')?;
    section.starts_with(|first| SECTIONS.contains(first)).then_some(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_by_their_names() {
        for (path, section) in [
            ("/usr/share/man/man1/ls.1.gz", Some("1")),
            ("/usr/share/man/man3/IO::File.3pm.gz", Some("3pm")),
            ("/usr/share/man/man8/mount.8", Some("8")),
            ("/usr/share/man/man1/README", None),
            ("/usr/share/man/man1/notes.txt.gz", None),
        ] {
            assert_eq!(section_of(path), section, "{path}");
        }
        for path in
            ["/etc/hosts.1", "/usr/share/man/man1/../../../../etc/a.1", "/usr/share/man/fr/man1/ls.1.gz"]
        {
            assert_eq!(open(path).unwrap_err(), "it is no manual page", "{path}");
        }
    }
}
