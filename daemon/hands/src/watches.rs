//! Looks after files that somebody wants to hear of. A file is watched through its directories: each directory on the
//! way to it is asked about the next name, so that a file which is replaced, deleted and made again, or whose
//! directory is, stays watched. The directories are opened beneath the workspace like everything else, and inotify(7)
//! is told of the opened directory, not of a path that may lead elsewhere by then. Never reads what is watched.

use rustix::{
    fs::{Mode, OFlags, inotify},
    io::Errno,
};
use skynet_core::{Error, RelativePath, Result, Workspace};
use std::{
    collections::{BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    future::pending,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{
    select,
    sync::mpsc::{Sender, UnboundedReceiver, channel},
    time::{Instant, sleep_until},
};

/// More are refused.
const MOST_WATCHES: usize = 256;

/// Each directory on the way costs one watch of the kernel.
const MOST_DIRECTORIES: usize = 64;

/// What happens to a file within that time is told once.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// What changes a file, or which file a name is.
const EVENTS: inotify::WatchFlags = inotify::WatchFlags::CREATE
    .union(inotify::WatchFlags::DELETE)
    .union(inotify::WatchFlags::MOVED_FROM)
    .union(inotify::WatchFlags::MOVED_TO)
    .union(inotify::WatchFlags::MODIFY)
    .union(inotify::WatchFlags::CLOSE_WRITE)
    .union(inotify::WatchFlags::ONLYDIR);

/// Several events of up to 16 + 256 bytes.
const BUFFER_BYTES: usize = 8 << 10;

/// Events that were read and not looked at. Then they wait in the kernel, which says so if it has to drop some.
const MOST_EVENTS: usize = 256;

/// What the daemon wants.
pub(crate) enum Todo {
    Watch { id: u64, path: String },
    Unwatch { id: u64 },
}

/// What the daemon is told.
pub(crate) enum News {
    /// The file is watched from now on, or why it is not.
    Begun(u64, Result<()>),
    Changed(u64),
}

/// Watches until `todo` closes.
///
/// # Errors
/// What inotify says, when nothing can be watched any more.
pub(crate) async fn run(
    workspace: Arc<Workspace>,
    mut todo: UnboundedReceiver<Todo>,
    tell: impl Fn(News),
) -> io::Result<()> {
    let kernel = Arc::new(inotify::init(inotify::CreateFlags::CLOEXEC)?);
    let (to_us, mut events) = channel(MOST_EVENTS);
    let reader = kernel.clone();
    thread::Builder::new().spawn(move || read(&reader, &to_us))?;
    let mut watches = Watches { kernel, workspace, users: HashMap::new(), all: HashMap::new() };
    let mut changed: BTreeSet<u64> = BTreeSet::new();
    let mut due: Option<Instant> = None;
    loop {
        let over = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        select! {
            // First, so that a file which never stops changing is told of all the same.
            biased;
            () = over => {
                due = None;
                std::mem::take(&mut changed).into_iter().for_each(|id| tell(News::Changed(id)));
            }
            wanted = todo.recv() => match wanted {
                Some(Todo::Watch { id, path }) => tell(News::Begun(id, watches.begin(id, &path))),
                Some(Todo::Unwatch { id }) => {
                    watches.end(id);
                    changed.remove(&id);
                }
                None => return Ok(()),
            },
            event = events.recv() => {
                let event = event.ok_or_else(|| io::Error::other("inotify cannot be read"))?;
                watches.note(&event, &mut changed);
                if !changed.is_empty() {
                    due.get_or_insert_with(|| Instant::now() + TOLD_EVERY);
                }
            }
        }
    }
}

struct Event {
    directory: i32,
    kind: inotify::ReadFlags,
    name: Option<OsString>,
}

/// Reads events for as long as somebody wants them, or until that fails.
fn read(kernel: &OwnedFd, to: &Sender<Event>) {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = inotify::Reader::new(kernel, &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(Errno::INTR) => continue,
            Err(err) => {
                tracing::error!(error = %err, "inotify cannot be read");
                return;
            }
        };
        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
        if to.blocking_send(Event { directory: event.wd(), kind: event.events(), name }).is_err() {
            return;
        }
    }
}

/// By the number that the kernel gave a directory, the name in it that matters.
type Chain = Vec<(i32, OsString)>;

struct Watch {
    path: RelativePath,
    /// From the workspace to as near to the file as there are directories.
    chain: Chain,
}

struct Watches {
    kernel: Arc<OwnedFd>,
    workspace: Arc<Workspace>,
    /// Links of chains that stand on each directory.
    users: HashMap<i32, usize>,
    all: HashMap<u64, Watch>,
}

impl Watches {
    fn begin(&mut self, id: u64, path: &str) -> Result<()> {
        if self.all.len() >= MOST_WATCHES {
            return Err(Error::quota_exceeded(format!(
                "{MOST_WATCHES} files of this workspace are watched already; unsubscribe from some"
            )));
        }
        let path = self.workspace.relative(path)?;
        path.split()?;
        if path.as_path().components().count() > MOST_DIRECTORIES {
            return Err(Error::invalid_input(format!(
                "`{path}` is more than {MOST_DIRECTORIES} directories deep"
            )));
        }
        let chain = self.link(&path)?;
        self.all.insert(id, Watch { path, chain });
        Ok(())
    }

    fn end(&mut self, id: u64) {
        if let Some(watch) = self.all.remove(&id) {
            self.unlink(&watch.chain);
        }
    }

    /// Watches every directory on the way that is there.
    fn link(&mut self, path: &RelativePath) -> Result<Chain> {
        let mut chain = Chain::new();
        let mut place = RelativePath::root();
        for part in path.as_path().components() {
            // The directory before is watched already: one that is made from now on is heard of.
            let linked = self.watch_directory(&place);
            match linked {
                Ok(directory) => chain.push((directory, part.as_os_str().to_owned())),
                Err(err) if is_absent(&err) && !chain.is_empty() => break,
                Err(err) => {
                    self.unlink(&chain);
                    return Err(explain(err, &place));
                }
            }
            place = place.join(Path::new(part.as_os_str()));
        }
        Ok(chain)
    }

    fn watch_directory(&mut self, place: &RelativePath) -> io::Result<i32> {
        let opened = self.workspace.open_raw(place, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        // The link leads to what is open, wherever it is by now (proc_pid_fd(5)).
        let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let directory = inotify::add_watch(&self.kernel, path, EVENTS)?;
        *self.users.entry(directory).or_default() += 1;
        Ok(directory)
    }

    fn unlink(&mut self, chain: &Chain) {
        for (directory, _) in chain {
            let Some(users) = self.users.get_mut(directory) else { continue };
            *users -= 1;
            if *users == 0 {
                self.users.remove(directory);
                // It may be gone already, and its watch with it.
                let _ = inotify::remove_watch(&self.kernel, *directory);
            }
        }
    }

    /// Adds what an event changed to `changed`.
    fn note(&mut self, event: &Event, changed: &mut BTreeSet<u64>) {
        let Event { directory, kind, name } = event;
        let is_gone = kind.contains(inotify::ReadFlags::IGNORED);
        if is_gone {
            self.users.remove(directory);
        }
        // Events were lost: anything may have happened.
        let is_any = kind.contains(inotify::ReadFlags::QUEUE_OVERFLOW);
        let mut moved = Vec::new();
        for (id, watch) in &self.all {
            let link = watch
                .chain
                .iter()
                .position(|(link, part)| link == directory && (is_gone || name.as_ref() == Some(part)));
            let depth = watch.path.as_path().components().count();
            if is_any || link.is_some_and(|link| is_gone || link + 1 < depth) {
                moved.push(*id);
            }
            if is_any || link.is_some() {
                changed.insert(*id);
            }
        }
        moved.into_iter().for_each(|id| self.link_again(id));
    }

    /// The way to a file is another one now.
    fn link_again(&mut self, id: u64) {
        let Some(watch) = self.all.get_mut(&id) else { return };
        let (path, old) = (watch.path.clone(), std::mem::take(&mut watch.chain));
        let linked = self.link(&path);
        self.unlink(&old);
        match linked {
            Ok(chain) => {
                if let Some(watch) = self.all.get_mut(&id) {
                    watch.chain = chain;
                }
            }
            Err(err) => tracing::warn!(error = %err, "a file is no longer watched"),
        }
    }
}

fn is_absent(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn explain(err: io::Error, place: &RelativePath) -> Error {
    if err.kind() == io::ErrorKind::StorageFull {
        // inotify_add_watch(2) says it like that.
        return Error::unavailable(
            "the host watches as many directories as it may (`fs.inotify.max_user_watches`)",
        )
        .with_source(err);
    }
    Error::from_io(err, &place.to_string())
}
