//! The journal as a source of documents: what one unit said in one hour is one of them.

use crate::journal::{self, Entry as Message, Query};
use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use skynet_core::{CallCtx, Result, canonical::hex};
use skynet_documents::{
    About, Content, Entry, Fetched, List, Listing, Read, Scope, Source, SourceKind, held,
};
use std::collections::BTreeMap;

/// Messages of one look, the newest ones.
const MOST_MESSAGES: u32 = 20_000;

/// Of a unit or program, in characters.
const LONGEST_NAME: usize = 100;

/// As syslog(3) names what an administrator looks for first: up to there a message is a failure.
const FAILURE: u8 = 3;

/// What this host has for collections.
#[must_use]
pub fn sources() -> Vec<Box<dyn Source>> {
    vec![Box::new(Journal)]
}

struct Journal;

/// What one unit said in one hour.
#[derive(Default)]
struct Hour {
    text: String,
    about: About,
}

#[async_trait]
impl Source for Journal {
    fn is_for(&self, kind: &SourceKind) -> bool {
        matches!(kind, SourceKind::Journal { .. })
    }

    async fn list(&self, ctx: &CallCtx, list: &List, scope: &Scope) -> Result<Listing> {
        let mut listing = Listing::default();
        for (name, hour) in hours(ctx, &list.source, None).await? {
            if scope.holds(&name) {
                let digest = hex(&Sha256::digest(&hour.text));
                listing.push(Entry::of_digest(name, hour.text.len() as u64, &digest))?;
            }
        }
        Ok(listing)
    }

    async fn fetch(&self, ctx: &CallCtx, read: &Read) -> Result<Vec<Fetched>> {
        // Names end with their hours, so the first in order of those is where to begin.
        let hour = |name: &String| name.rsplit('/').next().and_then(|hour| hour.get(..13)).map(str::to_owned);
        let since = read.paths.iter().filter_map(hour).min();
        let since = since.map(|hour| format!("{}:00:00 UTC", hour.replace('T', " ")));
        let mut hours = hours(ctx, &read.source, since).await?;
        let fetched = read.paths.iter().map(|name| match hours.remove(name) {
            Some(Hour { text, about }) => {
                Ok(Ok(Content { name: name.clone(), file: held(text.as_bytes())?, about, changed_at: None }))
            }
            None => Ok(Err("the journal holds it no longer".to_owned())),
        });
        fetched.collect()
    }
}

/// What was said since some time, by default as far back as the source goes; by names such as `journal/ssh.service/2026-11-27T07.log`.
async fn hours(ctx: &CallCtx, kind: &SourceKind, since: Option<String>) -> Result<BTreeMap<String, Hour>> {
    let SourceKind::Journal { units, days } = kind else { return Ok(BTreeMap::new()) };
    let units: Vec<Option<String>> = match units.as_slice() {
        [] => vec![None],
        units => units.iter().cloned().map(Some).collect(),
    };
    let mut hours: BTreeMap<String, Hour> = BTreeMap::new();
    for unit in units {
        // `-3d` is three days ago (systemd.time(7)).
        let since = since.clone().or_else(|| Some(format!("-{days}d")));
        let query = Query { unit, since, limit: MOST_MESSAGES, newest_first: true, ..Query::default() };
        for message in journal::read(ctx, &query).await?.entries {
            add(&mut hours, &message);
        }
    }
    Ok(hours)
}

fn add(hours: &mut BTreeMap<String, Hour>, message: &Message) {
    let from = message.unit.as_deref().or(message.identifier.as_deref()).unwrap_or("unknown");
    // `2026-11-27T07` of `2026-11-27T07:31:30.123456Z`, and the rest of it without fractions.
    let (Some(hour), Some(time)) = (message.at.get(..13), message.at.get(11..19)) else { return };
    // A program may call itself anything.
    let plain = |c: char| if c == '/' || c.is_control() { '-' } else { c };
    let from: String = from.chars().take(LONGEST_NAME).map(plain).collect();
    let Hour { text, about } = hours.entry(format!("journal/{from}/{hour}.log")).or_default();
    about.at =
        about.at.or_else(|| message.at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second));
    if about.tags.is_empty() {
        about.tags.push(from.to_lowercase());
    }
    if message.priority.is_some_and(|priority| priority <= FAILURE)
        && about.tags.iter().all(|tag| tag != "error")
    {
        about.tags.push("error".to_owned());
    }
    text.push_str(&format!("{time} {}\n", message.message));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_unit_said_in_an_hour_is_one_document() {
        let said = |at: &str, unit: &str, priority, message: &str| Message {
            at: at.into(),
            priority: Some(priority),
            unit: Some(unit.into()),
            identifier: None,
            pid: None,
            message: message.into(),
        };
        let mut hours = BTreeMap::new();
        for message in [
            said("2026-11-27T07:31:30.5Z", "ssh.service", 6, "listening"),
            said("2026-11-27T07:59:59.1Z", "ssh.service", 3, "no space left"),
            said("2026-11-27T08:00:00Z", "ssh.service", 6, "closed"),
            said("2026-11-27T08:00:01Z", "cron.service", 6, "ran"),
        ] {
            add(&mut hours, &message);
        }
        let names: Vec<&str> = hours.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "journal/cron.service/2026-11-27T08.log",
                "journal/ssh.service/2026-11-27T07.log",
                "journal/ssh.service/2026-11-27T08.log"
            ]
        );
        let hour = &hours["journal/ssh.service/2026-11-27T07.log"];
        assert_eq!(hour.text, "07:31:30 listening\n07:59:59 no space left\n");
        assert_eq!(hour.about.tags, ["ssh.service", "error"]);
        assert_eq!(hour.about.at, Some(1_795_764_690));
    }
}
