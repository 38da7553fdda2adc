//! Which units a process is in: systemd makes a control group for each, named after it.

/// Whether a process is in that unit, or in one of its.
pub(crate) fn sits_in(process: u32, unit: &str) -> bool {
    // A process that is gone is in none.
    let groups = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    units(&groups).any(|name| name == unit)
}

/// The units that cgroups(7), "/proc/pid/cgroup", names: every part of the path in the one hierarchy that has all, or in systemd's own.
fn units(groups: &str) -> impl Iterator<Item = &str> {
    let path = |line| {
        let mut fields = str::splitn(line, 3, ':').skip(1);
        let is_systemds = ["", "name=systemd"].contains(&fields.next()?);
        fields.next().filter(|_| is_systemds)
    };
    let paths = groups.lines().filter_map(path);
    // A name that could be a file of the kernel's begins with `_` (systemd, CGROUP_DELEGATION).
    paths
        .flat_map(|path| path.split('/'))
        .map(|part| part.strip_prefix('_').unwrap_or(part))
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_units_around_a_process_are_named() {
        for (groups, expected) in [
            ("0::/system.slice/agent.service\n", vec!["system.slice", "agent.service"]),
            (
                "12:cpu:/elsewhere.service\n1:name=systemd:/user.slice/user-7.slice/user@7.service/app.slice/a.service\n0::/\n",
                vec!["user.slice", "user-7.slice", "user@7.service", "app.slice", "a.service"],
            ),
            ("0::/system.slice/_cgroup.service", vec!["system.slice", "cgroup.service"]),
            ("", vec![]),
            ("nonsense", vec![]),
        ] {
            assert_eq!(units(groups).collect::<Vec<_>>(), expected, "{groups}");
        }
    }
}
