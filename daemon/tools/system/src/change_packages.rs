//! Installs, upgrades and removes packages, once it was shown what that comes to.

use crate::packagekit::{Asked, PackageKit, Told, What};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::time::Duration;

/// What hangs on these is the host itself, or the way to it: their names, or what these begin with.
const VITAL: [&str; 22] = [
    "apt",
    "bash",
    "coreutils",
    "dbus",
    "dnf",
    "dpkg",
    "glibc",
    "grub",
    "ifupdown",
    "init",
    "kernel",
    "libc6",
    "linux-image",
    "netplan",
    "network-manager",
    "networkmanager",
    "openssh-server",
    "polkit",
    "rpm",
    "skynet",
    "sudo",
    "systemd",
];

pub(crate) struct SystemChangePackages;

/// What to do with packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    Install,
    /// To the newest version.
    Upgrade,
    /// Without their configuration.
    Remove,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// What to do.
    action: Action,
    /// Names of packages; none with `upgrade` for all of which there is a newer version.
    #[serde(default)]
    #[schemars(length(max = 100))]
    packages: Vec<String>,
    /// The `plan` that this call answered without one, word for word: it is carried out. Without it nothing is changed.
    #[serde(default)]
    #[schemars(length(max = 2000))]
    plan: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What was done, or would be: `install NAME VERSION ARCHITECTURE`, or with `upgrade`, `downgrade` or `remove`, one for each package.
    plan: Vec<String>,
    /// Whether it was done.
    is_done: bool,
}

impl Tool for SystemChangePackages {
    const NAME: &'static str = "system_change_packages";
    const SUMMARY: &'static str = "Install, upgrade or remove packages of this host. The first call answers the `plan` of what would be done, dependencies included; the second, with that plan, does it.";
    const KEYWORDS: &'static str = "install remove uninstall purge upgrade software on this machine host server apt apt-get dnf yum packagekit | installer désinstaller mettre à niveau logiciel sur cette machine ce serveur";
    const EFFECT: Effect = Effect::Read;
    const MOST: Effect = Effect::External;
    const PLACE: Place = Place::Host;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        match input.action {
            _ if input.plan.is_empty() => Effect::Read,
            Action::Install | Action::Upgrade => Effect::External,
            Action::Remove => Effect::Destroy,
        }
    }

    fn check(&self, input: &Input) -> Result<()> {
        if input.packages.is_empty() && input.action != Action::Upgrade {
            return Err(Error::invalid_input("name `packages`; only `upgrade` is possible for all of them"));
        }
        let is_name = |name: &&String| {
            name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
        };
        input.packages.iter().find(|name| !is_name(name)).map_or(Ok(()), |name| {
            Err(Error::invalid_input(format!(
                "`{}` is no name of a package, such as `nginx`",
                name.escape_debug()
            )))
        })
    }

    fn must_ask(&self, input: &Input) -> Option<&'static str> {
        let mut removed = input.plan.iter().filter_map(|line| line.strip_prefix("remove "));
        if input.action != Action::Remove && removed.clone().next().is_some() {
            return Some("removes packages that nobody named");
        }
        let is_vital = |name: &str| {
            let name = name.to_ascii_lowercase();
            VITAL.iter().any(|vital| name.starts_with(vital))
        };
        removed.any(is_vital).then_some("may cut the host off, or leave it without what it runs by")
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let kit = PackageKit::connect().await?;
        let asked = match input.action {
            Action::Install => Asked::Install,
            Action::Upgrade => Asked::Upgrade,
            Action::Remove => Asked::Remove,
        };
        let chosen = choose(&kit, ctx, asked, &input.packages).await?;
        if chosen.is_empty() {
            return Ok(Output { plan: Vec::new(), is_done: false });
        }
        let ids: Vec<&str> = chosen.iter().map(|one| one.id.as_str()).collect();
        let plan = plan(asked, &chosen, &kit.simulate(ctx, asked, &ids).await?);
        if input.plan.is_empty() {
            return Ok(Output { plan, is_done: false });
        }
        if plan != input.plan {
            return Err(Error::conflict(format!(
                "nothing was done, because it would be something else than `plan` says: {}",
                plan.join("; ")
            )));
        }
        ctx.check_canceled()?;
        kit.commit(ctx, asked, &ids).await?;
        Ok(Output { plan, is_done: true })
    }
}

/// The packages that are meant, one for each name.
async fn choose(kit: &PackageKit, ctx: &CallCtx, asked: Asked, names: &[String]) -> Result<Vec<Told>> {
    let (mut found, mut installed) = (Vec::new(), Vec::new());
    if asked == Asked::Upgrade {
        found = kit.updates(ctx).await?;
        let is_upgrade = |told: &Told| !matches!(told.what, What::Blocked | What::Downgrading);
        if names.is_empty() {
            return Ok(found.into_iter().filter(is_upgrade).collect());
        }
        let is_named = |told: &&Told| names.iter().any(|name| name == told.name());
        if let Some(kept) = found.iter().filter(is_named).find(|told| !is_upgrade(told)) {
            return Err(Error::conflict(format!("`{}` is kept back as it is", kept.name())));
        }
    } else {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        installed = kit.resolve(ctx, &names, true).await?;
        if asked == Asked::Install {
            found = kit.resolve(ctx, &names, false).await?;
        }
    }
    let choose = |name: &String| {
        let of_name =
            |all: &[Told]| -> Vec<Told> { all.iter().filter(|told| told.name() == name).cloned().collect() };
        match (asked, of_name(&installed).as_slice(), of_name(&found).as_slice()) {
            (Asked::Install, [_, ..], _) => {
                Err(Error::conflict(format!("`{name}` is installed; `upgrade` brings its newest version")))
            }
            (Asked::Remove, [one], _) | (Asked::Install | Asked::Upgrade, _, [one]) => Ok(one.clone()),
            (Asked::Remove, [_, _, ..], _) | (Asked::Install | Asked::Upgrade, _, [_, _, ..]) => {
                Err(Error::conflict(format!(
                    "more than one package is called `{name}`; an administrator chooses among them"
                )))
            }
            (Asked::Install, [], []) => Err(Error::not_found(format!(
                "no package `{name}` can be had; search with `system_list_packages` and `which` `available`"
            ))),
            (Asked::Remove, [], _) => Err(Error::not_found(format!("`{name}` is not installed"))),
            (Asked::Upgrade, _, []) => {
                Err(Error::not_found(format!("there is no newer version of `{name}`")))
            }
        }
    };
    names.iter().map(choose).collect()
}

/// What would be done, in words and in order: to those that are meant, which a simulation may leave out, and to others.
fn plan(asked: Asked, chosen: &[Told], simulated: &[Told]) -> Vec<String> {
    let own = match asked {
        Asked::Install => "install",
        Asked::Upgrade => "upgrade",
        Asked::Remove => "remove",
    };
    let verb = |told: &Told| match told.what {
        What::Installing => Some("install"),
        What::Updating => Some("upgrade"),
        What::Removing => Some("remove"),
        What::Downgrading => Some("downgrade"),
        What::Installed | What::Available | What::Blocked | What::Other => None,
    };
    let line = |verb: &str, told: &Told| {
        format!("{verb} {} {} {}", told.name(), told.version(), told.architecture())
    };
    let mut plan: Vec<String> = chosen.iter().map(|told| line(own, told)).collect();
    plan.extend(simulated.iter().filter_map(|told| Some(line(verb(told)?, told))));
    plan.sort();
    plan.dedup();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_names_each_package_once_and_what_is_vital_is_always_asked() {
        let told = |what, id: &str| Told { what, id: id.into() };
        let chosen = [told(What::Available, "gadget;1;all;local")];
        let simulated = [
            told(What::Installing, "gadget;1;all;local"),
            told(What::Installing, "gear;2;all;local"),
            told(What::Removing, "old;0.1;amd64;installed"),
            told(What::Other, "gadget;1;all;local"),
        ];
        let plan = plan(Asked::Install, &chosen, &simulated);
        assert_eq!(plan, ["install gadget 1 all", "install gear 2 all", "remove old 0.1 amd64"]);
        let input = |plan: &[&str]| Input {
            action: Action::Install,
            packages: vec!["x".into()],
            plan: plan.iter().map(|&line| line.to_owned()).collect(),
        };
        let tool = SystemChangePackages;
        assert_eq!(tool.effect(&input(&[])), Effect::Read);
        assert_eq!(tool.effect(&input(&["install x 1"])), Effect::External);
        assert_eq!(tool.must_ask(&input(&["install systemd 1 all"])), None);
        assert!(tool.must_ask(&input(&["install systemd 1 all", "remove old 1 all"])).is_some());
        let remove = |plan: &[&str]| Input { action: Action::Remove, ..input(plan) };
        assert_eq!(tool.effect(&remove(&["remove old 1 all"])), Effect::Destroy);
        assert_eq!(tool.must_ask(&remove(&["remove old 1 all"])), None);
        assert!(tool.must_ask(&remove(&["remove systemd-sysv 1 amd64"])).is_some());
        for name in ["", "-y", "a b", "a;1;all;x", "../x", "a\n"] {
            assert!(tool.check(&Input { packages: vec![name.into()], ..input(&[]) }).is_err(), "{name:?}");
        }
        assert!(tool.check(&Input { packages: Vec::new(), ..input(&[]) }).is_err());
    }
}
