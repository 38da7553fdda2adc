//! The bus on which a manager of units answers, and the values that it tells by name.

mod manager;

pub use manager::{Change, Listed, ManagerProxy};

use rustix::time::ClockId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{Error, ErrorKind, Result};
use std::collections::HashMap;
use zbus::{
    Connection, connection,
    fdo::PropertiesProxy,
    names::InterfaceName,
    zvariant::{OwnedObjectPath, OwnedValue},
};

/// Whose units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those of the host.
    #[default]
    System,
    /// The caller's own.
    User,
}

/// A connection, and the manager behind it.
pub struct Bus {
    connection: Connection,
    /// Its units and jobs.
    pub manager: ManagerProxy<'static>,
}

impl Bus {
    /// Connects as the caller.
    ///
    /// # Errors
    /// `Unavailable` where no systemd answers.
    pub async fn connect(scope: Scope) -> Result<Self> {
        let connected = match scope {
            Scope::System => Connection::system().await,
            Scope::User => {
                let address = format!("unix:path=/run/user/{}/bus", rustix::process::getuid().as_raw());
                match connection::Builder::address(&*address) {
                    Ok(builder) => builder.build().await,
                    Err(err) => Err(err),
                }
            }
        };
        let absent = |err| {
            let what = match scope {
                Scope::System => "no systemd answers on the bus of this host",
                Scope::User => {
                    "no systemd of yours runs here: it does while you are logged in, or always after `loginctl enable-linger`"
                }
            };
            Error::unavailable(what).with_source(err)
        };
        let connection = connected.map_err(absent)?;
        let manager = ManagerProxy::new(&connection).await.map_err(absent)?;
        Ok(Self { connection, manager })
    }

    /// All properties of an interface of a unit, such as `Unit` or `Service`.
    ///
    /// # Errors
    /// What [`explain`] makes of the bus's.
    pub async fn properties(
        &self,
        unit: &OwnedObjectPath,
        interface: &str,
    ) -> Result<HashMap<String, OwnedValue>> {
        let interface = format!("org.freedesktop.systemd1.{interface}");
        let all = all_of(&self.connection, "org.freedesktop.systemd1", unit, &interface).await;
        all.map(|all| all.0).map_err(|err| explain(err, "its properties"))
    }

    /// The units of which one may have been meant, those spelled most alike first.
    pub async fn similar(&self, name: &str) -> Vec<String> {
        /// As many as an error shows.
        const MOST: usize = 3;
        let units = self.manager.list_units_by_patterns(&[], &[]).await.unwrap_or_default();
        let names = units.iter().map(|unit| unit.0.as_str());
        skynet_core::registry::nearest(names, name).into_iter().take(MOST).map(str::to_owned).collect()
    }
}

/// All properties of an interface of an object on the bus.
pub(crate) async fn all_of(
    connection: &Connection,
    service: &str,
    path: &OwnedObjectPath,
    interface: &str,
) -> zbus::Result<Properties> {
    let builder = PropertiesProxy::builder(connection).destination(service.to_owned())?.path(path.clone())?;
    let interface = InterfaceName::try_from(interface.to_owned())?;
    Ok(Properties(builder.build().await?.get_all(interface).await?))
}

/// What starts a unit when its time comes.
#[derive(Serialize, JsonSchema)]
pub struct Timer {
    /// Such as `logrotate.timer`.
    pub name: String,
    /// What it starts.
    pub starts: String,
    /// When next, RFC 3339, UTC; absent if never, or counted from something that did not happen yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// `active` if it counts.
    pub active: String,
    /// By what it counts, as its file says.
    #[serde(skip)]
    pub schedule: String,
}

/// All timers that are loaded, the next one first.
///
/// # Errors
/// Those of [`Bus::connect`], and what [`explain`] makes of the bus's.
pub async fn timers(scope: Scope) -> Result<Vec<Timer>> {
    let bus = Bus::connect(scope).await?;
    let listed = bus.manager.list_units_by_patterns(&[], &["*.timer"]).await;
    let mut timers = Vec::new();
    for (name, _, _, active, _, _, path, ..) in listed.map_err(|err| explain(err, "its timers"))? {
        let timer = Properties(bus.properties(&path, "Timer").await?);
        timers.push(Timer {
            name,
            starts: timer.text("Unit").unwrap_or_default(),
            next: next_elapse(&timer).and_then(time),
            last: timer.time("LastTriggerUSec"),
            active,
            schedule: schedule(&timer),
        });
    }
    timers.sort_by(|one, other| {
        (one.next.is_none(), &one.next, &one.name).cmp(&(other.next.is_none(), &other.next, &other.name))
    });
    Ok(timers)
}

/// In microseconds since 1970: the earlier one of its calendar and of what it counts from other events, which systemd
/// tells in microseconds since the host started.
fn next_elapse(timer: &Properties) -> Option<u64> {
    let calendar = timer.number("NextElapseUSecRealtime").filter(|at| *at > 0);
    let counted = timer.number("NextElapseUSecMonotonic").filter(|at| *at > 0).map(|at| {
        let microseconds = |clock| {
            let now = rustix::time::clock_gettime(clock);
            u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1000).unwrap_or(0)
        };
        let started = microseconds(ClockId::Realtime).saturating_sub(microseconds(ClockId::Monotonic));
        started.saturating_add(at)
    });
    calendar.into_iter().chain(counted).min()
}

/// `OnCalendar=*-*-* 03:00:00; OnBootSec=15min` (org.freedesktop.systemd1(5), `TimersCalendar` and `TimersMonotonic`).
fn schedule(timer: &Properties) -> String {
    let value = |name: &str| timer.0.get(name).and_then(|value| value.try_clone().ok());
    let calendar =
        value("TimersCalendar").and_then(|value| Vec::<(String, String, u64)>::try_from(value).ok());
    let counted = value("TimersMonotonic").and_then(|value| Vec::<(String, u64, u64)>::try_from(value).ok());
    let calendar = calendar.unwrap_or_default().into_iter().map(|(base, text, _)| format!("{base}={text}"));
    // What the bus calls `OnBootUSec` is written `OnBootSec=` in files.
    let counted = counted.unwrap_or_default().into_iter().map(|(base, after, _)| {
        let base = base.strip_suffix("USec").map_or(base.clone(), |base| format!("{base}Sec"));
        format!("{base}={}s", after / 1_000_000)
    });
    calendar.chain(counted).collect::<Vec<_>>().join("; ")
}

/// What the bus says, in words that tell what would work; `what` was asked for.
#[must_use]
pub fn explain(err: zbus::Error, what: &str) -> Error {
    explain_action(err, what, "org.freedesktop.systemd1.manage-units` or `manage-unit-files")
}

/// The same of what polkit lets pass as `action`.
#[must_use]
pub fn explain_action(err: zbus::Error, what: &str, action: &str) -> Error {
    let zbus::Error::MethodError(name, message, _) = &err else {
        return Error::unavailable(format!("systemd did not answer when asked for {what}")).with_source(err);
    };
    let said = message.clone().unwrap_or_else(|| name.to_string());
    let kind = match name.as_str() {
        "org.freedesktop.systemd1.NoSuchUnit"
        | "org.freedesktop.systemd1.NoSuchUnitFile"
        | "org.freedesktop.DBus.Error.FileNotFound" => ErrorKind::NotFound,
        "org.freedesktop.DBus.Error.AccessDenied"
        | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => {
            return Error::denied(format!(
                "you may not do that on this host ({said}); an administrator can let you by a polkit rule for `{action}`"
            ))
            .with_source(err);
        }
        "org.freedesktop.systemd1.UnitMasked" | "org.freedesktop.systemd1.TransactionIsDestructive" => {
            ErrorKind::Conflict
        }
        _ => ErrorKind::InvalidInput,
    };
    Error::new(kind, format!("systemd refused {what}: {said}")).with_source(err)
}

/// What systemd says for "not counted" (org.freedesktop.systemd1(5), resource properties).
const NOT_COUNTED: u64 = u64::MAX;

/// The properties of a unit.
pub struct Properties(pub HashMap<String, OwnedValue>);

impl Properties {
    /// A text that says something.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let value = <&str>::try_from(self.0.get(name)?).ok()?;
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Several, none where there is nothing.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        let value = self.0.get(name).and_then(|value| value.try_clone().ok());
        value.and_then(|value| Vec::<String>::try_from(value).ok()).unwrap_or_default()
    }

    /// A number, of any width, that was counted.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        u64::try_from(value)
            .or_else(|_| u32::try_from(value).map(u64::from))
            .ok()
            .filter(|value| *value != NOT_COUNTED)
    }

    /// A number below zero is one too.
    #[must_use]
    pub fn signed(&self, name: &str) -> Option<i32> {
        i32::try_from(self.0.get(name)?).ok()
    }

    /// Whether something is said to be so.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| bool::try_from(value).unwrap_or(false))
    }

    /// A time in RFC 3339, UTC, from microseconds since 1970; 0 is never.
    #[must_use]
    pub fn time(&self, name: &str) -> Option<String> {
        time(self.number(name)?)
    }
}

/// As [`Properties::time`].
#[must_use]
pub fn time(microseconds: u64) -> Option<String> {
    let microseconds = i64::try_from(microseconds).ok().filter(|microseconds| *microseconds > 0)?;
    jiff::Timestamp::from_microsecond(microseconds).ok().map(|time| time.to_string())
}
