//! `skynetctl status`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table, time},
};
use serde_json::{Value, json};
use skynet_proto::{StatusRequest, StatusResponse};
use std::{fmt::Write as _, time::Duration};

/// How long an answer may take that takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(daemon: &Daemon, watch: Option<u64>, output: &mut Output) -> Result<(), Failure> {
    let Some(seconds) = watch else {
        let status = ask(daemon).await?;
        return output.show(&to_json(&status), || text(&status));
    };
    let mut ticks = tokio::time::interval(Duration::from_secs(seconds));
    loop {
        ticks.tick().await;
        // Dialed anew each time, so that a daemon may be replaced meanwhile.
        let status = ask(daemon).await?;
        output.show_again(&to_json(&status), || text(&status))?;
    }
}

/// A daemon that hangs is not waited for: that it does is the answer.
async fn ask(daemon: &Daemon) -> Result<StatusResponse, Failure> {
    let asked =
        async { Ok::<_, Failure>(daemon.status().await?.status(StatusRequest {}).await?.into_inner()) };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
        Err(Failure::unreachable(format!(
            "skynetd at `{}` does not answer within {} s: it hangs, or the machine is overloaded",
            daemon.socket().display(),
            PATIENCE.as_secs()
        )))
    })
}

fn to_json(status: &StatusResponse) -> Value {
    let calls = status.calls.iter().map(|call| {
        json!({ "tool": call.tool, "outcome": call.outcome, "count": call.count, "duration_seconds": call.duration_seconds })
    });
    let layers = status.layers.iter().map(|layer| json!({ "name": layer.name, "detail": layer.detail }));
    json!({
        "version": status.version,
        "pid": status.pid,
        "started_at": time(status.started_at.as_ref()),
        "mode": status.mode,
        "socket": status.socket,
        "http": (!status.http.is_empty()).then_some(&status.http),
        "metrics": (!status.metrics.is_empty()).then_some(&status.metrics),
        "sessions": status.sessions,
        "running_calls": status.running_calls,
        "pending_approvals": status.pending_approvals,
        "audit_records": status.audit_records,
        "hands": status.hands,
        "tools": status.tools,
        "layers": layers.collect::<Vec<_>>(),
        "warnings": status.warnings,
        "faults": status.faults,
        "calls": calls.collect::<Vec<_>>(),
    })
}

fn text(status: &StatusResponse) -> String {
    let mut text = format!(
        "skynetd {} ({} mode), pid {}, since {}\nsocket    {}\nsessions  {} attached, {} calls running, {} approvals pending\ntools     {}, in {} hands\naudit     {} records\n",
        status.version,
        status.mode,
        status.pid,
        time(status.started_at.as_ref()),
        status.socket,
        status.sessions,
        status.running_calls,
        status.pending_approvals,
        status.tools,
        status.hands,
        status.audit_records,
    );
    // Writing to a String cannot fail.
    if !status.http.is_empty() {
        let _ = writeln!(text, "http      {}", status.http);
    }
    if !status.metrics.is_empty() {
        let _ = writeln!(text, "metrics   {}", status.metrics);
    }
    for fault in &status.faults {
        let _ = writeln!(text, "fault     {fault}");
    }
    for warning in &status.warnings {
        let _ = writeln!(text, "warning   {warning}");
    }
    let rows = status.layers.iter().map(|layer| [layer.name.clone(), layer.detail.clone()]);
    let _ = writeln!(text, "\n{}", table(["layer", "enforces"], rows));
    if !status.calls.is_empty() {
        let rows = status.calls.iter().map(|call| {
            let mean = duration(call.duration_seconds / call.count.max(1) as f64);
            [call.tool.clone(), call.outcome.clone(), call.count.to_string(), mean]
        });
        let _ = writeln!(text, "\n{}", table(["tool", "outcome", "calls", "mean"], rows));
    }
    text
}

/// In the unit that people would say it in.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}
