//! The smallest entry that would allow a command: this program, these arguments, this user, this workspace.

use super::{
    CommandRule,
    launchers::{file_name, is_telling_variable},
    scene::{Scene, digest},
    word::{Word, is_hidden},
};
use crate::rules::Verdict;
use std::fmt::Write as _;

/// For a command that runs a known file and sets nothing that decides what runs; there is none for others.
pub(super) fn smallest(scene: &Scene<'_>) -> Option<CommandRule> {
    let file = scene.program.as_ref().ok()?;
    let command = scene.command;
    let workspace = scene.who.workspace?.path().to_str()?;
    let words = scene.arguments.iter().copied().map(Word::exactly).collect();
    let (program, interpreter, scripts) = match &command.script {
        Some(script) => (None, Some(script.interpreter.to_owned()), vec![digest(&script.text)]),
        None if command.argv.first().is_some_and(|name| name.contains('/')) => {
            (Some(file.to_str()?.to_owned()), None, Vec::new())
        }
        None => (command.argv.first().cloned(), None, Vec::new()),
    };
    if program.is_some() && command.variables.iter().any(|name| is_telling_variable(name)) {
        return None;
    }
    Some(CommandRule {
        name: name(scene),
        verdict: Verdict::Allow,
        users: vec![scene.who.user.to_owned()],
        workspaces: vec![globset::escape(workspace)],
        program,
        interpreter,
        scripts,
        arguments: words,
        options: Vec::new(),
        environment: command.variables.clone(),
        stdin: command.has_stdin,
        grantable: true,
    })
}

/// What to call it: the program and its first operand.
fn name(scene: &Scene<'_>) -> String {
    let program = match &scene.command.script {
        Some(script) => return format!("a script for {}", script.interpreter),
        None => scene.command.argv.first().map_or("", |program| file_name(program)),
    };
    let is_word = |text: &&&str| {
        (1..=24).contains(&text.len())
            && text.bytes().all(|one| one.is_ascii_alphanumeric() || matches!(one, b'_' | b'-' | b'.'))
    };
    match scene.arguments.iter().find(|text| !text.starts_with('-')).filter(is_word) {
        Some(operand) => format!("{program} {operand}"),
        None => program.to_owned(),
    }
}

impl CommandRule {
    /// As TOML, to paste into a configuration.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::from("[[policy.commands]]\n");
        for (key, value) in self.members() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    }

    /// The same in one line: a member of the list `policy.commands`.
    #[must_use]
    pub fn to_inline_toml(&self) -> String {
        let members: Vec<_> = self.members().iter().map(|(key, value)| format!("{key} = {value}")).collect();
        format!("{{ {} }}", members.join(", "))
    }

    fn members(&self) -> Vec<(&'static str, String)> {
        let list = |list: &[String]| {
            let quoted: Vec<_> = list.iter().map(|text| quote(text)).collect();
            (!list.is_empty()).then(|| format!("[{}]", quoted.join(", ")))
        };
        let words: Vec<String> = self.arguments.iter().map(Word::to_string).collect();
        let options: Vec<String> = self.options.iter().map(ToString::to_string).collect();
        let all = [
            ("name", Some(quote(&self.name))),
            ("verdict", Some(quote(&self.verdict.to_string()))),
            ("users", list(&self.users)),
            ("workspaces", list(&self.workspaces)),
            ("program", self.program.as_deref().map(quote)),
            ("interpreter", self.interpreter.as_deref().map(quote)),
            ("scripts", list(&self.scripts)),
            ("arguments", list(&words)),
            ("options", list(&options)),
            ("environment", list(&self.environment)),
            ("stdin", self.stdin.then(|| "true".to_owned())),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// A basic string of TOML: JSON's escapes are among TOML's, and what a terminal would not show is escaped too.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        // Writing to a String cannot fail.
        let _ = match letter {
            '"' | '\\' => write!(quoted, "\\{letter}"),
            '\n' => write!(quoted, "\\n"),
            '\t' => write!(quoted, "\\t"),
            _ if is_hidden(letter) => write!(quoted, "\\U{:08X}", letter as u32),
            _ => write!(quoted, "{letter}"),
        };
    }
    quoted.push('"');
    quoted
}
