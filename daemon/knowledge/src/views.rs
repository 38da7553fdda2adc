//! What a caller sees of all collections: his own of this workspace, and those that an administrator shared with everybody.

use crate::{
    Knowledge,
    collection::{Collection, Filter, Record, lock},
    stored::StoredPassage,
};
use rustix::fs::{AtFlags, StatxFlags, statx};
use skynet_core::{CallCtx, Caller, Error, Result, Workspace};
use skynet_documents::SourceKind;
use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A collection as a caller sees it.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) collection: Arc<Collection>,
    /// What he calls it.
    pub(crate) name: String,
    /// The workspace of its documents, where that is another user's or not this one.
    pub(crate) elsewhere: Option<PathBuf>,
}

impl View {
    /// What the caller calls a document of it. Files that are elsewhere have their whole path.
    pub(crate) fn outside(&self, path: String) -> String {
        match &self.elsewhere {
            Some(workspace) if self.collection.record.source == SourceKind::Files => {
                workspace.join(path).to_string_lossy().into_owned()
            }
            _ => path,
        }
    }

    /// A passage, with its document as the caller calls it.
    pub(crate) fn named(&self, passage: StoredPassage) -> StoredPassage {
        StoredPassage { path: self.outside(passage.path), ..passage }
    }

    /// A filter as the caller means it.
    pub(crate) fn filter(&self, filter: &Filter) -> Filter {
        Filter { elsewhere: self.elsewhere.clone(), ..filter.clone() }
    }

    /// The document that the caller calls so, if it may be one of these.
    pub(crate) fn inside(&self, path: &str) -> Option<String> {
        match &self.elsewhere {
            Some(workspace) if self.collection.record.source == SourceKind::Files => {
                Some(Path::new(path).strip_prefix(workspace).ok()?.to_str()?.to_owned())
            }
            _ => Some(path.to_owned()),
        }
    }
}

/// What is kept of a collection, and whether it is the caller's own.
struct Seen {
    record: Record,
    is_own: bool,
}

impl Seen {
    fn name(&self) -> &str {
        match &self.record.shared_as {
            Some(name) if !self.is_own => name,
            _ => &self.record.name,
        }
    }
}

impl Knowledge {
    /// Shares a user's collection with all users of the host, each of whom finds in it what he may read himself. They see it once
    /// its user's hands have looked for what is everybody's.
    ///
    /// # Errors
    /// `NotFound` for a name that is none, `Conflict` for one that means several, `InvalidInput` for what not everybody may
    /// read, and `Unavailable` when the disk refuses.
    pub fn share(&self, uid: u32, owner: &str, name: &str, workspace: Option<&Path>) -> Result<Record> {
        let _naming = lock(&self.naming);
        let all: Vec<Record> = self.table.iter().map(|(_, record)| record).collect();
        let is_in = |record: &&Record| workspace.is_none_or(|workspace| record.workspace == workspace);
        let own = || all.iter().filter(|record| record.uid == uid);
        // Of a directory that was made anew, the newest; who made it cannot see the others.
        let mut named: HashMap<&Path, &Record> = HashMap::new();
        for record in own().filter(|record| record.name == name).filter(is_in) {
            let kept = named.entry(&record.workspace).or_insert(record);
            if record.created_at > kept.created_at {
                *kept = record;
            }
        }
        let record = match named.into_values().collect::<Vec<_>>().as_slice() {
            [record] => (*record).clone(),
            [] => {
                let names: BTreeSet<String> =
                    own().map(|one| format!("`{}` of `{}`", one.name, one.workspace.display())).collect();
                let there = if names.is_empty() {
                    "there are none of this user".to_owned()
                } else {
                    format!("there are {}", names.into_iter().collect::<Vec<_>>().join(", "))
                };
                return Err(Error::not_found(format!("`{owner}` has no collection `{name}` there; {there}")));
            }
            several => {
                let places: Vec<_> =
                    several.iter().map(|record| format!("`{}`", record.workspace.display())).collect();
                return Err(Error::conflict(format!(
                    "`{owner}` has several collections `{name}`; name the workspace of one: {}",
                    places.join(", ")
                )));
            }
        };
        match record.source {
            SourceKind::Files | SourceKind::Manuals(_) | SourceKind::Pages(_) => {}
            SourceKind::Revision(_) | SourceKind::Commits(_) | SourceKind::Journal { .. } => {
                return Err(Error::invalid_input(format!(
                    "`{name}` is of {}, of which nobody can tell who may read what: only collections of files, manuals and pages are shared",
                    record.source.as_str()
                )));
            }
        }
        let shared_as = format!("{owner}/{name}");
        let is_taken = |other: &Record| other.id != record.id && other.shared_as.as_ref() == Some(&shared_as);
        if let Some(other) = all.iter().find(|other| is_taken(other)) {
            return Err(Error::conflict(format!(
                "`{shared_as}` is shared already, of `{}`",
                other.workspace.display()
            )));
        }
        // Pages are of the web already, and no search fetches them.
        let is_open = matches!(record.source, SourceKind::Pages(_));
        let record = Record { shared_as: Some(shared_as), is_open, ..record };
        self.store(&record)?;
        self.look_anyway(&record);
        Ok(record)
    }

    /// Ends what [`Knowledge::share`] began, by the name that everybody calls it.
    ///
    /// # Errors
    /// `NotFound` for a name that is none, `Unavailable` when the disk refuses.
    pub fn unshare(&self, name: &str) -> Result<Record> {
        let _naming = lock(&self.naming);
        let shared = self.shared();
        let names: Vec<_> = shared.iter().filter_map(|record| record.shared_as.as_deref()).collect();
        let found = shared.iter().find(|record| record.shared_as.as_deref() == Some(name));
        let found = found.ok_or_else(|| {
            let there = if names.is_empty() { "nothing is".to_owned() } else { names.join(", ") };
            Error::not_found(format!("`{name}` is not shared; what is: {there}"))
        })?;
        let record = Record { shared_as: None, is_open: false, ..found.clone() };
        self.store(&record)?;
        self.look_anyway(&record);
        Ok(record)
    }

    /// What is shared, by name.
    #[must_use]
    pub fn shared(&self) -> Vec<Record> {
        let all = self.table.iter().map(|(_, record)| record);
        let mut shared: Vec<Record> = all.filter(|record| record.shared_as.is_some()).collect();
        shared.sort_by(|a, b| a.shared_as.cmp(&b.shared_as));
        shared
    }

    /// The caller's own of his workspace, by name.
    pub(crate) fn own(&self, caller: &Caller) -> Vec<Record> {
        self.visible(caller).into_iter().filter(|seen| seen.is_own).map(|seen| seen.record).collect()
    }

    /// His own by name, then what others share by name.
    fn visible(&self, caller: &Caller) -> Vec<Seen> {
        let Some(workspace) = &caller.workspace else { return Vec::new() };
        let place = place_of(workspace);
        let see = |record: Record| {
            let is_own =
                record.uid == caller.uid && record.workspace == workspace.path() && record.place == place;
            (is_own || record.is_open).then_some(Seen { record, is_own })
        };
        let mut seen: Vec<Seen> = self.table.iter().filter_map(|(_, record)| see(record)).collect();
        seen.sort_by(|a, b| (!a.is_own, a.name()).cmp(&(!b.is_own, b.name())));
        seen
    }

    fn find_seen(&self, ctx: &CallCtx, name: &str) -> Result<Seen> {
        ctx.workspace()?;
        let seen = self.visible(&ctx.origin()?.caller);
        let names: Vec<String> = seen.iter().map(|seen| format!("`{}`", seen.name())).collect();
        seen.into_iter().find(|seen| seen.name() == name).ok_or_else(|| {
            let there = if names.is_empty() { none_yet() } else { format!("there are {}", names.join(", ")) };
            Error::not_found(format!("there is no collection `{name}` in this workspace; {there}"))
        })
    }

    /// One that the caller may change.
    pub(crate) fn record(&self, ctx: &CallCtx, name: &str) -> Result<Record> {
        let seen = self.find_seen(ctx, name)?;
        if seen.is_own {
            return Ok(seen.record);
        }
        Err(Error::denied(format!(
            "`{name}` is shared: it is kept by whoever made it, in `{}`, and an administrator ends that with `skynetctl index unshare`",
            seen.record.workspace.display()
        )))
    }

    /// One that the caller may ask.
    pub(crate) async fn find(self: &Arc<Self>, ctx: &CallCtx, name: &str) -> Result<View> {
        let seen = self.find_seen(ctx, name)?;
        self.view(seen).await
    }

    /// The collections of these names, or all that the caller may ask.
    pub(crate) async fn asked(self: &Arc<Self>, ctx: &CallCtx, names: &[String]) -> Result<Vec<View>> {
        ctx.workspace()?;
        if names.is_empty() {
            let views = self.seen_by(&ctx.origin()?.caller).await?;
            return if views.is_empty() { Err(nothing_here()) } else { Ok(views) };
        }
        let mut views: Vec<View> = Vec::new();
        for name in names {
            // One that is named twice is asked once.
            if !views.iter().any(|view| view.name == *name) {
                views.push(self.find(ctx, name).await?);
            }
        }
        Ok(views)
    }

    /// All that a caller may ask. What is wrong with another's is not his trouble.
    pub(crate) async fn seen_by(&self, caller: &Caller) -> Result<Vec<View>> {
        let mut views = Vec::new();
        for seen in self.visible(caller) {
            let (name, is_own) = (seen.name().to_owned(), seen.is_own);
            match self.view(seen).await {
                Ok(view) => views.push(view),
                Err(err) if is_own => return Err(err),
                Err(err) => tracing::warn!(name, error = %err, "a shared collection cannot be asked"),
            }
        }
        Ok(views)
    }

    async fn view(&self, seen: Seen) -> Result<View> {
        let name = seen.name().to_owned();
        let elsewhere = (!seen.is_own).then(|| seen.record.workspace.clone());
        Ok(View { collection: self.opened(seen.record).await?, name, elsewhere })
    }
}

/// [`Record::place`].
pub(crate) fn place_of(workspace: &Workspace) -> (u64, i64) {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    // A filesystem of a user's own may tell nobody else.
    let made_at = statx(workspace.as_descriptor(), "", flags, StatxFlags::BTIME).map_or(0, |stat| {
        stat.stx_btime.tv_sec.saturating_mul(1_000_000_000).saturating_add(stat.stx_btime.tv_nsec.into())
    });
    (workspace.place().1, made_at)
}

fn nothing_here() -> Error {
    Error::not_found(format!("there is no collection in this workspace; {}", none_yet()))
}

fn none_yet() -> String {
    "make one with `knowledge_add_collection`".into()
}
