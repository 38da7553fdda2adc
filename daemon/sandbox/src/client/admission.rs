//! Whether a secret that somebody showed is that of a token, and whose: the broker's to say.

use super::{Broker, Slots, refusal};
use crate::protocol::{Admit, Admitted, Reply, Request};
use skynet_core::{Error, Result};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// A token that the broker of the whole host knows.
pub struct Admission {
    /// What is cited when something is done for it.
    pub connection: u64,
    /// As whom it acts.
    pub uid: u32,
    /// Names it; not secret.
    pub token: String,
    /// What its maker called it.
    pub name: String,
    /// Where it may work; the broker opens no other directory for it.
    pub workspaces: Vec<String>,
    /// Names of the effects that its calls may have.
    pub effects: Vec<String>,
    /// Set when nothing can be done for this connection any more: the token has ended, or the broker is gone.
    pub ended: CancellationToken,
    /// Set when it is the broker that is gone: the next one will know the token, by another number.
    pub is_void: CancellationToken,
}

/// The connections that stand for tokens, each with what is set when it ends.
#[derive(Default)]
pub(super) struct Bearers(Mutex<HashMap<u64, CancellationToken>>);

impl Bearers {
    /// Notes one that the broker has just told of, before anything that it says later is heard.
    pub(super) fn note(&self, connection: u64, is_gone: &CancellationToken) {
        self.lock().entry(connection).or_insert_with(|| is_gone.child_token());
    }

    /// The token behind it has ended.
    pub(super) fn end(&self, connection: u64) {
        if let Some(ended) = self.lock().remove(&connection) {
            ended.cancel();
        }
    }

    fn find(&self, connection: u64) -> Option<CancellationToken> {
        self.lock().get(&connection).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, CancellationToken>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Asks the broker of the whole host whom a secret stands for.
    ///
    /// # Errors
    /// `Denied` if it is that of no token which holds, `Unavailable` when nobody can say.
    pub async fn admit(&self, secret: &str) -> Result<Admission> {
        let secret = secret.to_owned();
        let (broker, reply, _) = self.request(|id| Request::Admit(Admit { id, secret })).await?;
        match reply {
            Reply::Admitted(admitted) => admission(&broker, admitted),
            Reply::Refused(refused) => Err(refusal(refused)),
            Reply::Ready(_)
            | Reply::Ended(_)
            | Reply::Begun(_)
            | Reply::Connected(_)
            | Reply::Opened(_)
            | Reply::Terminal(_)
            | Reply::Started(_)
            | Reply::Network(_)
            | Reply::Known(_)
            | Reply::Lapsed(_) => Err(Error::internal("the sandbox answered something else")),
        }
    }
}

fn admission(broker: &Broker, admitted: Admitted) -> Result<Admission> {
    let Admitted { connection, uid, token, name, workspaces, effects, .. } = admitted;
    // It may have ended since.
    let ended = broker.bearers.find(connection).ok_or_else(|| Error::denied("the token has just ended"))?;
    let is_void = broker.is_gone.clone();
    Ok(Admission { connection, uid, token, name, workspaces, effects, ended, is_void })
}
