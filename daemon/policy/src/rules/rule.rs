//! One rule of `policy.rules` as an administrator writes it, and the roles it can name.

use super::{
    Verdict,
    hours::Hours,
    matcher::{Matcher, one_or_many},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use skynet_core::{Effect, Group};
use std::collections::BTreeMap;

/// One rule, as written in the configuration. An empty list matches everything; all that is not empty must match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Shown in denials and in the audit log.
    pub name: String,
    /// What to do with the calls it matches.
    pub verdict: Verdict,
    /// User names or uids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Names of groups or gids: one that the user is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Names of `policy.roles`: one that the user has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Tool names, with `*` and `?`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Toolsets, or families: the part of a tool's name before the first `_`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Effects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
    /// Globs of workspaces; `~` is the caller's home. A caller without a workspace is in none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<String>,
    /// Times of the week.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "times")]
    pub hours: Vec<Hours>,
    /// Where `hours` are told, like `Europe/Paris`; the zone of the host if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// By the name of an argument, with dots for what is inside of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, Matcher>,
    /// What those calls are done with that the caller himself may not use. Only for rules that allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lend: Option<Lend>,
    /// Whether who is asked by this rule may answer for all such calls to come.
    #[serde(default = "grantable", skip_serializing_if = "is_grantable")]
    pub grantable: bool,
}

impl Rule {
    /// One that matches everything.
    #[must_use]
    pub fn new(name: impl Into<String>, verdict: Verdict) -> Self {
        Self {
            name: name.into(),
            verdict,
            users: Vec::new(),
            groups: Vec::new(),
            roles: Vec::new(),
            tools: Vec::new(),
            families: Vec::new(),
            effects: Vec::new(),
            workspaces: Vec::new(),
            hours: Vec::new(),
            timezone: None,
            arguments: BTreeMap::new(),
            lend: None,
            grantable: true,
        }
    }
}

/// What an administrator lends for single calls to who may not use it himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lend {
    /// The container engine.
    Engine,
}

/// What holds for a rule that does not say.
pub(crate) const fn grantable() -> bool {
    true
}

// By reference, because serde hands it over so.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) const fn is_grantable(grantable: &bool) -> bool {
    *grantable
}

/// Somebody's part, under one name for many rules: whoever is among the users or in one of the groups has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Role {
    /// User names or uids.
    pub users: Vec<String>,
    /// Names of groups or gids.
    pub groups: Vec<String>,
}

/// All roles, by name.
pub type Roles = BTreeMap<String, Role>;

impl Role {
    /// Whether that user has it.
    pub(crate) fn is_of(&self, user: &str, uid: &str, groups: &[Group]) -> bool {
        is_user(&self.users, user, uid) || is_in(&self.groups, groups)
    }
}

/// Whether a list names the user, by name or number.
pub(crate) fn is_user(list: &[String], user: &str, uid: &str) -> bool {
    list.iter().any(|name| name == user || name == uid)
}

/// Whether a list names one of the groups, by name or number.
pub(crate) fn is_in(list: &[String], groups: &[Group]) -> bool {
    list.iter().any(|name| {
        let gid = name.parse::<u32>().ok();
        groups.iter().any(|group| *group.name == **name || gid == Some(group.gid))
    })
}

/// One text or a list of them, each a time of the week.
pub(crate) fn times<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hours>, D::Error> {
    let texts = one_or_many(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}
