//! Who may do what: any matching deny wins, then ask, then allow, else the default of the effect. The order of rules decides
//! nothing but which of several equal ones is named.

mod argument;
mod change;
mod compiled;
mod hours;
mod matcher;
mod rule;

pub(crate) use compiled::find_role;
pub use hours::Hours;
pub use matcher::Matcher;
pub use rule::{Lend, Role, Roles, Rule};
pub(crate) use rule::{grantable, is_grantable, is_in, is_user, times};

use crate::commands::{Commands, Judgement, Who};
use arc_swap::ArcSwap;
use compiled::Compiled;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skynet_core::{
    Call, Canonical, CommandLine, Effect, Entry, Error, Registry, Result, call::AskedBy, registry::nearest,
};
use std::{fmt, path::PathBuf, sync::Arc};

/// The tools of what can be lent.
const LENT_FAMILY: &str = "docker";

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

/// What rules are held against: one call, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who calls, and where.
    pub who: &'a Who<'a>,
    /// The name of the tool.
    pub tool: &'a str,
    /// The name of its toolset.
    pub toolset: &'a str,
    /// The schema of its input, for the defaults of what is left out.
    pub schema: &'a Map<String, Value>,
    /// What it does.
    pub effect: Effect,
    /// The names of other tools whose work it does as well, for rules that deny or ask.
    pub also: &'static [&'static str],
    /// `None` before it was validated: then no rule about arguments matches.
    pub input: Option<&'a Canonical>,
    /// When.
    pub at: Timestamp,
    /// What the paths in its input are relative to.
    pub paths: Paths,
}

/// What the paths in an input are relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// The workspace of who calls, where the kernel says where each of them is.
    Here,
    /// Some other workspace, which may not be looked into: each is where it is written. What the caller has at the same
    /// places in his own says nothing of them.
    Elsewhere,
}

impl<'a> Facts<'a> {
    /// About a call of this tool now.
    #[must_use]
    pub fn now(who: &'a Who<'a>, tool: &'a Entry, effect: Effect, input: Option<&'a Canonical>) -> Self {
        Self {
            who,
            tool: tool.name,
            toolset: tool.toolset,
            schema: &tool.input_schema,
            effect,
            also: input.map(|input| tool.acts_as(input)).unwrap_or_default(),
            input,
            at: Timestamp::now(),
            paths: Paths::Here,
        }
    }
}

/// What was decided, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is to happen.
    pub verdict: Verdict,
    /// The name of a rule, or `default for <effect>`.
    pub rule: String,
    /// Of what asks: whether a human may answer for all such calls to come.
    pub is_grantable: bool,
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
    /// The smallest entry of `policy.commands` or `policy.rules` that would allow it, as TOML.
    pub grant: Option<String>,
    /// In words, the smallest change of the rules that would, where no entry could.
    pub change: Option<String>,
}

/// The rules by which calls are judged now. Others may take their place while calls run, and count for those that come after.
pub type InForce = Arc<ArcSwap<Rules>>;

/// All rules and lists of commands, ready to judge.
pub struct Rules {
    rules: Vec<Compiled>,
    commands: Commands,
}

impl Rules {
    /// Compiles the rules.
    ///
    /// # Errors
    /// `InvalidInput` naming the rule and what is wrong in it: a glob that is none, a role or a time zone that is not
    /// known; or the role that is nobody's.
    pub fn new(rules: Vec<Rule>, roles: &Roles) -> Result<Self> {
        if let Some((name, _)) =
            roles.iter().find(|(_, role)| role.users.is_empty() && role.groups.is_empty())
        {
            return Err(Error::invalid_input(format!("the role `{name}` names neither users nor groups")));
        }
        let rules = rules.into_iter().map(|rule| Compiled::new(rule, roles)).collect::<Result<_>>()?;
        Ok(Self { rules, commands: Commands::default() })
    }

    /// Puts them in force.
    #[must_use]
    pub fn in_force(self) -> InForce {
        Arc::new(ArcSwap::from_pointee(self))
    }

    /// Looks whether the rules are about tools, families and arguments that there are.
    ///
    /// # Errors
    /// `InvalidInput` naming the rule, what there is not, and the nearest that there is.
    pub fn check(&self, registry: &Registry) -> Result<()> {
        for compiled in &self.rules {
            let rule = &compiled.rule;
            let wrong = |what: String, known: Vec<&str>| {
                let hint = known.first().map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
                Error::invalid_input(format!("rule `{}`: {what}{hint}", rule.name))
            };
            // A pattern may wait for tools to come; a name that is none is a rule that never matches.
            let mut named = rule.tools.iter().filter(|name| !name.contains(['*', '?', '[', '{']));
            if let Some(name) = named.find(|name| registry.find(name).is_err()) {
                let meant =
                    registry.aliases_named(name).filter_map(|(_, alias)| alias.means.first().copied());
                let nearest = nearest(registry.iter().map(|tool| tool.name), name);
                return Err(wrong(format!("there is no tool `{name}`"), meant.chain(nearest).collect()));
            }
            let families = || registry.iter().flat_map(|tool| [tool.toolset, tool.family()]);
            if let Some(name) = rule.families.iter().find(|name| !families().any(|known| known == **name)) {
                return Err(wrong(
                    format!("there is no family or toolset `{name}`"),
                    nearest(families(), name),
                ));
            }
            let about: Vec<_> =
                registry.iter().filter(|tool| compiled.is_about_tool(tool.name, tool.toolset)).collect();
            let names = about.iter().filter_map(|tool| tool.input_schema.get("properties")?.as_object());
            let names: Vec<&str> = names.flat_map(|all| all.keys()).map(String::as_str).collect();
            let is_lent_well = rule.verdict == Verdict::Allow
                && !about.is_empty()
                && about.iter().all(|tool| tool.family() == LENT_FAMILY)
                && !(rule.users.is_empty() && rule.groups.is_empty() && rule.roles.is_empty());
            if rule.lend.is_some() && !is_lent_well {
                return Err(Error::invalid_input(format!(
                    "rule `{}`: `lend` is for a rule that allows, names `users`, `groups` or `roles`, and is about tools of `{LENT_FAMILY}` alone",
                    rule.name
                )));
            }
            for argument in &compiled.arguments {
                let name = argument.first();
                if !names.contains(&name) {
                    return Err(wrong(
                        format!("no tool that it is about has an argument `{name}`"),
                        nearest(names, name),
                    ));
                }
            }
        }
        Ok(())
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
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        let effect = facts.effect;
        self.matching(facts).unwrap_or_else(|| Decision {
            verdict: default_for(effect),
            rule: format!("default for {effect}"),
            is_grantable: true,
        })
    }

    /// What the rules themselves say; `None` where none matches.
    #[must_use]
    pub fn matching(&self, facts: &Facts<'_>) -> Option<Decision> {
        let strongest = self.strongest(facts);
        let rule = &strongest.first()?.rule;
        let is_grantable = strongest.iter().all(|compiled| compiled.rule.grantable);
        Some(Decision { verdict: rule.verdict, rule: rule.name.clone(), is_grantable })
    }

    /// Whether some rule could keep who calls from a tool, whatever the call's input is.
    #[must_use]
    pub fn could_refuse(&self, facts: &Facts<'_>) -> bool {
        default_for(facts.effect) != Verdict::Allow
            || self.rules.iter().any(|compiled| compiled.could_refuse(facts))
    }

    /// The rules that match and whose verdict wins, as they were written.
    fn strongest(&self, facts: &Facts<'_>) -> Vec<&Compiled> {
        let mut winning: Vec<&Compiled> = Vec::new();
        for compiled in &self.rules {
            let held = winning.first().map(|first| first.rule.verdict);
            // What could change nothing is not looked at: it may cost a look at the disk.
            if held.is_some_and(|held| held > compiled.rule.verdict) || !compiled.matches(facts) {
                continue;
            }
            if held.is_some_and(|held| held < compiled.rule.verdict) {
                winning.clear();
            }
            winning.push(compiled);
        }
        winning
    }

    /// Judges a call as far as it is known by now. Once its input is known, notes who wants a human to be asked.
    ///
    /// # Errors
    /// `Denied` by a rule, or by the token that was shown.
    pub(crate) fn judge(&self, call: &mut Call) -> Result<Verdict> {
        let (caller, tool, effect) = (&call.caller, call.tool.name, call.effect);
        if let Some(token) = caller.token.as_ref().filter(|token| !token.effects.contains(&effect)) {
            call.notes.rule = Some(format!("token {}: deny", token.name));
            return Err(Error::denied(format!(
                "`{tool}` ({effect}) is not among the effects of the token `{}`; one made with `skynetctl token create --effect {effect}` would allow it",
                token.name
            )));
        }
        let who = Who::of(caller);
        let facts = Facts::now(&who, &call.tool, effect, call.input.as_ref());
        let strongest = self.strongest(&facts);
        let verdict = strongest.first().map_or_else(|| default_for(effect), |first| first.rule.verdict);
        let rule = strongest
            .first()
            .map_or_else(|| format!("default for {effect}"), |first| first.rule.name.clone());
        let lends = |one: &Compiled| one.rule.lend.is_some() && one.matches(&facts);
        let has_lent_engine = facts.input.is_some() && self.rules.iter().any(lends);
        let denied = (verdict == Verdict::Deny).then(|| {
            Error::denied(format!(
                "`{tool}` ({effect}) is denied to `{}` by the rule `{rule}`; an administrator can exempt it by {}",
                who.user,
                change::exemption(&strongest, &facts)
            ))
        });
        let asked_by = (verdict == Verdict::Ask && facts.input.is_some()).then(|| {
            let remedy = if strongest.is_empty() {
                format!("a rule with `verdict = \"allow\"` for tool `{tool}` and effect `{effect}`")
            } else {
                change::exemption(&strongest, &facts)
            };
            let names = strongest.iter().map(|compiled| compiled.rule.name.clone());
            let rules = if strongest.is_empty() { vec![rule.clone()] } else { names.collect() };
            let is_grantable = strongest.iter().all(|compiled| compiled.rule.grantable);
            AskedBy { rules, remedy, is_grantable }
        });
        call.notes.rule = Some(format!("{rule}: {verdict}"));
        call.asked_by = asked_by;
        call.has_lent_engine = has_lent_engine;
        denied.map_or(Ok(verdict), Err)
    }

    /// Judges what a call starts, if it starts anything and a list of commands applies to it. `verdict` is that of the rules;
    /// returns what holds after both.
    ///
    /// # Errors
    /// `Denied` by an entry or for want of one, `InvalidInput` if the input names nothing to start.
    pub(crate) fn judge_command(
        &self,
        call: &mut Call,
        input: &Canonical,
        verdict: Verdict,
    ) -> Result<Verdict> {
        if self.commands.is_empty() {
            return Ok(verdict);
        }
        let Some(command) = call.tool.command_of(input)? else { return Ok(verdict) };
        let Some(judged) = self.judge_one(call, &command, verdict, Part::Itself)? else { return Ok(verdict) };
        let verdict = verdict.max(judged.verdict);
        call.program = judged.program;
        call.is_listed = true;
        let Some(before) = call.tool.command_before(input)? else { return Ok(verdict) };
        let Some(judged) = self.judge_one(call, &before, verdict, Part::Before)? else { return Ok(verdict) };
        call.program_before = judged.program;
        Ok(verdict.max(judged.verdict))
    }

    /// Holds a command that a call starts against the lists; `None` where none applies.
    fn judge_one(
        &self,
        call: &mut Call,
        command: &CommandLine,
        verdict: Verdict,
        part: Part,
    ) -> Result<Option<Judgement>> {
        let who = Who::of(&call.caller);
        let Some(judged) = self.commands.judge(&who, command) else { return Ok(None) };
        let is_decisive = match part {
            Part::Itself => judged.verdict >= verdict,
            Part::Before => judged.verdict > verdict,
        };
        let denied = (judged.verdict == Verdict::Deny).then(|| denied_command(&judged, &who, call.tool.name));
        if is_decisive {
            call.notes.rule = Some(format!("{}: {}", judged.rule, judged.verdict));
        }
        match judged.verdict {
            Verdict::Deny | Verdict::Allow => {}
            Verdict::Ask => {
                let remedy = "an entry of `policy.commands` with `verdict = \"allow\"` that covers this command, where none asks,";
                // What could be any file is looked at by a human each time; so is what a grant does not name.
                let is_grantable = judged.is_grantable && judged.program.is_some() && part == Part::Itself;
                let rules = vec![judged.rule.clone()];
                call.ask_by(AskedBy { rules, remedy: remedy.into(), is_grantable });
            }
        }
        denied.map_or(Ok(Some(judged)), Err)
    }

    /// Says what would happen with a call of `tool` at that time.
    ///
    /// # Errors
    /// `InvalidInput` as the tool says it.
    pub fn explain(
        &self,
        who: &Who<'_>,
        tool: &Entry,
        input: &Canonical,
        at: Timestamp,
    ) -> Result<Explanation> {
        let facts = Facts { at, ..Facts::now(who, tool, tool.effect_of(input)?, Some(input)) };
        let command = tool.command_of(input)?;
        let starts_something = command.is_some();
        let Decision { verdict, rule, .. } = self.decide(&facts);
        let judge = |command: CommandLine| self.commands.judge(who, &command);
        let judged = command.and_then(judge);
        let before = tool.command_before(input)?.and_then(judge);
        // The stricter of the two decides, and explains.
        let judged = match (judged, before) {
            (Some(judged), Some(before)) if before.verdict > judged.verdict => Some(before),
            (judged, _) => judged,
        };
        let strongest = self.strongest(&facts);
        let must_ask = tool.must_ask(input, None)?;
        let is_denied =
            verdict == Verdict::Deny || judged.as_ref().is_some_and(|judged| judged.verdict == Verdict::Deny);
        if let Some(why) = must_ask.filter(|_| !is_denied) {
            return Ok(Explanation {
                verdict: Verdict::Ask,
                rule: format!("always asked, as it {why}"),
                program: judged.and_then(|judged| judged.program),
                why: Some("no rule and no grant allows such a call without a human".into()),
                grant: None,
                change: None,
            });
        }
        Ok(match judged {
            Some(judged) if judged.verdict >= verdict => Explanation {
                verdict: judged.verdict,
                rule: judged.rule,
                program: judged.program,
                why: judged.why,
                grant: judged.grant.map(|grant| grant.to_toml()),
                change: None,
            },
            judged => {
                let why = (starts_something && judged.is_none())
                    .then(|| "no list of commands applies here, so effects alone decide".to_owned());
                let is_refused = verdict != Verdict::Allow;
                Explanation {
                    verdict,
                    rule,
                    program: judged.and_then(|judged| judged.program),
                    why,
                    grant: (is_refused && strongest.is_empty()).then(|| change::grant(&facts)),
                    change: (is_refused && !strongest.is_empty())
                        .then(|| change::exemption(&strongest, &facts)),
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

/// Which command of a call is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What it is for.
    Itself,
    /// What it looks at first.
    Before,
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
#[path = "rules_tests.rs"]
mod tests;
