//! Dialing the daemon, and starting the user's own when there is none.

use crate::arguments::Arguments;
use hyper_util::rt::TokioIo;
use skynet_proto::{
    CONNECTION_WINDOW_BYTES, ClientMessage, ENVELOPE_VERSION, Frame, Goodbye, HTTP2_FRAME_BYTES, Hello,
    MAX_MESSAGE_BYTES, STREAM_WINDOW_BYTES, ServerMessage, client_message::Kind, relay_client::RelayClient,
    stream::QuietStream,
};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tokio::{net::UnixStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Endpoint};

/// Frames on their way to the daemon.
const OUTBOUND_FRAMES: usize = 16;

/// A daemon logs each call that changes something in some hundred bytes.
const LARGEST_LOG_BYTES: u64 = 4 << 20;

/// Of what is told of why there is no daemon.
const LONGEST_REASON_BYTES: u64 = 2 << 10;

/// Why a connection did not come about.
#[derive(Debug)]
pub(crate) enum DialError {
    /// Nobody listens; trying again may help.
    Absent(String),
    /// The daemon refused this shim; trying again does not help.
    Refused(String),
}

/// An attached connection.
pub(crate) struct Connection {
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Streaming<ServerMessage>,
}

/// Its sending half.
pub(crate) struct Outbound(mpsc::Sender<ClientMessage>);

impl Outbound {
    /// Sends a frame; false when the connection is gone.
    pub(crate) async fn send(&self, frame: Frame) -> bool {
        self.0.send(ClientMessage { kind: Some(Kind::Frame(frame)) }).await.is_ok()
    }

    /// Waits for room for one frame; false when the connection is gone.
    pub(crate) async fn is_ready(&self) -> bool {
        self.0.reserve().await.is_ok()
    }

    /// Says that the client is done; answers still come.
    pub(crate) async fn say_goodbye(&self) {
        // A connection that is gone needs no goodbye.
        let _ = self.0.send(ClientMessage { kind: Some(Kind::Goodbye(Goodbye {})) }).await;
    }
}

/// Dials once.
pub(crate) async fn dial(
    arguments: &Arguments,
    session_id: &[u8; 16],
    is_resumed: bool,
) -> Result<Connection, DialError> {
    // The address is not used: the connector dials the socket.
    let endpoint = Endpoint::from_static("http://skynet")
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES);
    let socket = arguments.socket.clone();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(QuietStream::new(UnixStream::connect(socket).await?)?)) }
    });
    let channel =
        endpoint.connect_with_connector(connector).await.map_err(|err| DialError::Absent(err.to_string()))?;
    let mut client = RelayClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (outbound, frames) = mpsc::channel(OUTBOUND_FRAMES);
    let hello = Hello {
        envelope_version: ENVELOPE_VERSION,
        session_id: session_id.to_vec().into(),
        workspace: arguments.workspace.to_string_lossy().into_owned(),
        shim_version: env!("CARGO_PKG_VERSION").into(),
        resumed: is_resumed,
        // One whose name is no text is none that could be lent.
        ssh_agent: std::env::var("SSH_AUTH_SOCK").unwrap_or_default(),
    };
    // The channel is new, so there is room, and its receiver is alive.
    let _ = outbound.send(ClientMessage { kind: Some(Kind::Hello(hello)) }).await;
    let inbound = client.attach(ReceiverStream::new(frames)).await.map_err(|status| explain(&status))?;
    Ok(Connection { outbound: Outbound(outbound), inbound: inbound.into_inner() })
}

fn explain(status: &Status) -> DialError {
    use tonic::Code;
    let message = status.message().to_owned();
    match status.code() {
        Code::PermissionDenied | Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented => {
            DialError::Refused(message)
        }
        _ => DialError::Absent(message),
    }
}

/// Where a daemon that a shim starts says what it does, and why it does not start.
fn log() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".local/state/skynet/skynetd.log")
}

/// The log, begun anew once it is large; the one before is kept.
fn open_log() -> io::Result<File> {
    let path = log();
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    if path.metadata().is_ok_and(|found| found.len() > LARGEST_LOG_BYTES) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    File::options().create(true).append(true).mode(0o600).open(path)
}

/// Why the last daemon did not start, if it said so.
pub(crate) fn why_not() -> Option<String> {
    let mut file = File::open(log()).ok()?;
    let end = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(end.saturating_sub(LONGEST_REASON_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    // What a daemon that serves writes begins with the time.
    let reason = tail.trim_end().rsplit('\n').next()?.strip_prefix("skynetd: ")?;
    Some(reason.to_owned())
}

/// Starts the user's daemon in the background, if its program lies beside this one.
pub(crate) fn start(arguments: &Arguments) {
    let is_system = arguments.socket == Path::new(skynet_proto::socket::SYSTEM_SOCKET);
    if !arguments.may_start_daemon || is_system || rustix::process::geteuid().is_root() {
        return;
    }
    let Some(program) = std::env::current_exe().ok().map(|shim| shim.with_file_name("skynetd")) else {
        return;
    };
    let mut command = Command::new("setsid");
    // Its own session: it must not die with the client's terminal.
    command.arg("--fork").arg(program).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(open_log().map_or_else(|_| Stdio::null(), Stdio::from));
    // If it does not start, the next dial says that there is no daemon, and how to start one.
    if let Ok(mut child) = command.spawn() {
        let _ = child.wait();
    }
}
