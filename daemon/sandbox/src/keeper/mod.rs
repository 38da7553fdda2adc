//! The keeper of a job: a process of its own session that has the job's slot as its child, holds the command's terminal
//! or pipes, and writes down what it writes and how it ended. Neither broker nor daemon need be there for that.

mod connections;
mod input;

use crate::{
    slot::{self, Maker, Refusal, Slot},
    syscall,
};
use connections::Connections;
use input::Input;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{WaitOptions, wait, waitpid},
};
use skynet_core::ErrorKind;
use skynet_sandbox::{
    channel::{self, BlockingSocket, Buffer},
    job::{Answer, End, Failed, Output, Request},
    protocol::{Refused, Reply, Request as Order, Run, ToBroker},
};
use std::{
    fs::OpenOptions,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Instant, SystemTime},
};

/// Of output, read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What a command that has ended may still have in its pipe or terminal is far less. More comes from somebody outside to
/// whom it handed the other end.
const MOST_LAST_WORDS: usize = 1 << 20;

/// Starts a keeper for `run`, as the child of a child, so that whoever ends or dies here is not its parent.
///
/// # Errors
/// What fork(2) says. Everything else is told by what becomes of `descriptors`.
pub(crate) fn start(maker: &mut Maker, run: Run, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let (ours, theirs) = channel::pair()?;
    let Some(between) = syscall::clone_process(0, None)? else {
        drop(ours);
        let forked =
            rustix::process::setsid().map_err(io::Error::from).and_then(|_| syscall::clone_process(0, None));
        if matches!(forked, Ok(None)) {
            // Nobody hears an error: the descriptors are closed, and the daemon sees that.
            let _ = live(theirs, maker);
        }
        syscall::exit(0)
    };
    drop(theirs);
    let sent = BlockingSocket::new(ours).send(&ToBroker { request: Some(Order::Keep(run)) }, descriptors);
    while let Err(Errno::INTR) = waitpid(Some(between), WaitOptions::empty()) {}
    sent
}

/// The life of a keeper, in its own process.
fn live(socket: OwnedFd, maker: &mut Maker) -> io::Result<()> {
    // What the broker had open is for its slots and its daemon.
    let socket = BlockingSocket::new(syscall::keep_only(socket)?);
    maker.begin_copy();
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for number in 0..=2 {
        syscall::duplicate_onto(null.as_fd(), number)?;
    }
    rustix::process::set_parent_process_death_signal(None)?;
    rustix::process::chdir("/")?;
    let mut buffer = Buffer::default();
    let Some((ToBroker { request: Some(Order::Keep(run)) }, descriptors)) = socket.receive(&mut buffer)?
    else {
        return Ok(());
    };
    drop((socket, null));
    // A long one is never alone for long. What another command plants is for that one's guard to find.
    let run = Run { is_alone: true, ..run };
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(|| io::Error::other("a job without its descriptors"));
    let [workspace, output, end, listener] = [next()?, next()?, next()?, next()?];
    // Certificates, where it has some, and the home.
    let more: Vec<OwnedFd> = descriptors.collect();
    let mut connections = Connections::new(listener);
    let output = Output::new(output.into())?;
    let place: Vec<BorrowedFd<'_>> = std::iter::once(&workspace).chain(&more).map(AsFd::as_fd).collect();
    let started = Keeper::start(maker, &run, &place, output);
    drop((workspace, more));
    let end_of_job = match started {
        Ok(mut keeper) => {
            let end = keeper.keep(&mut connections, &mut buffer);
            maker.bury(keeper.slot.take_group());
            end
        }
        Err(refusal) => End { refused: Some(refusal.of(run.id)), ..End::default() },
    };
    let at_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let end_of_job = End { at_ms: i64::try_from(at_ms).unwrap_or(i64::MAX), ..end_of_job };
    let written = end_of_job.write(&end.into());
    // Not before: whoever finds nobody here reads how it ended.
    drop(connections);
    // The slot, for whose end nobody waits any more.
    while let Ok(Some(_)) | Err(Errno::INTR) = wait(WaitOptions::empty()) {}
    // Nothing is in its group any more. If it stays all the same, the next broker removes it.
    maker.sweep();
    written
}

struct Keeper {
    id: u64,
    slot: Slot,
    is_started: bool,
    output: Output,
    unwritten_bytes: u64,
    /// Where output comes from, until nobody has the other end.
    source: Option<OwnedFd>,
    input: Input,
    /// What leads out of the slot.
    network: Vec<OwnedFd>,
}

/// What is ready.
#[derive(Clone, Copy, PartialEq)]
enum Ready {
    Slot,
    Output,
    Input,
    Listener,
    Connection(usize),
}

impl Keeper {
    /// `place` is the workspace, certificates if the command has some, and for another user than the broker's own the home.
    fn start(
        maker: &mut Maker,
        run: &Run,
        place: &[BorrowedFd<'_>],
        output: Output,
    ) -> Result<Self, Refusal> {
        let start = || -> io::Result<Self> {
            let slot = maker.slot()?;
            let (source, input) = if run.terminal.is_some() {
                // In whose place it puts the terminal that it makes.
                let null = io::stdin();
                slot.run(run.clone(), &[&[null.as_fd(); 3], place].concat())?;
                (None, Input::default())
            } else {
                let (stdin, typed) = pipe_with(PipeFlags::CLOEXEC)?;
                let (written, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
                let stdio = [stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
                slot.run(run.clone(), &[&stdio, place].concat())?;
                // Not those of the command: it shares the other ends' flags, not these.
                rustix::io::ioctl_fionbio(&written, true)?;
                (Some(written), Input::pipe(typed)?)
            };
            let (id, network) = (run.id, Vec::new());
            Ok(Self { id, slot, is_started: false, output, unwritten_bytes: 0, source, input, network })
        };
        start().map_err(|err| Refusal::new("namespaces", err))
    }

    /// Until the command has ended.
    fn keep(&mut self, connections: &mut Connections, buffer: &mut Buffer) -> End {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let ready = match self.wait(connections) {
                Ok(ready) => ready,
                Err(err) => return self.refusal(Refusal::new("keeper", err)),
            };
            for one in ready.iter().rev() {
                match *one {
                    Ready::Slot => {
                        if let Some(end) = self.hear(buffer) {
                            self.read_last_words(&mut chunk);
                            return End { unwritten_bytes: self.unwritten_bytes, ..end };
                        }
                    }
                    Ready::Output => {
                        self.read_output(&mut chunk);
                    }
                    Ready::Input => self.input.flush(),
                    Ready::Listener => connections.accept(),
                    Ready::Connection(index) => match connections.receive(index, buffer) {
                        Some(Request::Watch(wanted)) => connections.watch(index, wanted),
                        Some(Request::Network(_)) => {
                            connections.answer(index, Answer::Done(self.output.written()), &self.network);
                        }
                        Some(request) => connections.answer(index, self.serve(request), &[]),
                        None => {}
                    },
                }
            }
            connections.tell(self.output.written());
        }
    }

    /// Waits for what happens next. Connections come last, so that from the end none moves before its turn.
    fn wait(&self, connections: &Connections) -> io::Result<Vec<Ready>> {
        let mut waiting = vec![(Ready::Slot, self.slot.as_fd(), PollFlags::IN)];
        waiting.extend(self.source.iter().map(|source| (Ready::Output, source.as_fd(), PollFlags::IN)));
        waiting.extend(self.input.waiting().map(|sink| (Ready::Input, sink, PollFlags::OUT)));
        let pause = connections.pause(Instant::now());
        if self.is_started {
            let listener = connections.listening().filter(|_| pause.is_none());
            waiting.extend(listener.map(|listener| (Ready::Listener, listener, PollFlags::IN)));
            waiting.extend(
                connections
                    .iter()
                    .enumerate()
                    .map(|(index, one)| (Ready::Connection(index), one, PollFlags::IN)),
            );
        }
        let mut polled: Vec<PollFd<'_>> =
            waiting.iter().map(|(_, one, flags)| PollFd::from_borrowed_fd(*one, *flags)).collect();
        let pause = pause.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(&mut polled, pause.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(err) => return Err(err.into()),
        }
        let ready = waiting.iter().zip(&polled).filter(|(_, one)| !one.revents().is_empty());
        Ok(ready.map(|((ready, ..), _)| *ready).collect())
    }

    /// What the slot says; the end, if it is that.
    fn hear(&mut self, buffer: &mut Buffer) -> Option<End> {
        match self.slot.receive_whole(buffer) {
            Ok(Some((Reply::Ready(_), _))) => None,
            Ok(Some((Reply::Terminal(_), mut descriptors))) => {
                let opened = descriptors.pop().map(|terminal| -> io::Result<()> {
                    rustix::io::ioctl_fionbio(&terminal, true)?;
                    self.input = Input::terminal(terminal.try_clone()?);
                    self.source = Some(terminal);
                    Ok(())
                });
                match opened {
                    Some(Ok(())) => None,
                    Some(Err(err)) => Some(self.refusal(Refusal::new("terminal", err))),
                    None => Some(self.refusal(Refusal::new("terminal", "there is none"))),
                }
            }
            Ok(Some((Reply::Network(_), sockets))) => {
                self.network = sockets;
                None
            }
            Ok(Some((Reply::Started(_), _))) => {
                self.is_started = true;
                None
            }
            Ok(Some((
                Reply::Begun(_)
                | Reply::Connected(_)
                | Reply::Opened(_)
                | Reply::Known(_)
                | Reply::Admitted(_)
                | Reply::Lapsed(_),
                _,
            ))) => Some(self.refusal(Refusal::new("slot", "it says something else"))),
            Ok(Some((Reply::Ended(ended), _))) => Some(End { ended: Some(ended), ..End::default() }),
            Ok(Some((Reply::Refused(refused), _))) => {
                Some(End { refused: Some(Refused { id: self.id, ..refused }), ..End::default() })
            }
            // The kernel ended it, for lack of memory of the whole host.
            Ok(None) | Err(_) => Some(self.refusal(Refusal::new("slot", "it died"))),
        }
    }

    fn refusal(&self, refusal: Refusal) -> End {
        let refusal = if self.is_started { refusal.after_start() } else { refusal };
        End { refused: Some(refusal.of(self.id)), ..End::default() }
    }

    /// How much there was; `None` if there is nothing now, or never again.
    fn read_output(&mut self, chunk: &mut [u8]) -> Option<usize> {
        let length = match rustix::io::read(self.source.as_ref()?, &mut *chunk) {
            Ok(0) => None,
            Ok(length) => Some(length),
            Err(Errno::AGAIN | Errno::INTR) => return None,
            // Of a terminal that nobody has open (pty(7)).
            Err(_) => None,
        };
        let Some(length) = length else {
            self.source = None;
            return None;
        };
        let bytes = chunk.get(..length).unwrap_or_default();
        if self.output.append(bytes).is_err() {
            // A command must not wait for a disk with room, and its end says what is missing.
            self.unwritten_bytes += u64::try_from(length).unwrap_or_default();
        }
        Some(length)
    }

    fn read_last_words(&mut self, chunk: &mut [u8]) {
        let mut read = 0;
        while read < MOST_LAST_WORDS
            && let Some(length) = self.read_output(chunk)
        {
            read += length;
        }
    }

    fn serve(&mut self, request: Request) -> Answer {
        let done = match request {
            Request::Watch(_) | Request::Network(_) => Ok(()),
            Request::Kill(_) => self.order(Order::Kill(self.id)),
            Request::Signal(number) => self.order(Order::Signal(number)),
            Request::Write(write) => self.input.write(&write.bytes, write.is_last),
            Request::Resize(size) => self.input.resize(slot::terminal::window(size)),
        };
        match done {
            Ok(()) => Answer::Done(self.output.written()),
            Err((kind, message)) => Answer::Failed(Failed { kind: kind.as_str().into(), message }),
        }
    }

    fn order(&self, order: Order) -> Result<(), (ErrorKind, String)> {
        let sent = self.slot.send(&ToBroker { request: Some(order) }, &[]);
        sent.map_err(|_| (ErrorKind::Conflict, "the job has just ended".to_owned()))
    }
}
