//! Asking the human at the client, by elicitation (MCP 2025-06-18 and 2025-11-25).

use async_trait::async_trait;
use rmcp::{
    RoleServer,
    model::{ElicitRequestParams, ElicitationAction, ElicitationSchema},
    service::{ElicitationMode, Peer, RequestContext},
};
use skynet_core::call::Ask;
use std::sync::Arc;

struct Elicit(Peer<RoleServer>);

/// How to ask through this request's client; `None` where it has no dialog.
pub(super) fn through(context: &RequestContext<RoleServer>) -> Option<Arc<dyn Ask>> {
    // From 2026-07-28 on a server sends no requests, and such a session stores no peer info.
    context.peer.peer_info()?;
    let modes = context.peer.supported_elicitation_modes();
    modes.contains(&ElicitationMode::Form).then(|| Arc::new(Elicit(context.peer.clone())) as Arc<dyn Ask>)
}

#[async_trait]
impl Ask for Elicit {
    async fn ask(&self, question: &str) -> Option<bool> {
        // An explicit choice: a client that accepts dialogs unread does not tick it.
        let schema = ElicitationSchema::builder().required_bool("approve").build().ok()?;
        let params = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: question.to_owned(),
            requested_schema: schema,
        };
        match self.0.create_elicitation(params).await {
            Ok(result) => {
                let ticked = result.content.as_ref().and_then(|content| content.get("approve")?.as_bool());
                Some(result.action == ElicitationAction::Accept && ticked == Some(true))
            }
            Err(err) => {
                tracing::info!(error = %err, "the client could not ask");
                None
            }
        }
    }
}
