//! Lists what runs by itself at set times: tables of cron, its directories, timers of systemd.

use crate::{
    crontab::{self, Kind as Table},
    logins, process,
    systemd::{self, Scope},
};
use jiff::Zoned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// The table of the system.
const CRONTAB: &str = "/etc/crontab";

/// More of them.
const TABLES: &str = "/etc/cron.d";

/// Directories whose programs run that often, if a line of a table or anacron(8) says so.
const DIRECTORIES: [&str; 5] =
    ["/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly", "/etc/cron.yearly"];

/// Where the tables of users are, by name: Debian, Red Hat, SUSE, Alpine.
const OF_USERS: [&str; 4] =
    ["/var/spool/cron/crontabs", "/var/spool/cron", "/var/spool/cron/tabs", "/etc/crontabs"];

/// Programs without which no table starts anything.
const DAEMONS: [&str; 5] = ["cron", "crond", "fcron", "dcron", "bcron-start"];

/// Commands are cut there.
const LONGEST_COMMAND: usize = 300;

pub(crate) struct SystemListSchedules;

/// What starts something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// A line of a table of cron.
    Cron,
    /// A program in a directory such as /etc/cron.daily.
    CronDirectory,
    /// A line of anacron's table.
    Anacron,
    /// A timer of systemd.
    Timer,
}

const fn default_limit() -> u32 {
    200
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Only what is started so.
    #[serde(default)]
    kind: Option<Kind>,
    /// Only where the source or the command contains this, in any case.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    name: Option<String>,
    /// Most to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 2000))]
    limit: u32,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Scheduled {
    /// What starts it: `cron`, `cron_directory`, `anacron` or `timer`.
    kind: Kind,
    /// The file, with the number of the line, or the timer.
    source: String,
    /// When, as it is written there.
    schedule: String,
    /// As whom it runs; for a timer, whose manager starts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// What is run, or the unit that is started, cut after 300 characters; what looks like a secret's value is masked.
    command: String,
    /// When next, RFC 3339, UTC; absent if that is not known before it happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// When last, which only timers tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The next one first.
    schedules: Vec<Scheduled>,
    /// How many match, returned or not.
    total: usize,
    /// What could not be read, and what will not run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Tool for SystemListSchedules {
    const NAME: &'static str = "system_list_schedules";
    const SUMMARY: &'static str = "List all that runs by itself at set times, with the next run: cron tables, cron.daily and the like, anacron, and timers of systemd.";
    const KEYWORDS: &'static str = "cron crontab cronjob anacron schedule scheduled job periodic nightly daily hourly at what time automatic | tâche planifiée programmée cron crontab automatique heure nuit quotidienne périodique prochaine";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, input: Input) -> Result<Output> {
        let mut found = Found { schedules: Vec::new(), notes: Vec::new(), now: Zoned::now() };
        let is_wanted = |kind| input.kind.is_none_or(|wanted| wanted == kind);
        if is_wanted(Kind::Cron) || is_wanted(Kind::CronDirectory) || is_wanted(Kind::Anacron) {
            found.look_at_cron();
        }
        if is_wanted(Kind::Timer) {
            found.look_at_timers(Scope::System).await;
            found.look_at_timers(Scope::User).await;
        }
        let Found { mut schedules, notes, .. } = found;
        let needle = input.name.map(|name| name.to_lowercase());
        schedules.retain(|one| {
            let has = |needle| {
                one.source.to_lowercase().contains(needle) || one.command.to_lowercase().contains(needle)
            };
            is_wanted(one.kind) && needle.as_deref().is_none_or(has)
        });
        schedules.sort_by(|a, b| {
            (a.next.is_none(), &a.next, &a.source).cmp(&(b.next.is_none(), &b.next, &b.source))
        });
        let total = schedules.len();
        schedules.truncate(input.limit as usize);
        Ok(Output { schedules, total, notes })
    }
}

/// What was found so far.
struct Found {
    schedules: Vec<Scheduled>,
    notes: Vec<String>,
    now: Zoned,
}

impl Found {
    fn look_at_cron(&mut self) {
        self.table(Path::new(CRONTAB), Table::System, None);
        for name in self.names(TABLES) {
            self.table(&Path::new(TABLES).join(name), Table::System, None);
        }
        let you = logins::own_name();
        for directory in OF_USERS {
            self.table(&Path::new(directory).join(&you), Table::User, Some(&you));
        }
        DIRECTORIES.iter().for_each(|directory| self.directory(directory));
        self.anacron();
        let is_idle = || {
            let all = process::all().unwrap_or_default();
            !all.iter().any(|seen| DAEMONS.contains(&&*seen.shown.name))
        };
        if self.schedules.iter().any(|one| one.kind != Kind::Timer) && is_idle() {
            self.notes.push(
                "no cron daemon runs on this host: its tables start nothing, whatever `next` says".into(),
            );
        }
    }

    /// The text of a file; `None` after a note if it is there and cannot be read.
    fn read(&mut self, path: &Path) -> Option<String> {
        match fs::read(path) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(err) => {
                self.note(path, &err);
                None
            }
        }
    }

    fn note(&mut self, path: &Path, err: &io::Error) {
        let path = path.display();
        match err.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {}
            ErrorKind::PermissionDenied
                if OF_USERS.iter().any(|place| path.to_string().starts_with(place)) =>
            {
                self.notes.push(format!(
                    "whether there is a `{path}` is hidden: only the program `crontab` may look there; `crontab -l` in a terminal tells"
                ));
            }
            ErrorKind::PermissionDenied => self.notes.push(format!("`{path}` may not be read by you")),
            _ => self.notes.push(format!("`{path}` cannot be read: {err}")),
        }
    }

    /// The names in a directory that cron heeds: letters, digits, `_` and `-` (cron(8), run-parts(8)).
    fn names(&mut self, directory: &str) -> Vec<String> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(err) => {
                self.note(Path::new(directory), &err);
                return Vec::new();
            }
        };
        let is_fit =
            |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(is_fit).collect();
        names.sort();
        names
    }

    fn table(&mut self, path: &Path, kind: Table, user: Option<&str>) {
        let Some(text) = self.read(path) else { return };
        let (lines, wrong) = crontab::parse(&text, kind);
        if let Some(first) = wrong.first() {
            self.notes.push(format!("`{}`: line {first} means nothing to cron", path.display()));
        }
        for line in lines {
            let next = crontab::next(&line.schedule, line.zone.as_deref(), &self.now);
            let zone = line.zone.map(|zone| format!(" ({zone})")).unwrap_or_default();
            self.schedules.push(Scheduled {
                kind: Kind::Cron,
                source: format!("{}:{}", path.display(), line.number),
                schedule: line.schedule + &zone,
                user: line.user.or_else(|| user.map(str::to_owned)),
                command: shown(&line.command),
                next: next.map(|next| next.timestamp().to_string()),
                last: None,
            });
        }
    }

    /// Programs that run when the line of a table that names their directory does.
    fn directory(&mut self, directory: &str) {
        let names_it = |one: &&Scheduled| {
            one.command.split([' ', ';', ')', '\t']).any(|word| word.trim_end_matches('/') == directory)
        };
        let (schedule, user, next) = match self.schedules.iter().find(names_it) {
            Some(line) => {
                (format!("{} ({})", line.schedule, line.source), line.user.clone(), line.next.clone())
            }
            None => ("by anacron, or never".to_owned(), None, None),
        };
        for name in self.names(directory) {
            let path = format!("{directory}/{name}");
            let is_program = fs::metadata(&path)
                .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
            if is_program {
                self.schedules.push(Scheduled {
                    kind: Kind::CronDirectory,
                    source: path.clone(),
                    schedule: schedule.clone(),
                    user: user.clone(),
                    command: path,
                    next: next.clone(),
                    last: None,
                });
            }
        }
    }

    /// anacrontab(5): days, minutes of delay, a name, a command.
    fn anacron(&mut self) {
        let path = Path::new("/etc/anacrontab");
        let Some(text) = self.read(path) else { return };
        for (number, line) in (1..).zip(text.lines()) {
            let mut fields = line.split_whitespace();
            let (Some(period), Some(delay), Some(_)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let is_period = period.starts_with('@') || period.parse::<u32>().is_ok();
            if is_period && delay.parse::<u32>().is_ok() {
                self.schedules.push(Scheduled {
                    kind: Kind::Anacron,
                    source: format!("{}:{number}", path.display()),
                    schedule: if period.starts_with('@') {
                        period.into()
                    } else {
                        format!("every {period} days")
                    },
                    user: Some("root".into()),
                    command: shown(&fields.collect::<Vec<_>>().join(" ")),
                    next: None,
                    last: None,
                });
            }
        }
    }

    async fn look_at_timers(&mut self, scope: Scope) {
        let timers = match systemd::timers(scope).await {
            Ok(timers) => timers,
            // Most users have no manager of their own.
            Err(_) if scope == Scope::User => return,
            Err(err) => return self.notes.push(err.message.into_owned()),
        };
        let user = if scope == Scope::User { logins::own_name() } else { "root".into() };
        self.schedules.extend(timers.into_iter().map(|timer| Scheduled {
            kind: Kind::Timer,
            source: timer.name,
            schedule: timer.schedule,
            user: Some(user.clone()),
            command: timer.starts,
            next: timer.next,
            last: timer.last,
        }));
    }
}

fn shown(command: &str) -> String {
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    process::masked(&words).chars().take(LONGEST_COMMAND).collect()
}
