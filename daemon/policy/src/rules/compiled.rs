//! One rule, ready to be held against a call.

use super::{
    Facts, Role, Roles, Rule, Verdict,
    argument::{Argument, Reading},
    rule::{is_in, is_user},
};
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::{Timestamp, tz::TimeZone};
use skynet_core::{Error, Result, registry::nearest};
use std::path::Path;

pub(super) struct Compiled {
    pub(super) rule: Rule,
    roles: Vec<Role>,
    tools: GlobSet,
    /// Of the absolute path.
    workspaces: GlobSet,
    /// Of what comes after the home of the caller.
    workspaces_at_home: GlobSet,
    zone: Option<TimeZone>,
    pub(super) arguments: Vec<Argument>,
}

impl Compiled {
    /// # Errors
    /// `InvalidInput` naming the rule and what is wrong in it.
    pub(super) fn new(rule: Rule, roles: &Roles) -> Result<Self> {
        let wrong = |what: String| Error::invalid_input(format!("rule `{}`: {what}", rule.name));
        let held =
            rule.roles.iter().map(|name| find_role(name, roles).map_err(wrong)).collect::<Result<_>>()?;
        let mut tools = GlobSetBuilder::new();
        for pattern in &rule.tools {
            let glob = Glob::new(pattern)
                .map_err(|err| wrong(format!("tool pattern `{pattern}`: {}", err.kind())))?;
            tools.add(glob);
        }
        let (mut workspaces, mut at_home) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in &rule.workspaces {
            let (set, rest) = match pattern.strip_prefix('~') {
                Some(rest) => (&mut at_home, rest),
                None => (&mut workspaces, pattern.as_str()),
            };
            if pattern.starts_with('~') && !rest.is_empty() && !rest.starts_with('/') {
                return Err(wrong(format!(
                    "`{pattern}` in `workspaces`: `~` is the caller's home, and nobody else's"
                )));
            }
            let glob = GlobBuilder::new(rest).literal_separator(true).build();
            set.add(glob.map_err(|err| wrong(format!("`{pattern}` in `workspaces`: {}", err.kind())))?);
        }
        if rule.timezone.is_some() && rule.hours.is_empty() {
            return Err(wrong("`timezone` belongs to `hours`".into()));
        }
        if !rule.grantable && rule.verdict != Verdict::Ask {
            return Err(wrong("`grantable = false` belongs to a rule that asks".into()));
        }
        let zone = rule.timezone.as_deref().map(|name| {
            TimeZone::get(name).map_err(|_| {
                wrong(format!("this host knows no time zone `{name}`; write it like `Europe/Paris` or `UTC`"))
            })
        });
        let reading = if rule.verdict == Verdict::Allow { Reading::Strict } else { Reading::Loose };
        let arguments = rule.arguments.iter();
        let arguments =
            arguments.map(|(name, matcher)| Argument::new(name, matcher.clone(), reading).map_err(wrong));
        let built = |set: GlobSetBuilder| set.build().map_err(|err| wrong(err.to_string()));
        Ok(Self {
            roles: held,
            tools: built(tools)?,
            workspaces: built(workspaces)?,
            workspaces_at_home: built(at_home)?,
            zone: zone.transpose()?,
            arguments: arguments.collect::<Result<_>>()?,
            rule,
        })
    }

    /// Whether the rule decides about a call. One about arguments does not before they are known.
    pub(super) fn matches(&self, facts: &Facts<'_>) -> bool {
        self.matches_but_for_arguments(facts) && self.arguments_match(facts)
    }

    /// Whether the rule keeps from calls of this kind with some arguments.
    pub(super) fn could_refuse(&self, facts: &Facts<'_>) -> bool {
        self.rule.verdict != Verdict::Allow && self.matches_but_for_arguments(facts)
    }

    fn matches_but_for_arguments(&self, facts: &Facts<'_>) -> bool {
        self.is_of(facts)
            && self.is_about(facts)
            && (self.rule.effects.is_empty() || self.rule.effects.contains(&facts.effect))
            && self.is_in_workspace(facts)
            && self.is_time(facts.at)
    }

    /// Whether the rule is about the tool, or keeps from the work of another that the call does as well.
    fn is_about(&self, facts: &Facts<'_>) -> bool {
        let keeps = self.rule.verdict != Verdict::Allow;
        self.is_about_tool(facts.tool, facts.toolset)
            || keeps && facts.also.iter().any(|tool| self.is_about_tool(tool, ""))
    }

    /// Whether the rule is about a tool at all.
    pub(super) fn is_about_tool(&self, tool: &str, toolset: &str) -> bool {
        let families = &self.rule.families;
        let family = tool.split('_').next().unwrap_or(tool);
        (self.rule.tools.is_empty() || self.tools.is_match(tool))
            && (families.is_empty() || families.iter().any(|name| name == family || name == toolset))
    }

    fn is_of(&self, facts: &Facts<'_>) -> bool {
        let (rule, who) = (&self.rule, facts.who);
        let uid = who.uid.to_string();
        (rule.users.is_empty() || is_user(&rule.users, who.user, &uid))
            && (rule.groups.is_empty() || is_in(&rule.groups, who.groups))
            && (rule.roles.is_empty() || self.roles.iter().any(|role| role.is_of(who.user, &uid, who.groups)))
    }

    fn is_in_workspace(&self, facts: &Facts<'_>) -> bool {
        if self.rule.workspaces.is_empty() {
            return true;
        }
        let Some(path) = facts.who.workspace.map(skynet_core::Workspace::path) else { return false };
        if self.workspaces.is_match(path) {
            return true;
        }
        path.strip_prefix(facts.who.home).is_ok_and(|below| {
            let below = if below == Path::new("") { below.to_owned() } else { Path::new("/").join(below) };
            self.workspaces_at_home.is_match(below)
        })
    }

    fn is_time(&self, at: Timestamp) -> bool {
        if self.rule.hours.is_empty() {
            return true;
        }
        let now = at.to_zoned(self.zone.clone().unwrap_or_else(TimeZone::system));
        let day = u8::try_from(now.weekday().to_monday_zero_offset()).unwrap_or_default();
        let minute = u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or_default();
        self.rule.hours.iter().any(|hours| hours.contains(day, minute))
    }

    fn arguments_match(&self, facts: &Facts<'_>) -> bool {
        let Some(input) = facts.input else { return self.arguments.is_empty() };
        self.arguments
            .iter()
            .all(|argument| argument.matches(input.members(), facts.schema, facts.who.workspace, facts.paths))
    }
}

/// The role of that name.
///
/// # Errors
/// In words, which there is instead.
pub(crate) fn find_role(name: &str, roles: &Roles) -> std::result::Result<Role, String> {
    let Some(role) = roles.get(name) else {
        let known = nearest(roles.keys().map(String::as_str), name);
        return Err(match known.first() {
            Some(known) => format!("there is no role `{name}`; did you mean `{known}`?"),
            None => format!("there is no role `{name}`; make it with `[policy.roles.{name}]`"),
        });
    };
    Ok(role.clone())
}
