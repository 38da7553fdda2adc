//! Programs of the host that are asked what they know: with arguments of ours, without a shell, in English.

use skynet_core::{CallCtx, Error, Result};
use std::process::{ExitStatus, Stdio};
use tokio::{io::AsyncReadExt as _, process::Command};

/// Output of a program that is read at most.
const MOST_BYTES: u64 = 32 << 20;

/// Where programs of administrators are, which not every `PATH` has.
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What a program printed.
pub(crate) struct Printed {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The file of a program, if it is installed.
pub(crate) fn find(program: &str) -> Option<String> {
    PLACES
        .iter()
        .map(|place| format!("{place}/{program}"))
        .find(|path| std::fs::exists(path).unwrap_or(false))
}

/// Runs a program to its end.
///
/// # Errors
/// `Unavailable` where it is not installed, `Canceled` when the client goes away, which ends it.
pub(crate) async fn ask(ctx: &CallCtx, program: &str, arguments: &[&str]) -> Result<Printed> {
    let absent = || Error::unavailable(format!("`{program}` is not installed on this host"));
    let mut command = Command::new(find(program).ok_or_else(absent)?);
    command.args(arguments).env("LC_ALL", "C.UTF-8").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|err| absent().with_source(err))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Error::internal("a program has no output"));
    };
    let (mut stdout, mut stderr) = (stdout.take(MOST_BYTES), stderr.take(4096));
    let reading = async move {
        let (mut text, mut remark) = (Vec::new(), Vec::new());
        let (out, _) = tokio::join!(stdout.read_to_end(&mut text), stderr.read_to_end(&mut remark));
        out?;
        // One that has more to say is told that nobody listens.
        drop((stdout, stderr));
        let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok::<_, std::io::Error>(Printed {
            status: child.wait().await?,
            stdout: lossy(text),
            stderr: lossy(remark),
        })
    };
    tokio::select! {
        read = reading => read.map_err(|err| Error::internal(format!("reading `{program}` failed")).with_source(err)),
        // Dropping the child kills it.
        () = ctx.cancel.cancelled() => Err(Error::canceled("the client canceled the call")),
    }
}
