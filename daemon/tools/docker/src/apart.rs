//! Commands of the exec family in containers.

use async_trait::async_trait;
use skynet_core::{CallCtx, Result, Usage};
use skynet_engine::{Apart, Because, Engine, ImageName, Went};
use skynet_exec::{Contained, Containers, EndedBy, Output};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Whose containers they are.
pub(crate) struct InEngine(pub(crate) Arc<Engine>);

#[async_trait]
impl Containers for InEngine {
    async fn run(&self, ctx: &CallCtx, command: &Contained) -> Result<Output> {
        let caller = &ctx.origin()?.caller;
        // Files are his; in the image he has no name.
        let gid = caller.groups.first().map_or(caller.uid, |group| group.gid);
        let limits = command.limits;
        let apart = Apart {
            image: ImageName::try_from(command.image.clone())?,
            argv: command.argv.clone(),
            directory: command.directory.clone(),
            environment: command.environment.clone(),
            stdin: command.stdin.clone(),
            uid: caller.uid,
            gid,
            memory_bytes: limits.memory_bytes,
            processes: limits.processes,
            cpu_seconds: Some(limits.cpu_ms / 1000).filter(|seconds| *seconds > 0),
            disk_bytes: limits.disk_bytes,
            scratch_bytes: limits.scratch_bytes,
            output_bytes: command.output_bytes,
            most: Duration::from_millis(limits.wall_ms),
        };
        let went = self.0.client(ctx).await?.run_apart(&self.0, ctx, &apart).await?;
        ctx.charge(Usage { cpu: went.cpu, ..Usage::default() });
        Ok(told(&went, apart.cpu_seconds.is_some()))
    }
}

/// Of signals that end a command for its processor time (setrlimit(2), `RLIMIT_CPU`).
const SIGXCPU: i64 = 24;
const SIGKILL: i64 = 9;

/// What bash(1) adds to the number of a signal.
const BY_SIGNAL: i64 = 128;

fn told(went: &Went, has_cpu_limit: bool) -> Output {
    let signal = Some(went.exit_code - BY_SIGNAL).filter(|number| (1..=64).contains(number));
    let is_cpu = has_cpu_limit && signal.is_some_and(|number| [SIGXCPU, SIGKILL].contains(&number));
    let number = |number: i64| i32::try_from(number).ok();
    Output {
        exit_code: if signal.is_some() { None } else { number(went.exit_code) },
        signal: signal.and_then(number),
        ended_by: match went.because {
            Because::Itself if is_cpu => EndedBy::Cpu,
            Because::Itself => EndedBy::Itself,
            Because::Time => EndedBy::Timeout,
            Because::Memory => EndedBy::Memory,
            Because::Disk => EndedBy::Disk,
            Because::Output => EndedBy::Output,
        },
        stdout: String::from_utf8_lossy(&went.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&went.stderr).into_owned(),
        wall_seconds: went.wall.as_secs_f64(),
        cpu_seconds: went.cpu.as_secs_f64(),
        peak_memory_bytes: went.peak_memory_bytes,
        quarantined: Vec::new(),
        quarantined_count: 0,
        refused_hosts: BTreeSet::new(),
    }
}
