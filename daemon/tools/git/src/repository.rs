//! One repository in the workspace, and the only way `git` is run on it.

use crate::{
    config::{Filters, Identity, overrides, read_small, refuse_worktree},
    execute::{Output, Reached, bare, execute, reach},
};
use rustix::fs::{Mode, OFlags};
use skynet_core::{CallCtx, Error, RelativePath, Result, Workspace, error::IoContext as _};
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::{
        fd::AsFd as _,
        unix::{ffi::OsStrExt as _, fs::FileTypeExt as _},
    },
    path::{Component, Path, PathBuf},
};
use tokio::process::Command;

/// A repository with a working tree inside the workspace.
pub(crate) struct Repository {
    /// Absolute.
    work_tree: PathBuf,
    /// Relative to the workspace.
    prefix: RelativePath,
    git_directory: PathBuf,
    common: PathBuf,
    configurations: Vec<PathBuf>,
    arguments: Vec<String>,
}

/// How Git takes paths.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pathspecs {
    /// Letter by letter: what callers name.
    Literal,
    /// As in gitglossary(7), "pathspec": what is written here.
    Magic,
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
        let common = common_directory(&git_directory)?;
        check_layout(&git_directory)?;
        if common != git_directory {
            check_layout(&common)?;
        }
        refuse_worktree(&common.join("config"))?;
        refuse_worktree(&git_directory.join("config.worktree"))?;
        let configurations = configurations(&git_directory, &common)?;
        let arguments = overrides(&configurations, Filters::Off)?;
        Ok(Self { work_tree, prefix, git_directory, common, configurations, arguments })
    }

    /// Absolute.
    pub(crate) fn work_tree(&self) -> &Path {
        &self.work_tree
    }

    /// Absolute, checked to hold nothing that leads out of the workspace.
    pub(crate) fn git_directory(&self) -> &Path {
        &self.git_directory
    }

    /// Absolute: what all working trees of it have in common.
    pub(crate) fn common(&self) -> &Path {
        &self.common
    }

    /// The same repository for commands that put contents into the history: filters fail instead of being left
    /// out, and the configurations of submodules are disarmed too, because Git asks them for their state.
    pub(crate) async fn for_recording(mut self, ctx: &CallCtx) -> Result<Self> {
        let listed = self.check(ctx, &[], ["ls-files", "--stage", "-z"]).await?.bytes()?;
        let listed = String::from_utf8_lossy(&listed);
        let links = listed.split('\0').filter(|line| line.starts_with("160000 "));
        for path in links.filter_map(|line| line.split_once('\t')).map(|(_, path)| path) {
            let tree = self.work_tree.join(path);
            let Some(directory) = submodule_directory(&tree)? else { continue };
            let common = common_directory(&directory)?;
            check_layout(&directory)?;
            self.configurations.extend(configurations(&directory, &common)?);
        }
        self.arguments = overrides(&self.configurations, Filters::Fail)?;
        // A filter that only the user's own configuration defines is unknown here, and Git would leave it out.
        let changed = ["ls-files", "--modified", "--others", "--exclude-standard", "-z", "--", "."];
        let changed = changed.into_iter().chain([":(exclude,attr:!filter)", ":(exclude,attr:-filter)"]);
        let filtered = self.run_with(ctx, &[], changed, Pathspecs::Magic).await?;
        let filtered = filtered.text()?;
        match filtered.split('\0').next().filter(|path| !path.is_empty()) {
            None => Ok(self),
            Some(path) => Err(Error::denied(format!(
                "`{path}` changed and goes through a filter by .gitattributes (as for Git LFS), which is not run here; record it with git itself"
            ))),
        }
    }

    /// The user's name, address and signing key as `-c` arguments, where the repository does not set them.
    pub(crate) fn identity(&self, wants_signature: bool) -> Vec<String> {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let of_user = Identity::read(&[&home.join(".config/git/config"), &home.join(".gitconfig")]);
        let of_repository = Identity::read(&[&self.common.join("config")]);
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
        self.run_with(ctx, settings, arguments, Pathspecs::Literal).await
    }

    /// Runs `git` with something to read, and takes failure for an error.
    pub(crate) async fn check_fed<A: Into<OsString>>(
        &self,
        ctx: &CallCtx,
        input: File,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Output> {
        let mut command = self.command(Pathspecs::Literal);
        let output = execute(ctx, command.args(arguments.into_iter().map(Into::into)).stdin(input)).await?;
        if output.status.success() { Ok(output) } else { Err(output.to_error()) }
    }

    /// Relative to the workspace; empty for all of it.
    pub(crate) fn place(&self) -> &Path {
        if self.prefix == RelativePath::root() { Path::new("") } else { self.prefix.as_path() }
    }

    /// Runs `git` where it may talk to others, whatever its exit status.
    pub(crate) async fn reach<A: Into<OsString>>(
        &self,
        ctx: &CallCtx,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Reached> {
        reach(ctx, self.command(Pathspecs::Literal), arguments).await
    }

    async fn run_with<I, A>(
        &self,
        ctx: &CallCtx,
        settings: &[String],
        arguments: I,
        pathspecs: Pathspecs,
    ) -> Result<Output>
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        let mut command = self.command(pathspecs);
        execute(ctx, command.args(settings).args(arguments.into_iter().map(Into::into))).await
    }

    fn command(&self, pathspecs: Pathspecs) -> Command {
        let mut command = bare(&self.work_tree);
        command
            .env("GIT_LITERAL_PATHSPECS", if pathspecs == Pathspecs::Literal { "1" } else { "0" })
            .env("GIT_DIR", &self.git_directory)
            .env("GIT_COMMON_DIR", &self.common)
            .env("GIT_WORK_TREE", &self.work_tree)
            .args(&self.arguments);
        command
    }

    /// Every file that its configuration may be in.
    pub(crate) fn configurations(&self) -> &[PathBuf] {
        &self.configurations
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

    /// The same for a command that names no path of a caller's, and has Git itself name some: `stash push` cleans `:/`.
    pub(crate) async fn check_without_paths<I, A>(
        &self,
        ctx: &CallCtx,
        settings: &[String],
        arguments: I,
    ) -> Result<Output>
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        let output = self.run_with(ctx, settings, arguments, Pathspecs::Magic).await?;
        if output.status.success() { Ok(output) } else { Err(output.to_error()) }
    }
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
    let read = |path: &Path| -> Result<String> {
        let bytes = read_small(path).map_err(|err| broken().with_source(err))?.ok_or_else(broken)?;
        String::from_utf8(bytes).map_err(|_| broken())
    };
    let text = read(&dot_git)?;
    let target = text.strip_prefix("gitdir:").map(str::trim).ok_or_else(broken)?;
    let directory: PathBuf = work_tree.join(target);
    let back = read(&directory.join("gitdir"))?;
    if is_same(Path::new(back.trim()), &dot_git) { Ok(directory) } else { Err(broken()) }
}

/// Whether two paths lead to one file.
pub(crate) fn is_same(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    matches!((fs::metadata(a), fs::metadata(b)), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// Where a submodule's repository is; `None` if it is not checked out. Only its configuration matters here.
fn submodule_directory(tree: &Path) -> Result<Option<PathBuf>> {
    let dot_git = tree.join(".git");
    if dot_git.is_dir() {
        return Ok(Some(dot_git));
    }
    let denied = |err| Error::denied(format!("`{}` cannot be read", dot_git.display())).with_source(err);
    let bytes = read_small(&dot_git).map_err(denied)?.unwrap_or_default();
    let target = bytes.strip_prefix(b"gitdir: ").map(<[u8]>::trim_ascii_end);
    Ok(target.map(|target| tree.join(OsStr::from_bytes(target))))
}

/// Where a linked worktree shares its configuration (gitrepository-layout(5), `commondir`). Read as Git reads it:
/// all bytes, without the line feeds at the end.
fn common_directory(git_directory: &Path) -> Result<PathBuf> {
    let denied = |err| Error::denied("the repository's `commondir` cannot be read").with_source(err);
    let Some(bytes) = read_small(&git_directory.join("commondir")).map_err(denied)? else {
        return Ok(git_directory.to_owned());
    };
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    Ok(git_directory.join(OsStr::from_bytes(bytes.get(..end).unwrap_or_default())))
}

/// Every configuration that some command may read: of the repository, and of each of its working trees.
fn configurations(git_directory: &Path, common: &Path) -> Result<Vec<PathBuf>> {
    let mut files =
        vec![common.join("config"), common.join("config.worktree"), git_directory.join("config.worktree")];
    if let Ok(trees) = fs::read_dir(common.join("worktrees")) {
        for tree in trees {
            files.push(tree.on("worktrees")?.path().join("config.worktree"));
        }
    }
    Ok(files)
}

/// Refuses links and special files where Git writes or reads by name: through them it would reach files outside
/// of the workspace. Loose objects are left out; they are named by their content.
fn check_layout(git_directory: &Path) -> Result<()> {
    let refuse = |path: &Path, what: &str| {
        Error::denied(format!(
            "`{}` of the repository {what}; the git tools do not follow it",
            path.display()
        ))
    };
    let alternates = git_directory.join("objects/info/alternates");
    if alternates.symlink_metadata().is_ok() {
        return Err(refuse(Path::new("objects/info/alternates"), "leads to objects of another repository"));
    }
    let mut open = vec![git_directory.to_owned()];
    while let Some(directory) = open.pop() {
        let below = directory.strip_prefix(git_directory).unwrap_or(&directory).to_owned();
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let entry = entry.on(below.display())?;
            let place = below.join(entry.file_name());
            let kind = entry.file_type().on(place.display())?;
            if !kind.is_dir() && !kind.is_file() {
                // Builtin helpers of Git leave a socket here.
                if kind.is_socket() {
                    continue;
                }
                return Err(refuse(&place, "is a link or a special file"));
            }
            // Hooks are not run, and modules are checked where they are used.
            let is_content = ["hooks", "modules", "lfs"].iter().any(|name| place == Path::new(name))
                || (below == Path::new("objects")
                    && place != Path::new("objects/info")
                    && place != Path::new("objects/pack"));
            if kind.is_dir() && !is_content {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}
