//! `skynetctl doctor`: examines an installation from outside.

use crate::{
    config,
    daemon::Daemon,
    output::{Failure, Output},
    terminal::{Tone, paint},
};
use serde_json::json;
use skynet_proto::{AuditVerifyRequest, StatusRequest, socket::check_private};
use std::{os::unix::fs::MetadataExt as _, path::Path};

struct Finding {
    is_good: bool,
    what: &'static str,
    detail: String,
}

pub(crate) async fn run(daemon: &Daemon, output: &mut Output) -> Result<(), Failure> {
    let is_host = daemon.socket().parent().is_some_and(is_roots);
    let mut findings = vec![programs(), git(), if is_host { broker() } else { sandbox() }, configuration()];
    findings.push(socket(daemon.socket(), is_host));
    findings.extend(ask_daemon(daemon).await);
    let json = findings
        .iter()
        .map(|finding| json!({ "ok": finding.is_good, "what": finding.what, "detail": finding.detail }));
    output.show(&json.collect(), || {
        let lines = findings.iter().map(|finding| {
            format!(
                "{} {:<9} {}",
                if finding.is_good { paint("ok  ", Tone::Good) } else { paint("FAIL", Tone::Bad) },
                finding.what,
                finding.detail
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    })?;
    match findings.iter().filter(|finding| !finding.is_good).count() {
        0 => Ok(()),
        count => Err(output.verdict(format!("{count} of {} checks failed", findings.len()))),
    }
}

fn programs() -> Finding {
    let missing =
        |name: &&str| std::env::current_exe().map_or(true, |program| !program.with_file_name(name).is_file());
    let missing: Vec<&str> = ["skynetd", "skynet-hands", "skynet-models", "skynet-sandbox", "skynet-shim"]
        .into_iter()
        .filter(missing)
        .collect();
    let detail = if missing.is_empty() {
        "skynetd, skynet-hands, skynet-models, skynet-sandbox and skynet-shim lie beside skynetctl".into()
    } else {
        format!("missing beside skynetctl: {}", missing.join(", "))
    };
    Finding { is_good: missing.is_empty(), what: "programs", detail }
}

fn git() -> Finding {
    match std::process::Command::new("git").arg("--version").output() {
        Ok(ran) if ran.status.success() => Finding {
            is_good: true,
            what: "git",
            detail: String::from_utf8_lossy(&ran.stdout).trim().to_owned(),
        },
        _ => Finding {
            is_good: false,
            what: "git",
            detail: "the git tools need the `git` program; install it".into(),
        },
    }
}

fn sandbox() -> Finding {
    let finding = |is_good, detail| Finding { is_good, what: "sandbox", detail };
    let program = std::env::current_exe().unwrap_or_default().with_file_name("skynet-sandbox");
    match std::process::Command::new(program).arg("check").output() {
        Ok(ran) if ran.status.success() => {
            finding(true, String::from_utf8_lossy(&ran.stdout).trim().to_owned())
        }
        Ok(ran) => {
            let why = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
            finding(false, format!("commands cannot run: {why}"))
        }
        Err(err) => finding(false, format!("`skynet-sandbox` cannot be run: {err}")),
    }
}

/// Whether only root could have made a directory and what is in it.
fn is_roots(directory: &Path) -> bool {
    directory.metadata().is_ok_and(|found| found.uid() == 0 && found.mode() & 0o022 == 0)
}

/// Where the whole host is served, nobody but its broker can make such slots.
fn broker() -> Finding {
    let detail = "made by the broker of this host, as the caller; a command that lacks a layer is refused and names it";
    Finding { is_good: true, what: "sandbox", detail: detail.into() }
}

/// That of whoever asks; a daemon refuses to start with one that cannot be used.
fn configuration() -> Finding {
    match config::check() {
        Ok(()) => Finding { is_good: true, what: "config", detail: "the configuration can be used".into() },
        Err(failure) => Finding { is_good: false, what: "config", detail: failure.message().to_owned() },
    }
}

fn socket(socket: &Path, is_host: bool) -> Finding {
    let finding = |is_good, detail| Finding { is_good, what: "socket", detail };
    let Some(directory) = socket.parent() else {
        return finding(false, "the socket has no directory".into());
    };
    let checked = if is_host { Ok(()) } else { check_private(directory, rustix::process::getuid().as_raw()) };
    match checked {
        Ok(()) if socket.exists() => finding(true, format!("`{}`", socket.display())),
        Ok(()) => finding(false, format!("`{}` does not exist; start `skynetd`", socket.display())),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            finding(false, format!("`{}` does not exist; start `skynetd`", directory.display()))
        }
        Err(err) => finding(false, err.to_string()),
    }
}

async fn ask_daemon(daemon: &Daemon) -> Vec<Finding> {
    let failed = |what, detail: &str| Finding { is_good: false, what, detail: detail.to_owned() };
    let mut findings = Vec::new();
    match daemon.status().await {
        Err(_) => findings.push(failed("daemon", "nobody answers")),
        Ok(mut client) => match client.status(StatusRequest {}).await {
            Err(status) => findings.push(failed("daemon", status.message())),
            Ok(status) => {
                let status = status.into_inner();
                let is_same = status.version == env!("CARGO_PKG_VERSION");
                let detail =
                    format!("version {}, {} tools, {} mode", status.version, status.tools, status.mode);
                findings.push(Finding { is_good: is_same, what: "daemon", detail });
                findings.extend(status.faults.iter().map(|fault| failed("daemon", fault)));
                findings.extend(status.warnings.into_iter().map(|detail| Finding {
                    is_good: true,
                    what: "note",
                    detail,
                }));
            }
        },
    }
    if let Ok(mut client) = daemon.audit().await
        && let Ok(verdict) = client.verify(AuditVerifyRequest {}).await
    {
        let verdict = verdict.into_inner();
        let detail = verdict
            .faults
            .first()
            .cloned()
            .unwrap_or_else(|| format!("{} records, chain whole", verdict.records));
        findings.push(Finding { is_good: verdict.faults.is_empty(), what: "audit", detail });
    }
    findings
}
