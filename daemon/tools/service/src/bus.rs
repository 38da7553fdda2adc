//! The bus on which a manager of units answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{Error, ErrorKind, Result};
use std::collections::HashMap;
use zbus::{
    Connection, connection,
    fdo::PropertiesProxy,
    names::InterfaceName,
    zvariant::{OwnedObjectPath, OwnedValue},
};

/// Whose units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// Those of the host.
    #[default]
    System,
    /// The caller's own.
    User,
}

/// A unit as `ListUnits` tells of it: name, description, load state, active state, sub state, the unit it follows, its path,
/// and number, kind and path of a job.
pub(crate) type Listed =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// A change of a link: what was done, where, and where it leads.
pub(crate) type Change = (String, String, String);

/// What is asked of a manager (org.freedesktop.systemd1(5), "Manager Object").
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1",
    gen_blocking = false
)]
pub(crate) trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> zbus::Result<Vec<Listed>>;
    fn list_unit_files_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<Vec<(String, String)>>;
    fn get_unit_file_state(&self, name: &str) -> zbus::Result<String>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reload_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reload_or_restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn enable_unit_files(
        &self,
        names: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<Change>)>;
    fn disable_unit_files(&self, names: &[&str], runtime: bool) -> zbus::Result<Vec<Change>>;
    fn mask_unit_files(&self, names: &[&str], runtime: bool, force: bool) -> zbus::Result<Vec<Change>>;
    fn unmask_unit_files(&self, names: &[&str], runtime: bool) -> zbus::Result<Vec<Change>>;
    fn reload(&self) -> zbus::Result<()>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> zbus::Result<()>;
}

/// A connection, and the manager behind it.
pub(crate) struct Bus {
    connection: Connection,
    pub(crate) manager: ManagerProxy<'static>,
}

impl Bus {
    /// Connects as the caller.
    pub(crate) async fn connect(scope: Scope) -> Result<Self> {
        let connected = match scope {
            Scope::System => Connection::system().await,
            Scope::User => {
                let address = format!("unix:path=/run/user/{}/bus", rustix::process::getuid().as_raw());
                match connection::Builder::address(&*address) {
                    Ok(builder) => builder.build().await,
                    Err(err) => Err(err),
                }
            }
        };
        let absent = |err| {
            let what = match scope {
                Scope::System => "no systemd answers on the bus of this host",
                Scope::User => {
                    "no systemd of yours runs here: it does while you are logged in, or always after `loginctl enable-linger`"
                }
            };
            Error::unavailable(what).with_source(err)
        };
        let connection = connected.map_err(absent)?;
        let manager = ManagerProxy::new(&connection).await.map_err(absent)?;
        Ok(Self { connection, manager })
    }

    /// All properties of an interface of a unit, such as `Unit` or `Service`.
    pub(crate) async fn properties(
        &self,
        unit: &OwnedObjectPath,
        interface: &str,
    ) -> Result<HashMap<String, OwnedValue>> {
        let get = async {
            let proxy = PropertiesProxy::builder(&self.connection)
                .destination("org.freedesktop.systemd1")?
                .path(unit.clone())?
                .build()
                .await?;
            let interface = format!("org.freedesktop.systemd1.{interface}");
            Ok::<_, zbus::Error>(proxy.get_all(InterfaceName::try_from(interface)?).await?)
        };
        get.await.map_err(|err| explain(err, "its properties"))
    }

    /// The units of which one may have been meant, those spelled most alike first.
    pub(crate) async fn similar(&self, name: &str) -> Vec<String> {
        /// As many as an error shows.
        const MOST: usize = 3;
        let units = self.manager.list_units_by_patterns(&[], &[]).await.unwrap_or_default();
        let names = units.iter().map(|unit| unit.0.as_str());
        skynet_core::registry::nearest(names, name).into_iter().take(MOST).map(str::to_owned).collect()
    }
}

/// What the bus says, in words that tell what would work; `what` was asked for.
pub(crate) fn explain(err: zbus::Error, what: &str) -> Error {
    let zbus::Error::MethodError(name, message, _) = &err else {
        return Error::unavailable(format!("systemd did not answer when asked for {what}")).with_source(err);
    };
    let said = message.clone().unwrap_or_else(|| name.to_string());
    let kind = match name.as_str() {
        "org.freedesktop.systemd1.NoSuchUnit"
        | "org.freedesktop.systemd1.NoSuchUnitFile"
        | "org.freedesktop.DBus.Error.FileNotFound" => ErrorKind::NotFound,
        "org.freedesktop.DBus.Error.AccessDenied"
        | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => {
            return Error::denied(format!(
                "you may not do that on this host ({said}); an administrator can let you by a polkit rule for `org.freedesktop.systemd1.manage-units` or `manage-unit-files`"
            ))
            .with_source(err);
        }
        "org.freedesktop.systemd1.UnitMasked" | "org.freedesktop.systemd1.TransactionIsDestructive" => {
            ErrorKind::Conflict
        }
        _ => ErrorKind::InvalidInput,
    };
    Error::new(kind, format!("systemd refused {what}: {said}")).with_source(err)
}
