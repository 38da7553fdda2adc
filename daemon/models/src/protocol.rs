//! What travels between daemon and worker: protobuf over a [`skynet_sandbox::channel`], descriptors beside it.
//!
//! The daemon asks, the worker answers, one after the other. Both come from one build, so there is one version.

/// Changes when a message changes its meaning.
pub(crate) const VERSION: u32 = 1;

/// From the daemon.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ToWorker {
    #[prost(oneof = "Request", tags = "1, 2, 3")]
    pub(crate) request: Option<Request>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Request {
    /// The first message, with a descriptor: the library of ONNX Runtime.
    #[prost(message, tag = "1")]
    Open(Open),
    /// With two descriptors: a model and its tokenizer.
    #[prost(message, tag = "2")]
    Load(Load),
    /// Of a model that is loaded.
    #[prost(message, tag = "3")]
    Run(Run),
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Open {
    /// [`VERSION`].
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
}

/// A model.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Load {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    /// In hexadecimal: files that hash to something else are damaged.
    #[prost(string, tag = "2")]
    pub(crate) model_sha256: String,
    #[prost(string, tag = "3")]
    pub(crate) tokenizer_sha256: String,
    /// What is behind them is not read.
    #[prost(uint32, tag = "4")]
    pub(crate) max_tokens: u32,
    /// Of one vector; 0 for a score.
    #[prost(uint32, tag = "5")]
    pub(crate) dimensions: u32,
}

/// Texts to be read.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Run {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) texts: Vec<String>,
    /// Read together with each of them.
    #[prost(string, optional, tag = "3")]
    pub(crate) question: Option<String>,
}

/// From the worker.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FromWorker {
    #[prost(oneof = "Reply", tags = "1, 2, 3")]
    pub(crate) reply: Option<Reply>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Reply {
    /// The library is there, or the model is loaded.
    #[prost(message, tag = "1")]
    Ready(Open),
    #[prost(message, tag = "2")]
    Done(Done),
    #[prost(message, tag = "3")]
    Failed(Failed),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Done {
    /// One vector after the other, or one score after the other.
    #[prost(float, repeated, tag = "1")]
    pub(crate) values: Vec<f32>,
    /// Those that were read.
    #[prost(uint64, tag = "2")]
    pub(crate) tokens: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Failed {
    /// Name of an `ErrorKind`.
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}
