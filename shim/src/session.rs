//! What must outlive a connection: the lines in flight, and those to say again to the next daemon.

use crate::scan::{Kind, Scanner};
use bytes::Bytes;
use skynet_proto::Frame;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::Read as _,
};

/// Lines kept while there is no daemon, in number and in bytes; then stdin is no longer read.
const MOST_LINES: usize = 1024;
const MOST_BYTES: usize = 16 << 20;

/// A line that waits for its answer.
struct InFlight {
    json: Bytes,
    id: String,
}

/// One client's session.
pub(crate) struct Session {
    pub(crate) id: [u8; 16],
    next_sequence: u64,
    in_flight: BTreeMap<u64, InFlight>,
    /// The legacy handshake, once it was answered: request and `initialized`.
    initialize: Option<(u64, Bytes)>,
    initialized: Option<Bytes>,
    /// Frames whose answers the client has already.
    swallow: BTreeSet<u64>,
    /// Subscriptions stay open for as long as the client wants them.
    listens: BTreeSet<u64>,
    /// Those of them that the client was told of: a daemon that is asked again says so again.
    opened: BTreeSet<u64>,
    /// Lines that are not answered, while there is no connection.
    unsent: VecDeque<Bytes>,
    connections: u32,
    is_connected: bool,
}

impl Session {
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut id = [0; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
        Ok(Self {
            id,
            next_sequence: 1,
            in_flight: BTreeMap::new(),
            initialize: None,
            initialized: None,
            swallow: BTreeSet::new(),
            listens: BTreeSet::new(),
            opened: BTreeSet::new(),
            unsent: VecDeque::new(),
            connections: 0,
            is_connected: false,
        })
    }

    /// Numbers a line and remembers it if it will be answered.
    pub(crate) fn take_in(&mut self, json: Bytes, scanner: &Scanner) -> Frame {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        match scanner.kind() {
            Kind::Request | Kind::Batch => {
                if scanner.is_method("initialize") {
                    self.initialize = Some((sequence, json.clone()));
                } else if scanner.is_method("subscriptions/listen") {
                    self.listens.insert(sequence);
                }
                self.in_flight.insert(sequence, InFlight { json: json.clone(), id: scanner.id() });
            }
            Kind::Other if scanner.is_method("notifications/initialized") => {
                self.initialized = Some(json.clone());
            }
            Kind::Other if !self.is_connected => self.unsent.push_back(json.clone()),
            Kind::Other => {}
        }
        Frame { sequence, json, resend: false }
    }

    /// Whether the client should see the answer to this frame; it is no longer in flight.
    pub(crate) fn settle(&mut self, sequence: u64) -> bool {
        self.listens.remove(&sequence);
        self.opened.remove(&sequence);
        let was_in_flight = self.in_flight.remove(&sequence).is_some();
        // Of a replayed handshake the client has the answer.
        let is_replay = self.swallow.remove(&sequence);
        was_in_flight || !is_replay
    }

    /// Whether the client should see a line that tells it that a frame is heard.
    pub(crate) fn open(&mut self, sequence: u64) -> bool {
        !self.listens.contains(&sequence) || self.opened.insert(sequence)
    }

    /// What a new connection must be told: the handshake if it was made before, then what is unanswered.
    pub(crate) fn replay(&mut self) -> Vec<Frame> {
        let resend = self.connections > 0;
        self.connections += 1;
        self.is_connected = true;
        let mut frames = Vec::new();
        if let Some((sequence, json)) = &self.initialize
            && !self.in_flight.contains_key(sequence)
        {
            self.swallow.insert(*sequence);
            frames.push(Frame { sequence: *sequence, json: json.clone(), resend });
            let initialized = self.initialized.iter();
            frames.extend(initialized.map(|json| Frame { sequence: 0, json: json.clone(), resend }));
        }
        let in_flight = self.in_flight.iter();
        frames.extend(in_flight.map(|(sequence, line)| Frame {
            sequence: *sequence,
            json: line.json.clone(),
            resend,
        }));
        frames.extend(self.unsent.drain(..).map(|json| Frame { sequence: 0, json, resend: false }));
        frames
    }

    /// The connection broke; lines are kept for the next one.
    pub(crate) fn disconnect(&mut self) {
        self.is_connected = false;
    }

    /// Whether another line can be kept.
    pub(crate) fn has_room(&self) -> bool {
        let bytes: usize = self.in_flight.values().map(|line| line.json.len()).sum();
        self.in_flight.len() + self.unsent.len() < MOST_LINES && bytes < MOST_BYTES
    }

    /// Answers every waiting request with an error, except handshakes and subscriptions, which can wait.
    pub(crate) fn give_up(&mut self, message: &str) -> Vec<Bytes> {
        let listens = &self.listens;
        let doomed: Vec<u64> =
            self.in_flight.keys().copied().filter(|sequence| !listens.contains(sequence)).collect();
        let lines = doomed.iter().filter_map(|sequence| self.in_flight.remove(sequence));
        lines.map(|line| error_line(&line.id, -32000, message)).collect()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.in_flight.keys().any(|sequence| !self.listens.contains(sequence))
    }
}

/// A JSON-RPC error as a line; `id` is JSON already, `message` is plain text.
pub(crate) fn error_line(id: &str, code: i32, message: &str) -> Bytes {
    let mut text = String::with_capacity(message.len());
    for character in message.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            control if control.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{text}"}}}}"#);
    (line + "\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(session: &mut Session, line: &'static str) -> u64 {
        let mut scanner = Scanner::default();
        scanner.feed(line.as_bytes());
        session.take_in(Bytes::from(line), &scanner).sequence
    }

    fn replayed(session: &mut Session) -> Vec<(u64, bool)> {
        session.replay().into_iter().map(|frame| (frame.sequence, frame.resend)).collect()
    }

    #[test]
    fn a_new_connection_hears_the_handshake_and_what_is_unanswered() {
        let mut session = Session::new().unwrap();
        assert_eq!(take(&mut session, r#"{"id":0,"method":"initialize"}"#), 1);
        assert_eq!(replayed(&mut session), [(1, false)], "nothing was sent before the first connection");
        assert_eq!(replayed(&mut session), [(1, true)], "an unanswered handshake is in flight itself");
        assert!(session.settle(1), "its answer is the client's");
        take(&mut session, r#"{"method":"notifications/initialized"}"#);
        assert_eq!(take(&mut session, r#"{"id":1,"method":"tools/call"}"#), 3);
        assert_eq!(replayed(&mut session), [(1, true), (0, true), (3, true)]);
        assert!(!session.settle(1), "the answer to a replay is swallowed");
        assert!(session.settle(3));
        assert!(!session.is_waiting());
    }

    #[test]
    fn a_client_is_told_once_that_it_is_heard() {
        let mut session = Session::new().unwrap();
        let listen = take(&mut session, r#"{"id":1,"method":"subscriptions/listen"}"#);
        let other = take(&mut session, r#"{"id":2,"method":"subscriptions/listen"}"#);
        replayed(&mut session);
        assert!(session.open(listen));
        session.disconnect();
        assert_eq!(replayed(&mut session), [(listen, true), (other, true)]);
        assert!(!session.open(listen), "it was told over the first connection");
        assert!(session.open(other), "that never reached it");
        assert!(session.settle(listen) && session.opened.len() == 1);
    }

    #[test]
    fn giving_up_answers_requests_and_keeps_subscriptions() {
        let mut session = Session::new().unwrap();
        take(&mut session, r#"{"id":"a","method":"tools/call"}"#);
        take(&mut session, r#"{"id":2,"method":"subscriptions/listen"}"#);
        let lines = session.give_up("no \"daemon\"");
        assert_eq!(
            lines,
            [Bytes::from(
                r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32000,"message":"no \"daemon\""}}
"#
            )]
        );
        session.disconnect();
        take(&mut session, r#"{"method":"notifications/cancelled"}"#);
        assert_eq!(replayed(&mut session), [(2, false), (0, false)]);
    }
}
