//! Lists the packages of the host's own manager: installed, to be had, to be upgraded.

use crate::{
    packages::{self, Manager, Package},
    timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Kind, Place, Result, Tool};
use std::{
    fs,
    time::{Duration, UNIX_EPOCH},
};

pub(crate) struct SystemListPackages;

/// Which packages.
#[derive(Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Which {
    /// Those on this host.
    #[default]
    Installed,
    /// Those to be had, whose name or description contains `name`.
    Available,
    /// Those of which there is a newer version.
    Upgradable,
}

const fn default_limit() -> u32 {
    100
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Which ones; other than installed ones are known on hosts with apt.
    #[serde(default)]
    which: Which,
    /// Only those whose name contains this, in any case; needed for available ones.
    #[serde(default)]
    #[schemars(length(min = 2, max = 128))]
    name: Option<String>,
    /// Most to return.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 5000))]
    limit: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What keeps packages here: `dpkg` or `rpm`.
    manager: Manager,
    /// By name; of available ones, those whose own name fits come first.
    packages: Vec<Package>,
    /// How many match, returned or not.
    total: usize,
    /// When the lists of what is to be had were last fetched, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    lists_of: Option<String>,
    /// Whether an upgrade waits for a restart of the host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reboot_required: bool,
}

impl Tool for SystemListPackages {
    const NAME: &'static str = "system_list_packages";
    const SUMMARY: &'static str = "List packages of the system, of apt or rpm: the installed ones with version and size, those to be had by a word, those that can be upgraded.";
    const KEYWORDS: &'static str = "package apt dpkg deb rpm dnf yum installed version search available upgradable upgrade update outdated software security pending | quels paquets paquet logiciel installés installé version recherche disponible mise à jour à jour obsolète sécurité";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    const TIMEOUT: Duration = Duration::from_secs(60);
    const KIND: Option<Kind> = Some(Kind::Packages);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let manager = Manager::of_host().ok_or_else(|| {
            Error::unavailable(
                "neither dpkg nor rpm keeps the packages of this host, and no other is known here",
            )
        })?;
        if manager == Manager::Rpm && input.which != Which::Installed {
            return Err(Error::unavailable(
                "on a host with rpm only installed packages are listed; `dnf search` and `dnf list --upgrades` tell the rest",
            ));
        }
        let needle = input.name.as_ref().map(|name| name.to_lowercase());
        let mut found = match (input.which, &needle) {
            (Which::Installed, _) => packages::installed(ctx, manager).await?,
            (Which::Upgradable, _) => packages::upgradable(ctx).await?,
            (Which::Available, Some(needle)) => packages::available(ctx, needle).await?,
            (Which::Available, None) => {
                return Err(Error::invalid_input(
                    "say by `name` what is looked for among the available packages",
                ));
            }
        };
        let has_name =
            |one: &Package| needle.as_ref().is_none_or(|needle| one.name.to_lowercase().contains(needle));
        if input.which == Which::Available {
            found.sort_by(|a, b| (!has_name(a), &a.name).cmp(&(!has_name(b), &b.name)));
        } else {
            found.retain(has_name);
            found.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let total = found.len();
        found.truncate(input.limit as usize);
        let fetched = fs::metadata("/var/lib/apt/lists").and_then(|metadata| metadata.modified()).ok();
        let fetched = fetched.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let fetched = fetched.and_then(|since| i64::try_from(since.as_secs()).ok()).map(timestamp);
        Ok(Output {
            manager,
            packages: found,
            total,
            lists_of: fetched.filter(|_| input.which != Which::Installed),
            reboot_required: packages::needs_reboot(),
        })
    }
}
