//! What a caller may see of what an index holds: what he may read by the tool that reads it, by the rules of now.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, json};
use skynet_core::{Caller, Canonical, Registry, Result};
use skynet_knowledge::Judge;
use skynet_policy::{Facts, Paths, Services, Verdict, Who};
use std::sync::Arc;
use uuid::Uuid;

/// Judges by the rules, and by those of the project.
pub(crate) struct Readers {
    pub(crate) services: Services,
    pub(crate) registry: Arc<Registry>,
}

impl Readers {
    /// Whether rules let a path be read that is of another workspace.
    async fn may_read(&self, caller: &Caller, path: &str) -> Result<bool> {
        let tool = self.registry.find("files_read")?;
        let input = Canonical::from_map(Map::from_iter([("path".to_owned(), json!(path))]))?;
        let who = Who::of(caller);
        let facts = Facts::now(&who, tool, tool.effect_of(&input)?, Some(&input));
        let facts = Facts { paths: Paths::Elsewhere, ..facts };
        if self.services.rules.load().decide(&facts).verdict != Verdict::Allow {
            return Ok(false);
        }
        let said = self.services.projects.matching(Uuid::nil(), caller, &facts).await?;
        Ok(said.is_none_or(|said| said.verdict == Verdict::Allow))
    }
}

#[async_trait]
impl Judge for Readers {
    async fn may_call(&self, caller: &Caller, tool: &str, members: &[(&str, &str)]) -> Result<bool> {
        let tool = self.registry.find(tool)?;
        let members = members.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        let input = Canonical::from_map(members.collect::<Map<_, _>>())?;
        let (who, at) = (Who::of(caller), Timestamp::now());
        if self.services.rules.load().explain(&who, tool, &input, at)?.verdict != Verdict::Allow {
            return Ok(false);
        }
        let facts = Facts { at, ..Facts::now(&who, tool, tool.effect_of(&input)?, Some(&input)) };
        // Of no session: what is wrong with a file is told to none.
        let said = self.services.projects.matching(Uuid::nil(), caller, &facts).await?;
        Ok(said.is_none_or(|said| said.verdict == Verdict::Allow))
    }

    async fn may_hide(&self, caller: &Caller) -> Result<bool> {
        let tool = self.registry.find("files_read")?;
        let who = Who::of(caller);
        let facts = Facts::now(&who, tool, tool.effect, None);
        if self.services.rules.load().could_refuse(&facts) {
            return Ok(true);
        }
        self.services.projects.could_refuse(Uuid::nil(), caller, &facts).await
    }

    async fn may_read_elsewhere(&self, caller: &Caller, relative: &str, whole: &str) -> Result<bool> {
        Ok(self.may_read(caller, relative).await? && self.may_read(caller, whole).await?)
    }
}
