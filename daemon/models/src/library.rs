//! The library of ONNX Runtime: where it is, and how a worker that opens no files gets it.

use crate::{
    install::hash_of,
    settings::Settings,
    store::{LIBRARY, RUNTIME, Store},
};
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};
use skynet_core::{Error, Result};
use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// Where packages of the system put libraries.
const SYSTEM: [&str; 7] = [
    "/usr/local/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib64",
    "/usr/lib",
    "/opt/onnxruntime/lib",
];

/// A variable that every program with this library knows (ort, `load-dynamic`).
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// `1.24` is the oldest with the interface that the worker is built for.
const OLDEST_MINOR: u32 = 24;

/// What is found, and what it must hash to where that is known.
pub(crate) struct Library {
    pub(crate) path: PathBuf,
    sha256: Option<String>,
}

impl Library {
    /// The first there is.
    pub(crate) fn find(settings: &Settings, store: &Store) -> Option<Self> {
        let variable = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = settings.onnxruntime.clone().or(variable) {
            return path.is_file().then_some(Self { path, sha256: None });
        }
        let path = store.path(RUNTIME, LIBRARY);
        if let Ok(Some(record)) = store.find(RUNTIME)
            && path.is_file()
        {
            return Some(Self { path, sha256: record.sha256(LIBRARY).map(str::to_owned) });
        }
        let path = SYSTEM.iter().find_map(|directory| newest(Path::new(directory)))?;
        Some(Self { path, sha256: None })
    }

    /// A copy in memory that nobody can change.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read or is damaged.
    pub(crate) fn load(&self) -> Result<OwnedFd> {
        let cannot = |err: io::Error| {
            Error::unavailable(format!("the library `{}` cannot be read: {err}", self.path.display()))
                .with_source(err)
        };
        if let Some(expected) = &self.sha256
            && hash_of(&self.path).map_err(cannot)? != *expected
        {
            return Err(Error::unavailable(format!(
                "`{}` is damaged; `skynetctl models install {RUNTIME}` replaces it",
                self.path.display()
            )));
        }
        self.copy().map_err(cannot)
    }

    fn copy(&self) -> io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // It is mapped and never executed as a program, which some hosts insist on (memfd_create(2), `vm.memfd_noexec`);
        // kernels before 6.3 know no such flag.
        let made = match memfd_create("onnxruntime", flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => memfd_create("onnxruntime", flags),
            made => made,
        };
        let mut file = File::from(made?);
        io::copy(&mut File::open(&self.path)?, &mut file)?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(file.into())
    }
}

/// Of the libraries in a directory: `libonnxruntime.so.1.24.0`, or the name without a version.
fn newest(directory: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.file_name()));
    let found = names.filter_map(|name| Some((minor(&name)?, name)));
    let (_, name) = found.filter(|(minor, _)| *minor >= OLDEST_MINOR).max()?;
    Some(directory.join(name))
}

/// The second number of its version; without any it may be new enough, which the worker finds out.
fn minor(name: &OsString) -> Option<u32> {
    let rest = name.to_str()?.strip_prefix(LIBRARY)?;
    if rest.is_empty() {
        return Some(OLDEST_MINOR);
    }
    rest.strip_prefix(".1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_that_is_new_enough_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let with = |name: &str| {
            fs::write(directory.path().join(name), "").unwrap();
            newest(directory.path()).map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(with("libonnxruntime.so.1.9.0"), None);
        assert_eq!(with("libonnxruntime_providers_shared.so"), None);
        assert_eq!(with("libonnxruntime.so").as_deref(), Some("libonnxruntime.so"));
        assert_eq!(with("libonnxruntime.so.1.32.0").as_deref(), Some("libonnxruntime.so.1.32.0"));
        assert_eq!(with("libonnxruntime.so.1.100.0").as_deref(), Some("libonnxruntime.so.1.100.0"));
    }
}
