//! Kinds of what answers are about that may be given again for a while. Files, Git and what a project is are of no kind: their
//! answers are always made anew.

/// What an answer is about, and what must be the same for it to stay true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Containers of the engine, and the compose projects that they make.
    Containers,
    /// Images of the engine.
    Images,
    /// Networks of the engine.
    Networks,
    /// Volumes of the engine.
    Volumes,
    /// Units of the host's systemd.
    Units,
    /// Packages of the host's own manager.
    Packages,
}

/// What dpkg, apt and rpm write when what they tell is no longer the same.
const PACKAGES: &[&str] = &[
    "/var/lib/dpkg/status",
    "/var/lib/apt/lists",
    "/var/lib/apt/extended_states",
    "/var/cache/apt/pkgcache.bin",
    "/etc/apt/apt.conf",
    "/etc/apt/apt.conf.d",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/apt/preferences",
    "/etc/apt/preferences.d",
    "/run/reboot-required",
    "/var/run/reboot-required",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite-wal",
    "/var/lib/rpm/Packages",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
];

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] =
        &[Self::Containers, Self::Images, Self::Networks, Self::Volumes, Self::Units, Self::Packages];

    /// Those that the container engine keeps.
    pub const OF_ENGINE: &'static [Self] = &[Self::Containers, Self::Images, Self::Networks, Self::Volumes];

    /// The name in the configuration and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::Images => "images",
            Self::Networks => "networks",
            Self::Volumes => "volumes",
            Self::Units => "units",
            Self::Packages => "packages",
        }
    }

    /// Files of the host that are written whenever such an answer changes: with another time or size of one, it is another answer.
    #[must_use]
    pub const fn witnesses(self) -> &'static [&'static str] {
        match self {
            Self::Packages => PACKAGES,
            Self::Containers | Self::Images | Self::Networks | Self::Volumes | Self::Units => &[],
        }
    }
}
