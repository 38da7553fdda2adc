//! `skynetctl grant`: what is not asked about any more.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table, time},
};
use clap::Subcommand;
use serde_json::{Value, json};
use skynet_proto::{Grant, ListGrantsRequest, RevokeGrantRequest};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what was approved for always. `skynetctl approvals approve ID --always` adds to it.
    List,
    /// Have a human asked again.
    Revoke {
        /// As listed.
        id: String,
    },
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    let mut client = daemon.grants().await?;
    match command {
        Command::List => {
            let grants = client.list(ListGrantsRequest {}).await?.into_inner().grants;
            output.show(&grants.iter().map(to_json).collect(), || {
                if grants.is_empty() {
                    return "nothing is granted".into();
                }
                let rows = grants.iter().map(|grant| {
                    [
                        grant.id.clone(),
                        grant.uid.to_string(),
                        grant.tool.clone(),
                        grant.effect.clone(),
                        end(grant),
                        grant.workspace.escape_debug().to_string(),
                        grant.text.clone(),
                    ]
                });
                table(["id", "uid", "tool", "effect", "until", "workspace", "calls"], rows)
            })
        }
        Command::Revoke { id } => {
            let grant = client.revoke(RevokeGrantRequest { id }).await?.into_inner();
            output.show(&to_json(&grant), || format!("{} `{}` is asked about again", grant.id, grant.tool))
        }
    }
}

/// When it ends, in words.
pub(crate) fn end(grant: &Grant) -> String {
    grant.expires_at.as_ref().map_or_else(|| "revoked".into(), |at| time(Some(at)))
}

pub(crate) fn to_json(grant: &Grant) -> Value {
    let present = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "id": grant.id,
        "uid": grant.uid,
        "token": present(&grant.token),
        "tool": grant.tool,
        "effect": grant.effect,
        "workspace": grant.workspace,
        "digest": present(&grant.digest),
        "path": present(&grant.path),
        "input": serde_json::from_str::<Value>(&grant.input).unwrap_or_default(),
        "rules": grant.rules,
        "granted_by": grant.granted_by,
        "granted_at": time(grant.granted_at.as_ref()),
        "expires_at": grant.expires_at.as_ref().map(|at| time(Some(at))),
    })
}

/// A time to live such as `30m`, `12h`, `7d` or `2w`, in seconds.
///
/// # Errors
/// In words, for anything else and for none at all.
pub(crate) fn lifetime(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time such as `30m`, `12h`, `7d` or `2w`");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        _ => return Err(wrong()),
    };
    let count = text.strip_suffix(unit).filter(|count| count.bytes().all(|one| one.is_ascii_digit()));
    let count: u32 =
        count.and_then(|count| count.parse().ok()).filter(|count| *count > 0).ok_or_else(wrong)?;
    Ok(u64::from(count) * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_live_have_a_unit_and_an_end() {
        for (text, expected) in
            [("30m", Some(1800)), ("12h", Some(43_200)), ("7d", Some(604_800)), ("2w", Some(1_209_600))]
        {
            assert_eq!(lifetime(text).ok(), expected, "{text}");
        }
        for text in ["", "7", "d", "0d", "-1d", "+1d", "1.5h", "7 d", "7D", "7é", "99999999999d"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }
}
