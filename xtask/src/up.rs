//! From a fresh checkout to a live session: build, install, start, show. Root gets a host that is served, others a daemon of
//! their own.

use crate::{account::Account, build, host, mcp::Client, shell};
use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Install below this directory instead of /usr/local (root) or ~/.local.
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    shell::install_packages(&[("git", "git")])?;
    shell::install_packages(&shell::COMPILERS)?;
    let prefix = options.prefix.clone().unwrap_or_else(|| {
        if shell::is_root() { "/usr/local".into() } else { Account::Own.home().join(".local") }
    });
    let programs = install(&prefix)?;
    let account = Account::unprivileged("skynet-demo")?;
    let project = clone_for(&account)?;
    if shell::is_root() {
        host::serve(&programs, &account)?;
        println!(
            "The whole host is served now, each user with his own rights and root with none. The session below is that of the account `{}`, in a clone of its own.",
            account.name()
        );
    } else {
        stop_old_daemon(&account, &programs);
    }
    show_session(&account, &programs, &project)?;
    install_models(&programs);
    print_clients(&programs)?;
    Ok(())
}

/// Builds and installs; returns where the programs are.
fn install(prefix: &Path) -> Result<PathBuf> {
    let programs = prefix.join("lib/skynet");
    let links = prefix.join("bin");
    for directory in [&programs, &links] {
        fs::create_dir_all(directory).with_context(|| format!("making `{}`", directory.display()))?;
    }
    build::release_into(&programs, build::For::Here)?;
    if shell::is_root() {
        build::make_readable(&programs)?;
    }
    for program in build::PROGRAMS {
        let link = links.join(program);
        // A link of an earlier installation.
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(programs.join(program), &link)
            .with_context(|| format!("linking `{}`", link.display()))?;
    }
    shell::step(&format!("installed into {} with links in {}", programs.display(), links.display()));
    Ok(programs)
}

/// A clone of this checkout to work on, so that the checkout itself stays as it is.
fn clone_for(account: &Account) -> Result<PathBuf> {
    let project = account.home().join("skynet-demo");
    if project.exists() {
        fs::remove_dir_all(&project).with_context(|| format!("removing `{}`", project.display()))?;
    }
    shell::step(&format!("cloning this checkout to {}", project.display()));
    let cloned = Command::new("git")
        .args(["clone", "--quiet", "--no-hardlinks"])
        .arg(crate::root())
        .arg(&project)
        .status();
    if !cloned.is_ok_and(|status| status.success()) {
        // A source archive has no history; a small repository serves as well.
        fs::create_dir_all(&project)?;
        fs::write(project.join("README.md"), "# A project\n\nFor trying skynet.\n")?;
        shell::run(Command::new("git").args(["init", "--quiet"]).arg(&project))?;
    }
    account.own(&project)?;
    Ok(project)
}

/// A daemon of an earlier installation would answer in place of the new one.
fn stop_old_daemon(account: &Account, programs: &Path) {
    let status = account.command(programs.join("skynetctl")).args(["status", "--json"]).output();
    let status = status.ok().and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok());
    let pid = status
        .and_then(|status| i32::try_from(status["pid"].as_i64()?).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        shell::step("stopping the daemon that was running");
        // It may end by itself in between.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        while rustix::process::test_kill_process(pid).is_ok() {
            std::thread::yield_now();
        }
    }
}

/// Drives a real MCP session through the shim, which starts the daemon.
fn show_session(account: &Account, programs: &Path, project: &Path) -> Result<()> {
    shell::step("a session: skynet-shim starts skynetd and relays to it");
    let mut command = account.command(programs.join("skynet-shim"));
    command.arg("--workspace").arg(project);
    let mut client = Client::connect(command)?;
    let tools = client.request("tools/list", &json!({}))?;
    println!("{} tools", tools["tools"].as_array().map_or(0, Vec::len));
    for (tool, arguments) in [
        ("files_tree", json!({ "depth": 1 })),
        ("git_status", json!({})),
        ("files_search", json!({ "pattern": "skynet", "glob": "*.md", "limit": 2 })),
        ("files_write", json!({ "path": "notes/first.md", "content": "# Notes\n\nWritten by an agent.\n" })),
        (
            "files_edit",
            json!({ "path": "notes/first.md", "edits": [{ "old": "an agent", "new": "an agent with hands" }] }),
        ),
        ("git_add", json!({ "paths": ["notes"] })),
        ("git_diff", json!({ "staged": true })),
        (
            "exec_run",
            json!({ "script": "wc -w notes/*; cat ~/.ssh/id_ed25519; curl -s example.org || echo no network" }),
        ),
        ("files_read", json!({ "path": "/etc/shadow" })),
        ("git_checkout", json!({ "paths": ["notes"] })),
    ] {
        println!("\n> {tool} {arguments}");
        let result = client.request("tools/call", &json!({ "name": tool, "arguments": arguments }))?;
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        println!("{}", shorten(text));
    }
    // What happened on a host is its administrator's to read.
    println!("\n$ skynetctl audit query");
    shell::run(Command::new(programs.join("skynetctl")).args(["audit", "query", "--limit", "10"]))?;
    println!("\n$ skynetctl doctor");
    shell::run(Command::new(programs.join("skynetctl")).arg("doctor"))
}

/// The daemon that runs by now installs them. Without, all but the search by meaning works.
fn install_models(programs: &Path) {
    println!("\n$ skynetctl models install");
    let installed = Command::new(programs.join("skynetctl")).args(["models", "install"]).status();
    if !installed.is_ok_and(|status| status.success()) {
        println!(
            "The models are not installed; the same command goes on where it stopped, and docs/models.md tells of hosts without a way to PyPI."
        );
    }
}

fn shorten(text: &str) -> String {
    const MOST: usize = 600;
    let end = text.floor_char_boundary(MOST);
    let head = text.get(..end).unwrap_or(text);
    if end < text.len() { format!("{head}... ({} bytes)", text.len()) } else { head.to_owned() }
}

/// The line that sets up each MCP client that is found: skynetctl knows them all.
fn print_clients(programs: &Path) -> Result<()> {
    let skynetctl = programs.join("skynetctl");
    let listed = shell::capture(Command::new(&skynetctl).args(["--json", "client", "list"]))?;
    let listed: Vec<Value> = serde_json::from_str(&listed).context("what skynetctl lists")?;
    println!("\nTo use it:");
    let found: Vec<(&str, bool)> = listed
        .iter()
        .filter(|seen| seen["scope"] == "user" && seen["state"] != "no file")
        .filter_map(|seen| Some((seen["client"].as_str()?, seen["needs_workspace"] == true)))
        .collect();
    for (client, needs_workspace) in &found {
        let workspace = if *needs_workspace { " --workspace DIR" } else { "" };
        println!("  {} client add {client}{workspace}", skynetctl.display());
    }
    if found.is_empty() {
        println!(
            "  no MCP client was found here; `{} client list` names those it can set up",
            skynetctl.display()
        );
    }
    Ok(())
}
