//! What a caller may see of what an index holds: what he may read by `files_read`, by the rules of now.

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
    async fn may_read(&self, caller: &Caller, path: &str) -> Result<bool> {
        let tool = self.registry.find("files_read")?;
        let input = Canonical::from_map(Map::from_iter([("path".to_owned(), json!(path))]))?;
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
