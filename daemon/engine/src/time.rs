//! Moments, as callers name them and as the engine does.

use jiff::{SignedDuration, Timestamp};
use skynet_core::{Error, Result};

/// In RFC 3339, UTC, without fractions; empty for what never was.
pub(crate) fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default()
}

/// The same of what the engine writes with fractions; `None` for the year 1, which is its never.
pub(crate) fn moment(text: Option<&str>) -> Option<String> {
    let at: Timestamp = text?.parse().ok()?;
    (at.as_second() > 0).then(|| rfc3339(at.as_second()))
}

/// Seconds since 1970 of a moment like `2026-01-31T12:00:00Z`, or of that long ago like `90s`, `15m`, `2h`, `1d`.
///
/// # Errors
/// `InvalidInput` for what is neither.
pub(crate) fn parse(text: &str) -> Result<i64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_second());
    }
    let ago = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86400,
            _ => return None,
        };
        number.checked_mul(unit)
    };
    let ago = ago().and_then(|ago| Timestamp::now().checked_sub(SignedDuration::from_secs(ago)).ok());
    ago.map(Timestamp::as_second).ok_or_else(|| {
        Error::invalid_input(format!(
            "`{text}` is no time: write how long ago, like `90s`, `15m`, `2h` or `1d`, or a moment like `2026-01-31T12:00:00Z`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        assert_eq!(parse("1970-01-02T00:00:00Z").unwrap(), 86400);
        assert!(parse("1h").unwrap() <= Timestamp::now().as_second() - 3600);
        for wrong in ["", "h", "yesterday", "-5m", "5w", "é"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(moment(Some("0001-01-01T00:00:00Z")), None);
        assert_eq!(moment(Some("2026-01-31T12:00:00.5Z")).as_deref(), Some("2026-01-31T12:00:00Z"));
    }
}
