//! Hears of changes of a collection's files for as long as it is in use. A call to hands that ends when it is no longer
//! wanted says, by its progress, that something changed; what changed is for a look to find.

use crate::{Knowledge, collection::Collection, gathering::ask};
use async_trait::async_trait;
use skynet_core::{CallCtx, Effect, Error, Outbox, Result, change::Extent, ctx::Progress};
use skynet_documents::{WATCH, Watch as Files, Watched};
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A collection that nobody asked for so long is neither watched nor kept open any more.
pub(crate) const IDLE: Duration = Duration::from_secs(600);

/// The answers of hands to the daemon itself, in bytes.
const MAX_BYTES: usize = 256 << 20;

/// What hands say besides their answer, to a caller that has no call.
struct News(Option<watch::Sender<f64>>);

#[async_trait]
impl Outbox for News {
    fn progress(&self, progress: Progress) {
        if let Some(tell) = &self.0 {
            tell.send_replace(progress.done);
        }
    }

    async fn keep_before(&self, path: &str, _: Option<OwnedFd>, _: Extent) -> Result<()> {
        Err(Error::internal(format!("what reads documents was about to change `{path}`")))
    }

    async fn store_blob(&self, _: OwnedFd, name: &str, _: &str) -> Result<String> {
        Err(Error::internal(format!("what reads documents was about to store `{name}`")))
    }
}

/// A context for what is done for the caller of `ctx` after its call.
pub(crate) fn context(ctx: &CallCtx, cancel: CancellationToken) -> Option<CallCtx> {
    with_news(ctx, cancel, News(None))
}

fn with_news(ctx: &CallCtx, cancel: CancellationToken, news: News) -> Option<CallCtx> {
    let (origin, workspace) = (ctx.origin().ok()?.clone(), ctx.workspace().ok()?.clone());
    Some(CallCtx::new(cancel, MAX_BYTES, Effect::Read, Some(workspace), Arc::new(news)).with_origin(origin))
}

/// How many changes were heard of, and how many of them were looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) heard: u64,
    pub(crate) looked: u64,
}

/// Hands tell of the first of some changes by half a number, and by a whole one when it is quiet again
/// ([`skynet_documents::WATCH`]): so many have begun.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "they count from 0, one after the other"
)]
fn begun(heard: f64) -> u64 {
    heard.max(0.0).ceil() as u64
}

/// Whether a collection is watched, and until when.
#[derive(Default)]
pub(crate) struct Watch {
    is_on: Arc<AtomicBool>,
    until: Option<watch::Sender<Instant>>,
    changes: watch::Sender<Changes>,
}

impl Watch {
    /// What was heard, as it is.
    pub(crate) fn news(&self) -> watch::Receiver<Changes> {
        self.changes.subscribe()
    }

    /// Whether changes are heard of.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Watches from now on, or for longer. Then the collection is let go of.
    pub(crate) fn keep(&mut self, knowledge: &Arc<Knowledge>, collection: &Arc<Collection>, ctx: CallCtx) {
        let end = Instant::now() + IDLE;
        if let Some(until) = self.until.as_ref().filter(|until| !until.is_closed()) {
            until.send_replace(end);
            return;
        }
        let (until, mut ends) = watch::channel(end);
        self.until = Some(until);
        let (hands, is_on) = (knowledge.runners.workspace.clone(), self.is_on.clone());
        let changes = self.changes.clone();
        // Hands count from 0 again.
        let base = changes.borrow().heard;
        let (knowledge, collection) = (Arc::downgrade(knowledge), collection.clone());
        tokio::spawn(async move {
            let (tell, mut news) = watch::channel(-1.0);
            let cancel = ctx.cancel.child_token();
            let Some(watching) = with_news(&ctx, cancel.clone(), News(Some(tell))) else { return };
            let files = Files { path: collection.record.path.clone() };
            let watched = ask::<_, Watched>(&*hands, &watching, WATCH, &files);
            tokio::pin!(watched);
            // One look at a time, and after it one more for all that was heard of meanwhile.
            let (mut looking, mut pending): (Option<JoinHandle<()>>, Option<f64>) = (None, None);
            let watched = loop {
                if looking.is_none()
                    && let Some(heard) = pending.take()
                    && let Some(knowledge) = knowledge.upgrade()
                {
                    let look = knowledge.changed(&collection, &ctx);
                    let changes = changes.clone();
                    looking = Some(tokio::spawn(async move {
                        if let Some(look) = look {
                            // It tells itself what went wrong.
                            let _ = look.await;
                        }
                        changes
                            .send_modify(|changes| changes.looked = changes.looked.max(base + begun(heard)));
                    }));
                }
                let looked = async {
                    match &mut looking {
                        Some(look) => drop(look.await),
                        None => std::future::pending().await,
                    }
                };
                let end = *ends.borrow();
                tokio::select! {
                    watched = &mut watched => break Some(watched),
                    () = looked => looking = None,
                    Ok(()) = news.changed() => {
                        // The first says that it is watched: what changed before that was not heard of.
                        is_on.store(true, Ordering::Relaxed);
                        let heard = *news.borrow_and_update();
                        changes.send_modify(|changes| changes.heard = base + begun(heard));
                        let is_quiet = heard.fract() == 0.0;
                        if is_quiet {
                            pending = Some(heard);
                        }
                    }
                    Ok(()) = ends.changed() => {}
                    () = tokio::time::sleep_until(end.into()) => break None,
                    () = ctx.cancel.cancelled() => break None,
                }
            };
            cancel.cancel();
            is_on.store(false, Ordering::Relaxed);
            // Nobody looks at what was heard last, but for the next search.
            changes.send_modify(|changes| changes.looked = changes.heard);
            let why = match watched {
                Some(Ok(Watched { limit })) => Some(limit),
                Some(Err(err)) => Some(err.to_string()),
                None => None,
            };
            if let Some(why) = &why {
                tracing::info!(
                    collection = collection.record.name,
                    why,
                    "a collection is looked through at each search"
                );
            }
            collection.progress.send_modify(|progress| progress.unwatched = why);
            if collection.progress.borrow().unwatched.is_some() {
                // Until it is forgotten: what cannot be watched now cannot in a moment either.
                let _ = tokio::time::timeout(IDLE, ctx.cancel.cancelled()).await;
            }
            let id = collection.record.id;
            drop(collection);
            if let Some(knowledge) = knowledge.upgrade() {
                knowledge.close(id);
            }
        });
    }
}
