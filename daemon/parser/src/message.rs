//! What travels between hands and parser. Both are one program, so there is one version.

use prost::Message;

/// Descriptors of one packet; a socket takes sixteen, and a long message one of them.
pub(crate) const FILES_OF_A_PACKET: usize = 15;

/// To the parser: a task, in as many packets as its descriptors need.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Task {
    /// JSON. In the last packet.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) json: Vec<u8>,
    /// Whether more descriptors follow.
    #[prost(bool, tag = "2")]
    pub(crate) has_more: bool,
}

/// From the parser.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Done {
    /// JSON, if it could be done.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) json: Vec<u8>,
    /// Name of an `ErrorKind`, if not.
    #[prost(string, tag = "2")]
    pub(crate) kind: String,
    /// For the agent.
    #[prost(string, tag = "3")]
    pub(crate) message: String,
}
