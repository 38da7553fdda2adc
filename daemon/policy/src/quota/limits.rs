//! The limits as an administrator writes them. What cannot be meant is refused when it is read; nothing is counted here.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64},
};

/// The limit of calls in a minute, which has no name of its own.
pub(super) const CALLS_PER_MINUTE: &str = "calls_per_minute";

/// The limit of calls at the same time, which has no name of its own.
pub(super) const CONCURRENT_CALLS: &str = "concurrent_calls";

/// Limits of users.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls that each user may start in one minute of the clock; unlimited if absent.
    pub calls_per_minute: Option<NonZeroU32>,
    /// Calls of each user that may run at the same time.
    pub concurrent_calls: NonZeroU32,
    /// More of them, each for those it names. All that are for a user hold.
    #[serde(deserialize_with = "checked", skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_minute: None,
            concurrent_calls: NonZeroU32::MIN.saturating_add(511),
            limits: Vec::new(),
        }
    }
}

/// One entry of `quota.limits`. It is for everybody, unless it names somebody: then all that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Shown in refusals, and named to reset it.
    pub name: String,
    /// User names or uids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Names of groups or gids: one that the user is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Names of `policy.roles`: one that the user has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// For how long `calls`, `cpu_seconds`, `answer_bytes` and `written_bytes` are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Calls that may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<NonZeroU64>,
    /// Processor time of commands and of background jobs that have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<NonZeroU64>,
    /// Answers, as they are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_bytes: Option<NonZeroU64>,
    /// Files that calls leave with another content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<NonZeroU64>,
    /// Background jobs that may run at the same time, whatever the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_jobs: Option<NonZeroU32>,
    /// Before-images, previews and long results that are kept, whatever the window; the oldest go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_bytes: Option<NonZeroU64>,
}

/// How long is counted before it begins anew. Windows follow the clock, not the first call in them: each begins at a whole
/// multiple of its length since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Window {
    /// A minute.
    #[serde(rename = "1m")]
    Minute,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
    /// A day of UTC.
    #[serde(rename = "1d")]
    Day,
    /// Thirty days.
    #[serde(rename = "30d")]
    ThirtyDays,
}

impl Window {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::ThirtyDays];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
            Self::ThirtyDays => "30d",
        }
    }

    /// Its length.
    pub(super) const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 24 * 3600,
            Self::ThirtyDays => 30 * 24 * 3600,
        }
    }

    /// When the one began in which `now` is, both in seconds since 1970.
    pub(super) const fn start(self, now: i64) -> i64 {
        now.div_euclid(self.seconds()).saturating_mul(self.seconds())
    }
}

/// What is counted in windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resource {
    Calls,
    Cpu,
    AnswerBytes,
    WrittenBytes,
}

impl Resource {
    pub(super) const ALL: [Self; 4] = [Self::Calls, Self::Cpu, Self::AnswerBytes, Self::WrittenBytes];

    /// As it is written.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Cpu => "cpu_seconds",
            Self::AnswerBytes => "answer_bytes",
            Self::WrittenBytes => "written_bytes",
        }
    }

    /// How many of what is counted are one of what is written: processor time is counted in microseconds.
    pub(super) const fn scale(self) -> u64 {
        match self {
            Self::Cpu => 1_000_000,
            Self::Calls | Self::AnswerBytes | Self::WrittenBytes => 1,
        }
    }
}

impl Limit {
    /// How much of it there may be in the window.
    pub(super) const fn most(&self, resource: Resource) -> Option<NonZeroU64> {
        match resource {
            Resource::Calls => self.calls,
            Resource::Cpu => self.cpu_seconds,
            Resource::AnswerBytes => self.answer_bytes,
            Resource::WrittenBytes => self.written_bytes,
        }
    }

    /// What makes no sense in it.
    pub(super) fn fault(&self) -> Option<String> {
        let name = &self.name;
        if name.trim().is_empty() {
            return Some("a limit needs a `name` by which it is known".into());
        }
        if [CALLS_PER_MINUTE, CONCURRENT_CALLS].contains(&name.as_str()) {
            return Some(format!("`{name}` is the name of a limit that is always there"));
        }
        let counted = Resource::ALL.into_iter().find(|resource| self.most(*resource).is_some());
        match (self.window, counted) {
            (None, Some(resource)) => Some(format!(
                "the limit `{name}` has `{}` and no `window`; give `1m`, `1h`, `1d` or `30d`",
                resource.as_str()
            )),
            (Some(_), None) => Some(format!(
                "the limit `{name}` has a `window` and nothing in it: give `calls`, `cpu_seconds`, `answer_bytes` or `written_bytes`"
            )),
            (None, None) if self.concurrent_jobs.is_none() && self.kept_bytes.is_none() => Some(format!(
                "the limit `{name}` limits nothing: give a `window` with `calls`, `cpu_seconds`, `answer_bytes` or `written_bytes`, or `concurrent_jobs` or `kept_bytes`"
            )),
            _ => None,
        }
    }
}

/// One that was looked at.
struct Checked(Limit);

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Any and not a table, because only what fails within it is told with its place.
        deserializer.deserialize_any(LimitVisitor)
    }
}

struct LimitVisitor;

impl<'de> Visitor<'de> for LimitVisitor {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a limit: a table with a `name`")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Checked, A::Error> {
        let limit = Limit::deserialize(MapAccessDeserializer::new(map))?;
        limit.fault().map_or(Ok(Checked(limit)), |fault| Err(A::Error::custom(fault)))
    }
}

fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Limit>, D::Error> {
    let limits = Vec::<Checked>::deserialize(deserializer)?;
    Ok(limits.into_iter().map(|Checked(limit)| limit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_what_makes_no_sense_is_told_with_its_place() {
        let read = |text: &str| toml::from_str::<Limits>(text);
        let limits = read(
            "calls_per_minute = 5\n[[limits]]\nname = 'all'\nwindow = '1h'\ncalls = 10\ncpu_seconds = 60\n[[limits]]\nname = 'jobs'\ngroups = ['interns']\nconcurrent_jobs = 2\nkept_bytes = 1000\n",
        )
        .unwrap();
        assert_eq!(limits.limits[0].most(Resource::Cpu), NonZeroU64::new(60));
        assert_eq!((limits.limits[1].window, limits.limits[1].groups.len()), (None, 1));
        let again = toml::to_string(&limits).unwrap();
        assert_eq!(read(&again).unwrap().limits, limits.limits);

        for (entry, part) in [
            ("name = ' '\nwindow = '1h'\ncalls = 1", "needs a `name`"),
            ("name = 'concurrent_calls'\nwindow = '1h'\ncalls = 1", "is always there"),
            ("name = 'a'\ncalls = 1", "`a` has `calls` and no `window`"),
            ("name = 'a'\nwindow = '1d'\nkept_bytes = 1", "a `window` and nothing in it"),
            ("name = 'a'", "limits nothing"),
            ("name = 'a'\nwindow = '2h'\ncalls = 1", "unknown variant `2h`, expected one of `1m`"),
            ("name = 'a'\nwindow = '1h'\ncalls = 0", "nonzero"),
            ("name = 'a'\nwindow = '1h'\ncalls = -1", "-1"),
            ("name = 'a'\nwindow = '1h'\ncall = 1", "unknown field `call`, expected one of"),
            ("window = '1h'\ncalls = 1", "missing field `name`"),
        ] {
            let text = format!("calls_per_minute = 5\n\n[[limits]]\n{entry}\n");
            let err = read(&text).unwrap_err();
            assert!(err.message().contains(part), "{entry}: {err}");
            // Within the entry, and not at the beginning of the file.
            let line = text[..err.span().unwrap().start].matches('\n').count() + 1;
            assert!(line >= 3, "{entry}: line {line}");
        }
        assert!(read("limits = [3]").unwrap_err().message().contains("a limit: a table with a `name`"));
    }

    #[test]
    fn windows_begin_at_whole_multiples_of_their_length() {
        let day = 24 * 3600;
        for (window, now, start) in [
            (Window::Minute, 59, 0),
            (Window::Minute, 60, 60),
            (Window::Hour, 7199, 3600),
            (Window::Day, 3 * day + 5, 3 * day),
            (Window::ThirtyDays, 59 * day, 30 * day),
            (Window::Minute, -1, -60),
        ] {
            assert_eq!(window.start(now), start, "{window:?} {now}");
        }
    }
}
