//! What is wrong with containers.

use crate::{Client, Line, Name, Standing, Wanted, failure::About};
use bollard::query_parameters::InspectContainerOptions;
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::Result;

/// Restarts that are more than an accident.
const MANY_RESTARTS: i64 = 3;

/// Containers that are told of in full.
const MOST_TOLD: usize = 25;

/// Exit codes of those that were told to end: none, SIGINT, SIGKILL, SIGTERM.
const ASKED_FOR: [i64; 4] = [0, 130, 137, 143];

/// A container that is not well.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ill {
    /// Its name.
    pub container: String,
    /// Why it is told of.
    pub problems: Vec<String>,
    /// How it runs, or ended.
    pub standing: Standing,
    /// The last it printed.
    pub last_lines: Vec<Line>,
}

/// How all containers are.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Health {
    /// How many there are.
    pub total: usize,
    /// How many run.
    pub running: usize,
    /// Those that are not well.
    pub problems: Vec<Ill>,
    /// How many of these are left out.
    pub left_out: usize,
}

impl Client {
    /// Looks at all containers, or at those with this in their name.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn check_health(&self, name: Option<String>, last_lines: u32) -> Result<Health> {
        let wanted = Wanted { all: true, name, ..Wanted::default() };
        let listed = self.list_containers(&wanted).await?;
        let running = listed.iter().filter(|one| one.state == "running").count();
        let (mut problems, mut left_out) = (Vec::new(), 0);
        let total = listed.len();
        for one in listed {
            let name = Name::try_from(one.id)?;
            let found = self.docker.inspect_container(&name, None::<InspectContainerOptions>);
            let found = match self.ask(About::Container(&name), found).await {
                Ok(found) => found,
                // Removed since it was listed.
                Err(err) if err.kind == skynet_core::ErrorKind::NotFound => continue,
                Err(err) => return Err(err),
            };
            let standing = crate::containers::standing(found.state, found.restart_count);
            let reasons = reasons(&standing);
            if reasons.is_empty() {
                continue;
            }
            if problems.len() == MOST_TOLD {
                left_out += 1;
                continue;
            }
            let last_lines = self.tail(&name, last_lines).await?;
            problems.push(Ill { container: one.name, problems: reasons, standing, last_lines });
        }
        Ok(Health { total, running, problems, left_out })
    }
}

fn reasons(standing: &Standing) -> Vec<String> {
    let mut reasons = Vec::new();
    if standing.oom_killed {
        reasons.push("killed for lack of memory".to_owned());
    }
    if let Some(code) = standing.exit_code.filter(|code| standing.oom_killed || !ASKED_FOR.contains(code)) {
        reasons.push(format!("ended with exit code {code}"));
    }
    if standing.health.as_deref() == Some("unhealthy") {
        reasons.push("its health check fails".to_owned());
    }
    if matches!(standing.state.as_str(), "restarting" | "dead" | "removing") {
        reasons.push(standing.state.clone());
    }
    if standing.restarts >= MANY_RESTARTS {
        reasons.push(format!("restarted {} times", standing.restarts));
    }
    if let Some(error) = &standing.error {
        reasons.push(error.clone());
    }
    reasons
}
