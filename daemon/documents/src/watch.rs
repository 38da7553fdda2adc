//! Waits until files of a workspace change. Asked by the daemon, never by an agent; what changed is for a new listing to
//! say, so an event that is lost or wrong costs a listing and no more.

use crate::walk::{IGNORE_FILE, walk};
use notify::{Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::CreateKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool, Workspace};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// An editor that saves writes, renames and removes; all of that is told once.
const QUIET: Duration = Duration::from_millis(100);

/// What goes on without a pause is told after that time.
const NEWS_WITHIN: Duration = Duration::from_millis(500);

/// Events on their way. When more come, what they would have said is looked for.
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
        let is_lost = Arc::new(AtomicBool::new(false));
        let lost = is_lost.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            // What only reads makes no noise, and takes no place.
            if is_news(&event) && tell.try_send(event).is_err() {
                lost.store(true, Ordering::Relaxed);
            }
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
            // Whoever asks now waits for what is about to be read.
            ctx.progress(changes + 0.5, None, "changing");
            let longest = Instant::now() + NEWS_WITHIN;
            let mut are_unknown = false;
            while let Some(event) = next {
                are_unknown |= shows_others(&event);
                for directory in new_directories(&event) {
                    if let Some(limit) = add_below(&mut watcher, &workspace, &directory)? {
                        return Ok(Watched { limit });
                    }
                }
                let quiet_at = (Instant::now() + QUIET).min(longest);
                next = timeout_at(quiet_at, events.recv()).await.ok().flatten();
            }
            if (is_lost.swap(false, Ordering::Relaxed) || are_unknown)
                && let Some(limit) = add(&mut watcher, &workspace, &input.path)?
            {
                return Ok(Watched { limit });
            }
            changes += 1.0;
            ctx.progress(changes, None, "changed");
        }
    }
}

/// What only reads is none. An error may hide something.
fn is_news(event: &notify::Result<notify::Event>) -> bool {
    event.as_ref().map_or(true, |event| !matches!(event.kind, EventKind::Access(_)))
}

/// Whether there may be directories that no event named: the kernel dropped some, or what is ignored is now another thing.
fn shows_others(event: &notify::Result<notify::Event>) -> bool {
    let Ok(event) = event else { return true };
    let says_what_is_ignored = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name == IGNORE_FILE || name == ".gitignore" || name == ".ignore")
    };
    event.need_rescan() || event.paths.iter().any(says_what_is_ignored)
}

fn new_directories(event: &notify::Result<notify::Event>) -> Vec<PathBuf> {
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

/// Watches the directories that a listing goes through, each by itself: those that are ignored cost nothing. Of one file it is
/// the directory that holds it, in which an editor puts another in its place.
fn add(watcher: &mut RecommendedWatcher, workspace: &Workspace, path: &str) -> Result<Option<String>> {
    for found in walk(workspace, &workspace.relative(if path.is_empty() { "." } else { path })?)?.flatten() {
        let is_directory = found.file_type().is_some_and(|kind| kind.is_dir());
        let watched = match found.path().parent() {
            _ if is_directory => found.path(),
            Some(parent) if found.depth() == 0 => parent,
            _ => continue,
        };
        if let Err(err) = watcher.watch(watched, RecursiveMode::NonRecursive) {
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
