//! PackageKit, which changes packages for whom polkit(8) lets it, on hosts with apt and with dnf alike. Numbers are those of its
//! enumerations (packagekit-glib2, `pk-enum.h`); flags and filters are sent as sets of bits.

use futures_util::StreamExt as _;
use skynet_core::{CallCtx, Error, Result};
use zbus::{
    Connection,
    zvariant::{OwnedObjectPath, Type},
};

/// Only what is signed by whom the host trusts.
const ONLY_TRUSTED: u64 = 1 << 1;

/// Say what would be done, and do nothing.
const SIMULATE: u64 = 1 << 2;

/// All packages.
const FILTER_NONE: u64 = 1 << 1;

/// Those that are there; and of those that are not the newest, in both cases for the processor of this host.
const FILTER_INSTALLED: u64 = 1 << 2 | FILTER_ARCH;
const FILTER_NEW: u64 = 1 << 3 | 1 << 16 | FILTER_ARCH;
const FILTER_ARCH: u64 = 1 << 18;

/// What a transaction that was canceled says of itself.
const WAS_CANCELED: u32 = 17;

/// How a transaction ended that did what was asked.
const EXIT_SUCCESS: u32 = 1;

#[zbus::proxy(
    interface = "org.freedesktop.PackageKit",
    default_service = "org.freedesktop.PackageKit",
    default_path = "/org/freedesktop/PackageKit",
    gen_blocking = false
)]
trait PackageKit {
    fn create_transaction(&self) -> zbus::Result<OwnedObjectPath>;
}

#[zbus::proxy(
    interface = "org.freedesktop.PackageKit.Transaction",
    default_service = "org.freedesktop.PackageKit",
    gen_blocking = false
)]
trait Transaction {
    fn set_hints(&self, hints: &[&str]) -> zbus::Result<()>;
    fn resolve(&self, filter: u64, names: &[&str]) -> zbus::Result<()>;
    fn get_updates(&self, filter: u64) -> zbus::Result<()>;
    fn install_packages(&self, flags: u64, packages: &[&str]) -> zbus::Result<()>;
    fn update_packages(&self, flags: u64, packages: &[&str]) -> zbus::Result<()>;
    fn remove_packages(
        &self,
        flags: u64,
        packages: &[&str],
        allow_dependent: bool,
        autoremove: bool,
    ) -> zbus::Result<()>;
    fn cancel(&self) -> zbus::Result<()>;
}

/// What PackageKit is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Install,
    Upgrade,
    Remove,
}

impl Asked {
    /// As polkit knows it.
    const fn action(self) -> &'static str {
        match self {
            Self::Install => "org.freedesktop.packagekit.package-install",
            Self::Upgrade => "org.freedesktop.packagekit.system-update",
            Self::Remove => "org.freedesktop.packagekit.package-remove",
        }
    }
}

/// A package as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// What is said of it.
    pub(crate) what: What,
    /// `name;version;architecture;data`.
    pub(crate) id: String,
}

/// What is said of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Installed,
    Available,
    Updating,
    Installing,
    Removing,
    Downgrading,
    /// It is kept back, by its administrator or by what it needs.
    Blocked,
    /// What does not matter here, such as how much is fetched.
    Other,
}

impl From<u32> for What {
    fn from(info: u32) -> Self {
        match info {
            1 => Self::Installed,
            2 => Self::Available,
            9 => Self::Blocked,
            11 => Self::Updating,
            12 | 19 => Self::Installing,
            13 | 15 => Self::Removing,
            20 => Self::Downgrading,
            _ => Self::Other,
        }
    }
}

impl Told {
    fn part(&self, index: usize) -> &str {
        self.id.split(';').nth(index).unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.part(0)
    }

    pub(crate) fn version(&self) -> &str {
        self.part(1)
    }

    pub(crate) fn architecture(&self) -> &str {
        self.part(2)
    }
}

/// A connection to it, as the caller.
pub(crate) struct PackageKit {
    connection: Connection,
    proxy: PackageKitProxy<'static>,
}

impl PackageKit {
    /// # Errors
    /// `Unavailable` where there is no bus.
    pub(crate) async fn connect() -> Result<Self> {
        let connection = Connection::system().await.map_err(absent)?;
        let proxy = PackageKitProxy::new(&connection).await.map_err(absent)?;
        Ok(Self { connection, proxy })
    }

    /// Packages of these names: those that are there, or else those that could be had.
    pub(crate) async fn resolve(
        &self,
        ctx: &CallCtx,
        names: &[&str],
        are_installed: bool,
    ) -> Result<Vec<Told>> {
        let filter = if are_installed { FILTER_INSTALLED } else { FILTER_NEW };
        let transaction = self.transaction().await?;
        let begin = transaction.resolve(filter, names);
        transaction.told(ctx, None, begin).await
    }

    /// Newer versions of what is there.
    pub(crate) async fn updates(&self, ctx: &CallCtx) -> Result<Vec<Told>> {
        let transaction = self.transaction().await?;
        let begin = transaction.get_updates(FILTER_NONE);
        transaction.told(ctx, None, begin).await
    }

    /// What would be done to packages with these ids, and to others because of it.
    pub(crate) async fn simulate(&self, ctx: &CallCtx, asked: Asked, ids: &[&str]) -> Result<Vec<Told>> {
        self.perform(ctx, asked, ids, ONLY_TRUSTED | SIMULATE).await
    }

    /// Does it, as far as polkit lets the caller.
    pub(crate) async fn commit(&self, ctx: &CallCtx, asked: Asked, ids: &[&str]) -> Result<()> {
        self.perform(ctx, asked, ids, ONLY_TRUSTED).await.map(drop)
    }

    async fn perform(&self, ctx: &CallCtx, asked: Asked, ids: &[&str], flags: u64) -> Result<Vec<Told>> {
        let transaction = self.transaction().await?;
        match asked {
            Asked::Install => {
                transaction.told(ctx, Some(asked), transaction.install_packages(flags, ids)).await
            }
            Asked::Upgrade => {
                transaction.told(ctx, Some(asked), transaction.update_packages(flags, ids)).await
            }
            // With what needs them, which was shown; what they needed stays.
            Asked::Remove => {
                transaction.told(ctx, Some(asked), transaction.remove_packages(flags, ids, true, false)).await
            }
        }
    }

    async fn transaction(&self) -> Result<TransactionProxy<'static>> {
        let path = self.proxy.create_transaction().await.map_err(absent)?;
        let transaction = TransactionProxy::builder(&self.connection).path(path).map_err(absent)?;
        let transaction = transaction.build().await.map_err(absent)?;
        // Nobody could answer what it asked.
        let hints = ["locale=C.UTF-8", "background=false", "interactive=false"];
        transaction.set_hints(&hints).await.map_err(absent)?;
        Ok(transaction)
    }
}

impl TransactionProxy<'_> {
    /// Begins, and listens until it ends; what it told of packages.
    async fn told(
        &self,
        ctx: &CallCtx,
        asked: Option<Asked>,
        begin: impl Future<Output = zbus::Result<()>>,
    ) -> Result<Vec<Told>> {
        // In one stream, so that what comes first is heard first; and before it begins, so that nothing is missed.
        let mut signals = self.inner().receive_all_signals().await.map_err(absent)?;
        // The first is the one that is there; signals go on to be waited for when it is gone.
        let mut owners = self.inner().receive_owner_changed().await.map_err(absent)?;
        let mut is_served = false;
        begin.await.map_err(|err| refused(err, asked))?;
        let (mut told, mut fault, mut is_canceled) = (Vec::new(), None, false);
        loop {
            let signal = tokio::select! {
                biased;
                signal = signals.next() => signal,
                owner = owners.next() => match owner.flatten() {
                    Some(_) if !is_served => {
                        is_served = true;
                        continue;
                    }
                    Some(_) | None => None,
                },
                () = ctx.cancel.cancelled(), if !is_canceled => {
                    is_canceled = true;
                    // Once packages are unpacked it cannot be ended, and goes on to its end.
                    let _ = self.cancel().await;
                    continue;
                }
            };
            let Some(signal) = signal else {
                return Err(Error::interrupted(
                    "PackageKit left before it said what it did; look with `system_list_packages`",
                ));
            };
            let header = signal.header();
            match header.member().map(|name| name.as_str()) {
                Some("Package") => {
                    let (info, id, _): (u32, String, String) = body(&signal)?;
                    told.push(Told { what: What::from(info), id });
                }
                Some("ItemProgress") => {
                    let (id, _, percentage): (String, u32, u32) = body(&signal)?;
                    let name = id.split(';').next().unwrap_or_default();
                    ctx.progress(f64::from(percentage), Some(100.0), name);
                }
                Some("ErrorCode") => fault = Some(body::<(u32, String)>(&signal)?),
                Some("Finished") => {
                    let (exit, _): (u32, u32) = body(&signal)?;
                    return match fault {
                        None if exit == EXIT_SUCCESS => Ok(told),
                        // One that failed while it was to be canceled failed.
                        None | Some((WAS_CANCELED, _)) if is_canceled => {
                            Err(Error::canceled("the client canceled the call"))
                        }
                        Some((code, details)) => Err(explain(code, &details, asked)),
                        None => Err(Error::conflict(format!(
                            "PackageKit did not do it, and did not say why (it ended with {exit})"
                        ))),
                    };
                }
                _ => {}
            }
        }
    }
}

fn body<T>(signal: &zbus::Message) -> Result<T>
where
    T: serde::de::DeserializeOwned + Type,
{
    let unlike = |err| Error::internal("PackageKit tells what its interface does not").with_source(err);
    signal.body().deserialize().map_err(unlike)
}

fn absent(err: zbus::Error) -> Error {
    Error::unavailable(
        "PackageKit does not answer on the bus of this host; an administrator installs `packagekit`, or changes packages himself",
    )
    .with_source(err)
}

fn refused(err: zbus::Error, asked: Option<Asked>) -> Error {
    match (&err, asked) {
        (zbus::Error::MethodError(_, Some(said), _), Some(asked)) if said.contains("uthori") => {
            denied(asked, said).with_source(err)
        }
        (zbus::Error::MethodError(_, Some(said), _), _) => {
            Error::conflict(format!("PackageKit refuses: {said}")).with_source(err)
        }
        _ => absent(err),
    }
}

fn denied(asked: Asked, said: &str) -> Error {
    Error::denied(format!(
        "you may not do that on this host ({}); an administrator can let you by a polkit rule for `{}`",
        said.trim_end_matches('.'),
        asked.action()
    ))
}

/// What an error of a transaction means for who asked.
fn explain(code: u32, details: &str, asked: Option<Asked>) -> Error {
    let details = details.trim().replace('\n', " ");
    let says = format!("PackageKit says: {details}");
    match (code, asked) {
        (48, Some(asked)) => denied(asked, &details),
        (7 | 8, _) => Error::not_found(says),
        // No network, a download that failed, a lock that another program holds, no space.
        (2 | 10 | 26 | 46, _) => Error::unavailable(says),
        _ => Error::conflict(says),
    }
}
