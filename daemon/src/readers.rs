//! What a caller may see of what an index holds: what he may read by the tool that reads it, by the rules of now.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, json};
use skynet_core::{Caller, Canonical, Registry, Result};
use skynet_knowledge::Judge;
use skynet_policy::{Facts, Services, Verdict, Who};
use std::sync::Arc;
use uuid::Uuid;

/// Judges by the rules, and by those of the project.
pub(crate) struct Readers {
    pub(crate) services: Services,
    pub(crate) registry: Arc<Registry>,
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
}
