//! Values that the bus tells by name.

use std::collections::HashMap;
use zbus::zvariant::OwnedValue;

/// What systemd says for "not counted" (org.freedesktop.systemd1(5), resource properties).
const NOT_COUNTED: u64 = u64::MAX;

/// The properties of a unit.
pub(crate) struct Properties(pub(crate) HashMap<String, OwnedValue>);

impl Properties {
    /// A text that says something.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = <&str>::try_from(self.0.get(name)?).ok()?;
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let value = self.0.get(name).and_then(|value| value.try_clone().ok());
        value.and_then(|value| Vec::<String>::try_from(value).ok()).unwrap_or_default()
    }

    /// A number, of any width, that was counted.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        u64::try_from(value)
            .or_else(|_| u32::try_from(value).map(u64::from))
            .ok()
            .filter(|value| *value != NOT_COUNTED)
    }

    pub(crate) fn signed(&self, name: &str) -> Option<i32> {
        i32::try_from(self.0.get(name)?).ok()
    }

    /// A time in RFC 3339, UTC, from microseconds since 1970; 0 is never.
    pub(crate) fn time(&self, name: &str) -> Option<String> {
        time(self.number(name)?)
    }
}

/// As [`Properties::time`].
pub(crate) fn time(microseconds: u64) -> Option<String> {
    let microseconds = i64::try_from(microseconds).ok().filter(|microseconds| *microseconds > 0)?;
    jiff::Timestamp::from_microsecond(microseconds).ok().map(|time| time.to_string())
}
