//! What says which packets pass: the programs that keep rules, and what each lets ordinary users know of them.

use crate::{
    program,
    systemd::{self, Bus, Scope},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::ErrorKind,
};
use zbus::zvariant::OwnedValue;

/// What of a file of rules is shown.
const MOST_CHARACTERS: usize = 8000;

/// A program that keeps rules.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Backend {
    /// `firewalld`, `ufw`, `nftables` or `iptables`.
    name: &'static str,
    /// Its program; absent if only its unit is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<String>,
    /// The unit that loads its rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    /// State of that unit: `active`, `inactive`, `failed`...
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<String>,
}

impl Backend {
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Whether there was a systemd to tell its state.
    pub(crate) const fn has_state(&self) -> bool {
        self.active.is_some()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active.as_deref() == Some("active")
    }
}

/// Programs and units by which they are known.
const BACKENDS: [(&str, &str, &[&str]); 4] = [
    ("firewalld", "firewall-cmd", &["firewalld.service"]),
    ("ufw", "ufw", &["ufw.service"]),
    ("nftables", "nft", &["nftables.service"]),
    ("iptables", "iptables", &["netfilter-persistent.service", "iptables.service"]),
];

/// Those that are installed, without the states of their units where no systemd answers.
pub(crate) async fn installed() -> Vec<Backend> {
    let names: Vec<&str> = BACKENDS.iter().flat_map(|(.., units)| units.iter().copied()).collect();
    let mut states: HashMap<String, String> = HashMap::new();
    if let Ok(bus) = Bus::connect(Scope::System).await {
        for name in names {
            if let Ok(path) = bus.manager.load_unit(name).await
                && let Ok(unit) = bus.properties(&path, "Unit").await.map(systemd::Properties)
                && unit.text("LoadState").as_deref() != Some("not-found")
                && let Some(state) = unit.text("ActiveState")
            {
                states.insert(name.to_owned(), state);
            }
        }
    }
    let backend = |(name, program, units): (&'static str, &str, &[&str])| {
        let unit = units.iter().find(|unit| states.contains_key(**unit));
        let program = program::find(program);
        (program.is_some() || unit.is_some()).then(|| Backend {
            name,
            program,
            unit: unit.map(|unit| (*unit).to_owned()),
            active: unit.and_then(|unit| states.get(*unit).cloned()),
        })
    };
    BACKENDS.into_iter().filter_map(backend).collect()
}

/// What ufw(8) is set to.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Ufw {
    /// Whether it is switched on.
    pub(crate) is_enabled: bool,
    /// What happens to packets that no rule names: by `input`, `output` and `forward`, one of `DROP`, `REJECT`, `ACCEPT`.
    defaults: BTreeMap<&'static str, String>,
    /// Rules as ufw notes them: action, protocol, port, destination, source port, source, direction; absent if you may not read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<String>>,
}

/// `None` where it is not installed.
pub(crate) fn ufw(unreadable: &mut Vec<Unreadable>) -> Option<Ufw> {
    let main = read("/etc/ufw/ufw.conf", unreadable)?;
    let defaults = read("/etc/default/ufw", unreadable).unwrap_or_default();
    let rules = ["/etc/ufw/user.rules", "/etc/ufw/user6.rules"].map(|path| read(path, unreadable));
    let rules = match rules {
        [None, None] => None,
        rules => Some(rules.iter().flatten().flat_map(|text| tuples(text)).collect()),
    };
    Some(Ufw {
        is_enabled: setting(&main, "ENABLED").is_some_and(|value| value.eq_ignore_ascii_case("yes")),
        defaults: [
            ("input", "DEFAULT_INPUT_POLICY"),
            ("output", "DEFAULT_OUTPUT_POLICY"),
            ("forward", "DEFAULT_FORWARD_POLICY"),
        ]
        .into_iter()
        .filter_map(|(name, key)| Some((name, setting(&defaults, key)?)))
        .collect(),
        rules,
    })
}

fn setting(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let value = line.trim().strip_prefix(name)?.trim_start().strip_prefix('=')?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned())
    };
    // The last one counts.
    text.lines().rev().find_map(value)
}

/// The lines in which ufw keeps each rule for itself.
fn tuples(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| line.strip_prefix("### tuple ###").map(|rule| rule.trim().to_owned()))
}

/// A zone of firewalld(1) that packets pass through.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Zone {
    /// Its name.
    name: String,
    /// Whether what no other zone names goes through it.
    is_default: bool,
    /// Interfaces whose packets go through it.
    interfaces: Vec<String>,
    /// Addresses whose packets go through it.
    sources: Vec<String>,
    /// What happens to what nothing lets in.
    target: String,
    /// Services that are let in, by name.
    services: Vec<String>,
    /// Ports that are let in, such as `443/tcp`.
    ports: Vec<String>,
    /// Rules in firewalld's own language.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rich_rules: Vec<String>,
}

#[zbus::proxy(
    interface = "org.fedoraproject.FirewallD1",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1",
    gen_blocking = false
)]
trait Firewalld {
    #[zbus(name = "getDefaultZone")]
    fn default_zone(&self) -> zbus::Result<String>;
}

#[zbus::proxy(
    interface = "org.fedoraproject.FirewallD1.zone",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1",
    gen_blocking = false
)]
trait Zones {
    #[zbus(name = "getActiveZones")]
    fn active_zones(&self) -> zbus::Result<HashMap<String, HashMap<String, Vec<String>>>>;
    #[zbus(name = "getZoneSettings2")]
    fn zone_settings(&self, zone: &str) -> zbus::Result<HashMap<String, OwnedValue>>;
}

/// The zones in use, by name (firewalld.dbus(5)).
pub(crate) async fn firewalld(unreadable: &mut Vec<Unreadable>) -> Option<Vec<Zone>> {
    match zones().await {
        Ok(zones) => Some(zones),
        Err(zbus::Error::MethodError(name, said, _)) => {
            let said = said.unwrap_or_else(|| name.to_string());
            unreadable.push(Unreadable {
                what: "zones of firewalld".into(),
                why: format!(
                    "firewalld says: {said}; an administrator can let you read them by a polkit rule for `org.fedoraproject.FirewallD1.info` and `org.fedoraproject.FirewallD1.config.info`"
                ),
            });
            None
        }
        Err(err) => {
            unreadable.push(Unreadable { what: "zones of firewalld".into(), why: err.to_string() });
            None
        }
    }
}

async fn zones() -> zbus::Result<Vec<Zone>> {
    let connection = zbus::Connection::system().await?;
    let default = FirewalldProxy::new(&connection).await?.default_zone().await?;
    let proxy = ZonesProxy::new(&connection).await?;
    let mut active = proxy.active_zones().await?;
    active.entry(default.clone()).or_default();
    let mut zones = Vec::new();
    for (name, mut bound) in active {
        let settings = systemd::Properties(proxy.zone_settings(&name).await?);
        let ports = settings.0.get("ports").and_then(|value| value.try_clone().ok());
        let ports = ports.and_then(|value| Vec::<(String, String)>::try_from(value).ok());
        zones.push(Zone {
            is_default: name == default,
            interfaces: bound.remove("interfaces").unwrap_or_default(),
            sources: bound.remove("sources").unwrap_or_default(),
            target: settings.text("target").unwrap_or_else(|| "default".into()),
            services: settings.texts("services"),
            ports: ports
                .unwrap_or_default()
                .into_iter()
                .map(|(port, protocol)| format!("{port}/{protocol}"))
                .collect(),
            rich_rules: settings.texts("rules_str"),
            name,
        });
    }
    zones.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(zones)
}

/// A file that rules are loaded from when the host starts.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RuleFile {
    /// The file.
    path: String,
    /// Its text, cut after 8000 characters; what is in the kernel may differ.
    text: String,
}

/// Those that may be read.
pub(crate) fn rule_files(unreadable: &mut Vec<Unreadable>) -> Vec<RuleFile> {
    const FILES: [&str; 6] = [
        "/etc/nftables.conf",
        "/etc/sysconfig/nftables.conf",
        "/etc/iptables/rules.v4",
        "/etc/iptables/rules.v6",
        "/etc/sysconfig/iptables",
        "/etc/sysconfig/ip6tables",
    ];
    let file = |path: &str| {
        let text = read(path, unreadable)?;
        Some(RuleFile { path: path.to_owned(), text: text.chars().take(MOST_CHARACTERS).collect() })
    };
    FILES.into_iter().filter_map(file).collect()
}

/// What there is and cannot be told.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Unreadable {
    /// A file, or what else has rules.
    pub(crate) what: String,
    /// Why, and what would work.
    pub(crate) why: String,
}

fn read(path: &str, unreadable: &mut Vec<Unreadable>) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Err(err) => {
            let why = match err.kind() {
                ErrorKind::PermissionDenied => "only an administrator may read it".to_owned(),
                _ => err.to_string(),
            };
            unreadable.push(Unreadable { what: path.to_owned(), why });
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_rules_of_ufw_are_found() {
        let text = "# ENABLED=no\nENABLED=yes\nDEFAULT_INPUT_POLICY=\"DROP\"\n";
        assert_eq!(setting(text, "ENABLED").as_deref(), Some("yes"));
        assert_eq!(setting(text, "DEFAULT_INPUT_POLICY").as_deref(), Some("DROP"));
        assert_eq!(setting(text, "DEFAULT"), None);
        let rules =
            "*filter\n### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n-A x\n### END RULES ###\n";
        assert_eq!(tuples(rules).collect::<Vec<_>>(), ["allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in"]);
    }
}
