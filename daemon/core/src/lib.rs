//! The words every other room speaks: tools, calls, layers, errors, workspaces.
//! Depends on no other crate of Skynet, performs no policy and reads no configuration.

pub mod alias;
mod attributes;
mod backoff;
pub mod call;
pub mod canonical;
pub mod change;
pub mod command;
pub mod ctx;
pub mod error;
pub mod json;
pub mod kind;
mod picture;
pub mod pipeline;
pub mod place;
pub mod process;
pub mod registry;
mod rename;
pub mod reserved;
pub mod schema;
pub mod seal;
pub mod target;
pub mod tool;
pub mod trash;
pub mod usage;
pub mod workspace;

pub use alias::Alias;
pub use attributes::rights_of;
pub use backoff::backoff;
pub use call::{Answer, Call, CallId, Caller, Connection, Group, Link, Token};
pub use canonical::Canonical;
pub use command::CommandLine;
pub use ctx::{CallCtx, Outbox};
pub use error::{Error, ErrorKind, Result};
pub use kind::Kind;
pub use picture::Picture;
pub use pipeline::{Layer, Next, Pipeline};
pub use registry::{Entry, Registry, Run, Toolset};
pub use rename::rename_new;
pub use tool::{Effect, Place, Subject, Tool};
pub use usage::{JobLimit, Meter, Usage};
pub use workspace::{RelativePath, Workspace};
