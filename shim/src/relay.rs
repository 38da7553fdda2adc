//! The relay: one client for the whole life of the process, one daemon after another.

use crate::{
    arguments::Arguments,
    daemon::{self, Connection, DialError, Outbound},
    session::{Session, error_line},
    stdio::{Line, Lines, Output},
};
use bytes::Bytes;
use skynet_proto::{Frame, MAX_FRAME_BYTES, Reply, ServerMessage, server_message::Kind};
use std::{future::poll_fn, io, pin::Pin, task::Poll, time::Duration};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::Stream as _;
use tonic::{Status, Streaming};

/// Between attempts to reach the daemon: doubled from the first to the last.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// Requests wait that long for a daemon before they are answered with an error.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was asked of a daemon that ends waits longer: as long as that one takes to finish it, eight seconds, and the next one
/// to start.
const PATIENCE_FOR_NEXT: Duration = Duration::from_secs(12);

/// A daemon that was started and does not answer is started again after that time.
const START_AGAIN: Duration = Duration::from_secs(2);

/// After the client's end of file, longer than the daemon takes for its farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// Answers that came together are written together up to that many bytes: what a pipe takes at once if it could not be
/// made larger (pipe(7)).
const TOGETHER_BYTES: usize = 64 << 10;

/// JSON-RPC 2.0, section 5.1.
const INVALID_REQUEST: i32 = -32600;

enum End {
    /// The client closed its stdin.
    Eof,
    /// The connection broke.
    Lost,
}

struct Relay {
    arguments: Arguments,
    session: Session,
    lines: Lines,
    output: Output,
}

/// Relays until stdin ends.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let mut relay =
        Relay { session: Session::new()?, lines: Lines::stdin()?, output: Output::stdout()?, arguments };
    let mut is_resumed = false;
    loop {
        let Some(connection) = relay.connect(is_resumed).await? else {
            return Ok(());
        };
        is_resumed = true;
        if let End::Eof = relay.converse(connection).await? {
            return Ok(());
        }
        relay.session.disconnect();
    }
}

impl Relay {
    /// Dials until a daemon answers; `None` when the client left meanwhile.
    async fn connect(&mut self, is_resumed: bool) -> io::Result<Option<Connection>> {
        let mut backoff = FIRST_BACKOFF;
        let mut deadline = Instant::now() + if is_resumed { PATIENCE_FOR_NEXT } else { PATIENCE };
        let mut reason = String::new();
        let mut started: Option<Instant> = None;
        let mut has_ended = false;
        loop {
            let (arguments, id) = (self.arguments.clone(), self.session.id);
            let dial = daemon::dial(&arguments, &id, is_resumed);
            tokio::pin!(dial);
            // A socket that systemd keeps takes the call also while no daemon is there to answer it.
            let dialed = loop {
                tokio::select! {
                    dialed = &mut dial => break dialed,
                    line = self.lines.next(), if !has_ended && self.session.has_room() => match line? {
                        Some(line) => drop(self.take_in(line).await?),
                        None if self.session.is_waiting() => has_ended = true,
                        None => return Ok(None),
                    },
                }
            };
            let failed = match dialed {
                Ok(connection) => return Ok(Some(connection)),
                Err(failed) => failed,
            };
            match failed {
                DialError::Absent(why) => {
                    if started.is_none_or(|at| at.elapsed() > START_AGAIN) {
                        started = Some(Instant::now());
                        daemon::start(&self.arguments);
                    }
                    reason = why;
                }
                DialError::Refused(why) => {
                    self.give_up(&format!("skynetd refused this session: {why}")).await?;
                    backoff = LAST_BACKOFF;
                }
            }
            let next = Instant::now() + backoff;
            backoff = (backoff * 2).min(LAST_BACKOFF);
            // Lines are taken in meanwhile: the connection will replay them.
            loop {
                tokio::select! {
                    line = self.lines.next(), if !has_ended && self.session.has_room() => match line? {
                        Some(line) => {
                            if !self.session.is_waiting() {
                                deadline = deadline.max(Instant::now() + PATIENCE);
                            }
                            self.take_in(line).await?;
                        }
                        // What was asked still deserves the wait for a daemon that is just starting.
                        None if self.session.is_waiting() => has_ended = true,
                        None => return Ok(None),
                    },
                    () = sleep_until(deadline), if self.session.is_waiting() => {
                        let message = self.no_daemon(&reason);
                        self.give_up(&message).await?;
                        if has_ended {
                            return Ok(None);
                        }
                    }
                    () = sleep_until(next) => break,
                }
            }
        }
    }

    fn no_daemon(&self, reason: &str) -> String {
        let said = daemon::why_not().map_or_else(String::new, |why| format!("; skynetd said: {why}"));
        format!(
            "no skynetd answers at `{}` ({reason}){said}; start it with `skynetd`, or `systemctl start skynetd` where it is installed as a service, then call again",
            self.arguments.socket.display()
        )
    }

    /// Relays over one connection.
    async fn converse(&mut self, connection: Connection) -> io::Result<End> {
        let Connection { outbound, mut inbound } = connection;
        for frame in self.session.replay() {
            if !outbound.send(frame).await {
                return Ok(End::Lost);
            }
        }
        loop {
            tokio::select! {
                // A line is taken only when it can be sent, so that back-pressure reaches the client.
                line = read_when_ready(&outbound, &mut self.lines) => match line {
                    None => return Ok(End::Lost),
                    Some(line) => match line? {
                        Some(line) => {
                            if let Some(frame) = self.take_in(line).await?
                                && !outbound.send(frame).await
                            {
                                return Ok(End::Lost);
                            }
                        }
                        None => return self.leave(Connection { outbound, inbound }).await,
                    },
                },
                message = inbound.message() => {
                    let is_open = match message {
                        Ok(Some(message)) => self.deliver(message, &mut inbound).await?,
                        Ok(None) | Err(_) => false,
                    };
                    if !is_open {
                        // A daemon that just died is being restarted; dialing at once finds nobody.
                        sleep(FIRST_BACKOFF).await;
                        return Ok(End::Lost);
                    }
                }
            }
        }
    }

    /// Half-close: what is under way may still be answered.
    async fn leave(&mut self, mut connection: Connection) -> io::Result<End> {
        connection.outbound.say_goodbye().await;
        let farewell = async {
            while let Ok(Some(message)) = connection.inbound.message().await {
                if !self.deliver(message, &mut connection.inbound).await? {
                    break;
                }
            }
            io::Result::Ok(())
        };
        // A daemon that does not hang up must not keep a client waiting.
        timeout(FAREWELL, farewell).await.unwrap_or(Ok(()))?;
        Ok(End::Eof)
    }

    /// Numbers a line; `None` if there is nothing to send.
    async fn take_in(&mut self, line: Line) -> io::Result<Option<Frame>> {
        match line {
            Line::Whole(json, scanner) => Ok(Some(self.session.take_in(json, &scanner))),
            Line::TooLong(scanner) => {
                let message = format!("the line is longer than {MAX_FRAME_BYTES} bytes");
                self.output.write(&error_line(&scanner.id(), INVALID_REQUEST, &message)).await?;
                Ok(None)
            }
        }
    }

    /// Delivers an answer, and in the same piece those that came with it. False when the connection ended meanwhile.
    async fn deliver(
        &mut self,
        first: ServerMessage,
        inbound: &mut Streaming<ServerMessage>,
    ) -> io::Result<bool> {
        let mut lines = vec![self.settle(first)];
        let mut bytes = lines.iter().map(Bytes::len).sum::<usize>();
        let mut is_open = true;
        while is_open && bytes < TOGETHER_BYTES {
            match at_hand(inbound).await {
                None => break,
                Some(Ok(Some(message))) => {
                    let line = self.settle(message);
                    bytes += line.len();
                    lines.push(line);
                }
                Some(Ok(None) | Err(_)) => is_open = false,
            }
        }
        if lines.len() > 1 && bytes < 2 * TOGETHER_BYTES {
            lines = vec![lines.concat().into()];
        }
        for line in lines.iter().filter(|line| !line.is_empty()) {
            self.output.write(line).await?;
        }
        Ok(is_open)
    }

    /// What a message has for the client.
    fn settle(&mut self, message: ServerMessage) -> Bytes {
        match message.kind {
            Some(Kind::Reply(Reply { answers: 0, json, opens }))
                if opens == 0 || self.session.open(opens) =>
            {
                json
            }
            Some(Kind::Reply(Reply { answers, json, .. }))
                if answers != 0 && self.session.settle(answers) =>
            {
                json
            }
            _ => Bytes::new(),
        }
    }

    async fn give_up(&mut self, message: &str) -> io::Result<()> {
        for line in self.session.give_up(message) {
            self.output.write(&line).await?;
        }
        Ok(())
    }
}

/// What came already; `None` if nothing did.
async fn at_hand(inbound: &mut Streaming<ServerMessage>) -> Option<Result<Option<ServerMessage>, Status>> {
    poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *inbound).poll_next(context) {
            Poll::Ready(message) => Some(message.transpose()),
            Poll::Pending => None,
        })
    })
    .await
}

/// The next line, once the connection can take it; `None` when the connection is gone.
async fn read_when_ready(outbound: &Outbound, lines: &mut Lines) -> Option<io::Result<Option<Line>>> {
    if !outbound.is_ready().await {
        return None;
    }
    Some(lines.next().await)
}
