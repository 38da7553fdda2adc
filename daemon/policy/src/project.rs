//! The rules that a project brings: `.skynet.toml` in the root of its workspace. They only forbid, or have a human asked, and
//! count once their user has trusted exactly this text. They never allow what the administrator's rules do not.

use crate::{
    commands::Who,
    rules::{Decision, Facts, Hours, Matcher, Roles, Rule, Rules, Verdict},
    trust::Trust,
    visible::word,
};
use async_trait::async_trait;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use skynet_core::{
    Call, Caller, Canonical, Effect, Error, ErrorKind, Registry, Result, Workspace, call::AskedBy,
    canonical::hex,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use uuid::Uuid;

/// The name of the file, in the root of a workspace.
pub const PROJECT_FILE: &str = ".skynet.toml";

/// Larger files are not read.
pub const MOST_PROJECT_BYTES: usize = 64 << 10;

/// So many compiled files are kept, and so many reports remembered; then all of them are forgotten.
const MOST_KNOWN: usize = 1024;

/// Where the file of a project is read.
#[async_trait]
pub trait ProjectFile: Send + Sync {
    /// What is in [`PROJECT_FILE`] of the caller's workspace now; `None` where there is none.
    ///
    /// # Errors
    /// `InvalidInput` for what is no regular file of at most 64 KiB that the caller may read; any other where nobody can tell what is there.
    async fn read(&self, caller: &Caller) -> Result<Option<Vec<u8>>>;

    /// Whether reading takes another process. Then it is done for those who trust a file there, and for others once a session, to tell them.
    fn is_far(&self) -> bool {
        false
    }
}

/// Read through the workspace's descriptor, by a daemon that runs as the user himself. One that serves others must not: it
/// would open files of users as somebody else.
pub struct OfWorkspace;

#[async_trait]
impl ProjectFile for OfWorkspace {
    async fn read(&self, caller: &Caller) -> Result<Option<Vec<u8>>> {
        caller.workspace.as_deref().map_or(Ok(None), read)
    }
}

fn read(workspace: &Workspace) -> Result<Option<Vec<u8>>> {
    let path = workspace.relative(PROJECT_FILE)?;
    // A link could lead to what is not protected as this name is, and a pipe has no end.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let unreadable = |err: io::Error| {
        let what = format!("`{PROJECT_FILE}` of the workspace cannot be read");
        let kind = err.raw_os_error().map(Errno::from_raw_os_error);
        // It is none: a link, a socket, or none of this user's. Of anything else nobody knows what it says.
        let is_none = matches!(
            kind,
            Some(Errno::LOOP | Errno::XDEV | Errno::NXIO | Errno::NODEV | Errno::ACCESS | Errno::PERM)
        );
        let told = if is_none { Error::invalid_input(what) } else { Error::unavailable(what) };
        told.with_source(err)
    };
    let file = match workspace.open_raw(&path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(unreadable(err)),
    };
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Error::invalid_input(format!("`{PROJECT_FILE}` of the workspace is no regular file")));
    }
    let mut text = Vec::new();
    let most = u64::try_from(MOST_PROJECT_BYTES + 1).unwrap_or(u64::MAX);
    let length = file.take(most).read_to_end(&mut text).map_err(unreadable)?;
    if length > MOST_PROJECT_BYTES { Err(too_long()) } else { Ok(Some(text)) }
}

/// What is said of a file that is too long.
#[must_use]
pub fn too_long() -> Error {
    Error::invalid_input(format!(
        "`{PROJECT_FILE}` of the workspace has more than {MOST_PROJECT_BYTES} bytes"
    ))
}

/// The file before it was looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    rules: Vec<ProjectRule>,
}

/// A rule of a project. It is about its own workspace and knows nobody, so it names neither users nor workspaces.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectRule {
    name: String,
    verdict: ProjectVerdict,
    #[serde(default)]
    tools: Vec<String>,
    #[serde(default)]
    families: Vec<String>,
    #[serde(default)]
    effects: Vec<Effect>,
    #[serde(default, deserialize_with = "crate::rules::times")]
    hours: Vec<Hours>,
    timezone: Option<String>,
    #[serde(default)]
    arguments: BTreeMap<String, Matcher>,
    #[serde(default = "crate::rules::grantable")]
    grantable: bool,
}

/// What a project may say.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProjectVerdict {
    Ask,
    Deny,
}

/// The rules in the text of a project's file.
///
/// # Errors
/// `InvalidInput` naming the line of what is no rule of a project: one that allows or names users, or a key that there is not.
pub(crate) fn parse(text: &[u8]) -> Result<Rules> {
    let text = std::str::from_utf8(text)
        .map_err(|_| Error::invalid_input(format!("`{PROJECT_FILE}` is no UTF-8 text")))?;
    let written: Written = toml::from_str(text).map_err(|err| {
        let start = err.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
        Error::invalid_input(format!("{PROJECT_FILE}:{line}: {}", err.message()))
    })?;
    let rules = written.rules.into_iter().map(|rule| {
        let verdict = match rule.verdict {
            ProjectVerdict::Ask => Verdict::Ask,
            ProjectVerdict::Deny => Verdict::Deny,
        };
        Rule {
            tools: rule.tools,
            families: rule.families,
            effects: rule.effects,
            hours: rule.hours,
            timezone: rule.timezone,
            arguments: rule.arguments,
            grantable: rule.grantable,
            ..Rule::new(rule.name, verdict)
        }
    });
    Rules::new(rules.collect(), &Roles::new())
        .map_err(|err| Error::invalid_input(format!("{PROJECT_FILE}: {}", err.message)))
}

/// SHA-256 of a project's file, lower-case hex: what is trusted.
fn digest(text: &[u8]) -> String {
    hex(&Sha256::digest(text))
}

/// A file as it is found in a workspace.
pub struct Found {
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// What it says.
    pub text: Vec<u8>,
}

/// The rules of all projects.
pub struct Projects {
    source: Box<dyn ProjectFile>,
    trust: Trust,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By SHA-256: what is read once is not parsed again with every call.
    compiled: HashMap<String, std::result::Result<Arc<Rules>, String>>,
    /// What was logged already, by session.
    reported: HashSet<(Uuid, String)>,
    /// Workspaces whose file does not count, and why, since it was last looked at.
    idle: BTreeMap<PathBuf, String>,
}

impl Projects {
    /// Those whose files `source` reads, as far as they are trusted.
    #[must_use]
    pub fn new(source: Box<dyn ProjectFile>, trust: Trust) -> Self {
        Self { source, trust, known: Mutex::default() }
    }

    /// Which files are trusted.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The file of the caller's workspace; `None` where there is none.
    ///
    /// # Errors
    /// Those of [`ProjectFile::read`].
    pub async fn find(&self, caller: &Caller) -> Result<Option<Found>> {
        let text = self.source.read(caller).await?;
        Ok(text.map(|text| Found { sha256: digest(&text), text }))
    }

    /// Trusts the file of the caller's workspace as it is now, if its rules can be used.
    ///
    /// # Errors
    /// `NotFound` where there is none, `InvalidInput` for what is wrong in it, `Unavailable` when it cannot be read or that
    /// cannot be stored.
    pub async fn trust_now(&self, caller: &Caller, registry: &Registry) -> Result<crate::trust::Trusted> {
        let found = self.find(caller).await?;
        let (Some(found), Some(workspace)) = (found, caller.workspace.as_deref()) else {
            return Err(Error::not_found(format!("there is no `{PROJECT_FILE}` in the workspace")));
        };
        let rules = parse(&found.text)?;
        rules
            .check(registry)
            .map_err(|err| Error::invalid_input(format!("{PROJECT_FILE}: {}", err.message)))?;
        let trusted = self.trust.add(caller.uid, workspace.path(), &found.sha256, rules.len())?;
        self.note(workspace.path(), None);
        Ok(trusted)
    }

    /// What the project says to a call; `None` where it says nothing, or is not trusted.
    ///
    /// # Errors
    /// `Denied` where the trusted file cannot be used by this version, and those of [`ProjectFile::read`] where something is trusted and
    /// nothing can be read: nobody knows what it would forbid.
    pub async fn matching(
        &self,
        session: Uuid,
        caller: &Caller,
        facts: &Facts<'_>,
    ) -> Result<Option<Decision>> {
        let Some(rules) = self.rules(session, caller).await? else { return Ok(None) };
        let decision = rules.matching(facts);
        Ok(decision
            .map(|decision| Decision { rule: format!("{} ({PROJECT_FILE})", decision.rule), ..decision }))
    }

    /// Adds what the project says to what the rules said, which was `verdict`.
    ///
    /// # Errors
    /// `Denied` by a rule of the project.
    pub(crate) async fn judge(&self, call: &mut Call, input: &Canonical, verdict: Verdict) -> Result<()> {
        let who = Who::of(&call.caller);
        let facts = Facts::now(&who, &call.tool, call.effect, Some(input));
        let Some(decision) = self.matching(call.id.session, &call.caller, &facts).await? else {
            return Ok(());
        };
        let Decision { verdict: said, rule, is_grantable } = decision;
        let change = format!(
            "narrowing that rule in `{PROJECT_FILE}` of the workspace, and `skynetctl trust` for the new text,"
        );
        if said > verdict {
            call.notes.rule = Some(format!("{rule}: {said}"));
        }
        match said {
            Verdict::Deny => Err(Error::denied(format!(
                "`{}` ({}) is denied by the rule `{rule}` of this project; {change} would allow it",
                call.tool.name, call.effect
            ))),
            Verdict::Ask => {
                call.ask_by(AskedBy { rules: vec![rule], remedy: change, is_grantable });
                Ok(())
            }
            Verdict::Allow => Ok(()),
        }
    }

    /// The rules of the caller's project, if it has trusted ones: for who judges many calls at once.
    ///
    /// # Errors
    /// Those of [`Projects::matching`].
    pub async fn rules(&self, session: Uuid, caller: &Caller) -> Result<Option<Arc<Rules>>> {
        let Some(workspace) = caller.workspace.as_deref() else { return Ok(None) };
        let path = workspace.path();
        let trusted = self.trust.count(caller.uid, path);
        if trusted == 0 && self.source.is_far() && !self.is_news(session, PROJECT_FILE) {
            return Ok(None);
        }
        let found = match self.find(caller).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.note(path, None);
                return Ok(None);
            }
            Err(err) if trusted > 0 && err.kind != ErrorKind::InvalidInput => return Err(err),
            Err(err) => {
                self.note(path, Some(err.message.to_string()));
                if self.is_news(session, err.message.as_ref()) {
                    tracing::warn!(workspace = %path.display(), error = %err, "the rules of a project do not count");
                }
                return Ok(None);
            }
        };
        let is_trusted = self.trust.is_trusted(caller.uid, path, &found.sha256);
        let why = "it is not trusted as it is; look at it, and `skynetctl trust` in that directory has its rules count";
        self.note(path, (!is_trusted).then(|| why.to_owned()));
        if !is_trusted {
            if self.is_news(session, &found.sha256) {
                tracing::warn!(
                    workspace = %path.display(),
                    sha256 = found.sha256,
                    was_trusted_before = trusted > 0,
                    "`{PROJECT_FILE}` is not trusted as it is, so its rules do not count; `skynetctl trust` trusts it"
                );
            }
            return Ok(None);
        }
        let compiled = self.compiled(&found);
        compiled.map(Some).map_err(|fault| {
            Error::denied(format!(
                "the trusted rules of this project cannot be used by this version, and nobody knows what they would forbid: {fault}; mend the file and run `skynetctl trust`, or `skynetctl trust remove`"
            ))
        })
    }

    /// Each file that calls met and that does not count, with the reason. Of a daemon of one user: of others there are none.
    #[must_use]
    pub fn idle(&self) -> Vec<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.idle.retain(|workspace, _| workspace.join(PROJECT_FILE).symlink_metadata().is_ok());
        let told = |(workspace, why): (&PathBuf, &String)| {
            format!(
                "the rules of {} do not count: {why}",
                word(&workspace.join(PROJECT_FILE).to_string_lossy())
            )
        };
        known.idle.iter().map(told).collect()
    }

    fn note(&self, workspace: &Path, why: Option<String>) {
        // It is listed for whoever asks, and looked after in its place.
        if self.source.is_far() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            None => drop(known.idle.remove(workspace)),
            Some(why) if known.idle.len() < MOST_KNOWN || known.idle.contains_key(workspace) => {
                known.idle.insert(workspace.to_owned(), why);
            }
            Some(_) => {}
        }
    }

    fn compiled(&self, found: &Found) -> std::result::Result<Arc<Rules>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = known.compiled.get(&found.sha256) {
            return compiled.clone();
        }
        if known.compiled.len() >= MOST_KNOWN {
            known.compiled.clear();
        }
        let compiled = parse(&found.text).map(Arc::new).map_err(|err| err.message.to_string());
        known.compiled.insert(found.sha256.clone(), compiled.clone());
        compiled
    }

    /// Whether a session was not told that yet.
    fn is_news(&self, session: Uuid, what: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.reported.len() >= MOST_KNOWN {
            known.reported.clear();
        }
        known.reported.insert((session, what.to_owned()))
    }
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
