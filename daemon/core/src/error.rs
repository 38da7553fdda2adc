//! The error of the tool boundary: a kind a program can branch on, a message for the agent, a source for the log.

use std::{borrow::Cow, fmt, io};

/// Bytes of the longest message. One that quotes a longer input keeps its beginning and its end.
const MAX_MESSAGE_BYTES: usize = 2048;

/// What every fallible function of a tool or layer returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input is wrong; the same call will fail again.
    InvalidInput,
    /// What the input names is not there.
    NotFound,
    /// The state is not what the caller expected.
    Conflict,
    /// A rule or the kernel forbids it.
    Denied,
    /// A human has to approve it first.
    NeedsConfirmation,
    /// A limit per time or of concurrency is reached.
    QuotaExceeded,
    /// It took longer than the tool may.
    TimedOut,
    /// The client asked to stop.
    Canceled,
    /// The daemon died while it ran: it may have happened.
    Interrupted,
    /// Something the call needs is missing on this host, for now.
    Unavailable,
    /// A defect of Skynet.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::InvalidInput,
        Self::NotFound,
        Self::Conflict,
        Self::Denied,
        Self::NeedsConfirmation,
        Self::QuotaExceeded,
        Self::TimedOut,
        Self::Canceled,
        Self::Interrupted,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The name on the wire, in metrics and in the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::NeedsConfirmation => "needs_confirmation",
            Self::QuotaExceeded => "quota_exceeded",
            Self::TimedOut => "timed_out",
            Self::Canceled => "canceled",
            Self::Interrupted => "interrupted",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The kind of that name; unknown names are [`ErrorKind::Internal`].
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).unwrap_or(Self::Internal)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a call did not succeed. The message goes to the agent; the source only to the log.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What can be done about it.
    pub kind: ErrorKind,
    /// What was wrong and what would work: lower case, no final dot.
    pub message: Cow<'static, str>,
    /// Details that may hold paths, hosts or secrets of the daemon.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// One constructor per kind.
macro_rules! constructors {
    ($($name:ident => $kind:ident),+ $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("An error of kind [`ErrorKind::", stringify!($kind), "`].")]
                pub fn $name(message: impl Into<Cow<'static, str>>) -> Self {
                    Self::new(ErrorKind::$kind, message)
                }
            )+
        }
    };
}

constructors! {
    invalid_input => InvalidInput,
    not_found => NotFound,
    conflict => Conflict,
    denied => Denied,
    needs_confirmation => NeedsConfirmation,
    quota_exceeded => QuotaExceeded,
    timed_out => TimedOut,
    canceled => Canceled,
    interrupted => Interrupted,
    unavailable => Unavailable,
    internal => Internal,
}

impl Error {
    /// An error without a source.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_BYTES {
            let from = message.floor_char_boundary(MAX_MESSAGE_BYTES / 2);
            let to = message.ceil_char_boundary(message.len() - MAX_MESSAGE_BYTES / 2);
            message.to_mut().replace_range(from..to, " [...] ");
        }
        Self { kind, message, source: None }
    }

    /// The same error with what caused it, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What an I/O error on `subject` (a path of the workspace, quoted in the message) means for the caller.
    #[must_use]
    pub fn from_io(err: io::Error, subject: &str) -> Self {
        use rustix::io::Errno;
        let errno = Errno::from_io_error(&err);
        let (kind, message) = match errno {
            Some(Errno::NOENT) => (ErrorKind::NotFound, format!("`{subject}` does not exist")),
            Some(Errno::EXIST) => (ErrorKind::Conflict, format!("`{subject}` exists already")),
            Some(Errno::NOTDIR) => {
                (ErrorKind::InvalidInput, format!("a part of `{subject}` is not a directory"))
            }
            Some(Errno::ISDIR) => (ErrorKind::InvalidInput, format!("`{subject}` is a directory")),
            Some(Errno::NOTEMPTY) => (ErrorKind::Conflict, format!("`{subject}` is not empty")),
            Some(Errno::LOOP) => (
                ErrorKind::InvalidInput,
                format!("`{subject}` is a loop of symbolic links, or one where a link is not followed"),
            ),
            Some(Errno::XDEV) => (
                ErrorKind::Denied,
                format!("`{subject}` leads out of the workspace; only paths inside it can be used"),
            ),
            Some(Errno::NAMETOOLONG) => {
                (ErrorKind::InvalidInput, format!("a name in `{subject}` is longer than 255 bytes"))
            }
            Some(Errno::ACCESS | Errno::PERM) => (
                ErrorKind::Denied,
                format!("`{subject}`: permission denied; the user Skynet works for may not do that"),
            ),
            Some(Errno::ROFS) => (ErrorKind::Denied, format!("`{subject}` is on a read-only filesystem")),
            Some(Errno::NOSPC | Errno::DQUOT) => {
                (ErrorKind::Unavailable, format!("no space is left on the filesystem of `{subject}`"))
            }
            _ => (ErrorKind::Internal, format!("`{subject}`: {err}")),
        };
        Self::new(kind, message).with_source(err)
    }
}

/// Turns an I/O error into one that names the path it happened on.
pub trait IoContext<T> {
    /// # Errors
    /// The error of `self`, explained for `subject`.
    fn on(self, subject: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn on(self, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|err| Error::from_io(err.into(), &subject.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_name() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_name(kind.as_str()), kind);
        }
    }

    #[test]
    fn a_message_that_quotes_a_long_input_is_short() {
        let err = Error::from_io(rustix::io::Errno::NAMETOOLONG.into(), &"é".repeat(1 << 20));
        assert!(err.message.len() < MAX_MESSAGE_BYTES + 16, "{}", err.message.len());
        assert!(err.message.starts_with("a name in `é") && err.message.ends_with("255 bytes"), "{err}");
    }

    #[test]
    fn a_link_out_of_the_workspace_is_denied_in_words() {
        let err = Error::from_io(rustix::io::Errno::XDEV.into(), "link");
        assert_eq!(err.kind, ErrorKind::Denied);
        assert!(err.message.contains("leads out of the workspace"));
    }
}
