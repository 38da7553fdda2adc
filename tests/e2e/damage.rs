//! Files of the state are damaged while no daemon runs. The next daemon starts, or says which file keeps it from that; it
//! answers calls, names the damage and still has everything else.

use serde_json::{Value, json};
use skynet_tests::programs::{Daemon, Home, Shim};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What happens to a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Emptied,
    Halved,
    LastByteCut,
    /// One bit, at so many eighths of the file.
    Flipped(u64),
    Garbage,
    IsDirectory,
    IsFile,
    Deleted,
    Locked,
}

use Damage::{Deleted, Emptied, Flipped, Garbage, Halved, IsDirectory, IsFile, LastByteCut, Locked};

const OF_FILES: &[Damage] = &[
    Emptied,
    Halved,
    LastByteCut,
    Flipped(0),
    Flipped(3),
    Flipped(4),
    Flipped(8),
    Garbage,
    IsDirectory,
    Deleted,
    Locked,
];

/// Of files that are read as those of other tests are.
const A_FEW: &[Damage] = &[Emptied, Flipped(4), IsDirectory, Deleted, Locked];

const OF_DIRECTORIES: &[Damage] = &[IsFile, Deleted, Locked];

impl Damage {
    fn apply(self, path: &Path) {
        let change = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs::read(path).unwrap();
            change(&mut bytes);
            fs::write(path, bytes).unwrap();
        };
        match self {
            Emptied => change(&Vec::clear),
            Halved => change(&|bytes| bytes.truncate(bytes.len() / 2)),
            LastByteCut => change(&|bytes| bytes.truncate(bytes.len() - 1)),
            Flipped(_) => change(&|bytes| {
                let place = self.begins_at(bytes.len());
                bytes[place] ^= 1;
            }),
            Garbage => change(&|bytes| bytes.extend(b"\0garbage\xff that nobody wrote\n{\"a\":")),
            IsDirectory => {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }
            IsFile => {
                fs::remove_dir_all(path).unwrap();
                fs::write(path, "no directory").unwrap();
            }
            Deleted if path.is_dir() => fs::remove_dir_all(path).unwrap(),
            Deleted => fs::remove_file(path).unwrap(),
            Locked => fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap(),
        }
    }

    /// Up to here a file of that length is as it was.
    fn begins_at(self, length: usize) -> usize {
        match self {
            Halved => length / 2,
            LastByteCut => length - 1,
            Flipped(eighths) => {
                let place = length as u64 * eighths / 8;
                usize::try_from(place).unwrap().min(length - 1)
            }
            Garbage => length,
            Emptied | IsDirectory | IsFile | Deleted | Locked => 0,
        }
    }
}

/// What of the state is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Audit,
    Journal,
    Result,
    Before,
    Secrets,
    Tables,
    Job,
}

const PARTS: [Part; 7] =
    [Part::Audit, Part::Journal, Part::Result, Part::Before, Part::Secrets, Part::Tables, Part::Job];

/// A home with a history, and a copy of it.
struct Scene {
    home: Home,
    saved: PathBuf,
    uri: String,
    result: String,
    edit: String,
    job: String,
}

/// What a daemon says of a part, and what of it is not as it was.
struct Found {
    said: String,
    wrong: Vec<(Part, String)>,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        fs::write(home.project.join("kept"), "kept\n").unwrap();
        fs::write(home.project.join("text"), "one\n").unwrap();
        fs::write(home.project.join("long"), "0123456789abcdef\n".repeat(10_000)).unwrap();
        fs::write(
            home.project.join(".skynet.toml"),
            "[[rules]]\nname = 'n'\nverdict = 'deny'\ntools = ['git_push']\n",
        )
        .unwrap();
        let daemon = Daemon::start(&home);
        let mut shim = Shim::connected(&home, "2025-11-25", json!({}));
        let mut call =
            |tool: &str, input: Value| shim.call(tool, input).unwrap_or_else(|err| panic!("{tool}: {err}"));
        call("files_edit", json!({ "path": "text", "edits": [{ "old": "one", "new": "two" }] }));
        for number in 0..4 {
            call("files_write", json!({ "path": format!("new-{number}"), "content": "x" }));
        }
        let job = call("exec_start_job", json!({ "script": "echo done; exit 7" }))["job"].clone();
        call("exec_wait_job", json!({ "job": job }));
        let listed = call("undo_list_changes", json!({}));
        let edit = listed["calls"].as_array().unwrap().iter().find(|call| call["tool"] == "files_edit");
        let edit = edit.unwrap()["call"].as_str().unwrap().to_owned();
        let long = json!({ "name": "exec_run", "arguments": { "script": "cat long" } });
        let uri = find_uri(&shim.request("tools/call", long)).expect("a result that is kept");
        let mut scene = Self {
            saved: home.path.join("saved"),
            home,
            uri,
            result: String::new(),
            edit,
            job: job.as_str().unwrap().to_owned(),
        };
        scene.result = scene.read_result(&mut shim).unwrap();
        for name in ["first", "second"] {
            scene.set(&["set", name]);
        }
        scene.set(&["env", "set", "LEARNED"]);
        let environment = json!({ "*": "secret://.env.skynet" });
        shim.call("exec_run", json!({ "script": "true", "environment": environment })).unwrap();
        for arguments in [&["token", "create", "ci"][..], &["trust"], &["toolset", "enable", "system"]] {
            let (code, out, err) = scene.home.ctl(arguments);
            assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        }
        drop(shim);
        daemon.kill();
        copy(&scene.home.state, &scene.saved);
        scene
    }

    /// `skynetctl secret ...`, with a value to read.
    fn set(&self, arguments: &[&str]) {
        let mut command = self.home.command("skynetctl");
        command.arg("--socket").arg(self.home.socket()).arg("secret").args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"correct horse battery").unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn read_result(&self, shim: &mut Shim) -> Result<String, String> {
        let answer = shim.request("resources/read", json!({ "uri": self.uri }));
        let text = answer["result"]["contents"][0]["text"].as_str().map(str::to_owned);
        text.ok_or_else(|| answer["error"]["message"].to_string())
    }

    /// As it was before any damage.
    fn restore(&self) {
        unlock(&self.home.state);
        fs::remove_dir_all(&self.home.state).unwrap();
        copy(&self.saved, &self.home.state);
        fs::write(self.home.project.join("text"), "two\n").unwrap();
    }

    /// The first file below a directory of the state that has such a name.
    fn search(&self, directory: &str, name: &str) -> Option<PathBuf> {
        let mut found = Vec::new();
        files_below(&self.saved.join(directory), &mut found);
        found.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with(name));
        found.sort();
        Some(self.home.state.join(found.first()?.strip_prefix(&self.saved).unwrap()))
    }

    fn find(&self, directory: &str, name: &str) -> PathBuf {
        self.search(directory, name).unwrap_or_else(|| panic!("nothing `{name}` in {directory}"))
    }

    /// Calls that are in the audit log up to that byte of its only segment.
    fn acknowledged(&self, bytes: usize) -> Vec<String> {
        let log = fs::read(self.saved.join("ledger/audit/0000000001.jsonl")).unwrap();
        let text = String::from_utf8_lossy(&log[..bytes.min(log.len())]).into_owned();
        // The last line may be cut.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let records = whole.lines().map(|line| serde_json::from_str::<Value>(&line[65..]).unwrap());
        records.filter_map(|record| record["call"].as_str().map(str::to_owned)).collect()
    }

    /// Starts a daemon on the damaged state and looks at everything; what it wrote if it refuses to start.
    fn look(&self, acknowledged: &[String]) -> Result<Found, String> {
        let daemon = Daemon::try_start(&self.home)?;
        let mut shim = Shim::connected(&self.home, "2025-11-25", json!({}));
        let read = shim.call("files_read", json!({ "path": "kept" })).expect("a read");
        assert_eq!(read["content"], "kept\n");
        let write = json!({ "path": "written", "content": "w", "if_exists": "replace" });
        shim.call("files_write", write).expect("a write");
        let mut found = Found { said: String::new(), wrong: Vec::new() };
        for part in PARTS {
            if let Err(why) = self.check(part, &mut shim, acknowledged, &mut found.said) {
                found.wrong.push((part, why));
            }
        }
        drop(shim);
        let log = daemon.kill_for_log();
        assert!(!log.contains("panicked"), "{log}");
        let complaints = log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        found.said.extend(complaints.map(|line| format!("{line}\n")));
        Ok(found)
    }

    fn check(
        &self,
        part: Part,
        shim: &mut Shim,
        acknowledged: &[String],
        said: &mut String,
    ) -> Result<(), String> {
        let ctl = |arguments: &[&str]| {
            let (code, out, err) = self.home.ctl(arguments);
            if code == 0 { Ok(out) } else { Err(format!("{out}{err}")) }
        };
        match part {
            Part::Audit => {
                let records = ctl(&["audit", "query", "--limit", "1000", "--json"])?;
                let lost = acknowledged.iter().find(|call| !records.contains(*call));
                assert_eq!(lost, None, "an acknowledged record is lost: {records}");
                said.push_str(
                    &records.lines().filter(|record| record.contains("its own record")).collect::<String>(),
                );
                ctl(&["audit", "verify"]).map(drop)
            }
            // What it holds is asked for by clients that send a call again.
            Part::Journal => Ok(()),
            Part::Result => match self.read_result(shim) {
                Ok(result) if result == self.result => Ok(()),
                Ok(result) => panic!("another result of {} bytes", result.len()),
                Err(err) => Err(err),
            },
            Part::Before => {
                shim.call("undo_revert_call", json!({ "call": self.edit }))?;
                assert_eq!(fs::read_to_string(self.home.project.join("text")).unwrap(), "one\n");
                Ok(())
            }
            Part::Secrets => {
                let list = ctl(&["secret", "list", "--json"])?;
                let list: Value = serde_json::from_str(&list).unwrap();
                let missing = ["first", "second"].iter().filter(|name| {
                    let names = list["secrets"].as_array().unwrap();
                    !names.iter().any(|secret| secret["name"] == **name)
                });
                let told = missing.map(|name| {
                    let input =
                        json!({ "script": "true", "environment": { "X": format!("secret://{name}") } });
                    shim.call("exec_run", input).expect_err("a secret that is not there")
                });
                let told = told.collect::<String>();
                if told.is_empty() { Ok(()) } else { Err(format!("{list}{told}")) }
            }
            Part::Tables => {
                let (tokens, trust) = (ctl(&["token", "list"])?, ctl(&["trust", "list"])?);
                let toolsets = ctl(&["toolset", "list"])?;
                let chosen = toolsets.lines().find(|line| line.trim_start().starts_with("system "));
                let is_whole = tokens.contains(" ci ")
                    && trust.contains("/project")
                    && chosen.is_some_and(|line| line.contains("shown"));
                if is_whole { Ok(()) } else { Err([tokens, trust, toolsets].concat()) }
            }
            Part::Job => {
                let read = shim.call("exec_read_job", json!({ "job": self.job }))?;
                let (output, code) = (&read["output"], &read["status"]["exit_code"]);
                if (output, code) == (&json!("done\n"), &json!(7)) { Ok(()) } else { Err(read.to_string()) }
            }
        }
    }

    /// Damages `path` in each of these ways. `parts` may suffer from it, and the words of one in `named` are to be found in
    /// what is said then; to start may be refused after those of `refused`. All are tried, whatever becomes of each.
    fn suffers(&self, path: &Path, damages: &[Damage], parts: &[Part], named: Named, refused: &[Damage]) {
        let mut failed = Vec::new();
        for &damage in damages {
            let case = || self.suffer(path, damage, parts, named, refused);
            if catch_unwind(AssertUnwindSafe(case)).is_err() {
                failed.push(damage);
            }
            self.restore();
        }
        assert!(failed.is_empty(), "{}: {failed:?}", path.display());
    }

    fn suffer(&self, path: &Path, damage: Damage, parts: &[Part], named: Named, refused: &[Damage]) {
        let what = format!("{}: {damage:?}", path.strip_prefix(&self.home.state).unwrap().display());
        let length = fs::metadata(path).map_or(0, |found| usize::try_from(found.len()).unwrap());
        let is_audit = parts.contains(&Part::Audit);
        let acknowledged = self.acknowledged(if is_audit { damage.begins_at(length) } else { usize::MAX });
        damage.apply(path);
        let found = match self.look(&acknowledged) {
            Ok(found) => found,
            Err(log) => {
                assert!(refused.contains(&damage), "{what}: refused: {log}");
                // sled names no file.
                let names = [path, path.parent().unwrap()].map(|path| path.display().to_string());
                let is_clear = names.iter().any(|name| log.contains(name)) && !log.contains("panicked");
                assert!(is_clear, "{what}: refused without its name: {log}");
                return;
            }
        };
        for (part, why) in &found.wrong {
            assert!(parts.contains(part), "{what}: {part:?} suffers: {why}\n{}", found.said);
        }
        let is_of_ledgers = is_audit || parts.contains(&Part::Journal);
        assert!(is_of_ledgers || !found.said.contains("journal"), "{what}: {}", found.said);
        let all = format!("{}{:?}", found.said, found.wrong);
        let is_due = named.always || !found.wrong.is_empty();
        assert!(!is_due || named.words.iter().any(|word| all.contains(word)), "{what} is not named: {all}");
    }
}

/// In which words damage is told.
#[derive(Clone, Copy)]
struct Named {
    words: &'static [&'static str],
    /// Also when nothing is lost that a caller could miss.
    always: bool,
}

const fn always(words: &'static [&'static str]) -> Named {
    Named { words, always: true }
}

const fn if_lost(words: &'static [&'static str]) -> Named {
    Named { words, always: false }
}

fn find_uri(value: &Value) -> Option<String> {
    let links = value["result"]["content"].as_array()?;
    links.iter().find_map(|link| link["uri"].as_str().map(str::to_owned))
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

fn unlock(directory: &Path) {
    // Everything is thrown away next.
    let _ = Command::new("chmod").args(["-R", "u+rwX"]).arg(directory).status();
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[test]
fn a_damaged_audit_log_keeps_what_is_before_the_damage() {
    let scene = Scene::new();
    let segment = scene.find("ledger/audit", "0");
    let words = always(&["segment 1", "audit/0000000001", "ledger/audit"]);
    // Before-images are found by the log.
    let parts = [Part::Audit, Part::Before];
    scene.suffers(&segment, OF_FILES, &parts, words, &[Locked]);
    let newest = scene.home.state.join("ledger/audit.newest");
    scene.suffers(&newest, OF_FILES, &parts, if_lost(&["audit.newest"]), &[]);
    scene.suffers(segment.parent().unwrap(), OF_DIRECTORIES, &parts, words, &[IsFile, Locked]);
}

#[test]
fn a_damaged_journal_is_named() {
    let scene = Scene::new();
    let segment = scene.find("ledger/journal", "0");
    let words = always(&["journal"]);
    scene.suffers(&segment, OF_FILES, &[Part::Journal], words, &[Locked]);
    scene.suffers(segment.parent().unwrap(), OF_DIRECTORIES, &[Part::Journal], words, &[IsFile, Locked]);
}

#[test]
fn a_damaged_key_is_refused_or_made_anew() {
    let scene = Scene::new();
    let keys = scene.home.state.join("keys");
    let all: Vec<Damage> = OF_FILES.iter().copied().filter(|damage| *damage != Deleted).collect();
    scene.suffers(&keys.join("audit.key"), OF_FILES, &[], if_lost(&[]), &all);
    let swapped = [Flipped(4)];
    scene.suffers(&keys.join("audit.pub"), A_FEW, &[], if_lost(&[]), &swapped);
    scene.suffers(&keys.join("retired"), OF_DIRECTORIES, &[], if_lost(&[]), &[IsFile, Locked]);
    let words = if_lost(&["another master key"]);
    // A new key would make all that is sealed with the old one useless, without a word.
    scene.suffers(&keys.join("secrets.key"), OF_FILES, &[Part::Secrets], words, OF_FILES);
}

#[test]
fn a_damaged_database_is_replaced_or_named() {
    let scene = Scene::new();
    for (name, damages) in [("db", OF_FILES), ("conf", A_FEW), ("snap", A_FEW)] {
        // A young database has no snapshot.
        let Some(file) = scene.search("state", name) else { continue };
        scene.suffers(&file, damages, &[Part::Tables], if_lost(&["state database"]), &[Locked]);
    }
    let count = scene.home.state.join("state.promised");
    scene.suffers(&count, A_FEW, &[], if_lost(&[]), &[]);
    let directory = scene.home.state.join("state");
    scene.suffers(&directory, OF_DIRECTORIES, &[Part::Tables], if_lost(&["state database"]), &[Locked]);
}

#[test]
fn a_damaged_blob_is_never_taken_for_what_it_was() {
    let scene = Scene::new();
    for (name, part) in [("result", Part::Result), ("before", Part::Before)] {
        let blob = scene.find(&format!("blobs/{name}"), "");
        scene.suffers(
            &blob,
            OF_FILES,
            &[part],
            if_lost(&["not kept", "damaged", "cannot be read", "no resource"]),
            &[],
        );
        let owner = blob.parent().unwrap();
        scene.suffers(owner, OF_DIRECTORIES, &[part], if_lost(&["blobs", "no resource", "not kept"]), &[]);
    }
    let blobs = scene.home.state.join("blobs");
    scene.suffers(&blobs, OF_DIRECTORIES, &[Part::Result, Part::Before], always(&["blobs"]), &[Locked]);
}

#[test]
fn a_damaged_secret_hides_no_other() {
    let scene = Scene::new();
    let secret = scene.find("secrets", "first");
    let words = if_lost(&["`first`", "first"]);
    scene.suffers(&secret, OF_FILES, &[Part::Secrets], words, &[]);
    let words = if_lost(&["secrets"]);
    // While the directory of a user cannot be read, his calls are refused: nothing could be kept free of his secrets.
    scene.suffers(secret.parent().unwrap(), &[IsFile, Deleted], &[Part::Secrets], words, &[]);
    let directory = scene.home.state.join("secrets");
    scene.suffers(&directory, OF_DIRECTORIES, &[Part::Secrets], words, &[Locked]);
    let learned = scene.find("secrets", ".learned");
    let damages: Vec<_> = OF_FILES.iter().copied().filter(|damage| *damage != Deleted).collect();
    scene.suffers(&learned, &damages, &[], always(&[".learned"]), &[]);
}

#[test]
fn a_damaged_job_is_told_or_lost_by_name() {
    let scene = Scene::new();
    for name in ["job.json", "end", "output"] {
        let file = scene.find("jobs", name);
        scene.suffers(&file, A_FEW, &[Part::Job], if_lost(&["job"]), &[]);
    }
    let directory = scene.home.state.join("jobs").join(&scene.job);
    scene.suffers(&directory, OF_DIRECTORIES, &[Part::Job], if_lost(&["job"]), &[]);
    let all = scene.home.state.join("jobs");
    scene.suffers(&all, OF_DIRECTORIES, &[Part::Job], if_lost(&["jobs"]), &[]);
}
