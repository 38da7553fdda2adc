//! The lists of commands: which programs may be started with which arguments. It knows command lines and no tool.
//!
//! An entry that allows or asks must cover a command whole: the file that runs, each argument, each variable. An entry
//! that denies needs to recognize no more than a part of it, and one that asks is heeded as soon as it does.

mod entry;
mod flag;
mod grant;
mod launchers;
mod program;
mod scene;
mod shape;
mod word;

pub use entry::CommandRule;
pub use flag::Flag;
pub(crate) use grant::quote;
pub use shape::Shape;
pub(crate) use word::is_hidden;
pub use word::{Inside, Word};

use crate::rules::Verdict;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use scene::Scene;
use skynet_core::{Caller, CommandLine, Error, Group, Result, Workspace};
use std::path::{Path, PathBuf};

/// What decides where no entry does.
const UNLISTED: &str = "commands not listed";

/// Who calls, and where.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The name of the user.
    pub user: &'a str,
    /// As the kernel told it.
    pub uid: u32,
    /// Those he is in.
    pub groups: &'a [Group],
    /// His home directory, for `~`.
    pub home: &'a Path,
    /// Where he works.
    pub workspace: Option<&'a Workspace>,
}

impl<'a> Who<'a> {
    /// Who makes a call.
    #[must_use]
    pub fn of(caller: &'a Caller) -> Self {
        Self {
            user: &caller.user,
            uid: caller.uid,
            groups: &caller.groups,
            home: &caller.home,
            workspace: caller.workspace.as_deref(),
        }
    }
}

/// What was decided about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What is to happen.
    pub verdict: Verdict,
    /// The name of an entry, or that there is none.
    pub rule: String,
    /// The file that runs. `None` where a human is asked about what could be any file.
    pub program: Option<PathBuf>,
    /// In words, what kept it from being allowed.
    pub why: Option<String>,
    /// The smallest entry that would allow it, if one can.
    pub grant: Option<CommandRule>,
    /// Of what asks: whether a human may answer for all such commands to come.
    pub is_grantable: bool,
}

/// All entries, ready to judge.
pub struct Commands {
    entries: Vec<Entry>,
    unlisted: Verdict,
}

struct Entry {
    rule: CommandRule,
    workspaces: GlobSet,
    shape: Shape,
}

impl Default for Commands {
    fn default() -> Self {
        Self { entries: Vec::new(), unlisted: Verdict::Deny }
    }
}

impl Commands {
    /// Makes entries ready; `unlisted` is what happens to commands that none covers, where there are any. `home` is the
    /// user's, for `~` in globs of workspaces.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that is none, and for a list that would hold nothing.
    pub fn new(rules: Vec<CommandRule>, unlisted: Verdict, home: &Path) -> Result<Self> {
        if unlisted == Verdict::Allow {
            return Err(Error::invalid_input(
                "`policy.unlisted_commands` is `deny` or `ask`: a list of what is denied holds nothing, because any interpreter runs the rest",
            ));
        }
        let ready = |rule: CommandRule| {
            let wrong =
                |err: globset::Error| Error::invalid_input(format!("the command `{}`: {err}", rule.name));
            let mut workspaces = GlobSetBuilder::new();
            for pattern in &rule.workspaces {
                let absolute = match pattern.strip_prefix('~') {
                    Some(rest) => format!("{}{rest}", globset::escape(&home.to_string_lossy())),
                    None => pattern.clone(),
                };
                workspaces.add(GlobBuilder::new(&absolute).literal_separator(true).build().map_err(wrong)?);
            }
            let workspaces = workspaces.build().map_err(wrong)?;
            let shape = rule.shape();
            Ok(Entry { rule, workspaces, shape })
        };
        Ok(Self { entries: rules.into_iter().map(ready).collect::<Result<_>>()?, unlisted })
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none, for nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Judges a command; `None` where no list applies. Of several lists the strictest judgement would hold.
    #[must_use]
    pub fn judge(&self, who: &Who<'_>, command: &CommandLine) -> Option<Judgement> {
        let entries: Vec<&Entry> = self.entries.iter().filter(|entry| entry.applies_to(who)).collect();
        if entries.is_empty() {
            return None;
        }
        let scene = Scene::new(who, command);
        let decided = |verdict, rule: &str| Judgement {
            verdict,
            rule: rule.to_owned(),
            program: scene.program.clone().ok(),
            why: None,
            grant: None,
            is_grantable: true,
        };
        if let Some(fault) = scene.fault() {
            return Some(Judgement { why: Some(fault), ..decided(Verdict::Deny, UNLISTED) });
        }
        let of = |verdict| entries.iter().filter(move |entry| entry.rule.verdict == verdict);
        if let Some(entry) = of(Verdict::Deny).find(|entry| scene.resembles(entry)) {
            return Some(decided(Verdict::Deny, &entry.rule.name));
        }
        let refusals: Vec<_> =
            of(Verdict::Allow).chain(of(Verdict::Ask)).map(|entry| scene.refusal(entry)).collect();
        let covering =
            of(Verdict::Allow).chain(of(Verdict::Ask)).zip(&refusals).find(|(_, refusal)| refusal.is_none());
        let Some((covering, _)) = covering else {
            // The entry that came closest explains best.
            let closest = refusals.into_iter().flatten().rev().max_by_key(|refusal| refusal.covered);
            let why = closest
                .filter(|refusal| refusal.covered > 0)
                .map_or_else(|| scene.nothing_known(), |refusal| refusal.why);
            let grant = grant::smallest(&scene);
            return Some(Judgement { why: Some(why), grant, ..decided(self.unlisted, UNLISTED) });
        };
        let asks = |entry: &&&Entry| scene.refusal(entry).is_none() || scene.resembles(entry);
        let asking: Vec<_> = of(Verdict::Ask).filter(asks).collect();
        let is_grantable = asking.iter().all(|entry| entry.rule.grantable);
        let entry = asking.first().unwrap_or(&covering);
        Some(Judgement { is_grantable, ..decided(entry.rule.verdict, &entry.rule.name) })
    }

    /// What an entry needs that is not there now: its name, and in words what is missing.
    #[must_use]
    pub fn missing(&self, programs: &skynet_core::command::Programs) -> Vec<(String, String)> {
        let missing = |entry: &Entry| {
            let program = entry.rule.program.as_ref().filter(|_| entry.rule.verdict != Verdict::Deny)?;
            let why = program::resolve(program, programs, None).err()?;
            Some((entry.rule.name.clone(), why))
        };
        self.entries.iter().filter_map(missing).collect()
    }
}

impl Entry {
    fn applies_to(&self, who: &Who<'_>) -> bool {
        let Self { rule, workspaces, .. } = self;
        let uid = who.uid.to_string();
        (rule.users.is_empty() || rule.users.iter().any(|name| name == who.user || *name == uid))
            && (rule.workspaces.is_empty()
                || who.workspace.is_some_and(|workspace| workspaces.is_match(workspace.path())))
    }
}
