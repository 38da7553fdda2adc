//! What a slot costs: /bin/true in one, beside /bin/true just spawned and in bubblewrap, in turns in one run.

use crate::{
    build,
    figures::{median, show},
    shell,
};
use anyhow::{Context as _, Result, ensure};
use skynet_core::Workspace;
use skynet_sandbox::{
    Command, Slots, WARM,
    protocol::{Kind, Limits},
};
use std::{
    fs::{File, OpenOptions},
    os::fd::AsFd as _,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

/// The first ones warm up caches, and are not counted.
const WARM_UP: usize = 10;

/// Runs that wait a second each.
const IDLE_RUNS: usize = 20;

/// The name of the one home: a digest of anything.
const HOME: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a large requester holds in memory.
const LARGE_BYTES: usize = 2 << 30;

pub(crate) fn run(runs: usize) -> Result<()> {
    let built = build::cargo(&["build", "--release", "--package", "skynet-sandbox"])?;
    let program = built.into_iter().find(|built| built.name == "skynet-sandbox").context("no broker")?.path;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let place = Place::new()?;
        let homes = tempfile::tempdir()?;
        let at = homes.path().to_owned();
        let (warm, cold) = (Slots::new(program.clone(), WARM, at.clone()), Slots::new(program, 0, at));
        shell::step("measuring; a ratio is to /bin/true just spawned");
        let (mut bare, mut hot, mut empty, mut peer) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..runs + WARM_UP {
            let times = [
                (&mut bare, timed(place.bare()).await?),
                (&mut hot, timed(place.slot(&warm)).await?),
                (&mut empty, timed(place.slot(&cold)).await?),
            ];
            let bubblewrap = timed(place.bubblewrap()).await.ok();
            if round >= WARM_UP {
                times.into_iter().for_each(|(all, time)| all.push(time));
                peer.extend(bubblewrap);
            }
        }
        let bare = median(&mut bare);
        let line = |name: &str, time: Duration, goal: &str| {
            let ratio = time.as_secs_f64() / bare.as_secs_f64();
            println!("{name:<34} {:>12} {ratio:>8.2}  {goal}", show(time));
        };
        line("just spawned", bare, "");
        let hot = median(&mut hot);
        line("slot, warm", hot, "<= 1.8");
        let empty = median(&mut empty);
        line("slot, none warm", empty, "<= 3");
        if peer.is_empty() {
            println!("bubblewrap                         `bwrap` is not installed");
        } else {
            let peer = median(&mut peer);
            line("bubblewrap", peer, "");
            println!("bubblewrap / slot, warm {:>32.2}  >= 2.6", peer.as_secs_f64() / hot.as_secs_f64());
            println!("bubblewrap / slot, none warm {:>27.2}  >= 1", peer.as_secs_f64() / empty.as_secs_f64());
        }
        let mut idle = Vec::new();
        for _ in 0..IDLE_RUNS {
            place.bare().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            idle.push(timed(place.slot(&warm)).await?);
        }
        println!("slot after 1 s idle / warm {:>29.2}  <= 1.5", ratio(&mut idle, hot));
        let large = vec![1_u8; LARGE_BYTES];
        let mut held = Vec::new();
        for _ in 0..runs {
            // In turns, as above.
            place.bare().await?;
            held.push(timed(place.slot(&warm)).await?);
        }
        drop(large);
        println!("slot at 2 GiB / warm {:>35.2}  <= 1.1", ratio(&mut held, hot));
        Ok(())
    })
}

fn ratio(times: &mut [Duration], to: Duration) -> f64 {
    median(times).as_secs_f64() / to.as_secs_f64()
}

async fn timed(work: impl Future<Output = Result<()>>) -> Result<Duration> {
    let begun = Instant::now();
    work.await?;
    Ok(begun.elapsed())
}

/// Where commands run.
struct Place {
    workspace: Workspace,
    home: Workspace,
    null: File,
    _keep: [tempfile::TempDir; 2],
}

impl Place {
    fn new() -> Result<Self> {
        let keep = [tempfile::tempdir()?, tempfile::tempdir()?];
        let [workspace, home] = [Workspace::open(keep[0].path())?, Workspace::open(keep[1].path())?];
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        Ok(Self { workspace, home, null, _keep: keep })
    }

    async fn bare(&self) -> Result<()> {
        let status = tokio::process::Command::new("/bin/true").env_clear().status().await?;
        ensure!(status.success(), "/bin/true failed");
        Ok(())
    }

    async fn slot(&self, slots: &Arc<Slots>) -> Result<()> {
        let null = self.null.as_fd();
        let command = Command {
            argv: vec![b"/bin/true".to_vec()],
            environment: Vec::new(),
            kind: Kind::Command,
            connection: 0,
            workspace: Some(&self.workspace),
            directory: Path::new("."),
            home: Path::new("/home/bench"),
            private_home: HOME,
            limits: Limits {
                wall_ms: 10_000,
                memory_bytes: 1 << 30,
                processes: 64,
                scratch_bytes: 1 << 20,
                ..Limits::default()
            },
            listen: Vec::new(),
            is_published: false,
            preview: None,
            is_apart: false,
            certificates: None,
        };
        let ended = slots.run(command, [null; 3]).await?.ended().await?;
        ensure!(ended.code == Some(0), "/bin/true failed in a slot");
        Ok(())
    }

    /// The same view, without Landlock and seccomp.
    async fn bubblewrap(&self) -> Result<()> {
        let workspace = self.workspace.path();
        let mut command = tokio::process::Command::new("bwrap");
        command.args(["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]);
        for path in ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/etc"] {
            command.args(["--ro-bind-try", path, path]);
        }
        command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run", "--bind"]);
        command.arg(self.home.path()).args(["/home/bench", "--bind"]).arg(workspace).arg(workspace);
        command.arg("--chdir").arg(workspace).arg("/bin/true");
        let status = command.stderr(Stdio::null()).status().await?;
        ensure!(status.success(), "/bin/true failed in bubblewrap");
        Ok(())
    }
}
