//! What a tool is: one type, one file, one declaration from which everything else is derived.

use crate::{CallCtx, CommandLine, Kind, Result, json};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, future::Future, time::Duration};

/// What a call does to the world, from harmless to far-reaching.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Changes files of the workspace, in a way that can be taken back.
    Write,
    /// Loses something for good.
    Destroy,
    /// Leaves the host.
    External,
}

impl Effect {
    /// Every effect.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Destroy, Self::External];

    /// The name in policies, metrics and the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destroy => "destroy",
            Self::External => "external",
        }
    }

    /// Whether running the call twice could differ from running it once.
    #[must_use]
    pub const fn is_mutating(self) -> bool {
        !matches!(self, Self::Read)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The process a tool runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In `skynetd`: needs no file of the user.
    Daemon,
    /// In `skynet-hands`, as the caller, with the workspace.
    Hands,
    /// In `skynet-hands`, as the caller, without a workspace: what it asks is about the host.
    Host,
    /// In `skynet-hands` of its own, as the caller, with the workspace and a way to one host: that which the tool
    /// `FAMILY_find_remote`, asked with the same `repository`, `remote` and `url`, answers with `host` and `port`.
    Remote,
}

/// What a call changes, and no other call may change at the same time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A file, or a directory with all that it holds, as the caller names it.
    Path(String),
    /// What a repository remembers, by any directory of its working tree. Files of that are told by themselves.
    Repository(String),
    /// The same, and any file of the working tree.
    WorkTree(String),
    /// Wherever what is started writes in the workspace. Calls that start something do so at the same time all the same.
    Anywhere,
    /// A container, by name or id.
    Container(String),
    /// A unit of systemd.
    Unit(String),
}

/// Where the way out of a slot is, if it has one: a proxy at this port of its loopback, which is that of Squid.
pub const PROXY_PORT: u16 = 3128;

/// The same as programs are told.
pub const PROXY: &str = "http://127.0.0.1:3128";

/// One capability offered to agents.
pub trait Tool: Send + Sync + 'static {
    /// `family_verb` or `family_verb_object`, at most 40 characters, never renamed after a release.
    const NAME: &'static str;
    /// For the model: what it does, point first, at most 1 KB.
    const SUMMARY: &'static str;
    /// Other words people use for it, in English and French; only searched, never shown.
    const KEYWORDS: &'static str = "";
    /// The least a call does; [`Tool::effect`] may raise it for an input.
    const EFFECT: Effect;
    /// The most that [`Tool::effect`] makes of an input; clients are told of this.
    const MOST: Effect = Self::EFFECT;
    /// Where it runs.
    const PLACE: Place;
    /// How long one call may take.
    const TIMEOUT: Duration = Duration::from_secs(30);
    /// What its answers are about, if it only reads and they may be given again to the same caller for a while: for as long as the
    /// configuration says of that kind, and nothing of it changes. In doubt they are made anew each time.
    const KIND: Option<Kind> = None;

    /// The arguments; field docs become the schema that the model reads.
    type Input: DeserializeOwned + JsonSchema + Send;
    /// The answer.
    type Output: Serialize + JsonSchema + Send;

    /// What this input does, never less than [`Tool::EFFECT`] and never more than [`Tool::MOST`].
    fn effect(&self, _input: &Self::Input) -> Effect {
        Self::EFFECT
    }

    /// What of an input can be found wrong without looking at anything else, and its schema does not say: nobody is asked about
    /// a call that cannot be done.
    ///
    /// # Errors
    /// `InvalidInput`.
    fn check(&self, _input: &Self::Input) -> Result<()> {
        Ok(())
    }

    /// The secrets that this input will have read, as they are named after `secret://`. Where one is not there, or is not for the
    /// caller, nobody is asked about the call.
    fn secrets(&self, _input: &Self::Input) -> Vec<String> {
        Vec::new()
    }

    /// The answer as JSON. A tool whose answers are mostly text can have it written faster, see [`json`].
    ///
    /// # Errors
    /// `Internal` when it cannot be written.
    fn to_json(output: &Self::Output) -> Result<Vec<u8>> {
        json::write(output)
    }

    /// What this input starts, for a tool that starts what its caller names. Then the policy's list of commands judges
    /// it, and [`CallCtx::program`] is what it allowed.
    ///
    /// # Errors
    /// `InvalidInput` for an input that names nothing.
    fn command(&self, _input: &Self::Input) -> Result<Option<CommandLine>> {
        Ok(None)
    }

    /// What this input starts before that, if it looks at something first: a list of commands judges it as well, and
    /// [`CallCtx::program_before`] is what it allowed.
    ///
    /// # Errors
    /// As [`Tool::command`].
    fn command_before(&self, _input: &Self::Input) -> Result<Option<CommandLine>> {
        Ok(None)
    }

    /// Why a human must be asked about this input each time: no rule allows it, and no answer counts for another call. For
    /// what gives a caller more than he could undo, whoever he is. Rules may still deny it.
    fn must_ask(&self, _input: &Self::Input) -> Option<&'static str> {
        None
    }

    /// Whether the answer to this input is of [`Tool::KIND`].
    fn lasts(&self, _input: &Self::Input) -> bool {
        true
    }

    /// The names of other tools whose work this input does as well: rules that deny or ask about them are about it too. A tool
    /// outside of the exec family that starts a command does that of `exec_run`, unless it names others.
    fn acts_as(&self, _input: &Self::Input) -> &'static [&'static str] {
        &[]
    }

    /// What this input changes. Calls that change the same thing are done one after the other, in the order in which they came,
    /// and none changes what another session has leased. What is only known while it runs is judged when it is handed over
    /// ([`CallCtx::keep_before`]).
    fn changes(&self, _input: &Self::Input) -> Vec<Subject> {
        Vec::new()
    }

    /// The same where the process of the caller is known: the input may reach that very process.
    fn must_ask_process(&self, input: &Self::Input, _process: u32) -> Option<&'static str> {
        self.must_ask(input)
    }

    /// Does the work.
    ///
    /// # Errors
    /// Of the kind that tells the agent what to do.
    fn call(&self, ctx: &CallCtx, input: Self::Input) -> impl Future<Output = Result<Self::Output>> + Send;
}
