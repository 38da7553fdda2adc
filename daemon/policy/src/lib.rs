//! The layers between a caller and a tool, one file each, and the queue of calls that wait for a human.
//! A layer knows every call and no tool.

mod approvals;
mod audit;
mod bound;
mod cache;
pub mod commands;
mod confirm;
mod deadline;
mod factor;
mod grants;
mod lease;
mod metrics;
mod permit;
mod project;
mod question;
mod quota;
mod reconcile;
mod redact;
mod rooms;
mod rules;
mod scan;
mod trace;
mod trust;
mod turns;
mod validate;
mod visible;

pub use approvals::{Approval, Approvals, State as ApprovalState};
pub use audit::record_decision;
pub use commands::{CommandRule, Commands, Who};
pub use factor::Factor;
pub use grants::{Breadth, Covers, Grant, Grants, Wish};
pub use metrics::{Count, Metrics};
pub use project::{MOST_PROJECT_BYTES, OfWorkspace, PROJECT_FILE, ProjectFile, Projects, too_long};
pub use question::Detail;
pub use quota::{Limit, Limits, Plan, Quotas, Standing, Window};
pub use reconcile::{reconcile, settle};
pub use rules::{
    Decision, Explanation, Facts, Hours, InForce, Lend, Matcher, Paths, Role, Roles, Rule, Rules, Verdict,
};
pub use trust::{Trust, Trusted};

use skynet_core::{Layer, Pipeline, Registry, Result};
use skynet_leases::Leases;
use skynet_secrets::Keyring;
use skynet_store::{Blobs, Journal, Ledger, Tables};
use std::{sync::Arc, time::Duration};

/// Everything the layers stand on.
#[derive(Clone)]
pub struct Services {
    /// Who may do what.
    pub rules: InForce,
    /// What projects forbid besides.
    pub projects: Arc<Projects>,
    /// What sessions have leased.
    pub leases: Arc<Leases>,
    /// How much of it.
    pub quotas: Arc<Quotas>,
    /// How long a call waits for a human before it tells the client to come back.
    pub confirm_wait: Duration,
    /// Whose word counts.
    pub factor: Factor,
    /// The calls that wait.
    pub approvals: Arc<Approvals>,
    /// What is not asked about any more.
    pub grants: Arc<Grants>,
    /// One line per call, for good.
    pub audit: Ledger,
    /// Intents and outcomes, for resent calls.
    pub journal: Arc<Journal>,
    /// What outlives a start.
    pub tables: Tables,
    /// Answers that may be given again.
    pub cache: Arc<skynet_cache::Cache>,
    /// What is too large for an answer.
    pub blobs: Blobs,
    /// What must be in no answer and in no line of the log.
    pub keyring: Arc<Keyring>,
    /// Counts of what happened.
    pub metrics: Arc<Metrics>,
}

/// The pipeline: what stands above runs first on the way in, and last on the way out.
///
/// # Errors
/// `Internal` when a tool's schema does not compile or a table does not open, `InvalidInput` when a rule is about a tool or
/// an argument that there is not.
pub fn pipeline(registry: &Registry, on: &Services) -> Result<Pipeline> {
    on.rules.load().check(registry)?;
    let rooms = Arc::<rooms::Rooms>::default();
    let layers: Vec<Box<dyn Layer>> = vec![
        // One span, count and duration for every call, denied ones too.
        Box::new(trace::Trace::new(on.metrics.clone())),
        // Sees every outcome below: denials, cancellations, panics.
        Box::new(audit::Audit::new(on.audit.clone(), on.journal.clone(), on.keyring.clone(), rooms.clone())),
        // By who calls, when and where, tool and effect, before anything that costs.
        Box::new(permit::Permit::new(on.rules.clone())),
        // After permission: a denied call is not charged.
        Box::new(quota::Quota::new(on.quotas.clone())),
        // From here on there is one form of the input, and it fits the tool's schema.
        Box::new(validate::Validate::new(registry, on.rules.clone(), on.projects.clone())?),
        // Before a human is asked about what cannot be done.
        Box::new(lease::Lease::new(on.leases.clone())),
        // A pending approval holds no slot.
        Box::new(confirm::Confirm::new(on.approvals.clone(), on.grants.clone(), on.confirm_wait, on.factor)),
        // After permission, so that a hit is judged and counted as any call; a mutating call has its intent written, durably,
        // before its effect.
        Box::new(cache::Cache::new(on, rooms)),
        // What is secret is taken out of the answer; what does not fit it is kept and linked.
        Box::new(bound::Bound::new(on.blobs.clone(), on.keyring.clone())),
        // Innermost: measures the tool alone; below it a panic becomes an error.
        Box::new(deadline::Deadline),
    ];
    Ok(Pipeline::new(layers))
}
