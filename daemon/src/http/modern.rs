//! Requests of 2026-07-28: each stands for itself, so each gets a connection of its own to the MCP server.

use super::{
    Front,
    stream::{Place, respond, status_of},
};
use crate::mcp::{Inbox, Leaving};
use axum::{
    body::Bytes,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use skynet_core::Caller;
use skynet_proto::Frame;
use std::{future::pending, sync::Arc};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Messages on their way to one client.
const OUTBOUND: usize = 16;

pub(super) async fn answer(
    front: &Front,
    caller: Caller,
    line: Bytes,
    is_request: bool,
    place: Place,
) -> Response {
    if !is_request {
        // What a client could notify of ends with its request here.
        return StatusCode::ACCEPTED.into_response();
    }
    let session = Uuid::now_v7();
    let (outbound, mut outgoing) = mpsc::channel(OUTBOUND);
    let (to_client, for_client) = mpsc::channel(OUTBOUND);
    // What is fair is for the turns of the token to say: to the daemon's traffic, this is no client of its own.
    let inbox = Arc::new(Inbox::new(session, 1, outbound, Arc::default()));
    let (desk, bearers) = (front.desk.clone(), front.bearers.clone());
    let connection = caller.connection.number();
    let token = caller.token.as_ref().map_or_else(String::new, |token| token.id.clone());
    let turns = front.holder(&token).turns;
    tokio::spawn(async move {
        let _turn = tokio::select! {
            turn = turns.take(session) => turn,
            () = to_client.closed() => return,
            () = desk.stop.cancelled() => return,
        };
        inbox.push(Frame { sequence: 1, json: line, resend: false }).await;
        let relay = async {
            while let Some(message) = outgoing.recv().await {
                let is_last = message.answers != 0;
                if to_client.send(message.into()).await.is_err() {
                    return false;
                }
                if is_last {
                    return true;
                }
            }
            true
        };
        let is_answered = tokio::select! {
            is_answered = relay => is_answered,
            // A stream that would never end by itself says goodbye when the daemon does.
            () = async { desk.stop.cancelled().await; inbox.close(Leaving::Goodbye); pending().await } => false,
            () = to_client.closed() => false,
            () = bearers.ended(&token, connection) => false,
            // Its end closes the channel, and what is still in it goes out.
            () = async { desk.mcp.serve(&desk, session, caller, &inbox).await; inbox.hang_up(); pending().await } => false,
        };
        inbox.close(if is_answered { Leaving::Goodbye } else { Leaving::Lost });
        inbox.hang_up();
        // A client that went away wants no answer.
        desk.forget(session);
    });
    respond(for_client, place, status_of).await
}
