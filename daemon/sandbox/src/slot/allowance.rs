//! How long something may be looked for: until a moment, and not for long once whoever gives orders wants the end.
//! Decides nothing about what is not found by then.

use super::Refusal;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use skynet_core::ErrorKind;
use skynet_sandbox::{
    channel::{BlockingSocket, Buffer},
    protocol::{Request, ToBroker},
};
use std::time::{Duration, Instant};

/// Between two looks at whether there is an order, in steps.
const STEPS: u32 = 64;

/// Why a look has ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It took too long.
    Late,
    /// Whoever gave the command wants its end.
    Ended,
    /// There is too much to remember.
    TooMuch,
    /// The kernel says so.
    Failed(Errno),
}

impl From<Errno> for Stopped {
    fn from(err: Errno) -> Self {
        Self::Failed(err)
    }
}

impl Stopped {
    /// Of a look before a command.
    pub(super) fn before(self) -> Refusal {
        let (kind, message) = match self {
            Self::Late => (
                ErrorKind::TimedOut,
                "the workspace has so many directories that what is protected in them was not found in time; give the command more time, or take a smaller directory as workspace".into(),
            ),
            Self::Ended => (ErrorKind::Canceled, "it was given up before the command began".into()),
            Self::TooMuch => (
                ErrorKind::Unavailable,
                "there is more to protect in the workspace than can be remembered; take a smaller directory as workspace".into(),
            ),
            Self::Failed(err) => (ErrorKind::Unavailable, err.to_string()),
        };
        Refusal { layer: "protected names".into(), kind, message, has_run: false }
    }

    /// Of one after it.
    pub(super) fn after(self) -> Refusal {
        let why = match self {
            Self::Late => "it took too long",
            Self::Ended => "it was given up",
            Self::TooMuch => "there is too much",
            Self::Failed(err) => return Refusal::new("quarantine", err),
        };
        let message = format!(
            "what the command left could not be looked through to the end: {why}; hooks and settings that your programs trust may be among it, so remove what it made before you go on"
        );
        Refusal { layer: "quarantine".into(), kind: ErrorKind::Unavailable, message, has_run: true }
    }
}

/// Asked in each step of a look.
pub(super) struct Allowance<'a> {
    until: Instant,
    /// Whether it is wanted to end, and how long it may go on then.
    is_ended: &'a mut dyn FnMut() -> bool,
    grace: Duration,
    steps: u32,
    stopped: Stopped,
}

impl<'a> Allowance<'a> {
    pub(super) fn new(until: Instant, is_ended: &'a mut dyn FnMut() -> bool, grace: Duration) -> Self {
        Self { until, is_ended, grace, steps: 0, stopped: Stopped::Late }
    }

    /// Until that moment at least, whatever was ordered: to do what is to be done about what was found.
    pub(super) fn extend(&mut self, until: Instant) {
        self.until = self.until.max(until);
    }

    pub(super) fn step(&mut self) -> Result<(), Stopped> {
        let now = Instant::now();
        if self.steps.is_multiple_of(STEPS) && self.stopped == Stopped::Late && (self.is_ended)() {
            self.stopped = Stopped::Ended;
            self.until = self.until.min(now + self.grace);
        }
        self.steps = self.steps.wrapping_add(1);
        if now < self.until { Ok(()) } else { Err(self.stopped) }
    }
}

/// Whether whoever gives orders has ordered the end, or is gone. Other orders are for a command that runs.
pub(super) fn is_ordered_to_end(socket: &BlockingSocket, buffer: &mut Buffer) -> bool {
    loop {
        let mut waiting = [PollFd::new(socket, PollFlags::IN)];
        match poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) | Err(Errno::INTR) => return false,
            Ok(_) => {}
            Err(_) => return true,
        }
        if !matches!(
            socket.receive::<ToBroker>(buffer),
            Ok(Some((ToBroker { request: Some(Request::Signal(_)) }, _)))
        ) {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_sandbox::channel;

    #[test]
    fn a_look_ends_in_time_and_soon_after_the_order() {
        let later = Instant::now() + Duration::from_secs(3600);
        let mut never = || false;
        assert_eq!(Allowance::new(Instant::now(), &mut never, Duration::ZERO).step(), Err(Stopped::Late));
        let mut at_once = || true;
        assert_eq!(Allowance::new(later, &mut at_once, Duration::ZERO).step(), Err(Stopped::Ended));
        let mut allowance = Allowance::new(later, &mut at_once, Duration::from_secs(3600));
        assert!((0..1000).all(|_| allowance.step().is_ok()), "what is left is looked at");
        let mut asked = 0;
        let mut third = || {
            asked += 1;
            asked == 3
        };
        let mut allowance = Allowance::new(later, &mut third, Duration::ZERO);
        assert_eq!((0..1000).take_while(|_| allowance.step().is_ok()).count(), 128);
        allowance.extend(later);
        assert_eq!(allowance.step(), Ok(()));
    }

    #[test]
    fn the_order_to_end_and_the_end_of_orders_are_heard() {
        let (ours, theirs) = channel::pair().unwrap();
        let (ours, theirs) = (BlockingSocket::new(ours), BlockingSocket::new(theirs));
        let mut buffer = Buffer::default();
        assert!(!is_ordered_to_end(&ours, &mut buffer));
        theirs.send(&ToBroker { request: Some(Request::Signal(10)) }, &[]).unwrap();
        assert!(!is_ordered_to_end(&ours, &mut buffer));
        theirs.send(&ToBroker { request: Some(Request::Kill(1)) }, &[]).unwrap();
        assert!(is_ordered_to_end(&ours, &mut buffer));
        drop(theirs);
        assert!(is_ordered_to_end(&ours, &mut buffer));
    }
}
