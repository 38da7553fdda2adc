//! A lease as agents see it.

use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{CallCtx, Result};
use skynet_leases::{Lease, MOST_SECONDS};

/// How long a lease lasts that is asked for without a time.
pub(crate) const fn default_seconds() -> u32 {
    600
}

// What the schemas say.
const _: () = assert!(MOST_SECONDS == 14_400);

#[derive(Serialize, JsonSchema)]
pub(crate) struct Shown {
    /// For `lease_renew` and `lease_release`.
    id: String,
    /// File or directory with all that it holds: relative to the workspace, or absolute if it lies elsewhere.
    path: String,
    /// Client, user and session, or token, that hold it.
    owner: String,
    /// Whether this session holds it.
    is_own: bool,
    /// What for, in the words of the holder.
    purpose: String,
    /// Since when, RFC 3339, UTC.
    acquired_at: String,
    /// When it ends by itself, RFC 3339, UTC.
    expires_at: String,
}

impl Shown {
    pub(crate) fn new(ctx: &CallCtx, lease: Lease) -> Result<Self> {
        let origin = ctx.origin()?;
        let workspace = origin.caller.workspace.as_ref();
        Ok(Self {
            path: workspace.map_or_else(|| lease.path.clone(), |workspace| lease.path_in(workspace.path())),
            owner: lease.owner(),
            is_own: lease.holder.is(origin.session, &origin.caller),
            id: lease.id,
            purpose: lease.purpose,
            acquired_at: lease.acquired_at.to_string(),
            expires_at: lease.expires_at.to_string(),
        })
    }
}
