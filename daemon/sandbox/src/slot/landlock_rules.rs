//! The filesystem once more, by Landlock: what a mount forgot to forbid is forbidden here.

use super::view::{PROGRAMS, Place, SCRATCH};
use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use skynet_sandbox::{
    places::{REGISTRY_SETTINGS, SYSTEM},
    protocol::Kind,
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// From the newest known to the oldest that is enough: ABI 2 adds `REFER`, without which nothing could be renamed between
/// directories. What later ones add is held by other layers where it is missing: truncation by read-only mounts (3),
/// TCP (4) and abstract sockets (6) by the network namespace, devices (5) by the few in /dev, signals (6) by the pid
/// namespace.
const KNOWN: [ABI; 6] = [ABI::V7, ABI::V6, ABI::V5, ABI::V4, ABI::V3, ABI::V2];

/// Devices that no mount keeps away where there is no view: the same as there.
const DEVICES: &str = "/dev";

/// What of the host those see who are asked about it, besides programs: where the kernel and the system's services tell
/// of themselves, which packages there are, and what cron starts.
const HOST: [&str; 10] = [
    "/proc",
    "/sys",
    "/run",
    "/var/log",
    "/var/lib/systemd",
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/cache/apt",
    "/var/lib/rpm",
    "/var/spool/cron",
];

/// What a process may do beneath which directories.
pub(crate) struct Rules {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    /// Single files, as they are now: one that takes the place of another is not among them.
    files: Vec<PathBuf>,
}

impl Rules {
    /// In the view of a slot.
    pub(crate) fn of_slot(kind: Kind, place: &Place) -> Self {
        let read = SYSTEM.iter().chain(&["/etc", "/proc", PROGRAMS]).map(PathBuf::from).collect();
        if kind == Kind::Models {
            return Self { read, write: Vec::new(), files: Vec::new() };
        }
        let own = [&place.workspace, &place.home].into_iter().chain(&place.linked).cloned();
        Self { read, write: SCRATCH.iter().map(PathBuf::from).chain(own).collect(), files: Vec::new() }
    }

    /// Of what is asked about the host; `programs` is the directory that it is executed from. Of the `home` of its user it reads which
    /// registries his package managers ask, and nothing else.
    pub(crate) fn of_host(programs: &Path, home: &Path) -> Self {
        let read = SYSTEM.iter().chain(&["/etc"]).chain(&HOST).map(PathBuf::from);
        let files = REGISTRY_SETTINGS.iter().map(|name| home.join(name)).collect();
        Self { read: read.chain([programs.to_owned()]).collect(), write: Vec::new(), files }
    }

    /// Allows them to this thread and all it starts, and nothing else.
    pub(crate) fn restrict(&self) -> io::Result<()> {
        let (abi, mut ruleset) = create().map_err(io::Error::other)?;
        let read = AccessFs::from_read(abi);
        let device = AccessFs::from_file(abi) & !AccessFs::Execute;
        let everything = AccessFs::from_all(abi);
        let rules = self
            .read
            .iter()
            .map(|path| (&**path, read))
            .chain([(Path::new(DEVICES), device | AccessFs::ReadDir)])
            .chain(self.write.iter().map(|path| (&**path, everything)));
        for (path, access) in rules {
            // A link is a way to a directory that has its own rule, and not every host has all of them.
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                let directory = PathFd::new(path).map_err(io::Error::other)?;
                ruleset = ruleset.add_rule(PathBeneath::new(directory, access)).map_err(io::Error::other)?;
            }
        }
        for path in &self.files {
            if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                continue;
            }
            // One that is gone by now needs no rule.
            let Ok(file) = PathFd::new(path) else { continue };
            ruleset =
                ruleset.add_rule(PathBeneath::new(file, AccessFs::ReadFile)).map_err(io::Error::other)?;
        }
        let status = ruleset.restrict_self().map_err(io::Error::other)?;
        if status.ruleset == RulesetStatus::FullyEnforced {
            Ok(())
        } else {
            Err(io::Error::other(format!("the kernel enforces it only so far: {:?}", status.ruleset)))
        }
    }
}

/// The newest ABI that this kernel and this program know.
pub(crate) fn abi() -> Result<ABI, RulesetError> {
    create().map(|(abi, _)| abi)
}

/// For the newest ABI of this kernel. `HardRequirement`, because the default leaves out what a kernel lacks.
fn create() -> Result<(ABI, RulesetCreated), RulesetError> {
    let attempt = |abi: ABI| {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))?;
        let scope = Scope::from_all(abi);
        if scope.is_empty() { ruleset.create() } else { ruleset.scope(scope)?.create() }
    };
    let [newest, older @ ..] = KNOWN;
    let mut result = attempt(newest).map(|ruleset| (newest, ruleset));
    for abi in older {
        if result.is_ok() {
            break;
        }
        result = attempt(abi).map(|ruleset| (abi, ruleset));
    }
    result
}
