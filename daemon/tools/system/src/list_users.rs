//! Lists the users and groups of the host, and who is logged in.

use crate::{
    logins::{self, LastLogins, Session},
    program,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::{collections::HashMap, fs, ops::RangeInclusive};

pub(crate) struct SystemListUsers;

const fn default_limit() -> u32 {
    200
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only users, groups and sessions whose name contains this, in any case; digits alone are a uid or gid.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    name: Option<String>,
    /// Also accounts that belong to services; they are always searched when `name` is given.
    #[serde(default)]
    with_system: bool,
    /// Only who is logged in now.
    #[serde(default)]
    sessions_only: bool,
    /// Most users and most groups to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 5000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
struct User {
    /// Login name.
    name: String,
    /// Number of the user.
    uid: u32,
    /// Number of the primary group.
    gid: u32,
    /// Full name and what else is noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    /// Home directory.
    home: String,
    /// Program that a login starts.
    shell: String,
    /// Whether that program lets anybody in.
    can_log_in: bool,
    /// Names of all groups, the primary one first.
    groups: Vec<String>,
    /// Last login, RFC 3339, UTC; absent if there was none, or nobody notes it on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_login: Option<String>,
}

#[derive(Clone, Serialize, JsonSchema)]
struct Group {
    /// Its name.
    name: String,
    /// Its number.
    gid: u32,
    /// Who is in it, besides those whose primary group it is.
    members: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// By number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    users: Vec<User>,
    /// By number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<Group>,
    /// Who is logged in, by name.
    sessions: Vec<Session>,
    /// How many users match, returned or not.
    total_users: usize,
    /// The user Skynet works as here.
    you: String,
    /// What could not be found out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Tool for SystemListUsers {
    const NAME: &'static str = "system_list_users";
    const SUMMARY: &'static str = "List the users and groups of this host with their numbers, shells, memberships and last login, and who is logged in now; like getent, who and id.";
    const KEYWORDS: &'static str = "user account group member uid gid passwd who logged in login session last sudo shell machine home getent id w | utilisateur compte groupe membre connecté qui machine session connexion dernière appartient droits";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let (mut sessions, note) = logins::sessions().await;
        let notes = note.into_iter().collect();
        let wanted = Wanted::new(&input);
        sessions.retain(|session| wanted.has_name(&session.user));
        let you = logins::own_name();
        if input.sessions_only {
            return Ok(Output {
                users: Vec::new(),
                groups: Vec::new(),
                sessions,
                total_users: 0,
                you,
                notes,
            });
        }
        let mut groups = groups(&database(ctx, "group").await?);
        let mut users = users(&database(ctx, "passwd").await?, &groups);
        users.retain(|user| wanted.is(&user.name, user.uid));
        groups.retain(|group| {
            wanted.is(&group.name, group.gid) || (input.name.is_none() && !group.members.is_empty())
        });
        let total_users = users.len();
        users.sort_by_key(|user| user.uid);
        groups.sort_by_key(|group| group.gid);
        users.truncate(input.limit as usize);
        groups.truncate(input.limit as usize);
        let last = LastLogins::open();
        for user in &mut users {
            user.last_login = last.of(user.uid);
        }
        Ok(Output { users, groups, sessions, total_users, you, notes })
    }
}

/// All that the host knows: getent(1) also asks the directories it is connected to, where they let themselves be listed.
async fn database(ctx: &CallCtx, name: &str) -> Result<String> {
    match program::ask(ctx, "getent", &[name]).await {
        Ok(printed) if printed.status.success() => Ok(printed.stdout),
        Ok(_) | Err(Error { kind: skynet_core::ErrorKind::Unavailable, .. }) => {
            fs::read_to_string(format!("/etc/{name}"))
                .map_err(|err| Error::unavailable(format!("`/etc/{name}` cannot be read")).with_source(err))
        }
        Err(err) => Err(err),
    }
}

/// Which entries are asked for.
struct Wanted {
    needle: Option<String>,
    number: Option<u32>,
    with_system: bool,
    of_people: RangeInclusive<u32>,
}

impl Wanted {
    fn new(input: &Input) -> Self {
        Self {
            needle: input.name.as_ref().map(|name| name.to_lowercase()),
            number: input.name.as_ref().and_then(|name| name.parse().ok()),
            with_system: input.with_system,
            of_people: of_people(&fs::read_to_string("/etc/login.defs").unwrap_or_default()),
        }
    }

    fn has_name(&self, name: &str) -> bool {
        self.needle.as_ref().is_none_or(|needle| name.to_lowercase().contains(needle))
    }

    fn is(&self, name: &str, number: u32) -> bool {
        match (&self.needle, self.number) {
            (_, Some(wanted)) => number == wanted,
            (Some(_), None) => self.has_name(name),
            // Root is nobody's service.
            (None, None) => self.with_system || number == 0 || self.of_people.contains(&number),
        }
    }
}

/// The numbers of those who are no service (login.defs(5)).
fn of_people(settings: &str) -> RangeInclusive<u32> {
    let value = |name: &str| {
        let mut lines = settings.lines().filter_map(|line| line.trim().strip_prefix(name));
        lines.find_map(|rest| rest.starts_with([' ', '\t']).then(|| rest.trim().parse().ok())?)
    };
    value("UID_MIN").unwrap_or(1000)..=value("UID_MAX").unwrap_or(60000)
}

fn groups(text: &str) -> Vec<Group> {
    let group = |line: &str| {
        let [name, _, gid, members] = line.split(':').collect::<Vec<_>>().try_into().ok()?;
        let members = members.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect();
        Some(Group { name: name.to_owned(), gid: gid.parse().ok()?, members })
    };
    text.lines().filter_map(group).collect()
}

fn users(text: &str, groups: &[Group]) -> Vec<User> {
    let mut memberships: HashMap<&str, Vec<&str>> = HashMap::new();
    for group in groups {
        for member in &group.members {
            memberships.entry(member).or_default().push(&group.name);
        }
    }
    let names: HashMap<u32, &str> = groups.iter().map(|group| (group.gid, &*group.name)).collect();
    let user = |line: &str| {
        let [name, _, uid, gid, comment, home, shell] =
            line.split(':').collect::<Vec<_>>().try_into().ok()?;
        let gid = gid.parse().ok()?;
        let primary = names.get(&gid).copied();
        let others = memberships.get(name).into_iter().flatten().copied();
        let others = others.filter(|group| Some(*group) != primary);
        let comment = comment.trim_end_matches(',');
        Some(User {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            gid,
            comment: (!comment.is_empty()).then(|| comment.to_owned()),
            home: home.to_owned(),
            can_log_in: !["nologin", "false", "sync", "shutdown", "halt"]
                .contains(&shell.rsplit('/').next().unwrap_or(shell)),
            // An empty field means this one (passwd(5)).
            shell: if shell.is_empty() { "/bin/sh".to_owned() } else { shell.to_owned() },
            groups: primary.into_iter().chain(others).map(str::to_owned).collect(),
            last_login: None,
        })
    };
    text.lines().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_start_with_the_primary_group() {
        let groups = groups("root:x:0:\nann:x:1000:\nadm:x:4:ann,bob\nann2:x:5:ann\nbad line\n");
        let users = users("ann:x:1000:1000:Ann,,,:/home/ann:\nd:x:1:9:d:/:/usr/sbin/nologin\nbad\n", &groups);
        let shown = serde_json::to_value(&users).unwrap();
        let ann = serde_json::json!({ "name": "ann", "uid": 1000, "gid": 1000, "comment": "Ann", "home": "/home/ann", "shell": "/bin/sh", "can_log_in": true, "groups": ["ann", "adm", "ann2"] });
        let service = serde_json::json!({ "name": "d", "uid": 1, "gid": 9, "comment": "d", "home": "/", "shell": "/usr/sbin/nologin", "can_log_in": false, "groups": [] });
        assert_eq!(shown, serde_json::json!([ann, service]));
    }

    #[test]
    fn who_is_no_service_is_written_in_login_defs() {
        assert_eq!(of_people("# UID_MIN 1\nUID_MIN\t\t 500\nUID_MAX 599\nUID_MIN_X 3"), 500..=599);
        assert_eq!(of_people(""), 1000..=60000);
    }
}
