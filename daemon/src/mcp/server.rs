//! What all sessions share, and how one is served.

use super::{
    Inbox, direct::Direct, handler::Handler, listing::Listing, result::Splices, states::States, wire::Wire,
};
use crate::relay::Desk;
use rmcp::{
    ServiceExt as _,
    model::{Icon, Implementation, ServerCapabilities, ServerConfig},
};
use skynet_core::{Caller, Registry};
use skynet_store::{Blobs, Ledger};
use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Shown to the model once per session; clients cut it at 2 KB.
const INSTRUCTIONS: &str = "\
Skynet works on the user's files and Git repositories on this Linux host, in one workspace: the directory the client \
was started in. Paths are relative to it; nothing outside can be reached.
- More tools than are listed: `skynet_search_tools` finds those on the host itself (CPU, memory, processes, ports, disks, \
journal, services), containers, projects (dependencies, tests, linters), pictures, background jobs (servers, terminals) and more of \
Git; `skynet_call_tool` calls them.
- Prefer `files_edit` (exact replacements or a unified diff) over rewriting a file with `files_write`. Pass \
`expected_sha256` from `files_read` to be told if somebody else changed it.
- Find things with `files_search` (content, regular expressions) and `files_find` (names); both respect .gitignore.
- `files_delete` moves to a trash; `files_restore` brings it back.
- Calls that destroy something wait for a human. If one answers `needs_confirmation`, tell the user what to approve and \
make the same call again afterwards.
- Errors start with their kind: fix `invalid_input`, look again on `conflict`, do not retry `denied`. `interrupted` means \
that it may have happened: check before calling again. `running` names a job: wait for it with `skynet_show_job`.
- A result that is too long shows head and tail and a `skynet://result/...` resource with the whole; add `?offset=&length=` \
(bytes) to read a part.";

/// A prompt sign in a box, 64 by 64.
const ICON: &str = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0naHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmcnIHZpZXdCb3g9JzAgMCA2NCA2NCc+PHJlY3Qgd2lkdGg9JzY0JyBoZWlnaHQ9JzY0JyByeD0nMTInIGZpbGw9JyMxMjMnLz48cGF0aCBkPSdNMTYgMjBsMTQgMTItMTQgMTJNMzQgNDZoMTYnIGZpbGw9J25vbmUnIHN0cm9rZT0nIzBmYScgc3Ryb2tlLXdpZHRoPSc2Jy8+PC9zdmc+";

/// How patient clients are taken to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// A call that runs longer becomes a task, for clients that know tasks.
    pub(crate) task_after: Duration,
    /// A call that runs longer becomes a job, for clients that know neither tasks nor progress.
    pub(crate) job_after: Duration,
}

/// What all sessions share.
#[derive(Clone)]
pub(crate) struct Server(Arc<Shared>);

pub(super) struct Shared {
    pub(super) listing: Listing,
    pub(super) blobs: Blobs,
    pub(super) audit: Ledger,
    pub(super) states: Arc<States>,
    pub(super) options: Options,
    pub(super) config: ServerConfig,
}

impl Server {
    pub(crate) fn new(
        registry: &Registry,
        blobs: Blobs,
        audit: Ledger,
        options: Options,
    ) -> anyhow::Result<Self> {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_completions()
            .enable_tasks()
            .enable_skills();
        #[cfg(feature = "conformance")]
        #[allow(deprecated, reason = "the suite still asks for it")]
        let capabilities = capabilities.enable_logging();
        let capabilities = capabilities.build();
        let implementation = Implementation::new("skynet", env!("CARGO_PKG_VERSION"))
            .with_title("Skynet")
            .with_icons(vec![Icon::new(ICON).with_mime_type("image/svg+xml").with_sizes(vec!["any".into()])]);
        Ok(Self(Arc::new(Shared {
            listing: Listing::new(registry),
            blobs,
            audit,
            states: Arc::new(States::new()?),
            options,
            config: ServerConfig::new(capabilities)
                .with_server_info(implementation)
                .with_instructions(INSTRUCTIONS),
        })))
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(&self, desk: &Desk, session: Uuid, caller: Caller, inbox: &Arc<Inbox>) {
        while !inbox.is_closed() {
            let splices = Arc::new(Splices::default());
            let handler = Arc::new(Handler {
                server: self.0.clone(),
                desk: desk.clone(),
                session,
                caller: caller.clone(),
                inbox: inbox.clone(),
                splices: splices.clone(),
                resumed: Mutex::new(desk.sessions.subscribed(session)),
                subscribed: Arc::default(),
                files: super::files::Files::default(),
                is_telling: AtomicBool::new(false),
            });
            let direct = Arc::new(Direct::new(handler.clone()));
            let wire = Wire::new(inbox.clone(), splices, direct.clone());
            match handler.serve_with_ct(wire, CancellationToken::new()).await {
                Ok(service) => {
                    direct.open(service.peer());
                    if let Err(err) = service.waiting().await {
                        tracing::error!(error = %err, "a session failed");
                    }
                    return;
                }
                // A failed handshake was answered; the client may try another.
                Err(err) => tracing::debug!(error = %err, "a handshake failed"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_fit_what_clients_show() {
        assert!(INSTRUCTIONS.len() <= 2048, "{}", INSTRUCTIONS.len());
    }
}
