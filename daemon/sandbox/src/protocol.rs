//! What travels between daemon, broker and slots. All come from one build, so there is one version.

/// To the broker, and from there to a slot.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ToBroker {
    /// What it is.
    #[prost(oneof = "Request", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub request: Option<Request>,
}

/// What is asked.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Request {
    /// With descriptors: stdin, stdout, stderr, and the workspace unless its kind has none.
    #[prost(message, tag = "1")]
    Run(Run),
    /// Ends the command of that number.
    #[prost(uint64, tag = "2")]
    Kill(u64),
    /// Opens a directory as the caller. Only a broker of the whole host is asked.
    #[prost(message, tag = "3")]
    Open(Open),
    /// Nothing more will be done for the connection of that number.
    #[prost(uint64, tag = "4")]
    Release(u64),
    /// A command that a keeper holds, so that it outlives the broker. With four descriptors: workspace, and those of
    /// [`crate::job::Files`]; and that for [`Run::has_certificates`]. What becomes of it is said there.
    #[prost(message, tag = "5")]
    Keep(Run),
    /// To a slot alone: signals the command's process group.
    #[prost(int32, tag = "6")]
    Signal(i32),
    /// Connects to the container engine as the caller. Only a broker of the whole host is asked.
    #[prost(message, tag = "7")]
    Engine(Engine),
    /// Lends the SSH agent of the caller for as long as the descriptor that answers is open. Only a broker of the whole host is
    /// asked.
    #[prost(message, tag = "8")]
    Agent(Open),
    /// Asks whether a secret is that of a token. Only a broker of the whole host is asked.
    #[prost(message, tag = "9")]
    Admit(Admit),
}

/// What somebody showed who came by HTTP.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Admit {
    /// The number of the request, of the same row as those of commands.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// As it was shown.
    #[prost(string, tag = "2")]
    pub secret: String,
}

/// A connection to the container engine, as somebody else. Where the engine listens is the broker's to know.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Engine {
    /// The number of the request, of the same row as those of commands.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// On whose behalf: [`Connected::connection`].
    #[prost(uint64, tag = "2")]
    pub connection: u64,
    /// Whether an administrator lends it for this once, so that it is as a member of the group that may.
    #[prost(bool, tag = "3")]
    pub is_lent: bool,
}

/// A directory to open, or an agent to lend, as somebody else.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Open {
    /// The number of the request, of the same row as those of commands.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// On whose behalf: [`Connected::connection`].
    #[prost(uint64, tag = "2")]
    pub connection: u64,
    /// An absolute path.
    #[prost(bytes = "vec", tag = "3")]
    pub path: Vec<u8>,
}

/// What runs in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// What an agent asked for.
    Command = 0,
    /// `skynet-hands` for one workspace.
    Hands = 1,
    /// `skynet-hands` for what is asked about the host: it sees the host, and has no workspace.
    Host = 2,
    /// `skynet-hands` for one call in a workspace, with a way out.
    Remote = 3,
    /// `skynet-models`: it sees programs and nothing else, and writes nothing.
    Models = 4,
}

/// Who somebody is to the kernel.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Identity {
    /// The user.
    #[prost(uint32, tag = "1")]
    pub uid: u32,
    /// His group.
    #[prost(uint32, tag = "2")]
    pub gid: u32,
    /// His other groups.
    #[prost(uint32, repeated, tag = "3")]
    pub groups: Vec<u32>,
}

/// One command.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Run {
    /// Its number on this connection.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Program and arguments; a program without `/` is looked for in the environment's `PATH`.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`; nothing else is in the environment.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub environment: Vec<Vec<u8>>,
    /// Where the workspace is, without links; what is there must be what the descriptor says.
    #[prost(bytes = "vec", tag = "4")]
    pub workspace: Vec<u8>,
    /// Where it starts, from the workspace; what is outside of that is outside of its view.
    #[prost(bytes = "vec", tag = "5")]
    pub directory: Vec<u8>,
    /// The user's home directory, as he calls it.
    #[prost(bytes = "vec", tag = "6")]
    pub home: Vec<u8>,
    /// The name of the directory that is shown in its place, which the broker makes below its own.
    #[prost(bytes = "vec", tag = "7")]
    pub private_home: Vec<u8>,
    /// What it may use.
    #[prost(message, required, tag = "8")]
    pub limits: Limits,
    /// Whether no other command is under way in the workspace. The broker's to say.
    #[prost(bool, tag = "9")]
    pub is_alone: bool,
    /// What it is.
    #[prost(enumeration = "Kind", tag = "10")]
    pub kind: i32,
    /// On whose behalf: [`Connected::connection`]. 0 where everybody is the broker's own user.
    #[prost(uint64, tag = "11")]
    pub connection: u64,
    /// Who runs it, unless that is the broker's own user. The broker's to say.
    #[prost(message, optional, tag = "12")]
    pub identity: Option<Identity>,
    /// Of the terminal that it gets in place of stdin, stdout and stderr.
    #[prost(message, optional, tag = "13")]
    pub terminal: Option<TerminalSize>,
    /// Whether a keeper holds it, who is told when it begins.
    #[prost(bool, tag = "14")]
    pub is_kept: bool,
    /// Ports of its own loopback at which its slot listens for the daemon.
    #[prost(uint32, repeated, tag = "15")]
    pub listen: Vec<u32>,
    /// Whether the daemon is to connect to what listens in the slot.
    #[prost(bool, tag = "16")]
    pub is_published: bool,
    /// Whether what it does to the workspace is only looked at. Then with another descriptor, after the workspace's: a file
    /// for a [`crate::preview`].
    #[prost(bool, tag = "17")]
    pub is_preview: bool,
    /// Whether it is shown an empty directory, gone with it, in place of the workspace.
    #[prost(bool, tag = "18")]
    pub is_apart: bool,
    /// Whether it trusts certificates of its own choice. Then with another descriptor, after those: a file that is shown as
    /// [`crate::places::CERTIFICATES`].
    #[prost(bool, tag = "19")]
    pub has_certificates: bool,
}

/// How large a terminal is, in characters.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TerminalSize {
    /// Lines.
    #[prost(uint32, tag = "1")]
    pub rows: u32,
    /// Characters of a line.
    #[prost(uint32, tag = "2")]
    pub columns: u32,
}

/// What a command may use.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Limits {
    /// Of all of its processes, from its start to its end; 0 if it has all the time.
    #[prost(uint64, tag = "1")]
    pub wall_ms: u64,
    /// Memory of all of its processes together.
    #[prost(uint64, tag = "2")]
    pub memory_bytes: u64,
    /// Processes and threads.
    #[prost(uint64, tag = "3")]
    pub processes: u64,
    /// Of /tmp and /dev/shm together with each other.
    #[prost(uint64, tag = "4")]
    pub scratch_bytes: u64,
    /// Processor time of all of its processes together; 0 if it has all there is.
    #[prost(uint64, tag = "5")]
    pub cpu_ms: u64,
    /// What all of its processes together write to disks, and how large a file of theirs gets; 0 if that is all there is.
    #[prost(uint64, tag = "6")]
    pub disk_bytes: u64,
}

/// From a slot, and from there to the daemon.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FromBroker {
    /// What it is.
    #[prost(oneof = "Reply", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13")]
    pub reply: Option<Reply>,
    /// How many slots wait for a command, where the broker says so.
    #[prost(uint32, optional, tag = "10")]
    pub warm: Option<u32>,
}

impl From<Reply> for FromBroker {
    fn from(reply: Reply) -> Self {
        Self { reply: Some(reply), warm: None }
    }
}

/// What is answered.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Reply {
    /// A slot is ready.
    #[prost(message, tag = "1")]
    Ready(Ready),
    /// A command ended.
    #[prost(message, tag = "2")]
    Ended(Ended),
    /// A command, or every command, cannot run; or a directory is not opened.
    #[prost(message, tag = "3")]
    Refused(Refused),
    /// Hands were started. Not said of commands.
    #[prost(message, tag = "4")]
    Begun(Begun),
    /// With a descriptor: a client has connected. With another one, its process (pidfd_open(2)), where the kernel has that.
    #[prost(message, tag = "5")]
    Connected(Connected),
    /// With a descriptor: a directory is open, the engine is connected, or an agent is lent.
    #[prost(message, tag = "6")]
    Opened(Opened),
    /// To a keeper alone, with a descriptor: the other end of the command's terminal.
    #[prost(message, tag = "7")]
    Terminal(TerminalSize),
    /// To a keeper alone: the command is executed.
    #[prost(message, tag = "8")]
    Started(Ready),
    /// With descriptors: the sockets that listen at [`Run::listen`], in that order, and if [`Run::is_published`] one end of
    /// a [`crate::channel::pair`], at which each [`Dial`] is answered.
    #[prost(message, tag = "9")]
    Network(Network),
    /// To the broker alone: who a user is.
    #[prost(message, tag = "11")]
    Known(Identity),
    /// It is the secret of a token.
    #[prost(message, tag = "12")]
    Admitted(Admitted),
    /// The token behind the connection of that number has ended, and with it everything that was done for it.
    #[prost(uint64, tag = "13")]
    Lapsed(u64),
}

/// A token that holds, and what stands for it: the same connection for as long as daemon, broker and token live.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Admitted {
    /// The request.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What requests on its behalf cite.
    #[prost(uint64, tag = "2")]
    pub connection: u64,
    /// As whom it acts.
    #[prost(uint32, tag = "3")]
    pub uid: u32,
    /// Names the token; not secret.
    #[prost(string, tag = "4")]
    pub token: String,
    /// What its maker called it.
    #[prost(string, tag = "5")]
    pub name: String,
    /// Where it may work. The broker opens no other directory for it.
    #[prost(string, repeated, tag = "6")]
    pub workspaces: Vec<String>,
    /// Names of the effects that its calls may have.
    #[prost(string, repeated, tag = "7")]
    pub effects: Vec<String>,
}

/// A slot has what leads out of it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Network {
    /// The request.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// Asks for a TCP socket of the slot's network, to be connected there; it comes with the same message. The sockets are
/// all alike, so nothing is numbered.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Dial {}

/// Hands run.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Begun {
    /// The request.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// A process that they do not outlive.
    #[prost(uint32, tag = "2")]
    pub pid: u32,
}

/// A client, as the kernel told it when it connected (unix(7), `SO_PEERCRED`).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Connected {
    /// What requests on its behalf cite.
    #[prost(uint64, tag = "1")]
    pub connection: u64,
    /// Its user.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Its process.
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    /// Whether that had ended already when it was looked for.
    #[prost(bool, tag = "4")]
    pub has_ended: bool,
}

/// A directory is open, the engine is connected, or an agent is lent.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Opened {
    /// The request.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// A slot has everything but its command.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Ready {}

/// How a command ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ended {
    /// The command.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its exit code, unless a signal ended it.
    #[prost(int32, optional, tag = "2")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[prost(int32, optional, tag = "3")]
    pub signal: Option<i32>,
    /// From start to end.
    #[prost(uint64, tag = "4")]
    pub wall_us: u64,
    /// Processor time of all of its processes, user and system.
    #[prost(uint64, tag = "5")]
    pub cpu_us: u64,
    /// The most memory that was seen in use.
    #[prost(uint64, tag = "6")]
    pub peak_memory_bytes: u64,
    /// Why it was ended, if it did not end by itself.
    #[prost(enumeration = "Cause", tag = "7")]
    pub cause: i32,
    /// What it left where other programs of the user would run it: paths relative to the workspace, before they were
    /// renamed. The first ones.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub quarantined: Vec<Vec<u8>>,
    /// How many they were.
    #[prost(uint64, tag = "9")]
    pub quarantined_count: u64,
}

/// Why a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Cause {
    /// By itself.
    Itself = 0,
    /// [`Limits::wall_ms`].
    Time = 1,
    /// [`Limits::memory_bytes`].
    Memory = 2,
    /// [`Request::Kill`].
    Killed = 3,
    /// [`Limits::cpu_ms`].
    Cpu = 4,
    /// [`Limits::disk_bytes`], or a disk that is almost full.
    Disk = 5,
}

/// Why a command cannot run.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Refused {
    /// The command; 0 if it is about all.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The layer that cannot be had, such as `landlock`, or `command` if the command itself is wrong.
    #[prost(string, tag = "2")]
    pub layer: String,
    /// What was wrong.
    #[prost(string, tag = "3")]
    pub message: String,
    /// The name of the `ErrorKind` of it.
    #[prost(string, tag = "4")]
    pub kind: String,
    /// Whether the command ran all the same.
    #[prost(bool, tag = "5")]
    pub has_run: bool,
}
