//! Shows what keeps packets out, as far as its user may know.

use crate::firewalls::{self, Backend, RuleFile, Ufw, Unreadable, Zone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place, Result, Tool};
use std::fs;

pub(crate) struct SystemShowFirewall;

/// Parts of the kernel that hold rules, and what lists them.
const IN_KERNEL: [(&str, &str); 3] =
    [("nf_tables", "nft list ruleset"), ("ip_tables", "iptables-save"), ("ip6_tables", "ip6tables-save")];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In one sentence.
    conclusion: String,
    /// Programs that keep rules, with the state of the units that load them.
    backends: Vec<Backend>,
    /// Of ufw.
    #[serde(skip_serializing_if = "Option::is_none")]
    ufw: Option<Ufw>,
    /// Of firewalld, where it runs: the zones in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    zones: Option<Vec<Zone>>,
    /// Rules that are loaded when the host starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<RuleFile>,
    /// What there is and you may not read, with what would work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable>,
}

impl Tool for SystemShowFirewall {
    const NAME: &'static str = "system_show_firewall";
    const SUMMARY: &'static str = "Show the firewall of this host as far as you may know: which of firewalld, ufw, nftables and iptables is in charge, its zones, defaults and rules.";
    const KEYWORDS: &'static str = "firewall nftables nft iptables ufw firewalld zone rule allow block blocked port open closed filter packet incoming | pare-feu parefeu règle règles bloque bloqué autorisé filtrage zone entrant";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Input = Input;
    type Output = Output;

    async fn call(&self, _ctx: &CallCtx, _input: Input) -> Result<Output> {
        let mut unreadable = Vec::new();
        let backends = firewalls::installed().await;
        let ufw = firewalls::ufw(&mut unreadable);
        let is_running = |name| backends.iter().any(|one| one.is(name) && one.is_active());
        let zones = if is_running("firewalld") { firewalls::firewalld(&mut unreadable).await } else { None };
        let files = firewalls::rule_files(&mut unreadable);
        for (part, program) in IN_KERNEL {
            if fs::exists(format!("/sys/module/{part}")).unwrap_or(false) {
                unreadable.push(Unreadable {
                    what: format!("rules in the kernel (`{part}`)"),
                    why: format!(
                        "the kernel shows them to administrators only (CAP_NET_ADMIN), which Skynet never is; one of them sees all with `{program}`"
                    ),
                });
            }
        }
        let conclusion = conclude(&backends, ufw.as_ref());
        Ok(Output { conclusion, backends, ufw, zones, files, unreadable })
    }
}

fn conclude(backends: &[Backend], ufw: Option<&Ufw>) -> String {
    let is_on = |one: &&Backend| {
        // Its unit is active also when it is switched off.
        one.is_active() && (!one.is("ufw") || ufw.is_none_or(|ufw| ufw.is_enabled))
    };
    let active: Vec<&str> = backends.iter().filter(is_on).map(Backend::name).collect();
    let knows = backends.iter().any(Backend::has_state);
    match (active.as_slice(), backends) {
        ([], []) => {
            "no firewall is installed; packets may still be filtered by Docker, or outside of this host"
                .into()
        }
        ([], _) if ufw.is_some_and(|ufw| ufw.is_enabled) => {
            "ufw is switched on in its configuration; whether its rules are loaded is not known here".into()
        }
        ([], _) if !knows => {
            "a firewall is installed; whether it is in charge is not known, because no systemd answers".into()
        }
        ([], _) => "a firewall is installed, and none is switched on".into(),
        (active, _) => format!("in charge: {}", active.join(", ")),
    }
}
