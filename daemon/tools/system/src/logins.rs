//! Who is logged in, and who was: as logind says, or the files that logins have always been noted in.

use crate::{process::user_name, systemd, timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use std::{fs, os::unix::fs::FileExt as _};
use zbus::zvariant::OwnedObjectPath;

/// Where running sessions are noted where there is no logind (utmp(5)).
const UTMP: &str = "/run/utmp";

/// Where the last login of each user is noted, by number (lastlog(8)).
const LASTLOG: &str = "/var/log/lastlog";

/// Bytes of a record of [`UTMP`], which are the same on 32 and 64 bits.
const UTMP_BYTES: usize = 384;

/// `USER_PROCESS` of utmp(5).
const USER_PROCESS: u16 = 7;

/// Bytes of a record of [`LASTLOG`]: a time, a line of 32 bytes, a host of 256.
const LASTLOG_BYTES: usize = 292;

/// Somebody who is logged in.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Session {
    /// Who.
    pub(crate) user: String,
    /// The number of the session; absent where no logind gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// The terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) terminal: Option<String>,
    /// From which host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// Since when, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// `active`, `online` or `closing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    /// What let them in, such as `sshd` or `login`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    /// The process that leads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader_pid: Option<u64>,
}

/// A session as `ListSessions` tells of it: its number, the uid, the user, the seat and its path.
type Listed = (String, u32, String, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1",
    gen_blocking = false
)]
trait Logind {
    fn list_sessions(&self) -> zbus::Result<Vec<Listed>>;
}

/// Everybody, by name; and why it may not be all.
pub(crate) async fn sessions() -> (Vec<Session>, Option<String>) {
    let (mut found, note) = match of_logind().await {
        Ok(found) => (found, None),
        Err(_) => match fs::read(UTMP) {
            Ok(records) => (of_utmp(&records), None),
            Err(_) => (
                Vec::new(),
                Some("who is logged in is not known: no logind answers, and no utmp is kept".into()),
            ),
        },
    };
    found.sort_by(|a, b| (&a.user, &a.since).cmp(&(&b.user, &b.since)));
    (found, note)
}

async fn of_logind() -> zbus::Result<Vec<Session>> {
    let connection = zbus::Connection::system().await?;
    let mut sessions = Vec::new();
    for (id, _, user, _, path) in LogindProxy::new(&connection).await?.list_sessions().await? {
        let known =
            systemd::all_of(&connection, "org.freedesktop.login1", &path, "org.freedesktop.login1.Session");
        // One that ended meanwhile.
        let Ok(known) = known.await else { continue };
        // What only runs the user's own manager is no login.
        if known.text("Class").is_some_and(|class| class.starts_with("manager")) {
            continue;
        }
        sessions.push(Session {
            user,
            id: Some(id),
            terminal: known.text("TTY"),
            from: known.text("RemoteHost"),
            since: known.time("Timestamp"),
            state: known.text("State"),
            service: known.text("Service"),
            leader_pid: known.number("Leader").filter(|pid| *pid != 0),
        });
    }
    Ok(sessions)
}

/// The text of a field that ends with its first NUL.
fn text(field: &[u8]) -> Option<String> {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

fn number(field: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

fn of_utmp(records: &[u8]) -> Vec<Session> {
    let look = |record: &[u8]| {
        let kind = u16::from_ne_bytes(record.get(0..2)?.try_into().ok()?);
        (kind == USER_PROCESS).then_some(())?;
        Some(Session {
            user: text(record.get(44..76)?)?,
            id: None,
            terminal: text(record.get(8..40)?),
            from: text(record.get(76..332)?),
            since: number(record.get(340..344)?).map(|seconds| timestamp(seconds.into())),
            state: None,
            service: None,
            leader_pid: number(record.get(4..8)?).map(u64::from),
        })
    };
    records.chunks_exact(UTMP_BYTES).filter_map(look).collect()
}

/// Last logins, by uid.
pub(crate) struct LastLogins(Option<fs::File>);

impl LastLogins {
    pub(crate) fn open() -> Self {
        Self(fs::File::open(LASTLOG).ok())
    }

    /// RFC 3339, UTC; `None` for who never was, and where nobody notes it.
    pub(crate) fn of(&self, uid: u32) -> Option<String> {
        let mut record = [0; LASTLOG_BYTES];
        // It has holes for those who never were, and ends after the last who was.
        self.0.as_ref()?.read_exact_at(&mut record, u64::from(uid) * LASTLOG_BYTES as u64).ok()?;
        let seconds = number(record.get(0..4)?).filter(|seconds| *seconds > 0)?;
        Some(timestamp(seconds.into()))
    }
}

/// The name of the user this process works as.
pub(crate) fn own_name() -> String {
    user_name(rustix::process::getuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_utmp_is_a_session_if_somebody_is_in_it() {
        let mut record = vec![0_u8; UTMP_BYTES];
        record[0..2].copy_from_slice(&USER_PROCESS.to_ne_bytes());
        record[4..8].copy_from_slice(&4711_u32.to_ne_bytes());
        record[8..13].copy_from_slice(b"pts/3");
        record[44..47].copy_from_slice(b"ann");
        record[76..84].copy_from_slice(b"10.0.0.7");
        record[340..344].copy_from_slice(&1_700_000_000_u32.to_ne_bytes());
        let session = Session {
            user: "ann".into(),
            id: None,
            terminal: Some("pts/3".into()),
            from: Some("10.0.0.7".into()),
            since: Some("2023-11-14T22:13:20Z".into()),
            state: None,
            service: None,
            leader_pid: Some(4711),
        };
        let ended = vec![8_u8; UTMP_BYTES];
        assert_eq!(of_utmp(&[record.clone(), ended, record[..200].to_vec()].concat()), [session]);
    }
}
