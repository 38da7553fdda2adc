//! Tables of cron(8): what a line of them means, and when it runs next.

use croner::Cron;
use jiff::{Zoned, tz::TimeZone};
use std::str::FromStr as _;

/// Whether lines name the user that they run as (crontab(5)).
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Of the system: the sixth field.
    System,
    /// Of one user.
    User,
}

/// A line that runs something.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: usize,
    /// Five fields, or one that begins with `@`.
    pub(crate) schedule: String,
    /// As whom, if the line says so.
    pub(crate) user: Option<String>,
    /// What is run.
    pub(crate) command: String,
    /// In which zone the fields are meant, if the table says so.
    pub(crate) zone: Option<String>,
}

/// The lines of a table that run something, and the numbers of those that mean nothing.
pub(crate) fn parse(text: &str, kind: Kind) -> (Vec<Line>, Vec<usize>) {
    let (mut lines, mut wrong, mut zone) = (Vec::new(), Vec::new(), None);
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(value) = setting(line, "CRON_TZ") {
            zone = (!value.is_empty()).then(|| value.to_owned());
        } else if is_setting(line) {
            // Of the environment of what is run.
        } else if let Some((schedule, user, command)) = split(line, kind) {
            lines.push(Line { number, schedule, user, command, zone: zone.clone() });
        } else {
            wrong.push(number);
        }
    }
    (lines, wrong)
}

fn is_setting(line: &str) -> bool {
    let name = line.split_once('=').map(|(name, _)| name.trim_end());
    name.is_some_and(|name| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || "_\"'".contains(first))
            && !name.contains(char::is_whitespace)
    })
}

fn setting<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    let (name, value) = line.split_once('=')?;
    (name.trim() == wanted).then(|| value.trim().trim_matches(['"', '\'']))
}

fn split(line: &str, kind: Kind) -> Option<(String, Option<String>, String)> {
    // Some crons have their log told nothing by it.
    let line = line.strip_prefix('-').unwrap_or(line);
    let mut rest = line;
    let mut field = || {
        rest = rest.trim_start();
        let end = rest.find(char::is_whitespace)?;
        let (found, after) = rest.split_at(end);
        rest = after;
        Some(found)
    };
    let schedule = if line.starts_with('@') {
        field()?.to_owned()
    } else {
        (0..5).map(|_| field()).collect::<Option<Vec<_>>>()?.join(" ")
    };
    let user = if kind == Kind::System { Some(field()?.to_owned()) } else { None };
    let command = rest.trim().to_owned();
    (!command.is_empty() && (schedule == "@reboot" || Cron::from_str(&schedule).is_ok()))
        .then_some((schedule, user, command))
}

/// When a schedule is due after `now`; never for what waits for a start of the host, or for a day that no month has.
pub(crate) fn next(schedule: &str, zone: Option<&str>, now: &Zoned) -> Option<Zoned> {
    let now = match zone {
        Some(zone) => now.with_time_zone(TimeZone::get(zone).ok()?),
        None => now.clone(),
    };
    Cron::from_str(schedule).ok()?.find_next_occurrence(&now, false).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn lines_are_told_from_settings_and_from_what_means_nothing() {
        let table = "# a comment\nSHELL=/bin/sh\nMAILTO = \"\"\n25 6 * * *\troot  cd / && x=1 run\nCRON_TZ=Asia/Tokyo\n@daily ann backup\n* * * * root\n61 * * * * root x\n@reboot root up\n";
        let line = |number, schedule: &str, user: &str, command: &str, zone: Option<&str>| Line {
            number,
            schedule: schedule.into(),
            user: Some(user.into()),
            command: command.into(),
            zone: zone.map(str::to_owned),
        };
        let expected = vec![
            line(4, "25 6 * * *", "root", "cd / && x=1 run", None),
            line(6, "@daily", "ann", "backup", Some("Asia/Tokyo")),
            line(9, "@reboot", "root", "up", Some("Asia/Tokyo")),
        ];
        assert_eq!(parse(table, Kind::System), (expected, vec![7, 8]));
        let (lines, wrong) = parse("*/5 * * * 1-5 a=1 b", Kind::User);
        assert_eq!((&*lines[0].command, &lines[0].user, wrong.len()), ("a=1 b", &None, 0));
    }

    #[test]
    fn the_next_run_is_that_of_the_zone() {
        let now = at("2026-03-28T23:30:00+01:00[Europe/Paris]");
        for (schedule, zone, expected) in [
            ("25 6 * * *", None, Some("2026-03-29T06:25:00+02:00[Europe/Paris]")),
            ("0 12 * * 1", None, Some("2026-03-30T12:00:00+02:00[Europe/Paris]")),
            // A day of the month or one of the week (crontab(5)).
            ("0 0 1 * 1", None, Some("2026-03-30T00:00:00+02:00[Europe/Paris]")),
            ("0 9 * * *", Some("Asia/Tokyo"), Some("2026-03-29T09:00:00+09:00[Asia/Tokyo]")),
            ("@hourly", None, Some("2026-03-29T00:00:00+01:00[Europe/Paris]")),
            ("@reboot", None, None),
            ("0 0 30 2 *", None, None),
        ] {
            assert_eq!(next(schedule, zone, &now), expected.map(at), "{schedule}");
        }
    }
}
