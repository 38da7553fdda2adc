//! What a caller may see of what an index holds: what he may read by the tool that reads it, by the rules of now.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, json};
use skynet_core::{Caller, Canonical, Registry, Result};
use skynet_knowledge::Judge;
use skynet_policy::{Facts, Paths, Services, Verdict, Who};
use std::sync::Arc;
use uuid::Uuid;

/// Paths that are judged before others have their turn: a rule may look where each leads.
const AT_ONCE: usize = 128;

/// Judges by the rules, and by those of the project.
pub(crate) struct Readers {
    pub(crate) services: Services,
    pub(crate) registry: Arc<Registry>,
}

impl Readers {
    /// Whether rules let each of some paths be read, of one list after the other. What the project says is read once for all of them.
    async fn may_read_each(&self, caller: &Caller, lists: &[&[String]], place: Paths) -> Result<Vec<bool>> {
        let tool = self.registry.find("files_read")?;
        let project = self.services.projects.rules(Uuid::nil(), caller).await?;
        let rules = self.services.rules.load_full();
        let (who, at) = (Who::of(caller), Timestamp::now());
        let may_read = |path: &String| -> Result<bool> {
            let input = Canonical::from_map(Map::from_iter([("path".to_owned(), json!(path))]))?;
            let facts = Facts::now(&who, tool, tool.effect_of(&input)?, Some(&input));
            let facts = Facts { at, paths: place, ..facts };
            let verdict = match place {
                Paths::Here => rules.explain(&who, tool, &input, at)?.verdict,
                Paths::Elsewhere => rules.decide(&facts).verdict,
            };
            let said = project.as_ref().and_then(|project| project.matching(&facts));
            Ok(verdict == Verdict::Allow && said.is_none_or(|said| said.verdict == Verdict::Allow))
        };
        let mut all = Vec::with_capacity(lists.iter().map(|paths| paths.len()).sum());
        for paths in lists {
            for part in paths.chunks(AT_ONCE) {
                for path in part {
                    all.push(may_read(path)?);
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(all)
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
        let project = self.services.projects.rules(Uuid::nil(), caller).await?;
        let who = Who::of(caller);
        let facts = Facts::now(&who, tool, tool.effect, None);
        Ok(self.services.rules.load().could_refuse(&facts)
            || project.is_some_and(|project| project.could_refuse(&facts)))
    }

    async fn may_read(&self, caller: &Caller, paths: &[String]) -> Result<Vec<bool>> {
        self.may_read_each(caller, &[paths], Paths::Here).await
    }

    async fn may_read_elsewhere(
        &self,
        caller: &Caller,
        relative: &[String],
        whole: &[String],
    ) -> Result<Vec<bool>> {
        let both = self.may_read_each(caller, &[relative, whole], Paths::Elsewhere).await?;
        let by_path = both.iter().skip(relative.len());
        Ok(both.iter().take(relative.len()).zip(by_path).map(|(place, path)| *place && *path).collect())
    }
}
