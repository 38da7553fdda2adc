//! Asks hands for the documents of a collection: those of its workspace, those of the host, or those that reach another host.

use crate::collection::Record;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use skynet_core::{CallCtx, Canonical, Error, ErrorKind, Result, Run, canonical::hex};
use skynet_documents::{
    CHECK_ACCESS, Contents, Documents, Entry, FETCH, Given, LIST, List, Listing, Page, READ, Read, Readable,
    Reading, Readings, SourceKind, VISIT, Visit,
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// All pages of a collection are held at once until they are read, in bytes of base64.
const MOST_FETCHED_BYTES: u64 = 64 << 20;

/// Documents of which is asked at once who may read them.
const CHECKED: usize = 5000;

/// Who does what is asked of hands.
#[derive(Clone)]
pub struct Runners {
    /// With the workspace.
    pub workspace: Arc<dyn Run>,
    /// Where the host is seen as it is.
    pub host: Arc<dyn Run>,
    /// With a way to one other host.
    pub remote: Arc<dyn Run>,
}

/// Documents as they were listed.
pub(crate) struct Gathered {
    pub(crate) listing: Listing,
    /// The contents that came with it, by path.
    given: HashMap<String, Given>,
}

/// Asks one of hands' tools.
pub(crate) async fn ask<T: Serialize + Sync, D: DeserializeOwned>(
    hands: &dyn Run,
    ctx: &CallCtx,
    name: &'static str,
    input: &T,
) -> Result<D> {
    let unusable = |err: serde_json::Error| {
        Error::internal(format!("`{name}` answered something else")).with_source(err)
    };
    let json = serde_json::to_vec(input).map_err(unusable)?;
    let answer = hands.run(ctx, name, &Canonical::parse(&json)?).await?;
    serde_json::from_slice(&answer).map_err(unusable)
}

/// How old a look may be before a search looks again, where nobody tells of changes; `None` where only who asks for it looks.
pub(crate) const fn look_again_after(source: &SourceKind) -> Option<Duration> {
    match source {
        SourceKind::Files => Some(Duration::from_secs(2)),
        // Where nothing moved, that is known at once.
        SourceKind::Revision(_) | SourceKind::Commits(_) => Some(Duration::ZERO),
        SourceKind::Journal { .. } => Some(Duration::from_secs(30)),
        SourceKind::Manuals(_) => Some(Duration::from_secs(600)),
        // Another host is asked when somebody who may do that says so.
        SourceKind::Pages(_) => None,
    }
}

impl Runners {
    /// What there is of a collection, or what changed since `cursor`.
    pub(crate) async fn list(
        &self,
        ctx: &CallCtx,
        record: &Record,
        cursor: Option<String>,
    ) -> Result<Gathered> {
        if let SourceKind::Pages(urls) = &record.source {
            return self.visit(ctx, urls, record.max_file_bytes).await;
        }
        let list = List {
            source: record.source.clone(),
            path: record.path.clone(),
            include: record.include.clone(),
            exclude: record.exclude.clone(),
            cursor,
        };
        let hands = if is_of_host(&record.source) { &self.host } else { &self.workspace };
        let mut listing: Listing = ask(&**hands, ctx, LIST, &list).await?;
        if record.shared_as.is_some() {
            listing.files = self.for_everybody(ctx, record, listing.files).await?;
        }
        Ok(Gathered { listing, given: HashMap::new() })
    }

    /// Has some documents read.
    pub(crate) async fn read(
        &self,
        ctx: &CallCtx,
        record: &Record,
        gathered: &Gathered,
        batch: Vec<Entry>,
    ) -> Result<Vec<(Entry, Reading)>> {
        let cursor = gathered.listing.cursor.as_deref();
        if !is_of_host(&record.source) {
            return self.parse(ctx, record, cursor, &gathered.given, batch).await;
        }
        // Where the host is seen there is no parser.
        let wanted = wanted(record, cursor, &HashMap::new(), &batch);
        let Contents { contents } = ask(&*self.host, ctx, FETCH, &wanted).await?;
        let (mut given, mut left, mut read) = (HashMap::new(), Vec::new(), Vec::new());
        for (entry, content) in batch.into_iter().zip(contents) {
            match content {
                Ok(content) => {
                    given.insert(entry.path.clone(), content);
                    left.push(entry);
                }
                Err(why) => read.push((entry, Reading::Skipped(why))),
            }
        }
        read.extend(self.parse(ctx, record, cursor, &given, left).await?);
        Ok(read)
    }

    /// Those of some documents of somebody else's collection that the caller may read himself, as the host is now.
    pub(crate) async fn readable(
        &self,
        ctx: &CallCtx,
        record: &Record,
        paths: HashSet<String>,
    ) -> Result<HashSet<String>> {
        let paths: Vec<String> = paths.into_iter().collect();
        let mut readable = Vec::with_capacity(paths.len());
        for part in paths.chunks(CHECKED) {
            readable.extend(self.check_access(ctx, record, part.to_vec(), false).await?);
        }
        Ok(paths.into_iter().zip(readable).filter_map(|(path, may)| may.then_some(path)).collect())
    }

    /// Those that all users of the host may read.
    async fn for_everybody(&self, ctx: &CallCtx, record: &Record, listed: Vec<Entry>) -> Result<Vec<Entry>> {
        let mut readable = Vec::with_capacity(listed.len());
        for part in listed.chunks(CHECKED) {
            ctx.check_canceled()?;
            let paths = part.iter().map(|entry| entry.path.clone()).collect();
            readable.extend(self.check_access(ctx, record, paths, true).await?);
        }
        Ok(listed.into_iter().zip(readable).filter_map(|(entry, may)| may.then_some(entry)).collect())
    }

    async fn check_access(
        &self,
        ctx: &CallCtx,
        record: &Record,
        paths: Vec<String>,
        by_everybody: bool,
    ) -> Result<Vec<bool>> {
        let (source, workspace) = (record.source.clone(), record.workspace.clone());
        let documents = Documents { source, workspace, paths, by_everybody };
        let Readable { readable } = ask(&*self.host, ctx, CHECK_ACCESS, &documents).await?;
        Ok(readable)
    }

    /// Hands may answer with a part of them, and are asked for the rest.
    async fn parse(
        &self,
        ctx: &CallCtx,
        record: &Record,
        cursor: Option<&str>,
        given: &HashMap<String, Given>,
        mut left: Vec<Entry>,
    ) -> Result<Vec<(Entry, Reading)>> {
        let mut read = Vec::with_capacity(left.len());
        while !left.is_empty() {
            ctx.check_canceled()?;
            let wanted = wanted(record, cursor, given, &left);
            let Readings { readings } = ask(&*self.workspace, ctx, READ, &wanted).await?;
            if readings.is_empty() {
                return Err(Error::internal("hands read nothing"));
            }
            let rest = left.split_off(readings.len().min(left.len()));
            read.extend(left.into_iter().zip(readings));
            left = rest;
        }
        Ok(read)
    }

    /// The pages that can be had; if none can, why not the first.
    async fn visit(&self, ctx: &CallCtx, urls: &[String], max_bytes: u64) -> Result<Gathered> {
        let mut gathered = Gathered { listing: Listing::default(), given: HashMap::new() };
        let (mut together, mut fault) = (0, None);
        for (url, done) in urls.iter().zip(1..) {
            ctx.check_canceled()?;
            let visit = Visit { url: url.clone(), max_bytes };
            let page: Page = match ask(&*self.remote, ctx, VISIT, &visit).await {
                Ok(page) => page,
                Err(err) if err.kind == ErrorKind::Canceled => return Err(err),
                Err(err) => {
                    tracing::info!(url, error = %err, "a page cannot be had");
                    gathered.listing.unreadable += 1;
                    fault.get_or_insert(err);
                    continue;
                }
            };
            let size = page.base64.len() as u64;
            together += size;
            // Base64 makes four bytes of three. What hands say is theirs.
            if size > max_bytes.saturating_mul(2) || together > MOST_FETCHED_BYTES {
                return Err(Error::invalid_input(format!(
                    "these pages are too large to be fetched together, from `{url}` on: name fewer of them, in collections of their own"
                )));
            }
            let entry = Entry::of_digest(url.clone(), size, &hex(&Sha256::digest(&page.base64)));
            gathered.listing.push(entry)?;
            let name = format!("page.{}", page.extension);
            gathered.given.insert(url.clone(), Given { name, base64: page.base64, about: page.about });
            ctx.progress(f64::from(done), Some(urls.len() as f64), "fetching pages");
        }
        match fault {
            Some(fault) if gathered.listing.files.is_empty() => Err(fault),
            _ => Ok(gathered),
        }
    }
}

/// Whether hands of a workspace do not see it.
const fn is_of_host(source: &SourceKind) -> bool {
    matches!(source, SourceKind::Journal { .. })
}

fn wanted(record: &Record, cursor: Option<&str>, given: &HashMap<String, Given>, entries: &[Entry]) -> Read {
    Read {
        source: record.source.clone(),
        path: record.path.clone(),
        cursor: cursor.map(str::to_owned),
        paths: entries.iter().map(|entry| entry.path.clone()).collect(),
        max_bytes: record.max_file_bytes,
        given: entries.iter().filter_map(|entry| given.get(&entry.path).cloned()).collect(),
    }
}
