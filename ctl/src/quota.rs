//! `skynetctl quota`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table, time},
};
use clap::Subcommand;
use serde_json::{Value, json};
use skynet_proto::{QuotaLimit, ResetQuotaRequest, ShowQuotaRequest, ShowQuotaResponse};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the limits that hold for a user, and how much is used of each.
    Show {
        /// Of the user with this name, instead of your own. For administrators.
        #[arg(long, value_name = "NAME", conflicts_with = "uid")]
        user: Option<String>,
        /// Of the user with this number. For administrators.
        #[arg(long, value_name = "N")]
        uid: Option<u32>,
    },
    /// Let what a user has used count no more against a limit, until its window ends. For administrators.
    Reset {
        /// The user's number.
        #[arg(long, value_name = "N")]
        uid: u32,
        /// The limit, as `quota show` names it.
        #[arg(long, value_name = "NAME")]
        limit: String,
    },
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    let mut client = daemon.quota().await?;
    let (quota, note) = match command {
        Command::Show { user, uid } => {
            let user = user.or_else(|| uid.map(|uid| uid.to_string())).unwrap_or_default();
            (client.show(ShowQuotaRequest { user }).await?.into_inner(), String::new())
        }
        Command::Reset { uid, limit } => {
            let note = format!("`{limit}` is reset\n");
            (client.reset(ResetQuotaRequest { uid, limit }).await?.into_inner(), note)
        }
    };
    output.show(&to_json(&quota), || note + &text(&quota))
}

fn text(quota: &ShowQuotaResponse) -> String {
    let rows = quota.limits.iter().map(|limit| {
        [
            limit.name.clone(),
            if limit.window.is_empty() { "at once".into() } else { limit.window.clone() },
            limit.what.clone(),
            used(limit).to_string(),
            limit.most.to_string(),
            time(limit.free_at.as_ref()),
        ]
    });
    let rows = table(["limit", "window", "what", "used", "of", "window ends"], rows);
    format!("user {} (uid {})\n{rows}", quota.user, quota.uid)
}

/// Whole where it is counted, to the millisecond where it is measured.
fn used(limit: &QuotaLimit) -> Value {
    if limit.used.fract() == 0.0 && limit.used < u64::MAX as f64 {
        // Of its range, and without a fraction.
        json!(limit.used as u64)
    } else {
        json!((limit.used * 1000.0).round() / 1000.0)
    }
}

fn to_json(quota: &ShowQuotaResponse) -> Value {
    let limits = quota.limits.iter().map(|limit| {
        json!({
            "name": limit.name,
            "window": (!limit.window.is_empty()).then_some(&limit.window),
            "what": limit.what,
            "used": used(limit),
            "most": limit.most,
            "window_ends_at": limit.free_at.as_ref().map(|at| time(Some(at))),
        })
    });
    json!({ "uid": quota.uid, "user": quota.user, "limits": limits.collect::<Vec<_>>() })
}
