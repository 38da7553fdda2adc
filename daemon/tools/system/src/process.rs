//! One process as the tools show it.

use crate::timestamp;
use nix::unistd::{Uid, User};
use procfs::process::Process;
use schemars::JsonSchema;
use serde::Serialize;

/// Command lines are cut there.
const LONGEST_COMMAND: usize = 300;

/// One process.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Shown {
    /// Process id.
    pub(crate) pid: i32,
    /// Of its parent.
    pub(crate) parent_pid: i32,
    /// Whose it is.
    pub(crate) user: String,
    /// Name of the program.
    pub(crate) name: String,
    /// Command line, cut after 300 characters; what looks like a secret's value is masked.
    pub(crate) command: String,
    /// One letter as in ps(1): R runs, S sleeps, D waits for a device, Z is dead, T is stopped.
    pub(crate) state: String,
    /// Of one processor, in percent: since it started, or over the measured interval.
    pub(crate) cpu_percent: f64,
    /// Resident memory.
    pub(crate) memory_bytes: u64,
    /// How many.
    pub(crate) threads: i64,
    /// RFC 3339, UTC.
    pub(crate) started_at: String,
}

/// A process and the processor time it has used, in ticks.
pub(crate) struct Seen {
    pub(crate) shown: Shown,
    pub(crate) ticks: u64,
}

/// Every process that can be seen. Ones that end meanwhile are left out.
pub(crate) fn all() -> Result<Vec<Seen>, procfs::ProcError> {
    let booted_at = procfs::boot_time_secs()?;
    let uptime = <procfs::Uptime as procfs::Current>::current()?.uptime;
    let processes = procfs::process::all_processes()?;
    Ok(processes.filter_map(|process| look_at(&process.ok()?, booted_at, uptime)).collect())
}

fn look_at(process: &Process, booted_at: u64, uptime: f64) -> Option<Seen> {
    let stat = process.stat().ok()?;
    let per_second = procfs::ticks_per_second();
    let ticks = stat.utime + stat.stime;
    let started = stat.starttime / per_second;
    let lived = (uptime - stat.starttime as f64 / per_second as f64).max(0.01);
    let arguments = process.cmdline().unwrap_or_default();
    let command = if arguments.is_empty() { format!("[{}]", stat.comm) } else { masked(&arguments) };
    let shown = Shown {
        pid: stat.pid,
        parent_pid: stat.ppid,
        user: user_name(process.uid().ok()?),
        name: stat.comm,
        command: command.chars().take(LONGEST_COMMAND).collect(),
        state: stat.state.to_string(),
        cpu_percent: percent(ticks as f64 / per_second as f64 / lived),
        memory_bytes: stat.rss * procfs::page_size(),
        threads: stat.num_threads,
        started_at: timestamp(i64::try_from(booted_at + started).unwrap_or(0)),
    };
    Some(Seen { shown, ticks })
}

/// With one decimal.
pub(crate) fn percent(fraction: f64) -> f64 {
    (fraction * 1000.0).round() / 10.0
}

/// The name of a uid, or the number.
pub(crate) fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// A command line without what is likely to be a password: the value of an argument whose name says so, and what stands before
/// the host of an address.
pub(crate) fn masked(arguments: &[String]) -> String {
    let mut is_value = false;
    let shown = arguments.iter().map(|argument| {
        if std::mem::take(&mut is_value) && !argument.starts_with('-') {
            return "***".to_owned();
        }
        if argument.contains(' ') {
            // A script.
            let words: Vec<String> = argument.split(' ').map(str::to_owned).collect();
            return masked(&words);
        }
        let (name, value) = argument.split_once('=').map_or((argument.as_str(), None), |(n, v)| (n, Some(v)));
        if !is_secret(name, value.is_some()) {
            return without_user(argument);
        }
        is_value = value.is_none();
        value.map_or_else(|| name.to_owned(), |_| format!("{name}=***"))
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn is_secret(name: &str, has_value: bool) -> bool {
    const WORDS: [&str; 10] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "api-key",
        "api_key",
        "apikey",
        "credential",
        "pwd",
    ];
    let name = name.to_ascii_lowercase();
    // Programs take secrets as options or as `NAME=value`; a path or a sentence is neither. The shell's own directory is none.
    name.len() < 40
        && !name.contains('/')
        && !["pwd", "oldpwd"].contains(&&*name)
        && (name.starts_with('-') || has_value)
        && WORDS.iter().any(|word| name.contains(word))
}

/// An address without the password in front of its host (RFC 3986, section 3.2.1).
fn without_user(argument: &str) -> String {
    let masked = argument.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find('/').unwrap_or(rest.len());
        let (user, _) = rest.get(..end)?.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:***{}", rest.get(user.len()..)?))
    });
    masked.unwrap_or_else(|| argument.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_command_lines_are_masked() {
        for (arguments, expected) in [
            (&["mysql", "--password=hunter2", "db"][..], "mysql --password=*** db"),
            (&["x", "--token", "abc", "--port", "5"], "x --token *** --port 5"),
            (&["env", "API_KEY=1", "run"], "env API_KEY=*** run"),
            (&["cat", "/etc/passwd", "secrets.txt"], "cat /etc/passwd secrets.txt"),
            (&["x", "--no-password", "-v"], "x --no-password -v"),
            (&["PGPASSWORD=x", "psql"], "PGPASSWORD=*** psql"),
            (&["curl", "https://ann:hunter2@example.org/x"], "curl https://ann:***@example.org/x"),
            (&["curl", "https://example.org/a@b:c"], "curl https://example.org/a@b:c"),
            (&["sh", "-c", "run --password=x --port 5"], "sh -c run --password=*** --port 5"),
            (&["env", "PWD=/srv", "x"], "env PWD=/srv x"),
        ] {
            let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(masked(&arguments), expected);
        }
    }
}
