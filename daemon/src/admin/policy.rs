//! What the policy would say to a command, judged by the code that judges calls.

use super::{Office, refused};
use crate::{
    boot::NO_HOME,
    people::{Peer, Person},
    relay::peer,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use skynet_core::{Canonical, Error};
use skynet_policy::Who;
use skynet_proto::{
    CheckCommandsRequest, CheckCommandsResponse, ExplainCommandRequest, ExplainCommandResponse,
    MissingProgram, policy_server::Policy,
};
use std::{path::Path, sync::Arc};
use tonic::{Request, Response, Status};

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

#[tonic::async_trait]
impl Policy for Office {
    async fn explain_command(
        &self,
        request: Request<ExplainCommandRequest>,
    ) -> Result<Response<ExplainCommandResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let asking = self.desk.people.find(peer.uid).await;
        let asking = asking.map_err(|err| Status::permission_denied(err.to_string()))?;
        let (uid, person) = self.meant(&peer, &asking, &request.user).await;
        let workspace = self.desk.people.workspace(&peer, &asking, &request.workspace).await;
        let workspace = workspace.map_err(Status::invalid_argument)?;
        let who = Who {
            user: &person.name,
            uid,
            groups: &person.groups,
            home: &person.home,
            workspace: Some(&workspace),
        };
        let tool = self.desk.calls.registry().find("exec_run").map_err(refused)?;
        let input = Self::input(&request).map_err(refused)?;
        let explained = self.services.rules.explain(&who, tool, &input, Timestamp::now()).map_err(refused)?;
        Ok(Response::new(ExplainCommandResponse {
            verdict: explained.verdict.to_string(),
            rule: explained.rule,
            program: explained.program.map(|path| path.display().to_string()).unwrap_or_default(),
            reason: explained.why.unwrap_or_default(),
            grant: explained.grant.unwrap_or_default(),
            user: person.name.to_string(),
            workspace: workspace.path().display().to_string(),
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
        let commands = self.services.rules.commands();
        let missing = command.map(|command| commands.missing(&command.programs)).unwrap_or_default();
        let missing = missing.into_iter().map(|(entry, reason)| MissingProgram { entry, reason });
        Ok(Response::new(CheckCommandsResponse {
            entries: u32::try_from(commands.len()).unwrap_or(u32::MAX),
            missing: missing.collect(),
        }))
    }
}
