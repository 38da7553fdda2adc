//! What a text says of itself before it begins.

use crate::document::About;
use jiff::{Timestamp, civil, tz::TimeZone};

/// Front matter longer than that is none.
const MOST_LINES: usize = 60;

/// Tags of one document, and characters of one.
const MOST_TAGS: usize = 20;
const LONGEST_TAG: usize = 64;

/// Author, date and tags of front matter: lines of YAML between two of `---`, as most generators of sites read them. Only plain
/// values and lists are understood; others are passed over.
pub(crate) fn of_front_matter(text: &str) -> About {
    let mut about = About::default();
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return about;
    }
    let lines: Vec<&str> = lines.take(MOST_LINES).collect();
    let Some(end) = lines.iter().position(|line| matches!(line.trim_end(), "---" | "...")) else {
        return about;
    };
    let mut key = "";
    for line in lines.iter().take(end) {
        let value = match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '-', '\t']) => {
                key = name.trim();
                value
            }
            // An item of the list that the key began.
            _ => line.trim_start().strip_prefix('-').unwrap_or_default(),
        };
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "author" | "authors" if about.author.is_none() => {
                about.author = items(value).next().map(str::to_owned);
            }
            "date" | "lastmod" | "updated" => {
                about.at = about.at.max(seconds(value.trim_matches(['"', '\''])));
            }
            "tags" | "keywords" | "categories" => {
                let short = |tag: &str| tag.chars().take(LONGEST_TAG).collect::<String>().to_lowercase();
                about.tags.extend(items(value).map(short));
            }
            _ => {}
        }
    }
    about.tags.sort();
    about.tags.dedup();
    about.tags.truncate(MOST_TAGS);
    about
}

/// Of `[one, "two"]`, `one, two` or `one`.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let value = value.trim_start_matches('[').trim_end_matches(']');
    value.split(',').map(|item| item.trim().trim_matches(['"', '\''])).filter(|item| !item.is_empty())
}

/// Seconds since 1970 of a time with its zone (RFC 3339), or of a day, which begins at midnight, UTC.
#[must_use]
pub fn seconds(text: &str) -> Option<i64> {
    let at = text.parse::<Timestamp>().ok();
    let of_day = || text.get(..10)?.parse::<civil::Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    at.or_else(|| of_day().map(|day| day.timestamp())).map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_tells_author_date_and_tags() {
        let text = "---\ntitle: On backups\nauthor: \"Ann Lee\"\ndate: 2026-01-31\ntags:\n  - Ops\n  - backup\nkeywords: [restore, \"ops\"]\n---\n# On backups\ntags: [no]\n";
        let about = of_front_matter(text);
        assert_eq!(about.author.as_deref(), Some("Ann Lee"));
        assert_eq!(about.at, Some(1_769_817_600));
        assert_eq!(about.tags, ["backup", "ops", "restore"]);
        for text in ["", "---\n", "---\nauthor: never closed\n", "# A title\n---\nauthor: x\n---\n"] {
            assert!(of_front_matter(text).is_empty(), "{text:?}");
        }
    }
}
