//! Which limits hold for whom. All that name a user do, so the strictest decides, and their order decides nothing.

use super::{
    account::Cap,
    limits::{CALLS_PER_MINUTE, CONCURRENT_CALLS, Limit, Limits, Resource, Window},
};
use crate::{
    commands::Who,
    rules::{Role, Roles, find_role, is_in, is_user},
};
use skynet_core::{Error, JobLimit, Result, registry::nearest};
use std::{collections::BTreeSet, num::NonZeroU32};

/// All limits, ready to be held against a user.
#[derive(Clone)]
pub struct Plan {
    concurrent_calls: NonZeroU32,
    entries: Vec<Entry>,
    /// Those that some limit counts in.
    windows: Vec<Window>,
}

#[derive(Clone)]
struct Entry {
    limit: Limit,
    roles: Vec<Role>,
    caps: Vec<Cap>,
}

/// What holds for one user.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding<'a> {
    pub(super) caps: Vec<&'a Cap>,
    /// The strictest.
    pub(super) jobs: Option<JobLimit>,
    /// The strictest, with its name.
    pub(super) kept_bytes: Option<(u64, &'a str)>,
}

impl Plan {
    /// Looks at all limits.
    ///
    /// # Errors
    /// `InvalidInput` naming the limit and what is wrong in it: what makes no sense, a role that there is not, a name that
    /// another one has.
    pub fn new(limits: &Limits, roles: &Roles) -> Result<Self> {
        let mut entries = Vec::new();
        if let Some(calls) = limits.calls_per_minute {
            let name = CALLS_PER_MINUTE.to_owned();
            let (window, calls) = (Some(Window::Minute), Some(calls.into()));
            entries.push(Entry::new(Limit { name, window, calls, ..Limit::default() }, Vec::new()));
        }
        let mut names = BTreeSet::new();
        for limit in &limits.limits {
            let wrong = |what: String| Error::invalid_input(format!("limit `{}`: {what}", limit.name));
            if let Some(fault) = limit.fault() {
                return Err(Error::invalid_input(fault));
            }
            if !names.insert(&limit.name) {
                return Err(wrong("there are two of that name".into()));
            }
            let held = limit.roles.iter().map(|name| find_role(name, roles).map_err(wrong));
            let held = held.collect::<Result<_>>()?;
            entries.push(Entry::new(limit.clone(), held));
        }
        let windows: BTreeSet<_> =
            entries.iter().flat_map(|entry| &entry.caps).map(|cap| cap.window).collect();
        Ok(Self {
            concurrent_calls: limits.concurrent_calls,
            entries,
            windows: windows.into_iter().collect(),
        })
    }

    pub(super) const fn concurrent_calls(&self) -> NonZeroU32 {
        self.concurrent_calls
    }

    /// How many are configured by name.
    pub(super) fn named(&self) -> usize {
        self.entries.iter().filter(|entry| entry.limit.name != CALLS_PER_MINUTE).count()
    }

    /// That of all calls in a minute.
    pub(super) fn calls_per_minute(&self) -> Option<u64> {
        let entry = self.entries.iter().find(|entry| entry.limit.name == CALLS_PER_MINUTE)?;
        entry.limit.calls.map(Into::into)
    }

    pub(super) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Whether anything but calls is counted.
    pub(super) fn counts_usage(&self) -> bool {
        self.entries.iter().flat_map(|entry| &entry.caps).any(|cap| cap.resource != Resource::Calls)
    }

    /// What holds for that user.
    pub(super) fn holding(&self, who: &Who<'_>) -> Holding<'_> {
        let mut holding = Holding::default();
        for entry in self.entries.iter().filter(|entry| entry.is_for(who)) {
            holding.caps.extend(&entry.caps);
            if let Some(most) = entry.limit.concurrent_jobs
                && holding
                    .jobs
                    .as_ref()
                    .is_none_or(|jobs| (most, &*entry.limit.name) < (jobs.most, &*jobs.name))
            {
                holding.jobs = Some(JobLimit { most, name: entry.limit.name.as_str().into() });
            }
            if let Some(most) = entry.limit.kept_bytes {
                let this = (most.get(), entry.limit.name.as_str());
                holding.kept_bytes = Some(holding.kept_bytes.map_or(this, |strictest| strictest.min(this)));
            }
        }
        holding
    }

    /// The window of the limit of that name.
    ///
    /// # Errors
    /// `NotFound` where there is none, `InvalidInput` where it counts nothing.
    pub(super) fn window_of(&self, name: &str) -> Result<Window> {
        let nothing = || {
            Error::invalid_input(format!(
                "`{name}` counts nothing that could be reset: it is about what there is at the same time"
            ))
        };
        if name == CONCURRENT_CALLS {
            return Err(nothing());
        }
        let found = self.entries.iter().find(|entry| entry.limit.name == name);
        let Some(entry) = found else {
            let names = self.entries.iter().map(|entry| entry.limit.name.as_str());
            return Err(Error::not_found(match nearest(names, name).first() {
                Some(known) => format!("there is no limit `{name}`; did you mean `{known}`?"),
                None => format!("there is no limit `{name}`; `skynetctl quota show` lists them"),
            }));
        };
        entry.limit.window.ok_or_else(nothing)
    }
}

impl Entry {
    fn new(limit: Limit, roles: Vec<Role>) -> Self {
        let cap = |resource| {
            let (window, most) = (limit.window?, limit.most(resource)?.get());
            Some(Cap { name: limit.name.as_str().into(), window, resource, most })
        };
        let caps = Resource::ALL.into_iter().filter_map(cap).collect();
        Self { caps, limit, roles }
    }

    fn is_for(&self, who: &Who<'_>) -> bool {
        let Limit { users, groups, roles, .. } = &self.limit;
        if users.is_empty() && groups.is_empty() && roles.is_empty() {
            return true;
        }
        let uid = who.uid.to_string();
        (users.is_empty() || is_user(users, who.user, &uid))
            && (groups.is_empty() || is_in(groups, who.groups))
            && (roles.is_empty() || self.roles.iter().any(|role| role.is_of(who.user, &uid, who.groups)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_core::Group;
    use std::path::Path;

    fn plan(text: &str) -> Result<Plan> {
        let roles = Roles::from([(
            "helpers".to_owned(),
            Role { users: vec!["bob".into()], groups: vec!["interns".into()] },
        )]);
        Plan::new(&toml::from_str(text).unwrap(), &roles)
    }

    fn names(plan: &Plan, user: &str, uid: u32, group: &str) -> Vec<String> {
        let groups = [Group { gid: 50, name: group.into() }];
        let who = Who { user, uid, groups: &groups, home: Path::new("/"), workspace: None };
        let caps = plan.holding(&who).caps;
        caps.iter().map(|cap| format!("{} {}", cap.name, cap.resource.as_str())).collect()
    }

    #[test]
    fn a_limit_is_for_those_it_names() {
        let plan = plan(
            "calls_per_minute = 9
            [[limits]]\nname = 'all'\nwindow = '1h'\ncalls = 5\nwritten_bytes = 6
            [[limits]]\nname = 'ann'\nusers = ['ann', '1007']\nwindow = '1h'\ncalls = 5
            [[limits]]\nname = 'by group'\ngroups = ['interns', '50']\nwindow = '1h'\ncalls = 5
            [[limits]]\nname = 'by role'\nroles = ['helpers']\nwindow = '1h'\ncalls = 5
            [[limits]]\nname = 'both'\nusers = ['ann']\ngroups = ['interns']\nwindow = '1h'\ncalls = 5",
        )
        .unwrap();
        let all = ["calls_per_minute calls", "all calls", "all written_bytes"];
        for (user, uid, group, more) in [
            ("ann", 1, "staff", vec!["ann calls", "by group calls"]),
            ("eve", 1007, "interns", vec!["ann calls", "by group calls", "by role calls"]),
            ("bob", 3, "staff", vec!["by group calls", "by role calls"]),
            ("ann", 1, "interns", vec!["ann calls", "by group calls", "by role calls", "both calls"]),
        ] {
            assert_eq!(names(&plan, user, uid, group), [&all[..], &more[..]].concat(), "{user} {group}");
        }
        assert_eq!(plan.windows(), [Window::Minute, Window::Hour]);
        assert!(plan.counts_usage());
        assert_eq!((plan.named(), plan.calls_per_minute()), (5, Some(9)));
    }

    #[test]
    fn of_what_there_is_at_once_the_strictest_holds() {
        let entries = [
            "[[limits]]\nname = 'a'\nconcurrent_jobs = 4\nkept_bytes = 10\n",
            "[[limits]]\nname = 'b'\nconcurrent_jobs = 2\nkept_bytes = 30\n",
            "[[limits]]\nname = 'c'\nusers = ['other']\nconcurrent_jobs = 1\nkept_bytes = 1\n",
        ];
        let who = Who { user: "ann", uid: 1, groups: &[], home: Path::new("/"), workspace: None };
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let plan = plan(&order.map(|place| entries[place]).concat()).unwrap();
            let holding = plan.holding(&who);
            let jobs = holding.jobs.unwrap();
            assert_eq!((jobs.most.get(), &*jobs.name), (2, "b"));
            assert_eq!(holding.kept_bytes, Some((10, "a")));
            assert!(plan.windows().is_empty() && !plan.counts_usage());
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_name() {
        let entry = "[[limits]]\nname = 'a'\nwindow = '1h'\ncalls = 5\n";
        for (text, part) in [
            (format!("{entry}{entry}"), "limit `a`: there are two of that name"),
            (
                format!("{entry}roles = ['helper']\n"),
                "limit `a`: there is no role `helper`; did you mean `helpers`?",
            ),
        ] {
            let err = plan(&text).err().unwrap().to_string();
            assert!(err.contains(part), "{err}");
        }
        let plan = plan(&format!("{entry}[[limits]]\nname = 'jobs'\nconcurrent_jobs = 1\n")).unwrap();
        assert_eq!(plan.window_of("a").unwrap(), Window::Hour);
        for (name, part) in [
            ("jobs", "counts nothing"),
            ("concurrent_calls", "counts nothing"),
            ("job", "did you mean `jobs`?"),
        ] {
            let err = plan.window_of(name).unwrap_err().to_string();
            assert!(err.contains(part), "{name}: {err}");
        }
        let none = self::plan("").unwrap().window_of("a").unwrap_err().to_string();
        assert!(none.contains("`skynetctl quota show`"), "{none}");
    }
}
