//! Waits until files of a workspace change. Asked by the daemon, never by an agent; what changed is for a new listing to
//! say, so an event that is lost or wrong costs a listing and no more.

use crate::walk::walk;
use notify::{Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::CreateKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool, Workspace};
use std::{path::Path, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// An editor that saves writes, renames and removes; all of that is told once.
const QUIET: Duration = Duration::from_millis(100);

/// What goes on without a pause is told after that time.
const NEWS_WITHIN: Duration = Duration::from_millis(500);

/// Events on their way; what is dropped would say the same.
const EVENTS: usize = 1024;

pub(crate) struct KnowledgeWatchFiles;

/// What is watched.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// A directory, relative to the workspace.
    pub path: String,
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Watched {
    /// Why the kernel watches no more directories; then whoever wants to know has to look.
    pub limit: String,
}

impl Tool for KnowledgeWatchFiles {
    const NAME: &'static str = "knowledge_watch_files";
    const SUMMARY: &'static str = "Tell, as progress, each time that something below a directory changes: half a number when it begins, the next whole one when it is quiet. Until canceled.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    /// Its caller cancels it.
    const TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
    type Input = Watch;
    type Output = Watched;

    async fn call(&self, ctx: &CallCtx, input: Watch) -> Result<Watched> {
        let workspace = ctx.workspace()?.clone();
        let (tell, mut events) = mpsc::channel(EVENTS);
        let handler = move |event: notify::Result<notify::Event>| {
            // A full queue has news already.
            let _ = tell.try_send(event);
        };
        let cannot = |err: notify::Error| Error::unavailable("files cannot be watched").with_source(err);
        let mut watcher = RecommendedWatcher::new(handler, Config::default()).map_err(cannot)?;
        if let Some(limit) = add(&mut watcher, &workspace, &input.path)? {
            return Ok(Watched { limit });
        }
        let mut changes = 0.0;
        ctx.progress(changes, None, "watching");
        loop {
            let first = tokio::select! {
                event = events.recv() => event,
                () = ctx.cancel.cancelled() => return Err(Error::canceled("nobody wants to know any more")),
            };
            let Some(first) = first else { return Err(Error::unavailable("files are not watched any more")) };
            let mut next = Some(first);
            let mut is_change = false;
            let longest = Instant::now() + NEWS_WITHIN;
            let mut quiet_at = Instant::now() + QUIET;
            while let Some(event) = next {
                // What only reads makes no noise.
                if is_news(&event) {
                    quiet_at = (Instant::now() + QUIET).min(longest);
                    if !is_change {
                        is_change = true;
                        // Whoever asks now waits for what is about to be read.
                        ctx.progress(changes + 0.5, None, "changing");
                    }
                }
                for directory in new_directories(&event) {
                    if let Some(limit) = add_below(&mut watcher, &workspace, &directory)? {
                        return Ok(Watched { limit });
                    }
                }
                next = timeout_at(quiet_at, events.recv()).await.ok().flatten();
            }
            if is_change {
                changes += 1.0;
                ctx.progress(changes, None, "changed");
            }
        }
    }
}

/// What only reads is none. An error may hide something.
fn is_news(event: &notify::Result<notify::Event>) -> bool {
    event.as_ref().map_or(true, |event| !matches!(event.kind, EventKind::Access(_)))
}

fn new_directories(event: &notify::Result<notify::Event>) -> Vec<std::path::PathBuf> {
    let Ok(event) = event else { return Vec::new() };
    let may_be_one = matches!(
        event.kind,
        EventKind::Create(CreateKind::Folder | CreateKind::Any)
            | EventKind::Modify(notify::event::ModifyKind::Name(_))
    );
    if may_be_one { event.paths.iter().filter(|path| path.is_dir()).cloned().collect() } else { Vec::new() }
}

fn add_below(
    watcher: &mut RecommendedWatcher,
    workspace: &Workspace,
    found: &Path,
) -> Result<Option<String>> {
    let Some(path) = found.strip_prefix(workspace.path()).ok().and_then(|path| path.to_str()) else {
        return Ok(None);
    };
    match add(watcher, workspace, path) {
        // It is gone already, or was a link.
        Err(_) => Ok(None),
        limit => limit,
    }
}

/// Watches the directories that a listing goes through, each by itself: those that are ignored cost nothing.
fn add(watcher: &mut RecommendedWatcher, workspace: &Workspace, path: &str) -> Result<Option<String>> {
    for found in walk(workspace, &workspace.relative(if path.is_empty() { "." } else { path })?)?.flatten() {
        if !found.file_type().is_some_and(|kind| kind.is_dir()) {
            continue;
        }
        if let Err(err) = watcher.watch(found.path(), RecursiveMode::NonRecursive) {
            match err.kind {
                notify::ErrorKind::MaxFilesWatch => {
                    return Ok(Some(
                        "the kernel watches no more directories for this user (fs.inotify.max_user_watches)"
                            .into(),
                    ));
                }
                notify::ErrorKind::PathNotFound => {}
                notify::ErrorKind::Io(ref io) if io.kind() == std::io::ErrorKind::NotFound => {}
                _ => {
                    return Err(Error::unavailable(format!(
                        "`{}` cannot be watched",
                        found.path().display()
                    ))
                    .with_source(err));
                }
            }
        }
    }
    Ok(None)
}
