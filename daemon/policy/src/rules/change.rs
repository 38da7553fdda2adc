//! The smallest change of the configuration that would allow a call: in words for what a rule forbids, as a rule to paste for
//! what none allows. It shows names of arguments and never their values, which may be secret.

use super::{Facts, Rule, compiled::Compiled, rule::is_in};
use crate::commands::quote;
use std::fmt::Write as _;

/// In words, for all the rules that stand in the way.
pub(super) fn exemption(rules: &[&Compiled], facts: &Facts<'_>) -> String {
    let changes: Vec<_> = rules.iter().map(|compiled| one(compiled, facts)).collect();
    changes.join(", and ")
}

fn one(compiled: &Compiled, facts: &Facts<'_>) -> String {
    let rule = &compiled.rule;
    let who = facts.who;
    let uid = who.uid.to_string();
    let meant = |list: &[String], is_meant: &dyn Fn(&String) -> bool| -> Vec<String> {
        list.iter().filter(|name| is_meant(name)).cloned().collect()
    };
    let family = facts.tool.split('_').next().unwrap_or(facts.tool);
    let lists = [
        ("users", &rule.users, meant(&rule.users, &|name| *name == who.user || *name == uid)),
        ("groups", &rule.groups, meant(&rule.groups, &|name| is_in(std::slice::from_ref(name), who.groups))),
        ("tools", &rule.tools, meant(&rule.tools, &|name| name == facts.tool)),
        ("families", &rule.families, meant(&rule.families, &|name| name == facts.toolset || name == family)),
    ];
    for (field, list, meant) in lists {
        // What is left of a list of one would be an empty list, which matches everything. And a pattern besides the name
        // would match on.
        let is_only_reason =
            field != "tools" || !list.iter().any(|pattern| pattern.contains(['*', '?', '[', '{']));
        if let ([name], true, true) = (meant.as_slice(), list.len() > 1, is_only_reason) {
            return format!("taking `{name}` out of `{field}` of the rule `{}`", rule.name);
        }
    }
    let mut text = format!(
        "narrowing the rule `{}`, so that it does not match user `{}`, tool `{}`, effect `{}`",
        rule.name, who.user, facts.tool, facts.effect
    );
    if !rule.arguments.is_empty() {
        let names: Vec<_> = rule.arguments.keys().map(|name| format!("`{name}`")).collect();
        // Writing to a String cannot fail.
        let _ = write!(text, ", or this value of {}", names.join(" and "));
    }
    if !rule.hours.is_empty() {
        let hours: Vec<_> = rule.hours.iter().map(ToString::to_string).collect();
        // As above.
        let _ = write!(text, ", or by waiting: it holds `{}`", hours.join("`, `"));
    }
    text
}

/// A rule that would allow calls like this one, as TOML, where no rule asks or denies.
pub(super) fn grant(facts: &Facts<'_>) -> String {
    let who = facts.who;
    let mut rule = Rule::new(format!("{} for {}", facts.tool, who.user), super::Verdict::Allow);
    rule.users = vec![who.user.to_owned()];
    rule.tools = vec![facts.tool.to_owned()];
    rule.effects = vec![facts.effect];
    let workspace = who.workspace.and_then(|workspace| workspace.path().to_str());
    rule.workspaces = workspace.map(globset::escape).into_iter().collect();
    let list = |list: &[String]| {
        let quoted: Vec<_> = list.iter().map(|text| quote(text)).collect();
        format!("[{}]", quoted.join(", "))
    };
    let mut text = format!("[[policy.rules]]\nname = {}\nverdict = \"allow\"\n", quote(&rule.name));
    for (field, values) in [("users", &rule.users), ("workspaces", &rule.workspaces), ("tools", &rule.tools)]
    {
        if !values.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{field} = {}", list(values));
        }
    }
    // As above.
    let _ = writeln!(text, "effects = [\"{}\"]", facts.effect);
    text
}
