//! What is kept of a panic: it is a defect of Skynet, one call's error to a client, and what its author needs is otherwise lost
//! among the lines of a journal.

use std::{
    backtrace::Backtrace,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    panic::{self, PanicHookInfo},
    path::{Path, PathBuf},
};

/// As many are kept, the newest: one that comes again and again tells nothing new.
const MOST: usize = 20;

/// Where they are kept: of a host in the directory for logs that systemd made (systemd.exec(5), `LogsDirectory=`), else in the
/// state. A user's daemon may have been started by somebody else's unit.
pub(crate) fn directory(state: &Path, is_host: bool) -> PathBuf {
    let logs = std::env::var_os("LOGS_DIRECTORY").filter(|logs| is_host && !logs.is_empty());
    logs.map_or_else(|| state.to_owned(), PathBuf::from).join("defects")
}

/// Has every panic from now on written to a file of its own in `directory`, besides what is done with it already.
pub(crate) fn keep(directory: PathBuf) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let report = match write(&directory, info) {
            Ok(file) => file.display().to_string(),
            Err(err) => format!("none can be kept: {err}"),
        };
        tracing::error!(report, "a defect of Skynet was met");
        before(info);
    }));
}

fn write(directory: &Path, info: &PanicHookInfo<'_>) -> io::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut kept: Vec<PathBuf> = fs::read_dir(directory)?.flatten().map(|entry| entry.path()).collect();
    kept.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
    // Their names begin with when they were written.
    kept.sort();
    for old in kept.iter().take((kept.len() + 1).saturating_sub(MOST)) {
        // Another thread may have met a defect at the same time.
        let _ = fs::remove_file(old);
    }
    let now = jiff::Timestamp::now();
    let thread = std::thread::current();
    let path = directory.join(format!("{now:.9}-{:?}.{EXTENSION}", thread.id()));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    let (version, thread) = (env!("CARGO_PKG_VERSION"), thread.name().unwrap_or("without a name"));
    // What is shipped has no names of functions: their addresses are, and where the program lies.
    let base = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let base = base.lines().next().unwrap_or_default();
    let trace = Backtrace::force_capture();
    write!(file, "skynetd {version}, {now}, thread {thread}\n{info}\n\n{base}\n\n{trace:#}")?;
    Ok(path)
}

const EXTENSION: &str = "defect";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_panic_a_report_is_kept_and_of_many_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let defects = directory.path().join("defects");
        keep(defects.clone());
        for number in 0..=MOST {
            let met = std::thread::Builder::new().name("tap".into()).spawn(move || panic!("drip {number}"));
            assert!(met.unwrap().join().is_err());
        }
        let _ = panic::take_hook();
        // Others would be here as well, of tests that fail at the same time.
        let reports = fs::read_dir(&defects).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()));
        let reports: Vec<String> = reports.map(Result::unwrap).collect();
        assert_eq!(reports.len(), MOST);
        let newest = reports.iter().find(|report| report.contains(&format!("drip {MOST}\n"))).unwrap();
        let (head, trace) = newest.rsplit_once("\n\n").unwrap();
        assert!(head.contains("thread tap") && head.contains("defects.rs:"), "{newest}");
        assert!(head.lines().any(|line| line.contains(" r--p ")) && trace.contains(" 0x"), "{newest}");
        assert!(!reports.iter().any(|report| report.contains("drip 0\n")));
    }
}
