//! Whether a daemon could start with a configuration, as far as that can be said without starting one.

use crate::{boot::NO_HOME, claims::Claims, config::Config, house::product, log};
use anyhow::{Context as _, Result, bail};
use skynet_catalog::Catalog;
use skynet_engine::Engine;
use skynet_policy::Factor;
use skynet_sandbox::Slots;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Refuses what is for a daemon of another kind, and addresses that are not this host's alone.
pub(crate) fn mode(config: &Config, is_host: bool) -> Result<()> {
    if config.confirm.factor == Some(Factor::Polkit) && !is_host {
        bail!(
            "`confirm.factor = \"polkit\"` is for a daemon of a whole host: agents of the one user could end his and start another"
        );
    }
    if config.confirm.notify && is_host {
        bail!("`confirm.notify` is for a daemon of one user: that of a whole host has no desktop");
    }
    for (key, address) in [("http.listen", config.http.listen), ("metrics.listen", config.metrics.listen)] {
        if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
            bail!(
                "`{key}` is `{address}`, which is not a loopback address: tokens would be told to the network; put a proxy with TLS in front instead"
            );
        }
    }
    Ok(())
}

/// Says whether a daemon could start with the configuration, as far as that can be said without starting one. `home` is that of
/// the one user that is served.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn all(config: &Config, home: &Path) -> Result<()> {
    mode(config, home == Path::new(NO_HOME))?;
    log::filter(&config.log.filter)?;
    // Of slots that nobody fills and a state that nobody writes: only the names of the tools are asked for.
    let slots = Slots::new("skynet-sandbox".into(), 0, PathBuf::new());
    let engine = Engine::new(slots.clone(), Vec::new());
    let commands = skynet_exec::Host::new(slots, None, Path::new(NO_HOME), Vec::new());
    let catalog = Catalog::new(config.mcp.toolsets.clone());
    let registry = product(&catalog, &commands, &engine, &Arc::default(), &Arc::default(), &Arc::default())?;
    catalog.fill(&registry).context("`mcp.toolsets`")?;
    config.policy.rules(home)?.check(&registry)?;
    config.plan()?;
    config.secrets.check(home)?;
    config.git.lending(home)?;
    config.docker.check(home)?;
    config.cache.check()?;
    config.models.check()?;
    Claims::new(&config.policy.workspaces)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_a_daemon_of_one_kind_is_refused_for_the_other() {
        for (text, is_host, named) in [
            ("[confirm]\nnotify = true\n", true, "`confirm.notify` is for a daemon of one user"),
            (
                "[confirm]\nfactor = 'polkit'\n",
                false,
                "`confirm.factor = \"polkit\"` is for a daemon of a whole host",
            ),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            mode(&config, !is_host).unwrap();
            assert!(mode(&config, is_host).unwrap_err().to_string().starts_with(named), "{text}");
        }
    }
}
