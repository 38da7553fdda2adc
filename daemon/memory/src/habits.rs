//! What is learnt from use: a command that does its work on several occasions in a project is proposed as a preference. It counts
//! once a human accepts it; what was proposed once is not proposed again while it is in use, whatever became of it.

use crate::{
    Memory,
    entry::{Kind, State, Wanted},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skynet_core::{CommandLine, Error, Result, canonical::hex};
use skynet_secrets::Keyring;
use skynet_store::{Table, Tables};
use std::{
    fmt::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// On so many occasions something is done before it is taken for a habit, unless an administrator says otherwise. Within one of them an
/// agent does much again and again that nobody does in the next; of two, one may be by chance.
pub const OCCASIONS: u8 = 3;

/// After so many notes, what was not seen for long is forgotten.
const TIDY_EVERY: u32 = 1000;

/// A command that was not seen for so long is new again.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(60 * 24);

/// Longer commands are of one time, in bytes.
const LONGEST: usize = 300;

/// Proposals of one project that nobody decided on yet; a human reads no more.
const MOST_WAITING: usize = 10;

/// What anybody does anywhere: it says nothing of a project.
const COMMON: [&str; 40] = [
    "awk", "basename", "cat", "chmod", "cp", "cut", "date", "df", "diff", "dirname", "du", "echo", "env",
    "false", "file", "find", "git", "grep", "head", "id", "less", "ls", "mkdir", "mv", "printf", "ps", "pwd",
    "readlink", "rg", "rm", "sed", "sleep", "sort", "stat", "tail", "test", "touch", "true", "wc", "which",
];

/// How often something was done; what that was is not kept.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Habit {
    occasions: Vec<String>,
    last_at: Timestamp,
    /// Whether it was proposed, or refused before.
    is_told: bool,
}

/// All habits of all users.
pub struct Habits {
    table: Table<Habit>,
    keyring: Arc<Keyring>,
    memory: Arc<Memory>,
    /// So many make a habit; with 0, nothing is one.
    occasions: u8,
    notes: AtomicU32,
}

impl Habits {
    /// Those of `tables`, which become proposals in `memory` after so many `occasions`, without the secrets of `keyring`. Forgets what was
    /// not seen for long.
    #[must_use]
    pub fn new(tables: &Tables, keyring: Arc<Keyring>, memory: Arc<Memory>, occasions: u8) -> Arc<Self> {
        let table: Table<Habit> = tables.table("habits");
        let habits = Self { table, keyring, memory, occasions, notes: AtomicU32::default() };
        habits.tidy();
        Arc::new(habits)
    }

    fn tidy(&self) {
        let oldest = Timestamp::now().saturating_sub(FORGOTTEN_AFTER).unwrap_or(Timestamp::MIN);
        for (key, habit) in self.table.iter() {
            if habit.last_at < oldest
                && let Err(err) = self.table.remove(&key)
            {
                tracing::warn!(error = %err, "a habit that is over is still kept");
            }
        }
    }

    /// Takes note of a command that did its work, and proposes it to be remembered when it is a habit.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses, or secrets cannot be looked for.
    pub async fn note(
        &self,
        uid: u32,
        workspace: &Path,
        occasion: &str,
        command: &CommandLine,
    ) -> Result<()> {
        let Some(text) = told(command).filter(|_| self.occasions > 0) else { return Ok(()) };
        let wanted_occasions = usize::from(self.occasions);
        if self.notes.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.tidy();
        }
        let key = key_of(uid, workspace, &text);
        let after = self.table.update(&key, |habit: Option<Habit>| {
            let mut habit = habit.unwrap_or_default();
            if !habit.occasions.iter().any(|known| known == occasion) {
                habit.occasions.push(occasion.to_owned());
            }
            let surplus = habit.occasions.len().saturating_sub(wanted_occasions);
            habit.occasions.drain(..surplus);
            habit.last_at = Timestamp::now();
            Some(habit)
        });
        let cannot = |err| Error::unavailable("what is done again cannot be counted").with_source(err);
        let is_habit = |habit: &Habit| habit.occasions.len() >= wanted_occasions && !habit.is_told;
        if !after.map_err(cannot)?.is_some_and(|habit| is_habit(&habit)) {
            return Ok(());
        }
        let scanner = self.keyring.scanner(uid).map_err(|err| {
            Error::unavailable("nothing is learnt while secrets cannot be looked for").with_source(err)
        })?;
        if !scanner.redact(text.as_bytes()).found.is_empty() {
            return Ok(());
        }
        let times = match self.occasions {
            1 => "one occasion".to_owned(),
            several => format!("{several} occasions"),
        };
        let wanted = Wanted {
            text: format!("In this project, this command is run: `{text}`"),
            kind: Kind::Preference,
            is_personal: false,
            tags: vec!["command".into()],
            source: Some(format!("learnt from use: it did its work on {times}")),
            confidence: 0.6,
            state: State::Proposed,
            lives_for: None,
            summarizes: Vec::new(),
        };
        if self.memory.propose(uid, workspace, wanted, MOST_WAITING).await? {
            let told = |habit: Option<Habit>| habit.map(|habit| Habit { is_told: true, ..habit });
            self.table.update(&key, told).map_err(cannot)?;
        }
        Ok(())
    }
}

/// A command as a person writes it; `None` for one that says nothing of a project.
fn told(command: &CommandLine) -> Option<String> {
    let program = command
        .argv
        .first()
        .filter(|_| command.script.is_none() && !command.has_stdin && command.variables.is_empty())?;
    let name = Path::new(program).file_name()?.to_str()?;
    if COMMON.contains(&name) {
        return None;
    }
    let mut text = String::new();
    if !matches!(command.directory.as_str(), "" | ".") {
        // Written to a string, which takes all of it.
        let _ = write!(text, "cd {} && ", quoted(&command.directory));
    }
    text.push_str(&command.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "));
    (text.len() <= LONGEST && !text.contains(char::is_control)).then_some(text)
}

/// A word as a shell reads it (sh(1), quoting).
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn key_of(uid: u32, workspace: &Path, text: &str) -> String {
    let mut hash = Sha256::new();
    for part in [workspace.as_os_str().as_encoded_bytes(), text.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("{uid}/{}", hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_as_it_is_typed_or_not_at_all() {
        let of = |argv: &[&str], directory: &str| {
            told(&CommandLine {
                argv: argv.iter().map(|word| (*word).to_owned()).collect(),
                script: None,
                variables: Vec::new(),
                has_stdin: false,
                directory: directory.into(),
                programs: skynet_core::command::Programs::default(),
            })
        };
        assert_eq!(of(&["npm", "test"], "").as_deref(), Some("npm test"));
        assert_eq!(
            of(&["pytest", "-k", "not slow"], "api").as_deref(),
            Some("cd api && pytest -k 'not slow'")
        );
        assert_eq!(of(&["make", "it's"], ".").as_deref(), Some(r"make 'it'\''s'"));
        for argv in [&["/bin/ls"][..], &["git", "status"], &["make", "two\nlines"], &[]] {
            assert_eq!(of(argv, ""), None, "{argv:?}");
        }
    }
}
