//! What keeps collections as their files are: looks at a search, looks when something changed, and the vectors after that.

use crate::{
    Knowledge,
    collection::{Collection, Record, directory_of, lock},
    embedding,
    gathering::look_again_after,
    indexing,
    sight::Sight,
    views::View,
    watching,
};
use skynet_core::CallCtx;
use skynet_documents::SourceKind;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::timeout};

/// A search waits for changes that are being read up to that time, and then answers without them.
const WAIT_FOR_CHANGES: Duration = Duration::from_millis(1500);

impl Knowledge {
    /// Waits a little for changes that are being read; whether there are none any more. Whoever made a collection keeps it.
    pub(crate) async fn wait_for_changes(self: &Arc<Self>, view: &View, ctx: &CallCtx) -> bool {
        view.elsewhere.is_some() || self.catch_up(&view.collection, ctx).await
    }

    /// Does so for somebody who sees so much of it. What an answer may lack then, in sentences.
    pub(crate) async fn freshen(self: &Arc<Self>, view: &View, sight: Sight, ctx: &CallCtx) -> Vec<String> {
        let is_quiet = self.wait_for_changes(view, ctx).await;
        let progress = view.collection.progress.borrow().clone();
        let mut notes = Vec::new();
        let name = &view.name;
        match progress.doing {
            Some(doing) if !is_quiet => {
                let (done, all) = progress.done;
                notes.push(format!("`{name}` is not complete: {doing}, {done} of {all}"));
            }
            None if !is_quiet => {
                notes.push(format!("files of `{name}` are changing; the last may be missing"));
            }
            _ => {}
        }
        if let Some((done, all)) = progress.vectors {
            // How many texts are new would tell what is in files that he may not see.
            let count = if sight == Sight::All { format!(", {done} of {all}") } else { String::new() };
            notes.push(format!(
                "vectors of `{name}` are being made{count}: until then the rest is found by words alone"
            ));
        }
        if let Some(failure) = progress.failure.filter(|_| view.elsewhere.is_none()) {
            notes.push(format!("`{name}` may be out of date: {failure}"));
        }
        notes
    }

    /// Looks where that is due, and waits a little for what is being read; whether it is all there then.
    async fn catch_up(self: &Arc<Self>, collection: &Arc<Collection>, ctx: &CallCtx) -> bool {
        self.watch(collection, ctx);
        let (is_due, mut news) = {
            let open = lock(&self.open);
            let Some(open) = open.get(&collection.record.id) else { return true };
            let look_again_after = look_again_after(&collection.record.source);
            let is_old = |after| open.looked_at.is_none_or(|at| at.elapsed() > after);
            // What is heard of is looked at once; if that failed, nothing may be heard of it again.
            let is_blind = !open.watch.is_on() || collection.progress.borrow().failure.is_some();
            let is_due = is_blind && look_again_after.is_some_and(is_old);
            (is_due || open.must_look, open.watch.news())
        };
        let looking = is_due.then(|| {
            self.note_attempt(&collection.record);
            self.refresh_in_background(collection, ctx)
        });
        let is_quiet = timeout(WAIT_FOR_CHANGES, async {
            match looking.flatten() {
                // It tells itself what went wrong.
                Some(looking) => drop(looking.await),
                None => {
                    let heard = news.borrow().heard;
                    // Who watches is there for as long as the collection is.
                    let _ = news.wait_for(|news| news.looked >= heard).await;
                    // Whoever refreshes it holds this.
                    drop(collection.writing.lock().await);
                }
            }
        });
        is_quiet.await.is_ok()
    }

    fn refresh_in_background(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        ctx: &CallCtx,
    ) -> Option<JoinHandle<()>> {
        let (knowledge, collection) = (self.clone(), collection.clone());
        let ctx = self.of_its_own(&collection, ctx)?;
        Some(tokio::spawn(async move {
            let Some(record) = knowledge.as_it_is(&collection) else { return };
            let refreshed =
                indexing::refresh(&collection, record.clone(), &knowledge.runners, &knowledge.keyring, &ctx);
            match refreshed.await {
                Ok(_) => knowledge.note_look(&record),
                Err(err) => {
                    knowledge.note_attempt(&record);
                    tracing::warn!(collection = record.name, error = %err, "a collection is out of date");
                }
            }
            knowledge.embed(&collection);
        }))
    }

    /// Begins to make the vectors that are missing, unless that is under way.
    pub(crate) fn embed(self: &Arc<Self>, collection: &Arc<Collection>) {
        let embedders = self.embedders();
        if embedders.is_empty() {
            return;
        }
        let collection = collection.clone();
        let end = lock(&self.open).get(&collection.record.id).map(|open| open.end.clone());
        let Some(end) = end else { return };
        let own = &collection.record;
        let of_same_user = self.table.iter().map(|(_, record)| record).filter(|record| record.uid == own.uid);
        let lenders: Vec<_> = of_same_user
            .filter(|record| record.id != own.id)
            .map(|record| directory_of(&self.directory, record.id))
            .collect();
        tokio::spawn(async move {
            let made = tokio::select! {
                made = embedding::embed(&collection, &embedders, &lenders) => made,
                () = end.cancelled() => return,
            };
            if let Err(err) = made {
                tracing::warn!(collection = collection.record.name, error = %err, "vectors are missing");
            }
        });
    }

    /// Hears of changes from now on, for as long as somebody asks now and then.
    pub(crate) fn watch(self: &Arc<Self>, collection: &Arc<Collection>, ctx: &CallCtx) {
        if collection.record.source != SourceKind::Files {
            return;
        }
        let Some(ctx) = self.of_its_own(collection, ctx) else { return };
        let mut open = lock(&self.open);
        let Some(open) = open.get_mut(&collection.record.id) else { return };
        open.watch.keep(self, collection, ctx);
    }

    /// Looks at what changed. Asked by what watches; it is done when the task is.
    pub(crate) fn changed(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        ctx: &CallCtx,
    ) -> Option<JoinHandle<()>> {
        self.refresh_in_background(collection, ctx)
    }

    /// The context of what goes on after a call has ended, on behalf of the same caller.
    fn of_its_own(&self, collection: &Collection, ctx: &CallCtx) -> Option<CallCtx> {
        let open = lock(&self.open);
        watching::context(ctx, open.get(&collection.record.id)?.end.child_token())
    }

    /// Notes that it was looked at as `record` says. What is shared is everybody's from then on.
    pub(crate) fn note_look(&self, record: &Record) {
        self.note_attempt(record);
        if matches!(record.source, SourceKind::Pages(_)) {
            return;
        }
        let was_shared = record.shared_as.is_some();
        let noted = self.amend(record.id, |kept| {
            // A look of before it was shared, or ended, leaves what another one has to take away or to add.
            let is_as_looked_at = kept.shared_as == record.shared_as;
            if let Some(open) = lock(&self.open).get_mut(&record.id) {
                open.must_look = !is_as_looked_at;
            }
            kept.is_open = kept.shared_as.is_some() && was_shared && is_as_looked_at;
        });
        if let Err(err) = noted {
            tracing::warn!(collection = record.name, error = %err, "whether a collection is shared is not noted");
        }
    }

    fn note_attempt(&self, record: &Record) {
        if let Some(open) = lock(&self.open).get_mut(&record.id) {
            open.looked_at = Some(Instant::now());
        }
    }

    /// Has the next search look at a collection, also where nothing was heard of: what it is of is another since.
    pub(crate) fn look_anyway(&self, record: &Record) {
        if !matches!(record.source, SourceKind::Pages(_))
            && let Some(open) = lock(&self.open).get_mut(&record.id)
        {
            open.must_look = true;
        }
    }

    /// What is kept of a collection now: it may be shared since it was opened. `None` if it is gone, or cannot be read.
    fn as_it_is(&self, collection: &Collection) -> Option<Record> {
        self.table.get(&collection.record.id.to_string()).ok().flatten()
    }
}
