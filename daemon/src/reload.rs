//! Reads the configuration again while the daemon serves (SIGHUP, `skynetctl reload`): rules, lists of commands, roles, limits,
//! what leases do to commands and what is logged count from the next call on, and no connection notices. The rest is told to need another start.

use crate::{
    boot::NO_HOME,
    check,
    config::{self, Config},
    log, supervisor,
};
use anyhow::{Context as _, Result};
use skynet_core::Registry;
use skynet_policy::Services;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Sections that need another start: what they say is built into connections, sockets or stores.
const FIXED: [&str; 13] = [
    "audit", "cache", "confirm", "docker", "git", "http", "mcp", "memory", "metrics", "models", "network",
    "secrets", "storage",
];

/// Puts another configuration in force.
#[derive(Clone)]
pub(crate) struct Reload {
    file: PathBuf,
    home: Option<PathBuf>,
    services: Services,
    registry: Arc<Registry>,
    log: log::Filter,
    /// What the daemon started with. The lock is held while something else is put in force.
    started_with: Arc<Mutex<Config>>,
}

impl Reload {
    pub(crate) fn new(
        file: PathBuf,
        home: Option<&Path>,
        config: Config,
        services: Services,
        registry: Arc<Registry>,
        log: log::Filter,
    ) -> Self {
        Self {
            file,
            home: home.map(Path::to_owned),
            services,
            registry,
            log,
            started_with: Arc::new(Mutex::new(config)),
        }
    }

    /// Reads the files again and puts what they say in force, all of it or nothing. Returns the sections that changed and need
    /// another start.
    ///
    /// # Errors
    /// What is wrong with the files; what was in force stays so.
    pub(crate) fn run(&self) -> Result<Vec<String>> {
        let started_with = self.started_with.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = config::load(&self.file)?;
        let home = self.home.as_deref().unwrap_or(Path::new(NO_HOME));
        check::all(&wanted, home)?;
        let rules = wanted.policy.rules(home)?;
        rules.check(&self.registry)?;
        let plan = wanted.plan()?;
        let filter = log::filter(&wanted.log.filter)?;
        let unmoved = differing(&started_with, &wanted)?;
        // From here on nothing fails, but for a log that is gone, and without one nobody would hear of it.
        self.log.reload(filter).context("the log")?;
        self.services.rules.store(Arc::new(rules));
        self.services.quotas.replace_plan(plan);
        self.services.leases.configure(wanted.leases);
        // Nothing is given again that was made by other rules.
        self.services.cache.forget();
        Ok(unmoved)
    }

    /// The same, told to systemd and to the log.
    ///
    /// # Errors
    /// As [`Reload::run`].
    pub(crate) fn run_and_tell(&self) -> Result<Vec<String>> {
        supervisor::say_reloading();
        let done = self.run();
        match &done {
            Ok(unmoved) if unmoved.is_empty() => tracing::info!("the configuration was read again"),
            Ok(unmoved) => {
                tracing::warn!(
                    sections = unmoved.join(" "),
                    "the configuration was read again; these sections count after a restart"
                );
            }
            Err(err) => {
                // In the line itself: whoever sent a signal hears of it nowhere else.
                tracing::error!("the configuration stays as it was: {err:#}");
            }
        }
        supervisor::say_ready();
        done
    }
}

/// The sections that say something else and need another start.
fn differing(now: &Config, wanted: &Config) -> Result<Vec<String>> {
    let (now, wanted) = (toml::Table::try_from(now)?, toml::Table::try_from(wanted)?);
    let differs = |section: &&&str| now.get(**section) != wanted.get(**section);
    let mut differing: Vec<String> =
        FIXED.iter().filter(differs).map(|section| (*section).to_owned()).collect();
    let workspaces =
        |config: &toml::Table| config.get("policy").and_then(|policy| policy.get("workspaces")).cloned();
    if workspaces(&now) != workspaces(&wanted) {
        differing.push("policy.workspaces".into());
    }
    Ok(differing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_put_in_force_or_told() {
        let sections = toml::Table::try_from(Config::default()).unwrap();
        let moved = ["leases", "log", "policy", "quota"];
        for section in sections.keys() {
            assert!(FIXED.contains(&&**section) != moved.contains(&&**section), "{section}");
        }
    }

    #[test]
    fn what_needs_another_start_is_named() {
        let parse = |text: &str| toml::from_str::<Config>(text).unwrap();
        let now = parse("[confirm]\nwait_seconds = 5\n");
        let named = |text: &str| differing(&now, &parse(text)).unwrap();
        assert!(named("[confirm]\nwait_seconds = 5\n[log]\nfilter = 'debug'\n").is_empty());
        assert_eq!(
            named("[confirm]\nwait_seconds = 6\n[policy]\nworkspaces = ['/srv/*']\n"),
            ["confirm", "policy.workspaces"]
        );
    }
}
