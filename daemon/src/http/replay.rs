//! What went over one stream of a session, kept for a client that lost the stream and comes back for the rest (MCP
//! 2025-11-25, Streamable HTTP, resumability and redelivery).

use crate::mcp::Outgoing;
use bytes::Bytes;
use std::{collections::VecDeque, fmt, str::FromStr};
use tokio::sync::mpsc;

/// The newest events of one stream that are kept, in number and in bytes.
const MOST_EVENTS: usize = 256;
const MOST_BYTES: usize = 1 << 20;

/// The id of an event: unique in its session, and tells the stream it was sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId {
    pub(super) stream: u64,
    pub(super) event: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.event)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (stream, event) = text.split_once('-').ok_or(())?;
        Ok(Self { stream: stream.parse().map_err(drop)?, event: event.parse().map_err(drop)? })
    }
}

/// A message on its way into a stream.
pub(super) struct Message {
    /// What the client may go on from; `None` where nothing is kept.
    pub(super) id: Option<EventId>,
    pub(super) outgoing: Outgoing,
}

impl From<Outgoing> for Message {
    fn from(outgoing: Outgoing) -> Self {
        Self { id: None, outgoing }
    }
}

/// One stream.
pub(super) struct Log {
    stream: u64,
    /// Events that were sent, kept or not.
    sent: u64,
    kept: VecDeque<(u64, Bytes)>,
    kept_bytes: usize,
    live: Option<mpsc::Sender<Message>>,
}

impl Log {
    pub(super) const fn new(stream: u64, live: mpsc::Sender<Message>) -> Self {
        Self { stream, sent: 0, kept: VecDeque::new(), kept_bytes: 0, live: Some(live) }
    }

    /// Whether a client may have an id to go on from.
    pub(super) const fn has_begun(&self) -> bool {
        self.sent > 0
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.as_ref().is_some_and(|live| !live.is_closed())
    }

    pub(super) const fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The newest event.
    pub(super) const fn newest(&self) -> EventId {
        EventId { stream: self.stream, event: self.sent }
    }

    /// Takes in what belongs to this stream; whom to give it to, if somebody listens.
    pub(super) fn add(&mut self, outgoing: Outgoing) -> Option<(mpsc::Sender<Message>, Message)> {
        let id = (!outgoing.json.is_empty()).then(|| {
            self.sent += 1;
            self.kept_bytes += outgoing.json.len();
            self.kept.push_back((self.sent, outgoing.json.clone()));
            while self.kept.len() > MOST_EVENTS || self.kept_bytes > MOST_BYTES {
                let Some((_, json)) = self.kept.pop_front() else { break };
                self.kept_bytes -= json.len();
            }
            self.newest()
        });
        let live = self.live.clone()?;
        Some((live, Message { id, outgoing }))
    }

    /// No more comes.
    pub(super) fn end(&mut self) {
        self.live = None;
    }

    /// From now on `live` listens, in place of whoever did.
    pub(super) fn listen(&mut self, live: mpsc::Sender<Message>) {
        self.live = Some(live);
    }

    /// What was sent after `event`; `None` if that never was, or not all of it is kept.
    pub(super) fn after(&self, event: u64) -> Option<Vec<Message>> {
        let lost = self.sent - self.kept.len() as u64;
        if event < lost || event > self.sent {
            return None;
        }
        let missed = self.kept.iter().filter(|(number, _)| *number > event);
        let message = |(event, json): &(u64, Bytes)| Message {
            id: Some(EventId { stream: self.stream, event: *event }),
            outgoing: Outgoing { answers: 0, about: 0, opens: 0, json: json.clone() },
        };
        Some(missed.map(message).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(json: &'static [u8]) -> Outgoing {
        Outgoing { answers: 0, about: 0, opens: 0, json: Bytes::from_static(json) }
    }

    #[test]
    fn the_newest_events_are_kept_and_nothing_is_left_out_silently() {
        let (live, mut listener) = mpsc::channel(1);
        let mut log = Log::new(5, live);
        assert!(!log.has_begun() && log.after(0).unwrap().is_empty() && log.after(1).is_none());
        let (_, message) = log.add(outgoing(b"1")).unwrap();
        assert_eq!(message.id.unwrap().to_string().parse(), Ok(EventId { stream: 5, event: 1 }));
        listener.close();
        assert!(!log.is_live() && log.add(outgoing(b"")).unwrap().1.id.is_none());
        for _ in 0..MOST_EVENTS {
            log.add(outgoing(b"more"));
        }
        assert!(log.after(0).is_none());
        let missed = log.after(1).unwrap();
        assert_eq!((missed.len(), missed[0].id), (MOST_EVENTS, Some(EventId { stream: 5, event: 2 })));
        log.add(outgoing(Box::leak(vec![b'x'; MOST_BYTES + 1].into_boxed_slice())));
        assert!(log.after(256).is_none() && log.kept_bytes() == 0);
        assert!(log.after(log.newest().event).unwrap().is_empty());
        for wrong in ["", "5", "5-", "-1", "a-1", "5-1-1", "18446744073709551616-1"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }
}
