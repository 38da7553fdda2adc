//! Whose SSH agent is lent to a call, and when: that of the caller, to one that a human confirmed. It is opened as its user,
//! and what may be asked of it is `skynet_sandbox::agent`'s to know.

use skynet_core::{Caller, Error, Result};
use skynet_sandbox::Slots;
use std::{os::fd::OwnedFd, path::Path, sync::Arc};

/// What the configuration says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lending {
    /// None is lent.
    Never,
    /// That of the one user, who named it.
    At(Arc<Path>),
    /// Where there are many users, that of each, as his client names it.
    OfCallers,
}

/// The agents of all users.
pub(crate) struct Agents {
    slots: Arc<Slots>,
    lending: Lending,
}

impl Agents {
    pub(crate) const fn new(slots: Arc<Slots>, lending: Lending) -> Self {
        Self { slots, lending }
    }

    /// Lends the agent of the caller for as long as somebody has open what is returned.
    ///
    /// # Errors
    /// `NotFound` when there is none to lend, `Denied` for a call that nobody confirmed or an agent of somebody else's,
    /// `Unavailable` when it does not answer.
    pub(crate) async fn lend(&self, caller: &Caller, is_confirmed: bool) -> Result<OwnedFd> {
        let socket = match &self.lending {
            Lending::Never => {
                return Err(Error::not_found(
                    "no SSH agent is lent: the configuration names none by `git.ssh_agent`, and of a host's users none by `git.lend_ssh_agents`",
                ));
            }
            Lending::At(socket) => socket,
            Lending::OfCallers => caller.ssh_agent.as_ref().ok_or_else(|| {
                Error::not_found(
                    "no SSH agent is lent: the client of this session was started without `SSH_AUTH_SOCK`",
                )
            })?,
        };
        // It signs for whoever has it.
        if !is_confirmed {
            return Err(Error::denied(
                "the SSH agent of its user is lent to calls that a human confirms, and a rule or a grant allowed this one without asking",
            ));
        }
        self.slots.lend_agent(caller.connection.number(), socket).await
    }
}
