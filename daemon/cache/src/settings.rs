//! What an administrator says: `[cache]`.

use crate::{Error, Result};
use redis::{ConnectionInfo, IntoConnectionInfo as _};
use serde::{Deserialize, Serialize};
use skynet_core::Kind;
use std::{fs, num::NonZeroU64, path::PathBuf, time::Duration};

/// A longer time than anybody can mean, in seconds.
const LONGEST_SECONDS: u32 = 3600;

/// A password is no longer.
const LONGEST_PASSWORD: u64 = 16 << 10;

/// Where answers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// In the memory of the daemon.
    #[default]
    Embedded,
    /// In a Redis, sealed.
    Redis,
    /// Nowhere.
    Off,
}

impl Backend {
    /// As the configuration names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis => "redis",
            Self::Off => "off",
        }
    }
}

/// Where answers are kept, and for how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `embedded`, `redis` or `off`.
    pub backend: Backend,
    /// Of all answers that are kept in memory; those that nobody asked for longest go first.
    pub max_bytes: NonZeroU64,
    /// The Redis, like `redis://127.0.0.1:6379/0` or `unix:///run/redis/redis.sock`, without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Who logs in at the Redis; its default user if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file with the password of the Redis; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// How long an answer of a kind may be given again.
    pub ttl_seconds: Seconds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            max_bytes: NonZeroU64::MIN.saturating_add((16 << 20) - 1),
            url: None,
            username: None,
            password_file: None,
            ttl_seconds: Seconds::default(),
        }
    }
}

/// Seconds by kind; with 0 an answer of that kind is made anew each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Seconds {
    /// Containers and compose projects.
    pub containers: u32,
    /// Images.
    pub images: u32,
    /// Networks of the engine.
    pub networks: u32,
    /// Volumes of the engine.
    pub volumes: u32,
    /// Units of systemd.
    pub units: u32,
    /// Packages of the host.
    pub packages: u32,
}

impl Default for Seconds {
    fn default() -> Self {
        // What people change by hand is asked for again before they can wonder, even where no event tells of it. For packages
        // files are looked at each time.
        Self { containers: 2, images: 2, networks: 2, volumes: 2, units: 2, packages: 300 }
    }
}

impl Seconds {
    const fn of(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Containers => self.containers,
            Kind::Images => self.images,
            Kind::Networks => self.networks,
            Kind::Volumes => self.volumes,
            Kind::Units => self.units,
            Kind::Packages => self.packages,
        }
    }
}

impl Settings {
    /// How long answers of that kind may be given again; `None` for not at all.
    #[must_use]
    pub fn lifetime(&self, kind: Kind) -> Option<Duration> {
        let seconds = self.ttl_seconds.of(kind);
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// Says what is wrong, as far as that can be said without reading a file or asking the Redis.
    ///
    /// # Errors
    /// `Settings`.
    pub fn check(&self) -> Result<()> {
        let too_long = Kind::ALL.iter().find(|kind| self.ttl_seconds.of(**kind) > LONGEST_SECONDS);
        if let Some(kind) = too_long {
            return wrong(&format!(
                "`ttl_seconds.{}` is {}; at most {LONGEST_SECONDS} make sense",
                kind.as_str(),
                self.ttl_seconds.of(*kind)
            ));
        }
        match self.backend {
            Backend::Redis => self.address().map(drop),
            Backend::Embedded | Backend::Off => {
                let named = [
                    ("url", self.url.is_some()),
                    ("username", self.username.is_some()),
                    ("password_file", self.password_file.is_some()),
                ];
                match named.iter().find(|(_, is_said)| *is_said) {
                    Some((key, _)) => wrong(&format!(
                        "`{key}` is about a Redis, and `backend` is `{}`; write `backend = \"redis\"` or leave it out",
                        self.backend.as_str()
                    )),
                    None => Ok(()),
                }
            }
        }
    }

    fn address(&self) -> Result<ConnectionInfo> {
        let Some(url) = &self.url else {
            return wrong("`backend = \"redis\"` needs its `url`, like `redis://127.0.0.1:6379/0`");
        };
        // What is wrong with it is said without it: somebody may have written a password into it.
        let is_known = url.starts_with("redis://") || url.starts_with("unix://");
        let Some(info) = url.as_str().into_connection_info().ok().filter(|_| is_known) else {
            return wrong(
                "`url` is none of a Redis; write one like `redis://127.0.0.1:6379/0` or `unix:///run/redis/redis.sock`",
            );
        };
        if info.redis_settings().password().is_some() || info.redis_settings().username().is_some() {
            return wrong(
                "`url` holds a user or a password; name the user by `username` and a file by `password_file`",
            );
        }
        Ok(info)
    }

    /// Where the Redis is and how to log in.
    ///
    /// # Errors
    /// As [`Settings::check`], and when the password cannot be read.
    pub(crate) fn connection(&self) -> Result<ConnectionInfo> {
        let info = self.address()?;
        let mut login = info.redis_settings().clone();
        if let Some(username) = &self.username {
            login = login.set_username(username);
        }
        if let Some(file) = &self.password_file {
            let unreadable =
                |why: String| Error(format!("`cache.password_file`: `{}`: {why}", file.display()));
            let size = fs::metadata(file).map_err(|err| unreadable(err.to_string()))?.len();
            if size > LONGEST_PASSWORD {
                return Err(unreadable(format!("has {size} bytes; a password is one line")));
            }
            let text = fs::read_to_string(file).map_err(|err| unreadable(err.to_string()))?;
            let password = text.trim();
            if password.is_empty() {
                return Err(unreadable(
                    "is empty; leave the key out for a Redis without a password".to_owned(),
                ));
            }
            login = login.set_password(password);
        }
        Ok(info.set_redis_settings(login))
    }
}

fn wrong<T>(reason: &str) -> Result<T> {
    Err(Error(format!("`cache`: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> std::result::Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(|err| err.to_string())?;
        settings.check().map_err(|err| err.to_string())?;
        Ok(settings)
    }

    #[test]
    fn times_are_by_kind() {
        let settings = check("[ttl_seconds]\ncontainers = 7\nunits = 0\n").unwrap();
        assert_eq!(settings.lifetime(Kind::Containers), Some(Duration::from_secs(7)));
        assert_eq!(settings.lifetime(Kind::Units), None);
        assert_eq!(settings.lifetime(Kind::Packages), Some(Duration::from_secs(300)));
        assert!(check("[ttl_seconds]\ncontainer = 7\n").unwrap_err().contains("`containers`"));
        assert!(
            check("[ttl_seconds]\nimages = 3601\n").unwrap_err().contains("`ttl_seconds.images` is 3601")
        );
    }

    #[test]
    fn a_redis_is_named_as_one_and_its_password_is_in_a_file() {
        for (text, part) in [
            ("backend = 'redis'", "needs its `url`"),
            ("backend = 'redis'\nurl = 'http://127.0.0.1'", "none of a Redis"),
            ("backend = 'redis'\nurl = 'rediss://cache.example.org'", "none of a Redis"),
            ("backend = 'redis'\nurl = 'redis://:hunter2@127.0.0.1'", "`password_file`"),
            ("url = 'redis://127.0.0.1'", "is about a Redis"),
            ("backend = 'memcached'", "unknown variant"),
        ] {
            let err = check(text).unwrap_err();
            assert!(err.contains(part) && !err.contains("hunter2"), "{text}: {err}");
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        let text = format!(
            "backend = 'redis'\nurl = 'unix:///run/redis.sock'\npassword_file = '{}'\n",
            file.display()
        );
        let settings = check(&text).unwrap();
        assert!(settings.connection().unwrap_err().to_string().contains("`cache.password_file`"));
        fs::write(&file, "hunter2\n").unwrap();
        assert_eq!(settings.connection().unwrap().redis_settings().password(), Some("hunter2"));
    }
}
