//! Who may do what: any matching deny wins, then ask, then allow, else the default of the effect.

use crate::commands::{Commands, Judgement, Who};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};
use skynet_core::{Call, Canonical, Effect, Entry, Error, Result};
use std::{fmt, path::PathBuf, str::FromStr};

/// What is to happen with a call, from weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It runs.
    Allow,
    /// It runs once a human agrees.
    Ask,
    /// It does not run.
    Deny,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        })
    }
}

/// One rule, as written in the configuration. An empty list matches everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Shown in denials and in the audit log.
    pub name: String,
    /// What to do with the calls it matches.
    pub verdict: Verdict,
    /// User names or uids.
    #[serde(default)]
    pub users: Vec<String>,
    /// Tool names, with `*` and `?`.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Effects.
    #[serde(default)]
    pub effects: Vec<Effect>,
}

/// What was decided, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is to happen.
    pub verdict: Verdict,
    /// The name of a rule, or `default for <effect>`.
    pub rule: String,
}

/// What would happen with a call, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What is to happen.
    pub verdict: Verdict,
    /// The name of a rule or of an entry of the commands.
    pub rule: String,
    /// The file that would run.
    pub program: Option<PathBuf>,
    /// In words, what kept it from being allowed.
    pub why: Option<String>,
    /// The smallest entry of `policy.commands` that would allow it, as TOML.
    pub grant: Option<String>,
}

/// All rules and lists of commands, ready to judge.
pub struct Rules {
    rules: Vec<Compiled>,
    commands: Commands,
}

struct Compiled {
    rule: Rule,
    tools: GlobSet,
}

impl Rules {
    /// Compiles the rules.
    ///
    /// # Errors
    /// `InvalidInput` naming the rule whose tool pattern is no glob.
    pub fn new(rules: Vec<Rule>) -> Result<Self> {
        let compile = |rule: Rule| {
            let mut tools = GlobSetBuilder::new();
            for pattern in &rule.tools {
                let glob = Glob::from_str(pattern).map_err(|err| {
                    Error::invalid_input(format!(
                        "rule `{}`: tool pattern `{pattern}`: {}",
                        rule.name,
                        err.kind()
                    ))
                })?;
                tools.add(glob);
            }
            let tools =
                tools.build().map_err(|err| Error::invalid_input(format!("rule `{}`: {err}", rule.name)))?;
            Ok(Compiled { rule, tools })
        };
        let rules = rules.into_iter().map(compile).collect::<Result<_>>()?;
        Ok(Self { rules, commands: Commands::default() })
    }

    /// The same rules, and besides them what may be started.
    #[must_use]
    pub fn with_commands(mut self, commands: Commands) -> Self {
        self.commands = commands;
        self
    }

    /// What may be started.
    #[must_use]
    pub const fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Judges a call.
    #[must_use]
    pub fn decide(&self, user: &str, uid: u32, tool: &str, effect: Effect) -> Decision {
        let uid = uid.to_string();
        let matching = self.rules.iter().filter(|compiled| {
            let rule = &compiled.rule;
            (rule.users.is_empty() || rule.users.iter().any(|name| name == user || *name == uid))
                && (rule.tools.is_empty() || compiled.tools.is_match(tool))
                && (rule.effects.is_empty() || rule.effects.contains(&effect))
        });
        // `max_by_key` keeps the last of equals; the first rule written is the one to name.
        let strongest = matching.rev().max_by_key(|compiled| compiled.rule.verdict);
        strongest.map_or_else(
            || Decision { verdict: default_for(effect), rule: format!("default for {effect}") },
            |compiled| Decision { verdict: compiled.rule.verdict, rule: compiled.rule.name.clone() },
        )
    }

    /// Judges a call as far as it is known by now.
    ///
    /// # Errors
    /// `Denied` by a rule, or by the token that was shown.
    pub(crate) fn judge(&self, call: &mut Call) -> Result<()> {
        let (caller, tool, effect) = (&call.caller, call.tool.name, call.effect);
        if let Some(token) = caller.token.as_ref().filter(|token| !token.effects.contains(&effect)) {
            call.notes.rule = Some(format!("token {}: deny", token.name));
            return Err(Error::denied(format!(
                "`{tool}` ({effect}) is not among the effects of the token `{}`; one made with `skynetctl token create --effect {effect}` would allow it",
                token.name
            )));
        }
        let decision = self.decide(&caller.user, caller.uid, tool, effect);
        let denied =
            (decision.verdict == Verdict::Deny).then(|| denial(&decision, &caller.user, tool, effect));
        call.notes.rule = Some(format!("{}: {}", decision.rule, decision.verdict));
        denied.map_or(Ok(()), Err)
    }

    /// Judges what a call starts, if it starts anything and a list of commands applies to it.
    ///
    /// # Errors
    /// `Denied` by an entry or for want of one, `InvalidInput` if the input names nothing to start.
    pub(crate) fn judge_command(&self, call: &mut Call, input: &Canonical) -> Result<()> {
        if self.commands.is_empty() {
            return Ok(());
        }
        let Some(command) = call.tool.command_of(input)? else { return Ok(()) };
        let who = Who {
            user: &call.caller.user,
            uid: call.caller.uid,
            workspace: call.caller.workspace.as_deref(),
        };
        let Some(judged) = self.commands.judge(&who, &command) else { return Ok(()) };
        if judged.verdict >= self.decide(who.user, who.uid, call.tool.name, call.effect).verdict {
            call.notes.rule = Some(format!("{}: {}", judged.rule, judged.verdict));
        }
        match judged.verdict {
            Verdict::Deny => return Err(denied_command(&judged, &who, call.tool.name)),
            Verdict::Ask => call.asked_by = Some(judged.rule),
            Verdict::Allow => {}
        }
        call.program = judged.program;
        Ok(())
    }

    /// Says what would happen with a call.
    ///
    /// # Errors
    /// `InvalidInput` as the tool says it.
    pub fn explain(&self, who: &Who<'_>, tool: &Entry, input: &Canonical) -> Result<Explanation> {
        let effect = tool.effect_of(input)?;
        let command = tool.command_of(input)?;
        let Decision { verdict, rule } = self.decide(who.user, who.uid, tool.name, effect);
        let judged = command.and_then(|command| self.commands.judge(who, &command));
        Ok(match judged {
            Some(judged) if judged.verdict >= verdict => Explanation {
                verdict: judged.verdict,
                rule: judged.rule,
                program: judged.program,
                why: judged.why,
                grant: judged.grant.map(|grant| grant.to_toml()),
            },
            judged => {
                let why = judged
                    .is_none()
                    .then(|| "no list of commands applies here, so effects alone decide".to_owned());
                Explanation {
                    verdict,
                    rule,
                    program: judged.and_then(|judged| judged.program),
                    why,
                    grant: None,
                }
            }
        })
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether only the defaults apply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// What happens without a rule.
const fn default_for(effect: Effect) -> Verdict {
    match effect {
        Effect::Read | Effect::Write => Verdict::Allow,
        Effect::Destroy | Effect::External => Verdict::Ask,
    }
}

/// The refusal of a call, with the smallest change of the configuration that would allow it.
fn denial(decision: &Decision, user: &str, tool: &str, effect: Effect) -> Error {
    Error::denied(format!(
        "`{tool}` ({effect}) is denied to `{user}` by the rule `{}`; an administrator can exempt it by narrowing that rule, so that it does not match user `{user}`, tool `{tool}`, effect `{effect}`",
        decision.rule
    ))
}

/// The refusal of a command, with the smallest entry that would allow it.
fn denied_command(judged: &Judgement, who: &Who<'_>, tool: &str) -> Error {
    let workspace =
        who.workspace.map_or_else(|| "no workspace".into(), |one| one.path().display().to_string());
    let place = format!("`{}` in `{workspace}`", who.user);
    let reason = judged.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let hint = match (&judged.grant, reason.is_empty()) {
        (Some(grant), _) => format!(
            "; the smallest entry of `policy.commands` with which an administrator could allow it is `{}`",
            grant.to_inline_toml()
        ),
        (None, true) => format!("; an administrator can exempt it by narrowing the entry `{}`", judged.rule),
        (None, false) => "; no entry of `policy.commands` could allow it as it is".into(),
    };
    Error::denied(format!(
        "`{tool}` is denied to {place} by `{}` of `policy.commands`{reason}{hint}",
        judged.rule
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, verdict: Verdict, users: &[&str], tools: &[&str], effects: &[Effect]) -> Rule {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Rule { name: name.into(), verdict, users: own(users), tools: own(tools), effects: effects.to_vec() }
    }

    #[test]
    fn deny_beats_ask_beats_allow_beats_the_default() {
        let rules = Rules::new(vec![
            rule("all", Verdict::Allow, &[], &[], &[]),
            rule("git asks", Verdict::Ask, &[], &["git_*"], &[Effect::Write]),
            rule("no bob", Verdict::Deny, &["bob", "77"], &["git_commit"], &[]),
        ])
        .unwrap();
        for (user, uid, tool, effect, verdict, name) in [
            ("ann", 1, "files_read", Effect::Read, Verdict::Allow, "all"),
            ("ann", 1, "x", Effect::Destroy, Verdict::Allow, "all"),
            ("ann", 1, "git_commit", Effect::Write, Verdict::Ask, "git asks"),
            ("bob", 1, "git_commit", Effect::Write, Verdict::Deny, "no bob"),
            ("eve", 77, "git_commit", Effect::Write, Verdict::Deny, "no bob"),
        ] {
            let expected = Decision { verdict, rule: name.into() };
            assert_eq!(rules.decide(user, uid, tool, effect), expected, "{user} {tool}");
        }
        let none = Rules::new(vec![]).unwrap();
        assert_eq!(none.decide("ann", 1, "x", Effect::Destroy).rule, "default for destroy");
        assert!(Rules::new(vec![rule("bad", Verdict::Deny, &[], &["[a"], &[])]).is_err());
    }
}
