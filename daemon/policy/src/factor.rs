//! What it takes to approve a call.

use serde::{Deserialize, Serialize};

/// Whose word counts when a call waits for a human, `confirm.factor` of the configuration. An agent has all that its user's
/// processes have, so only what they lack proves a human.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Factor {
    /// That of the user, in the dialog of his client or by `skynetctl`: no boundary.
    Client,
    /// That of an administrator, by `skynetctl`.
    AdminUid,
    /// That of the user, by `skynetctl`, for whom polkit(8) vouches each time; and that of an administrator.
    Polkit,
}

impl Factor {
    /// Whether the dialog of a client decides, and a notification on the user's desktop.
    #[must_use]
    pub const fn counts_dialogs(self) -> bool {
        matches!(self, Self::Client)
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Client => "factor `client`: no boundary against an agent that runs `skynetctl` itself",
            Self::AdminUid => "factor `admin-uid`: an administrator, by `skynetctl approvals`",
            Self::Polkit => "factor `polkit`: the user, by `skynetctl approvals`, if polkit vouches for him",
        }
    }

    /// Who can answer, in words for the agent.
    pub(crate) const fn who(self) -> &'static str {
        match self {
            Self::Client | Self::Polkit => "a human",
            Self::AdminUid => "an administrator",
        }
    }
}
