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

/// Where they are kept: in the directory for logs that systemd made (systemd.exec(5), `LogsDirectory=`), else in the state.
pub(crate) fn directory(state: &Path) -> PathBuf {
    let logs = std::env::var_os("LOGS_DIRECTORY").filter(|logs| !logs.is_empty());
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
    let mut kept: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    // Their names begin with when they were written.
    kept.sort();
    let room = MOST.saturating_sub(1);
    for old in kept.iter().take(kept.len().saturating_sub(room)) {
        fs::remove_file(old)?;
    }
    let now = jiff::Timestamp::now();
    let path = directory.join(format!("{now:.9}.txt"));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    let thread = std::thread::current();
    let (version, thread) = (env!("CARGO_PKG_VERSION"), thread.name().unwrap_or("without a name"));
    write!(file, "skynetd {version}, {now}, thread {thread}\n{info}\n\n{}", Backtrace::force_capture())?;
    Ok(path)
}

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
        // Others, of tests that run at the same time, would be here as well.
        let reports: Vec<String> = fs::read_dir(&defects)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        assert_eq!(reports.len(), MOST);
        let newest = reports.iter().find(|report| report.contains(&format!("drip {MOST}\n"))).unwrap();
        assert!(newest.contains("thread tap") && newest.contains("defects.rs:"), "{newest}");
        assert!(!reports.iter().any(|report| report.contains("drip 0\n")));
    }
}
