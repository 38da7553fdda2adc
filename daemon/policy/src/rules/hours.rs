//! The times of a week at which a rule holds: `mon-fri 08:00-18:00`, `22:00-06:00`, `sat,sun`. It knows no date and no zone:
//! the caller says which day of the week and which minute of the day it is.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// As they are written, Monday first.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Some days of the week, and a span of each that may reach into the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    text: String,
    /// Monday first.
    days: [bool; 7],
    /// Minutes since midnight, the first that belongs to it.
    from: u16,
    /// Minutes since midnight, the first that does not. Not above `from` if it is on the next day.
    to: u16,
}

impl Hours {
    /// Whether a minute of the day (0 to 1439) of a day of the week (0 is Monday) belongs to it.
    #[must_use]
    pub fn contains(&self, day: u8, minute: u16) -> bool {
        let is_day = |day: u8| self.days.get(usize::from(day % 7)).copied().unwrap_or(false);
        if self.from < self.to {
            return is_day(day) && (self.from..self.to).contains(&minute);
        }
        // The part after midnight belongs to the day on which it began.
        (is_day(day) && minute >= self.from) || (is_day(day + 6) && minute < self.to)
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "`{text}` in `hours`: {what}; write it like `mon-fri 08:00-18:00`, `22:00-06:00` or `sat,sun`"
            )
        };
        let mut parts = text.split_whitespace();
        let (first, second) = (parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(wrong("it has more than days and a span of time"));
        }
        let first = first.ok_or_else(|| wrong("it is empty"))?;
        let (days, span) = match second {
            None if first.contains(':') => (None, Some(first)),
            second => (Some(first), second),
        };
        let days = days.map_or(Ok([true; 7]), days_of).map_err(|err| wrong(&err))?;
        let (from, to) = span.map_or(Ok((0, DAY)), span_of).map_err(|err| wrong(&err))?;
        Ok(Self { text: text.to_owned(), days, from, to })
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        hours.text
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `mon`, `mon-fri` or `mon,wed,sat-sun`; a range may pass Sunday.
fn days_of(text: &str) -> Result<[bool; 7], String> {
    let number = |name: &str| {
        let found = DAYS.iter().position(|day| name.eq_ignore_ascii_case(day));
        found.ok_or_else(|| format!("`{name}` is none of {}", DAYS.join(", ")))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        for step in 0..=(last + 7 - first) % 7 {
            if let Some(day) = days.get_mut((first + step) % 7) {
                *day = true;
            }
        }
    }
    Ok(days)
}

/// `08:00-18:00`; the end may be `24:00`, or on the next day.
fn span_of(text: &str) -> Result<(u16, u16), String> {
    let minutes = |time: &str| {
        let (hour, minute) = time.split_once(':')?;
        let number = |text: &str| {
            (text.len() == 2 && text.bytes().all(|one| one.is_ascii_digit()))
                .then(|| text.parse::<u16>().ok())?
        };
        let (hour, minute) = (number(hour)?, number(minute)?);
        (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-').ok_or_else(|| format!("`{text}` is no span of time"))?;
    let (from, to) = (
        minutes(from).filter(|from| *from < DAY).ok_or_else(|| format!("`{from}` is no time of a day"))?,
        minutes(to).ok_or_else(|| format!("`{to}` is no time of a day"))?,
    );
    if from == to {
        return Err("it begins when it ends; leave the span out for whole days".into());
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_days_and_nights() {
        // Days are numbers from Monday, 0; times are hours and minutes.
        for (text, day, time, is_in) in [
            ("mon-fri 08:00-18:00", 0, (8, 0), true),
            ("mon-fri 08:00-18:00", 4, (17, 59), true),
            ("mon-fri 08:00-18:00", 4, (18, 0), false),
            ("mon-fri 08:00-18:00", 5, (12, 0), false),
            ("22:00-06:00", 3, (23, 0), true),
            ("22:00-06:00", 3, (5, 59), true),
            ("22:00-06:00", 3, (6, 0), false),
            ("22:00-06:00", 3, (21, 59), false),
            ("fri 22:00-06:00", 4, (22, 0), true),
            ("fri 22:00-06:00", 5, (5, 0), true),
            ("fri 22:00-06:00", 4, (5, 0), false),
            ("sun 22:00-06:00", 0, (5, 0), true),
            ("sat,sun", 6, (0, 0), true),
            ("sat,sun", 0, (0, 0), false),
            ("Sat-Mon", 0, (23, 59), true),
            ("sat-mon", 1, (0, 0), false),
            ("20:00-24:00", 2, (23, 59), true),
            ("20:00-24:00", 2, (0, 0), false),
            ("20:00-00:00", 2, (23, 59), true),
        ] {
            let hours: Hours = text.parse().unwrap();
            assert_eq!(hours.contains(day, time.0 * 60 + time.1), is_in, "{text} {day} {time:?}");
        }
    }

    #[test]
    fn what_is_no_time_of_a_week() {
        for text in [
            "",
            "monday",
            "mon-",
            "8:00-18:00",
            "08:00",
            "08:00-08:00",
            "25:00-26:00",
            "08:60-09:00",
            "24:00-06:00",
            "+8:00-09:00",
            "mon 08:00-18:00 x",
        ] {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
    }
}
