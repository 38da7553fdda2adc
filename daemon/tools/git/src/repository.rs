//! One repository in the workspace, and the only way `git` is run on it.

use crate::config::{Identity, overrides};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use skynet_core::{CallCtx, Error, RelativePath, Result, Workspace, error::IoContext as _};
use std::{
    ffi::OsString,
    fs::{self, File},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Component, Path, PathBuf},
    process::{ExitStatus, Stdio},
};
use tokio::process::Command;

/// An error message of Git is shown up to that length.
const MOST_STDERR_BYTES: u64 = 4096;

/// Output that is parsed may not be longer.
const MOST_PARSED_BYTES: u64 = 32 << 20;

/// A repository with a working tree inside the workspace.
pub(crate) struct Repository {
    /// Absolute.
    work_tree: PathBuf,
    /// Relative to the workspace.
    prefix: RelativePath,
    git_directory: PathBuf,
    arguments: Vec<String>,
}

/// What Git wrote, still in memory of the kernel.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    stdout: File,
    stderr: File,
}

impl Repository {
    /// Finds the repository that holds `path`, at most up to the workspace itself.
    pub(crate) fn find(workspace: &Workspace, path: &str) -> Result<Self> {
        let start = workspace.relative(path)?;
        let directory = workspace.open_at(&start, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let mut place = workspace
            .locate(directory.as_fd())
            .ok_or_else(|| Error::conflict(format!("`{start}` was moved out of the workspace")))?;
        loop {
            let dot_git = place.join(Path::new(".git"));
            // Of links only their target counts, and that must be inside.
            if workspace.open_raw(&dot_git, OFlags::PATH, Mode::empty()).is_ok() {
                return Self::open(workspace, place);
            }
            if place == RelativePath::root() {
                return Err(Error::not_found(format!("`{start}` is in no Git repository of this workspace")));
            }
            (place, _) = place.split()?;
        }
    }

    fn open(workspace: &Workspace, prefix: RelativePath) -> Result<Self> {
        let work_tree: PathBuf = workspace.path().join(prefix.as_path()).components().collect();
        let git_directory = git_directory(&work_tree)?;
        let common = common_directory(&git_directory);
        let files = [common.join("config"), git_directory.join("config.worktree")];
        let arguments = overrides(&[&files[0], &files[1]])?;
        Ok(Self { work_tree, prefix, git_directory, arguments })
    }

    /// The user's name, address and signing key as `-c` arguments, where the repository does not set them.
    pub(crate) fn identity(&self, wants_signature: bool) -> Vec<String> {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let of_user = Identity::read(&[&home.join(".config/git/config"), &home.join(".gitconfig")]);
        let of_repository = Identity::read(&[&common_directory(&self.git_directory).join("config")]);
        let mut settings = Vec::new();
        let mut add = |key: &str, own: Option<String>, inherited: Option<String>| {
            if let (None, Some(value)) = (own, inherited) {
                settings.extend(["-c".to_owned(), format!("{key}={value}")]);
            }
        };
        add("user.name", of_repository.name, of_user.name);
        add("user.email", of_repository.email, of_user.email);
        if wants_signature {
            // What signs must be the user's choice, never the repository's.
            add("user.signingKey", None, of_user.signing_key);
            add("gpg.format", None, of_user.signing_format);
        }
        settings
    }

    /// A caller's path as Git's argument: relative to the working tree.
    pub(crate) fn pathspec(&self, workspace: &Workspace, path: &str) -> Result<OsString> {
        let relative = workspace.relative(path)?;
        let outside = || Error::invalid_input(format!("`{path}` is not in the repository `{}`", self.prefix));
        if relative.as_path().components().any(|part| part == Component::ParentDir) {
            return Err(Error::invalid_input(format!("`{path}`: write the path without `..`")));
        }
        if self.prefix == RelativePath::root() {
            return Ok(relative.as_path().as_os_str().to_owned());
        }
        let below = relative.as_path().strip_prefix(self.prefix.as_path()).map_err(|_| outside())?;
        Ok(if below.as_os_str().is_empty() { ".".into() } else { below.as_os_str().to_owned() })
    }

    /// Runs `git`, whatever its exit status.
    pub(crate) async fn run<I, A>(&self, ctx: &CallCtx, settings: &[String], arguments: I) -> Result<Output>
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        let (stdout, stderr) = (scratch("git-stdout")?, scratch("git-stderr")?);
        let inherited = ["PATH", "HOME", "GNUPGHOME", "SSH_AUTH_SOCK"];
        let environment = inherited.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(environment)
            .envs([
                ("GIT_CONFIG_NOSYSTEM", "1"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_ATTR_NOSYSTEM", "1"),
                ("GIT_TERMINAL_PROMPT", "0"),
                ("GIT_OPTIONAL_LOCKS", "0"),
                ("GIT_NO_LAZY_FETCH", "1"),
                ("GIT_ALLOW_PROTOCOL", "none"),
                ("GIT_LITERAL_PATHSPECS", "1"),
                ("GIT_ADVICE", "0"),
                ("LC_ALL", "C.UTF-8"),
            ])
            .env("GIT_DIR", &self.git_directory)
            .env("GIT_WORK_TREE", &self.work_tree)
            .current_dir(&self.work_tree)
            .args(&self.arguments)
            .args(settings)
            .args(arguments.into_iter().map(Into::into))
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().on("git")?)
            .stderr(stderr.try_clone().on("git")?)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|err| {
            Error::unavailable("the `git` program cannot be started; install Git").with_source(err)
        })?;
        let status = tokio::select! {
            status = child.wait() => status.on("git")?,
            () = ctx.cancel.cancelled() => {
                // It is dead or about to be; which one does not matter.
                let _ = child.kill().await;
                return Err(Error::canceled("the client canceled the call"));
            }
        };
        Ok(Output { status, stdout, stderr })
    }

    /// Runs `git` and takes failure for an error.
    pub(crate) async fn check<I, A>(&self, ctx: &CallCtx, settings: &[String], arguments: I) -> Result<Output>
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        let output = self.run(ctx, settings, arguments).await?;
        if output.status.success() { Ok(output) } else { Err(output.to_error()) }
    }
}

impl Output {
    /// All of it, for parsing.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let size = self.size()?;
        if size > MOST_PARSED_BYTES {
            return Err(Error::invalid_input(format!(
                "git wrote {size} bytes; ask for less, such as one path"
            )));
        }
        self.head(size)
    }

    /// As text, for parsing.
    pub(crate) fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// As much as fits the answer; if that is not all, the whole is stored and its URI returned.
    pub(crate) async fn bounded(self, ctx: &CallCtx, name: &str) -> Result<(String, Option<String>)> {
        let size = self.size()?;
        let mut head = self.head(size.min(ctx.max_bytes as u64))?;
        if head.len() as u64 == size {
            return Ok((String::from_utf8_lossy(&head).into_owned(), None));
        }
        // Cut at a line, so that no half line is taken for a whole one.
        let end = head.iter().rposition(|&byte| byte == b'\n').map_or(head.len(), |position| position + 1);
        head.truncate(end);
        let uri = ctx.store_blob(OwnedFd::from(self.stdout), name, "text/plain").await?;
        Ok((String::from_utf8_lossy(&head).into_owned(), Some(uri)))
    }

    /// What Git said, as an error.
    pub(crate) fn to_error(&self) -> Error {
        let mut bytes =
            vec![
                0;
                usize::try_from(self.stderr.metadata().map_or(0, |meta| meta.len().min(MOST_STDERR_BYTES)))
                    .unwrap_or(0)
            ];
        // Without its words the exit status must do.
        let _ = self.stderr.read_exact_at(&mut bytes, 0);
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let text =
            if lines.is_empty() { format!("git ended with {}", self.status) } else { lines.join("; ") };
        let text = text.trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(&[
            "unknown revision",
            "bad revision",
            "did not match any",
            "not found",
            "no such path",
            "does not exist",
            "invalid reference",
            "No stash entries",
            "is not a valid reference",
            "no such branch",
            "bad object",
        ]) {
            Error::not_found(text)
        } else if has(&[
            "index.lock",
            "already exists",
            "conflict",
            "CONFLICT",
            "would be overwritten",
            "is not fully merged",
            "checked out at",
            "already checked out",
            "already used by worktree",
            "needs merge",
        ]) {
            Error::conflict(text)
        } else if has(&["dubious ownership", "Permission denied"]) {
            Error::denied(text)
        } else {
            Error::invalid_input(text)
        }
    }

    fn size(&self) -> Result<u64> {
        Ok(self.stdout.metadata().on("git")?.len())
    }

    fn head(&self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
        self.stdout.read_exact_at(&mut bytes, 0).on("git")?;
        Ok(bytes)
    }
}

fn scratch(name: &str) -> Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC).on(name)?))
}

/// The directory that `.git` is or points to (gitrepository-layout(5)). One that lies outside of the working tree
/// must point back to it, as linked worktrees and submodules of Git's own making do.
fn git_directory(work_tree: &Path) -> Result<PathBuf> {
    let dot_git = work_tree.join(".git");
    if dot_git.is_dir() {
        return Ok(dot_git);
    }
    let broken = || {
        Error::denied(format!(
            "`{}` does not point to a repository that points back to it",
            dot_git.display()
        ))
    };
    let text = fs::read_to_string(&dot_git).map_err(|err| broken().with_source(err))?;
    let target = text.strip_prefix("gitdir:").map(str::trim).ok_or_else(broken)?;
    let directory: PathBuf = work_tree.join(target);
    let back = fs::read_to_string(directory.join("gitdir")).map_err(|err| broken().with_source(err))?;
    let is_same = |a: &Path, b: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        matches!((fs::metadata(a), fs::metadata(b)), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
    };
    if is_same(Path::new(back.trim()), &dot_git) { Ok(directory) } else { Err(broken()) }
}

/// Where a linked worktree shares its configuration (gitrepository-layout(5), `commondir`).
fn common_directory(git_directory: &Path) -> PathBuf {
    fs::read_to_string(git_directory.join("commondir"))
        .map_or_else(|_| git_directory.to_owned(), |text| git_directory.join(text.trim()))
}
