//! What the policy would say to a call, judged by the code that judges calls.

use super::{Office, refused};
use crate::{
    boot::NO_HOME,
    people::{Peer, Person},
    relay::peer,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use skynet_core::{Caller, Canonical, Entry, Error, Group, Workspace};
use skynet_policy::{Explanation, Facts, Who};
use skynet_proto::{
    CheckCommandsRequest, CheckCommandsResponse, ExplainCallRequest, ExplainCallResponse,
    ExplainCommandRequest, ExplainCommandResponse, MissingProgram, policy_server::Policy,
};
use std::{path::Path, sync::Arc};
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// Nobody's: (uid_t) -1 (setuid(2)). For a user who is asked about by name and has no process here.
const NO_UID: u32 = u32::MAX;

impl Office {
    /// Whom the rules know by a name or number; who asks, where none is given. A user the host does not know is in no group.
    async fn meant(&self, peer: &Peer, asking: &Person, name: &str) -> (u32, Person) {
        if name.is_empty() || *name == *asking.name {
            return (peer.uid, asking.clone());
        }
        match self.desk.people.named(name).await {
            Ok(Some(found)) => found,
            Ok(None) | Err(_) => {
                let home = Path::new(NO_HOME).into();
                let person = Person { name: name.into(), home, groups: Arc::default() };
                (name.parse().unwrap_or(NO_UID), person)
            }
        }
    }

    /// The input with which a client would start such a command.
    fn input(request: &ExplainCommandRequest) -> Result<Canonical, Error> {
        let variables = request.variables.iter().map(|name| (name.clone(), Value::from("")));
        let mut input = Map::new();
        input.insert("command".into(), json!(request.command));
        input.insert("environment".into(), Value::Object(variables.collect()));
        let script = request.script.as_ref().map(|text| json!(text));
        let interpreter = (!request.interpreter.is_empty()).then(|| json!(request.interpreter));
        let directory = (!request.directory.is_empty()).then(|| json!(request.directory));
        let stdin = request.stdin.then(|| json!(""));
        let given = [("script", script), ("interpreter", interpreter), ("cwd", directory), ("stdin", stdin)];
        input.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Canonical::from_map(input)
    }
}

/// One call that is asked about.
struct Inquiry<'a> {
    caller: &'a Caller,
    tool: &'a Entry,
    input: &'a Canonical,
    at: Timestamp,
}

impl Office {
    /// The peer's own claim of a workspace.
    pub(super) async fn workspace(&self, peer: &Peer, claim: &str) -> Result<Arc<Workspace>, Status> {
        let asking = self.desk.people.find(peer.uid).await;
        let asking = asking.map_err(|err| Status::permission_denied(err.to_string()))?;
        let workspace = self.desk.people.workspace(peer, &asking, claim).await;
        workspace.map_err(Status::invalid_argument)
    }

    /// As whom a call is judged: the user of that name, in a workspace that the peer claims.
    async fn meant_caller(&self, peer: &Peer, user: &str, workspace: &str) -> Result<Caller, Status> {
        let mut caller = self.desk.caller(peer, "skynetctl", None).await?;
        let asking =
            Person { name: caller.user.clone(), home: caller.home.clone(), groups: caller.groups.clone() };
        if !workspace.is_empty() {
            caller.workspace = Some(self.workspace(peer, workspace).await?);
        }
        let (uid, Person { name, home, groups }) = self.meant(peer, &asking, user).await;
        Ok(Caller { uid, user: name, home, groups, ..caller })
    }

    /// What rules, lists and the project say together: the strictest of them.
    async fn explain(&self, inquiry: &Inquiry<'_>) -> Result<Explanation, Error> {
        let Inquiry { caller, tool, input, at } = *inquiry;
        let who = Who::of(caller);
        let explained = self.services.rules.load().explain(&who, tool, input, at)?;
        let facts = Facts { at, ..Facts::now(&who, tool, tool.effect_of(input)?, Some(input)) };
        // Of no session: what is wrong with a file is told to none.
        let said = self.services.projects.matching(Uuid::nil(), caller, &facts).await?;
        Ok(match said {
            Some(said) if said.verdict > explained.verdict => Explanation {
                verdict: said.verdict,
                rule: said.rule,
                why: None,
                grant: None,
                change: Some(
                    "narrowing that rule in the project's own file, and `skynetctl trust` for the new text"
                        .into(),
                ),
                ..explained
            },
            _ => explained,
        })
    }
}

fn shown(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// A group as it is asked about: whatever of name and number was given.
fn group(given: &str) -> Group {
    Group { gid: given.parse().unwrap_or(NO_UID), name: given.into() }
}

#[tonic::async_trait]
impl Policy for Office {
    async fn explain_command(
        &self,
        request: Request<ExplainCommandRequest>,
    ) -> Result<Response<ExplainCommandResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let caller = self.meant_caller(&peer, &request.user, &request.workspace).await?;
        let tool = self.desk.calls.registry().find("exec_run").map_err(refused)?;
        let input = Self::input(&request).map_err(refused)?;
        let inquiry = Inquiry { caller: &caller, tool, input: &input, at: Timestamp::now() };
        let explained = self.explain(&inquiry).await.map_err(refused)?;
        Ok(Response::new(ExplainCommandResponse {
            verdict: explained.verdict.to_string(),
            rule: explained.rule,
            program: shown(explained.program.as_deref()),
            reason: explained.why.unwrap_or_default(),
            grant: explained.grant.unwrap_or_default(),
            user: caller.user.to_string(),
            workspace: shown(caller.workspace.as_deref().map(Workspace::path)),
            change: explained.change.unwrap_or_default(),
        }))
    }

    async fn explain_call(
        &self,
        request: Request<ExplainCallRequest>,
    ) -> Result<Response<ExplainCallResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let mut caller = self.meant_caller(&peer, &request.user, &request.workspace).await?;
        let known = caller.groups.iter().filter(|_| !request.only_these_groups).cloned();
        caller.groups = known.chain(request.groups.iter().map(|name| group(name))).collect();
        let tool = self.desk.calls.registry().find(&request.tool).map_err(refused)?;
        let input = Canonical::parse(&request.input).map_err(refused)?;
        let at = match request.at {
            Some(at) => Timestamp::new(at.seconds, at.nanos)
                .map_err(|err| Status::invalid_argument(err.to_string()))?,
            None => Timestamp::now(),
        };
        let inquiry = Inquiry { caller: &caller, tool, input: &input, at };
        let explained = self.explain(&inquiry).await.map_err(refused)?;
        let effect = tool.effect_of(&input).map_err(refused)?;
        Ok(Response::new(ExplainCallResponse {
            verdict: explained.verdict.to_string(),
            rule: explained.rule,
            effect: effect.as_str().to_owned(),
            reason: explained.why.unwrap_or_default(),
            grant: explained.grant.unwrap_or_default(),
            change: explained.change.unwrap_or_default(),
            program: shown(explained.program.as_deref()),
            user: caller.user.to_string(),
            workspace: shown(caller.workspace.as_deref().map(Workspace::path)),
        }))
    }

    async fn check_commands(
        &self,
        _request: Request<CheckCommandsRequest>,
    ) -> Result<Response<CheckCommandsResponse>, Status> {
        let tool = self.desk.calls.registry().find("exec_run").map_err(refused)?;
        // Any command: asked for is only where its tool finds programs.
        let any = Self::input(&ExplainCommandRequest { command: vec!["true".into()], ..Default::default() });
        let command = any.and_then(|input| tool.command_of(&input)).map_err(refused)?;
        let rules = self.services.rules.load_full();
        let commands = rules.commands();
        let missing = command.map(|command| commands.missing(&command.programs)).unwrap_or_default();
        let missing = missing.into_iter().map(|(entry, reason)| MissingProgram { entry, reason });
        Ok(Response::new(CheckCommandsResponse {
            entries: u32::try_from(commands.len()).unwrap_or(u32::MAX),
            missing: missing.collect(),
        }))
    }
}
