//! What travels over the socketpair between daemon and hands: protobuf, descriptors beside it.
//!
//! The first message is [`Open`], answered by [`Reply::Ready`]. The workspace is where hands were started, unless they are
//! for the host. Then calls are multiplexed by a number. Both ends come from one build, so there is one version.

use bytes::Bytes;

/// Changes when a message changes its meaning.
pub const VERSION: u32 = 3;

/// From the daemon.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ToHands {
    /// What it is.
    #[prost(oneof = "Request", tags = "1, 2, 3, 4, 5, 6")]
    pub request: Option<Request>,
}

/// What the daemon says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Request {
    /// Begins.
    #[prost(message, tag = "1")]
    Open(Open),
    /// Runs a tool.
    #[prost(message, tag = "2")]
    Call(Call),
    /// The number of a call that is no longer wanted.
    #[prost(uint64, tag = "3")]
    Cancel(u64),
    /// Answers a [`Before`], [`Blob`] or [`Fetch`].
    #[prost(message, tag = "4")]
    Kept(Kept),
    /// Tells of the changes of a file, until it is no longer wanted.
    #[prost(message, tag = "5")]
    Watch(Watch),
    /// The number of a watch that is no longer wanted.
    #[prost(uint64, tag = "6")]
    Unwatch(u64),
}

/// The first message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Open {
    /// [`VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Whether the current directory is a workspace.
    #[prost(bool, tag = "2")]
    pub has_workspace: bool,
}

/// A call: validated, permitted, canonical.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Call {
    /// Its number on this connection.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The tool.
    #[prost(string, tag = "2")]
    pub tool: String,
    /// Canonical JSON.
    #[prost(bytes = "bytes", tag = "3")]
    pub input: Bytes,
    /// How much answer is wanted.
    #[prost(uint64, tag = "4")]
    pub max_bytes: u64,
}

/// Something that is kept for the caller.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Fetch {
    /// The call.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Name of a [`skynet_core::ctx::Keep`].
    #[prost(string, tag = "2")]
    pub what: String,
    /// Which one.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// A file to be watched.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Watch {
    /// Its number on this connection; calls are numbered with watches.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Relative to the workspace.
    #[prost(string, tag = "2")]
    pub path: String,
}

/// Whether a descriptor's content was kept.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Kept {
    /// The call.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Of a blob.
    #[prost(string, tag = "2")]
    pub uri: String,
    /// If it was not.
    #[prost(message, optional, tag = "3")]
    pub failure: Option<Failure>,
}

/// An error of the tool boundary.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Failure {
    /// Name of an `ErrorKind`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// For the agent.
    #[prost(string, tag = "2")]
    pub message: String,
    /// For the log.
    #[prost(string, tag = "3")]
    pub source: String,
}

/// From hands.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FromHands {
    /// What it is.
    #[prost(oneof = "Reply", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub reply: Option<Reply>,
}

/// What hands say.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Reply {
    /// The workspace is open, if there is one.
    #[prost(message, tag = "1")]
    Ready(Open),
    /// How far a call is.
    #[prost(message, tag = "2")]
    Progress(Progress),
    /// With a descriptor unless the path is new: what a call is about to change.
    #[prost(message, tag = "3")]
    Before(Before),
    /// With a descriptor: a result too large for the answer.
    #[prost(message, tag = "4")]
    Blob(Blob),
    /// The end of a call.
    #[prost(message, tag = "5")]
    Done(Done),
    /// A watch has begun, or failed.
    #[prost(message, tag = "6")]
    Watched(Watched),
    /// The number of a watch whose file changed, or may be another one now.
    #[prost(uint64, tag = "7")]
    Changed(u64),
    /// Asks for what is kept; it comes as the descriptor of [`Kept`].
    #[prost(message, tag = "8")]
    Fetch(Fetch),
}

impl Reply {
    /// The call it belongs to, or the beginning of a watch.
    #[must_use]
    pub const fn call(&self) -> Option<u64> {
        match self {
            Self::Ready(_) | Self::Changed(_) => None,
            Self::Watched(watched) => Some(watched.id),
            Self::Progress(progress) => Some(progress.id),
            Self::Before(before) => Some(before.id),
            Self::Blob(blob) => Some(blob.id),
            Self::Fetch(fetch) => Some(fetch.id),
            Self::Done(done) => Some(done.id),
        }
    }
}

/// How far a call is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Progress {
    /// The call.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Units done.
    #[prost(double, tag = "2")]
    pub done: f64,
    /// Units in all.
    #[prost(double, optional, tag = "3")]
    pub total: Option<f64>,
    /// What is being done.
    #[prost(string, tag = "4")]
    pub message: String,
}

/// What a path held.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Before {
    /// The call.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Relative to the workspace.
    #[prost(string, tag = "2")]
    pub path: String,
    /// Whether all that it holds is about to change, if it is a directory.
    #[prost(bool, tag = "3")]
    pub is_tree: bool,
}

/// A large result.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Blob {
    /// The call.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// A file name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its type.
    #[prost(string, tag = "3")]
    pub media_type: String,
}

/// How a call ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Done {
    /// The call.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// JSON, if it succeeded.
    #[prost(bytes = "bytes", tag = "2")]
    pub output: Bytes,
    /// If it did not.
    #[prost(message, optional, tag = "3")]
    pub failure: Option<Failure>,
    /// JSON, an array of [`skynet_core::change::Changed`]; empty if there are none.
    #[prost(bytes = "bytes", tag = "4")]
    pub changes: Bytes,
}

/// How the beginning of a watch went.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Watched {
    /// The watch.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// If the file is not watched.
    #[prost(message, optional, tag = "2")]
    pub failure: Option<Failure>,
}

impl From<skynet_core::Error> for Failure {
    fn from(err: skynet_core::Error) -> Self {
        Self {
            kind: err.kind.as_str().into(),
            message: err.message.into_owned(),
            source: err.source.map(|source| source.to_string()).unwrap_or_default(),
        }
    }
}

impl From<Failure> for skynet_core::Error {
    fn from(failure: Failure) -> Self {
        let err = Self::new(skynet_core::ErrorKind::from_name(&failure.kind), failure.message);
        if failure.source.is_empty() { err } else { err.with_source(failure.source) }
    }
}
