//! What one session has leased, calls of others do not change. What a call says beforehand that it changes is judged here; what it
//! says while it runs, when it hands that over, which is before anything of it is changed.

use async_trait::async_trait;
use skynet_core::{
    Answer, Call, Caller, Layer, Next, Outbox, Result, Usage,
    change::{Changed, Elsewhere, Entry, Extent},
    ctx::{Credential, Keep, Progress, Remote, Standing},
};
use skynet_leases::Leases;
use std::{os::fd::OwnedFd, sync::Arc};
use uuid::Uuid;

pub(crate) struct Lease {
    leases: Arc<Leases>,
}

impl Lease {
    pub(crate) const fn new(leases: Arc<Leases>) -> Self {
        Self { leases }
    }
}

#[async_trait]
impl Layer for Lease {
    fn name(&self) -> &'static str {
        "lease"
    }

    fn describe(&self) -> String {
        "paths that other sessions have leased".into()
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        if !call.effect.is_mutating() {
            return next.run(call).await;
        }
        // What there is to tell is told of the moment in which it runs.
        self.leases.judge(call)?;
        call.outbox = Arc::new(Guarded {
            outbox: call.outbox.clone(),
            leases: self.leases.clone(),
            caller: call.caller.clone(),
            session: call.id.session,
        });
        next.run(call).await
    }
}

/// Takes what a call hands out, but no entry of what is leased.
struct Guarded {
    outbox: Arc<dyn Outbox>,
    leases: Arc<Leases>,
    caller: Caller,
    session: Uuid,
}

#[async_trait]
impl Outbox for Guarded {
    fn progress(&self, progress: Progress) {
        self.outbox.progress(progress);
    }

    async fn keep_before(&self, path: &str, file: Option<OwnedFd>, extent: Extent) -> Result<()> {
        self.leases.judge_entry(&self.caller, self.session, path, extent)?;
        self.outbox.keep_before(path, file, extent).await
    }

    fn note_after(&self, path: &str, after: Option<Entry>) {
        self.outbox.note_after(path, after);
    }

    fn note_tree(&self, path: &str, elsewhere: Elsewhere) {
        self.outbox.note_tree(path, elsewhere);
    }

    fn note_changes(&self, changes: Vec<Changed>) {
        self.outbox.note_changes(changes);
    }

    fn charge(&self, usage: Usage) {
        self.outbox.charge(usage);
    }

    async fn store_blob(&self, file: OwnedFd, name: &str, media_type: &str) -> Result<String> {
        self.outbox.store_blob(file, name, media_type).await
    }

    async fn keep_preview(&self, file: OwnedFd) -> Result<String> {
        self.outbox.keep_preview(file).await
    }

    async fn secret(&self, name: &str, audience: &[String]) -> Result<Vec<u8>> {
        self.outbox.secret(name, audience).await
    }

    async fn standing_secret(&self, name: &str, audience: &[String]) -> Result<Arc<dyn Standing>> {
        self.outbox.standing_secret(name, audience).await
    }

    async fn check_secret(&self, name: &str) -> Result<()> {
        self.outbox.check_secret(name).await
    }

    async fn secrets(&self, file: &str, audience: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
        self.outbox.secrets(file, audience).await
    }

    async fn credential(&self, remote: &Remote) -> Result<Credential> {
        self.outbox.credential(remote).await
    }

    async fn agent(&self, is_confirmed: bool) -> Result<OwnedFd> {
        self.outbox.agent(is_confirmed).await
    }

    async fn open_kept(&self, what: Keep, name: &str) -> Result<OwnedFd> {
        self.outbox.open_kept(what, name).await
    }
}
