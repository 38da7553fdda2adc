//! Clients of many users on one host: a broker and a daemon for all of them, as the units start them, and every call of every
//! client answered with what is its user's. Only root can do that.

use crate::{
    account::Account,
    crowd::at_once,
    figures::{median, percentile, show},
    mcp::Client,
    peers::Bench,
    processes::{descendants, proportional_kb},
    shell,
};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What is started of a host; ended when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A user with a workspace, in which a file has his name.
struct User {
    account: Account,
    workspace: PathBuf,
}

/// A client of one of them.
struct Attached {
    client: Client,
    /// What its user's file says.
    name: String,
}

pub(crate) fn run(bench: &Bench, users: usize, clients: usize, calls: usize) -> Result<()> {
    if !shell::is_root() {
        bail!("clients of several users are started by root");
    }
    shell::step(&format!("making {users} accounts"));
    let users: Vec<User> = (0..users).map(user).collect::<Result<_>>()?;
    measure(bench, &users, clients, calls)
}

impl Drop for User {
    fn drop(&mut self) {
        // What still runs for him, as after a broker that was killed, does not keep him.
        let removed = Command::new("userdel").args(["--force", "--remove", &self.account.name()]).output();
        if !removed.is_ok_and(|removed| removed.status.success()) {
            println!("the account `{}` is still there", self.account.name());
        }
    }
}

fn user(number: usize) -> Result<User> {
    let account = Account::unprivileged(&format!("skynet-crowd-{number}"))?;
    let workspace = account.home().join("work");
    account.make_directory(&workspace)?;
    fs::write(workspace.join("name"), account.name())?;
    account.own(&workspace)?;
    Ok(User { account, workspace })
}

fn measure(bench: &Bench, users: &[User], clients: usize, calls: usize) -> Result<()> {
    let top = tempfile::Builder::new().prefix("skynet-crowd").tempdir_in("/run")?;
    fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755))?;
    let owner = Account::system("skynet")?;
    let state = top.path().join("state");
    fs::create_dir(&state)?;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700))?;
    owner.own(&state)?;
    let broker = start(broker_of(bench, top.path(), &owner), "ready at")?;
    let daemon = start(daemon_of(bench, top.path(), &owner), "the broker is there")?;

    shell::step(&format!("connecting {clients} clients of {} users", users.len()));
    let mut attached = Vec::with_capacity(clients);
    for user in users.iter().cycle().take(clients) {
        let mut command = user.account.command(bench.program("skynet-shim"));
        command.arg("--socket").arg(top.path().join("s")).arg("--workspace").arg(&user.workspace);
        attached.push(Attached { client: Client::connect(command)?, name: user.account.name() });
    }
    let idle_kb = proportional_kb(daemon.0.id())?;
    println!("{:<34} {:>9} MB", "the daemon, before the first call", idle_kb >> 10);
    shell::step(&format!("{calls} calls of each"));
    let begun = Instant::now();
    let mut times = drive(attached, calls)?;
    let took = begun.elapsed();
    let all = times.len();
    println!("{:<34} {all:>9}     {:.0} per second", "calls answered", all as f64 / took.as_secs_f64());
    println!(
        "{:<34} {:>12} median {:>12} p95",
        "a call",
        show(median(&mut times)),
        show(percentile(&mut times, 95))
    );
    let processes = descendants(broker.0.id());
    let work_kb: u64 = processes.iter().map(|pid| proportional_kb(*pid).unwrap_or(0)).sum();
    println!("{:<34} {:>9} MB", "the daemon, after them", proportional_kb(daemon.0.id())? >> 10);
    println!("{:<34} {:>9} MB  in {} processes", "broker and hands", work_kb >> 10, processes.len());
    Ok(())
}

/// Every client reads its user's file, and gets just that.
fn drive(attached: Vec<Attached>, calls: usize) -> Result<Vec<Duration>> {
    let times = at_once(attached, move |mut share| {
        let mut times = Vec::with_capacity(share.len() * calls);
        for _ in 0..calls {
            for Attached { client, name } in &mut share {
                let params = json!({ "name": "files_read", "arguments": { "path": "name" } });
                let (answer, took) = client.measure("tools/call", &params)?;
                if answer["structuredContent"]["content"] != **name {
                    bail!("`{name}` was answered {answer}");
                }
                times.push(took);
            }
        }
        Ok(times)
    })?;
    Ok(times.concat())
}

fn broker_of(bench: &Bench, top: &Path, owner: &Account) -> Command {
    let mut command = Command::new(bench.program("skynet-sandbox"));
    command.arg("system").arg("--socket").arg(top.join("s")).arg("--daemon-socket").arg(top.join("b"));
    command.arg("--homes").arg(top.join("homes")).args(["--daemon-user", &owner.name()]);
    command
}

fn daemon_of(bench: &Bench, top: &Path, owner: &Account) -> Command {
    let mut command = owner.command(bench.program("skynetd"));
    command.arg("--system").arg("--broker").arg(top.join("b")).arg("--state").arg(top.join("state"));
    command.current_dir("/");
    command
}

/// Starts a program and waits until it says so.
fn start(mut command: Command, said: &str) -> Result<Started> {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut log = BufReader::new(child.stderr.take().context("stderr")?);
    let started = Started(child);
    let mut written = String::new();
    while !written.contains(said) {
        if log.read_line(&mut written)? == 0 {
            bail!("it ended: {written}");
        }
    }
    // It must not block on a full pipe.
    thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Ok(started)
}
