//! A repository's configuration, read as data, and the overrides that keep Git from executing any of it.
//!
//! Git runs programs named by many keys (git-config(1)). The known ones are overridden on the command line, which
//! wins over every file. A key that looks as if it named a program and is not known refuses the repository.

use gix::config::{File, Source, file::Metadata, file::init::Options};
use rustix::fs::{Mode, OFlags};
use skynet_core::{Error, Result};
use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// A configuration of a repository is not longer.
const MOST_CONFIG_BYTES: u64 = 1 << 20;

/// Keys with one fixed harmless value each.
const FIXED: [(&str, &str); 27] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.sshCommand", "false"),
    ("core.gitProxy", "false"),
    ("core.askPass", "false"),
    ("core.pager", "cat"),
    ("core.editor", "false"),
    ("core.alternateRefsCommand", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("sequence.editor", "false"),
    ("credential.helper", ""),
    ("diff.external", ""),
    ("gpg.program", "gpg"),
    ("gpg.openpgp.program", "gpg"),
    ("gpg.ssh.program", "ssh-keygen"),
    ("gpg.x509.program", "gpgsm"),
    ("gpg.ssh.defaultKeyCommand", ""),
    ("uploadpack.packObjectsHook", ""),
    ("protocol.allow", "never"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("submodule.recurse", "false"),
    ("status.showUntrackedFiles", "normal"),
    ("blame.ignoreRevsFile", ""),
];

/// Keys of named subsections, and the value that disarms them. A merge driver that fails leaves a conflict,
/// where one that does nothing would take one side unseen.
const BY_SUBSECTION: [(&str, &str, &str); 6] = [
    ("filter", "smudge", ""),
    ("filter", "process", ""),
    ("diff", "textconv", ""),
    ("diff", "command", ""),
    ("merge", "driver", "false"),
    ("credential", "helper", ""),
];

/// What a filter does in place of its program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filters {
    /// Nothing: contents are compared as they are.
    Off,
    /// It fails: content must not enter the history without the filter that, say, encrypts it.
    Fail,
}

/// Sections whose programs only commands run that are never called here.
const NEVER_CALLED: [&str; 18] = [
    "alias",
    "browser",
    "difftool",
    "mergetool",
    "man",
    "web",
    "instaweb",
    "guitool",
    "gui",
    "sendemail",
    "imap",
    "svn",
    "svn-remote",
    "lfs",
    "trailer",
    "pager",
    "receive",
    "remote",
];

/// Endings of key names that take a program.
const PROGRAM_ENDINGS: [&str; 14] = [
    "command",
    "cmd",
    "program",
    "helper",
    "editor",
    "pager",
    "driver",
    "textconv",
    "clean",
    "smudge",
    "process",
    "hook",
    "hookspath",
    "askpass",
];

/// The arguments that make `git` execute nothing of these configuration files.
///
/// # Errors
/// `Denied` for a file with includes, with a working tree elsewhere, or with an unknown key that names a program.
pub(crate) fn overrides(files: &[PathBuf], filters: Filters) -> Result<Vec<String>> {
    let mut arguments: Vec<String> = FIXED.iter().map(|(key, value)| format!("{key}={value}")).collect();
    for path in files {
        let Some(file) = read(path)? else { continue };
        for section in file.sections() {
            let header = section.header();
            let name = header.name().to_string().to_ascii_lowercase();
            let subsection = header.subsection_name().map(ToString::to_string);
            for key in section.body().value_names() {
                let key = key.to_string().to_ascii_lowercase();
                let judged = judge(&name, subsection.as_deref(), &key, filters).map_err(|reason| {
                    Error::denied(format!("the repository's configuration sets `{name}.{key}`, {reason}; remove it to use the git tools here"))
                })?;
                arguments.extend(judged);
            }
        }
    }
    Ok(arguments.into_iter().flat_map(|argument| ["-c".to_owned(), argument]).collect())
}

/// Refuses a configuration that puts the working tree elsewhere.
///
/// # Errors
/// `Denied`.
pub(crate) fn refuse_worktree(path: &Path) -> Result<()> {
    match read(path)?.and_then(|file| file.string("core.worktree")) {
        None => Ok(()),
        Some(_) => Err(Error::denied(
            "the repository's configuration sets `core.worktree`, which puts the working tree elsewhere; remove it to use the git tools here",
        )),
    }
}

/// Refuses a configuration that says how other repositories are reached: by which program or proxy, with which certificates,
/// and with files of the user's.
///
/// # Errors
/// `Denied`.
pub(crate) fn refuse_transport(path: &Path) -> Result<()> {
    let Some(file) = read(path)? else { return Ok(()) };
    for section in file.sections() {
        let name = section.header().name().to_string().to_ascii_lowercase();
        for key in section.body().value_names() {
            let key = key.to_string().to_ascii_lowercase();
            let is_refused = match name.as_str() {
                "http" => ["ssl", "proxy", "cookie", "save", "curl", "pinned", "delegation"]
                    .iter()
                    .any(|start| key.starts_with(start)),
                "remote" => {
                    matches!(key.as_str(), "vcs" | "proxy" | "proxyauthmethod" | "uploadpack" | "receivepack")
                }
                "fetch" | "transfer" => matches!(key.as_str(), "bundleuri" | "uriprotocols"),
                _ => false,
            };
            if is_refused {
                return Err(Error::denied(format!(
                    "the repository's configuration sets `{name}.{key}`, which decides how others are reached; remove it to use remotes here"
                )));
            }
        }
    }
    Ok(())
}

/// What disarms a key, if anything must; else why it cannot be tolerated.
fn judge(
    section: &str,
    subsection: Option<&str>,
    key: &str,
    filters: Filters,
) -> std::result::Result<Vec<String>, &'static str> {
    if section == "include" || section == "includeif" {
        return Err("which reads another file that is not checked");
    }
    if let Some(subsection) = subsection {
        let value = match (section, key, filters) {
            ("filter", "clean", Filters::Off) => Some(""),
            ("filter", "clean", Filters::Fail) => Some("false"),
            ("filter", "required", Filters::Off) => Some("false"),
            ("filter", "required", Filters::Fail) => Some("true"),
            _ => {
                let known = BY_SUBSECTION.iter().find(|(known, name, _)| (*known, *name) == (section, key));
                known.map(|(_, _, value)| *value)
            }
        };
        if let Some(value) = value {
            // On a command line the name ends at the first `=`, and what is no UTF-8 cannot be repeated.
            if subsection.contains(['=', '\n', char::REPLACEMENT_CHARACTER]) {
                return Err("under a name that cannot be overridden");
            }
            // Git folds the case of names written as `[section.name]`.
            let mut names = vec![subsection.to_owned(), subsection.to_ascii_lowercase()];
            names.dedup();
            return Ok(names.into_iter().map(|name| format!("{section}.{name}.{key}={value}")).collect());
        }
    }
    let full = match subsection {
        Some(subsection) => format!("{section}.{subsection}.{key}"),
        None => format!("{section}.{key}"),
    };
    if FIXED.iter().any(|(known, _)| known.eq_ignore_ascii_case(&full)) || NEVER_CALLED.contains(&section) {
        return Ok(Vec::new());
    }
    if PROGRAM_ENDINGS.iter().any(|ending| key.ends_with(ending)) {
        return Err("which may run a program");
    }
    Ok(Vec::new())
}

/// Values of a user's own configuration that are safe as data.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) signing_key: Option<String>,
    pub(crate) signing_format: Option<String>,
}

impl Identity {
    /// Reads the files in order, later ones winning; one that is missing or no configuration is passed over.
    pub(crate) fn read(files: &[&Path]) -> Self {
        let mut identity = Self::default();
        for path in files {
            let Ok(Some(file)) = read(path) else { continue };
            let value = |key: &str| {
                file.string(key).map(|value| value.to_string()).filter(|value| !value.contains('\0'))
            };
            identity.name = value("user.name").or(identity.name);
            identity.email = value("user.email").or(identity.email);
            identity.signing_key = value("user.signingKey").or(identity.signing_key);
            identity.signing_format = value("gpg.format").or(identity.signing_format);
        }
        identity
    }
}

fn read(path: &Path) -> Result<Option<File>> {
    let Some(bytes) = read_small(path)
        .map_err(|err| Error::denied("the repository's configuration cannot be read").with_source(err))?
    else {
        return Ok(None);
    };
    let meta = Metadata { path: Some(path.to_owned()), ..Metadata::from(Source::Local) };
    File::from_bytes_no_includes(&bytes, meta, Options::default()).map(Some).map_err(|err| {
        Error::denied("the repository's configuration is not one that Git can read")
            .with_source(err.to_string())
    })
}

/// Reads a small regular file; `None` if it is not there. Links, devices and FIFOs are errors: a hostile repository
/// may hold any of them under any name.
pub(crate) fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => std::fs::File::from(fd),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_CONFIG_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Result<Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, text).unwrap();
        overrides(&[path], Filters::Off)
    }

    #[test]
    fn what_runs_programs_is_disarmed_or_refused() {
        let plain =
            judged("[core]\n\tbare = false\n[user]\n\tname = x\n[remote \"origin\"]\n\turl = y\n").unwrap();
        assert_eq!(plain.len(), FIXED.len() * 2);
        let armed = judged("[filter.BIG]\n\tclean = evil\n[filter \"lfs\"]\n\tclean = evil\n[diff \"pdf\"]\n\ttextconv = evil\n[merge \"m\"]\n\tdriver = evil\n").unwrap();
        for expected in [
            "filter.lfs.clean=",
            "diff.pdf.textconv=",
            "merge.m.driver=false",
            "filter.big.clean=",
            "filter.BIG.clean=",
        ] {
            assert!(armed.contains(&expected.to_owned()), "{expected}: {armed:?}");
        }
        for (text, expected) in [
            ("[include]\n\tpath = /tmp/x\n", "include.path"),
            ("[includeIf \"gitdir:/\"]\n\tpath = /tmp/x\n", "includeif.path"),
            ("[filter \"a=b\"]\n\tclean = evil\n", "cannot be overridden"),
            ("[future]\n\tfancyCommand = evil\n", "future.fancycommand"),
            ("[core\n", "not one that Git can read"),
        ] {
            let err = judged(text).unwrap_err();
            assert!(err.message.contains(expected), "{text}: {err}");
        }
    }

    #[test]
    fn later_files_win_and_missing_ones_do_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&first, "[user]\n\tname = A\n\temail = a@x\n").unwrap();
        std::fs::write(&second, "[user]\n\tname = B\n").unwrap();
        let identity = Identity::read(&[&first, &second, &directory.path().join("c")]);
        assert_eq!((identity.name.as_deref(), identity.email.as_deref()), (Some("B"), Some("a@x")));
    }
}
