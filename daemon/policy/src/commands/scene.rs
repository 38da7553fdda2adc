//! One command as it is judged: who starts it, the file that would run, and what an entry has to say to it.

use super::{
    Entry, Who,
    launchers::{family, file_name},
    program::resolve,
};
use sha2::{Digest as _, Sha256};
use skynet_core::{CommandLine, canonical::hex};
use std::path::{Path, PathBuf};

pub(super) struct Scene<'a> {
    pub(super) who: &'a Who<'a>,
    pub(super) command: &'a CommandLine,
    /// What an entry's arguments are held against.
    pub(super) arguments: Vec<&'a str>,
    /// The file that runs, or why none can.
    pub(super) program: Result<PathBuf, String>,
}

/// Why an entry does not cover a command.
pub(super) struct Refusal {
    /// How much it covers; 0 if it is about something else.
    pub(super) covered: usize,
    pub(super) why: String,
}

impl<'a> Scene<'a> {
    pub(super) fn new(who: &'a Who<'a>, command: &'a CommandLine) -> Self {
        let workspace = who.workspace.map(skynet_core::Workspace::path);
        let name = command
            .script
            .as_ref()
            .map_or_else(|| command.argv.first().map_or("", String::as_str), |script| script.program);
        let arguments = command.argv.iter().skip(usize::from(command.script.is_none()));
        Self {
            who,
            command,
            arguments: arguments.map(String::as_str).collect(),
            program: resolve(name, &command.programs, workspace),
        }
    }

    /// What no entry could allow.
    pub(super) fn fault(&self) -> Option<String> {
        let script = self.command.script.iter().map(|script| &script.text);
        if self.command.argv.iter().chain(script).any(|text| text.contains('\0')) {
            return Some("an argument holds a NUL character".into());
        }
        let directory = &self.command.directory;
        (!self.is_inside("."))
            .then(|| format!("its directory `{}` is not in the workspace", directory.escape_debug()))
    }

    /// Whether a path, as an argument names it, stays in the workspace.
    pub(super) fn is_inside(&self, path: &str) -> bool {
        let Some(workspace) = self.who.workspace else { return false };
        let from = Path::new(&self.command.directory).join(path);
        from.to_str()
            .and_then(|path| workspace.relative(path).ok())
            .is_some_and(|path| workspace.holds(&path))
    }

    /// Why an entry does not cover it; `None` if it does.
    pub(super) fn refusal(&self, entry: &Entry) -> Option<Refusal> {
        let rule = &entry.rule;
        let refused =
            |covered, what: String| Some(Refusal { covered, why: format!("`{}` {what}", rule.name) });
        let Ok(program) = &self.program else {
            return refused(0, "is about programs that no command can change".into());
        };
        let is_its_own = match (&rule.program, &rule.interpreter, &self.command.script) {
            (Some(allowed), _, None) => {
                let workspace = self.who.workspace.map(skynet_core::Workspace::path);
                resolve(allowed, &self.command.programs, workspace).is_ok_and(|allowed| allowed == *program)
            }
            (None, Some(interpreter), None) => {
                rule.scripts.is_empty() && is_of_family(&program.to_string_lossy(), interpreter)
            }
            (None, Some(interpreter), Some(script)) => {
                (is_of_family(script.interpreter, interpreter) || is_of_family(script.program, interpreter))
                    && (rule.scripts.is_empty() || rule.scripts.contains(&digest(&script.text)))
            }
            (Some(_), _, Some(_)) | (None, None, _) => false,
        };
        if !is_its_own {
            return refused(0, "is about something else".into());
        }
        if let Some(name) = self.command.variables.iter().find(|name| !rule.environment.contains(name)) {
            return refused(1, format!("does not allow the variable `{}`", name.escape_debug()));
        }
        let can_be_told_anything = rule.interpreter.is_some() && rule.scripts.is_empty();
        if can_be_told_anything {
            return None;
        }
        if self.command.has_stdin && !rule.stdin {
            return refused(1, "gives it nothing to read (`stdin`)".into());
        }
        let gap = entry.shape.gap(&self.arguments, &|path| self.is_inside(path))?;
        match self.arguments.get(gap) {
            Some(argument) => {
                let shown: String = argument.chars().take(80).collect();
                refused(2 + gap, format!("does not allow argument {}, `{}`", gap + 1, shown.escape_debug()))
            }
            None => refused(2 + gap, format!("wants more than {gap} arguments")),
        }
    }

    /// Whether an entry that forbids, or wants a human to be asked, could mean it.
    pub(super) fn resembles(&self, entry: &Entry) -> bool {
        let rule = &entry.rule;
        let is_its_own = match (&rule.program, &rule.interpreter, &self.command.script) {
            (Some(name), _, None) | (None, Some(name), None) => {
                let given = self.command.argv.first().map_or("", String::as_str);
                rule.scripts.is_empty() && is_of_family(given, name)
            }
            (None, Some(interpreter), Some(script)) => {
                (is_of_family(script.interpreter, interpreter) || is_of_family(script.program, interpreter))
                    && (rule.scripts.is_empty() || rule.scripts.contains(&digest(&script.text)))
            }
            (Some(_), _, Some(_)) | (None, None, _) => false,
        };
        is_its_own && entry.shape.resembles(&self.arguments)
    }

    /// What to say where no entry is about it.
    pub(super) fn nothing_known(&self) -> String {
        match (&self.program, &self.command.script) {
            (Err(why), _) => why.clone(),
            (Ok(_), Some(script)) => format!("no entry allows scripts of `{}`", script.interpreter),
            (Ok(program), None) => format!("no entry is about `{}`", program.display()),
        }
    }
}

/// Whether both are names of one program, whatever its version.
fn is_of_family(program: &str, name: &str) -> bool {
    file_name(program) == file_name(name) || family(program) == family(name)
}

/// Of a script, as an entry names it.
pub(super) fn digest(script: &str) -> String {
    hex(&Sha256::digest(script))
}
