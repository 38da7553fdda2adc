//! The lists of commands: what gets past a list that names programs alone, and does not get past this one.

mod before;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skynet_core::{
    CallCtx, CommandLine, Effect, Place, Result, Tool, Toolset,
    command::{Programs, Script},
};
use skynet_policy::{CommandRule, Verdict};
use skynet_tests::workbench::{Setup, Workbench, rule};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

/// As of the exec family, which this tool stands for: it starts nothing and tells what it would have started.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Input {
    /// Program and arguments.
    command: Vec<String>,
    /// A script.
    script: Option<String>,
    /// What reads it.
    interpreter: Option<String>,
    /// Where.
    cwd: Option<String>,
    /// Variables.
    environment: BTreeMap<String, String>,
    /// To read.
    stdin: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    /// What the list allowed.
    program: Option<String>,
}

struct ExecProbe(Programs);

impl Tool for ExecProbe {
    const NAME: &'static str = "exec_probe";
    const SUMMARY: &'static str = "Starts nothing.";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    fn command(&self, input: &Input) -> Result<Option<CommandLine>> {
        let program = match input.interpreter.as_deref() {
            Some("python") => ("python", "python3"),
            Some("sh") => ("sh", "sh"),
            _ => ("bash", "bash"),
        };
        let script = input.script.clone();
        Ok(Some(CommandLine {
            argv: input.command.clone(),
            script: script.map(|text| Script { interpreter: program.0, program: program.1, text }),
            variables: input.environment.keys().cloned().collect(),
            has_stdin: input.stdin.is_some(),
            directory: input.cwd.clone().unwrap_or_else(|| ".".into()),
            programs: self.0.clone(),
        }))
    }

    async fn call(&self, ctx: &CallCtx, _input: Input) -> Result<Output> {
        Ok(Output { program: ctx.program.as_ref().map(|path| path.display().to_string()) })
    }
}

/// A list as a careful administrator writes it.
const LIST: &str = include_str!("commands/list.toml");

/// Everything the tests start.
const PROGRAMS: &str = "awk bash busybox cargo cat cp curl dd docker du echo env fd find gcc gdb git go grep head less ln ls make man \
    mkdir nice node nohup npm perl pytest python3 rg rsync ruby scp sed sh sort ssh systemctl systemd-run tail tar tee timeout vim wc wget xargs zip";

#[derive(Deserialize)]
struct List {
    policy: Policy,
}

#[derive(Deserialize)]
struct Policy {
    commands: Vec<CommandRule>,
}

fn read(toml: &str) -> Vec<CommandRule> {
    toml::from_str::<List>(toml).unwrap_or_else(|err| panic!("{err}")).policy.commands
}

/// A pipeline with such a list, programs that no command can change, and a workspace with traps in it.
fn bench(commands: Vec<CommandRule>, setup: Setup) -> (Workbench, tempfile::TempDir) {
    let outside = tempfile::tempdir().unwrap();
    let system = outside.path().canonicalize().unwrap().join("usr/bin");
    fs::create_dir_all(&system).unwrap();
    for name in PROGRAMS.split_whitespace() {
        plant(&system.join(name));
    }
    // As /bin is on most systems, and as alternatives are.
    symlink("usr/bin", system.parent().unwrap().parent().unwrap().join("bin")).unwrap();
    symlink("git", system.join("git-alternative")).unwrap();
    // Before the others in PATH, and nobody's.
    let own = outside.path().canonicalize().unwrap().join("home/bin");
    fs::create_dir_all(&own).unwrap();
    plant(&own.join("git"));
    let programs = Programs { path: vec![own.clone(), system.clone()], fixed: vec![system.clone()] };
    let toolsets = vec![Toolset::new("exec", "probes").with(ExecProbe(programs))];
    let bench = Workbench::new(Setup { commands, toolsets, ..setup });
    // A system directory may hold a link to what somebody builds.
    plant(&bench.root.join("built"));
    symlink(bench.root.join("built"), system.join("linked")).unwrap();
    symlink(own.join("git"), system.join("linked-home")).unwrap();
    plant(&bench.root.join("git"));
    plant(&bench.root.join("sub/git"));
    symlink(system.join("bash"), bench.root.join("ls")).unwrap();
    symlink("/etc", bench.root.join("etc")).unwrap();
    symlink("../new-file", bench.root.join("dangling")).unwrap();
    for file in ["a.txt", "src/main.rs", "tests/t.py", "a=b", "-dash", "x.tar"] {
        bench.write(file, "x");
    }
    (bench, outside)
}

fn plant(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// `git log -n 3` as the members of an input; words that hold blanks are written as JSON.
fn command(line: &str) -> Value {
    if line.starts_with('[') {
        return json!({ "command": serde_json::from_str::<Value>(line).unwrap() });
    }
    json!({ "command": line.split_whitespace().collect::<Vec<_>>() })
}

#[tokio::test]
async fn known_bypasses_of_lists_are_refused() {
    let (bench, outside) = bench(read(LIST), Setup::default());
    let table = include_str!("commands/refused.txt");
    let mut count = 0;
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let err = bench.call("exec_probe", command(line)).await.expect_err(line);
        assert!(err.starts_with("denied: `exec_probe` is denied to `tester`"), "{line}: {err}");
        // For what it says and not because its program is missing here.
        let name = command(line)["command"][0].as_str().unwrap().to_owned();
        let is_here = PROGRAMS.split_whitespace().any(|known| known == name);
        assert_eq!(
            err.contains("no directory that commands"),
            !is_here && !name.contains('/'),
            "{line}: {err}"
        );
        count += 1;
    }
    assert!(count >= 60, "{count}");
    let outside = outside.path().canonicalize().unwrap();
    let path = |name: &str| outside.join(name).display().to_string();
    for (what, input) in [
        ("a script where a program is allowed", json!({ "script": "git status" })),
        ("the same for another interpreter", json!({ "script": "import os", "interpreter": "python" })),
        (
            "a script with the arguments of a command",
            json!({ "script": "exec \"$@\"", "command": ["git", "status"] }),
        ),
        (
            "an interpreter with the program in its argument",
            json!({ "command": ["bash", "-c", "git status"] }),
        ),
        ("PATH", json!({ "command": ["git", "status"], "environment": { "PATH": "/w" } })),
        ("LD_PRELOAD", json!({ "command": ["git", "status"], "environment": { "LD_PRELOAD": "x.so" } })),
        ("LD_LIBRARY_PATH", json!({ "command": ["ls"], "environment": { "LD_LIBRARY_PATH": "." } })),
        (
            "GIT_EXTERNAL_DIFF",
            json!({ "command": ["git", "diff"], "environment": { "GIT_EXTERNAL_DIFF": "./x" } }),
        ),
        (
            "GIT_SSH_COMMAND",
            json!({ "command": ["git", "fetch", "origin"], "environment": { "GIT_SSH_COMMAND": "./x" } }),
        ),
        (
            "GIT_CONFIG_COUNT",
            json!({ "command": ["git", "log"], "environment": { "GIT_CONFIG_COUNT": "1" } }),
        ),
        ("GIT_EXEC_PATH", json!({ "command": ["git", "log"], "environment": { "GIT_EXEC_PATH": "." } })),
        (
            "RUSTC_WRAPPER",
            json!({ "command": ["cargo", "build"], "environment": { "RUSTC_WRAPPER": "./x" } }),
        ),
        ("PYTHONPATH", json!({ "command": ["pytest", "tests/t.py"], "environment": { "PYTHONPATH": "." } })),
        (
            "NODE_OPTIONS",
            json!({ "command": ["node", "scripts/build.js"], "environment": { "NODE_OPTIONS": "-r ./x" } }),
        ),
        ("BASH_ENV", json!({ "command": ["npm", "test"], "environment": { "BASH_ENV": "x" } })),
        ("PERL5OPT", json!({ "command": ["npm", "test"], "environment": { "PERL5OPT": "-Mx" } })),
        ("RUBYOPT", json!({ "command": ["npm", "test"], "environment": { "RUBYOPT": "-rx" } })),
        (
            "TAR_OPTIONS",
            json!({ "command": ["tar", "-tf", "x.tar"], "environment": { "TAR_OPTIONS": "--to-command=x" } }),
        ),
        (
            "a variable whose name is nothing",
            json!({ "command": ["cargo", "test"], "environment": { "": "" } }),
        ),
        (
            "a variable that only looks like a listed one",
            json!({ "command": ["cargo", "test"], "environment": { "RUST_BACKTRACЕ": "1" } }),
        ),
        ("stdin, where it is not listed", json!({ "command": ["cat"], "stdin": "x" })),
        ("a planted program of the workspace", json!({ "command": ["./git", "status"] })),
        ("the same from where it lies", json!({ "command": ["./git", "status"], "cwd": "sub" })),
        ("the same by a path through it", json!({ "command": ["sub/git", "status"] })),
        ("the same by absolute path", json!({ "command": [bench.root.join("git"), "status"] })),
        ("a link of the workspace to a program of the system", json!({ "command": ["./ls"] })),
        ("a program of a directory that is writable", json!({ "command": [path("home/bin/git"), "status"] })),
        ("a path with `..`", json!({ "command": [path("usr/bin/../bin/git"), "status"] })),
        ("a directory", json!({ "command": [path("usr/bin"), "status"] })),
        ("a directory by name", json!({ "command": ["..", "status"] })),
        ("a link of the system into the workspace", json!({ "command": ["linked"] })),
        ("a link of the system to a home", json!({ "command": ["linked-home"] })),
        ("another name of an allowed program", json!({ "command": ["git-alternative", "status"] })),
        ("no program", json!({ "command": ["", "status"] })),
        ("nothing", json!({ "command": [] })),
        ("NUL in a program", json!({ "command": ["git\0", "status"] })),
        ("NUL in an argument", json!({ "command": ["git", "commit", "-m", "a\0b"] })),
        ("a look-alike of a program", json!({ "command": ["gіt", "status"] })),
        ("a directory outside", json!({ "command": ["git", "status"], "cwd": ".." })),
        ("a directory outside by a link", json!({ "command": ["ls"], "cwd": "etc" })),
        ("a directory outside by absolute path", json!({ "command": ["ls"], "cwd": "/usr" })),
        ("a path that leaves from a subdirectory", json!({ "command": ["cat", "../../x"], "cwd": "sub" })),
    ] {
        let err = bench.call("exec_probe", input.clone()).await.expect_err(what);
        assert!(err.starts_with("denied: `exec_probe` is denied to `tester`"), "{what}: {err}");
    }
}

#[tokio::test]
async fn ordinary_commands_are_allowed_by_the_same_list() {
    let (bench, outside) = bench(read(LIST), Setup::default());
    let system = outside.path().canonicalize().unwrap().join("usr/bin");
    let table = include_str!("commands/allowed.txt");
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let input = command(line);
        let name = input["command"][0].as_str().unwrap();
        let expected = json!({ "program": system.join(name) });
        assert_eq!(bench.call("exec_probe", input.clone()).await, Ok(expected), "{line}");
    }
    for input in [
        json!({ "command": ["git", "status"], "cwd": "sub" }),
        json!({ "command": ["git", "status"], "cwd": bench.root }),
        json!({ "command": [system.join("git"), "status"] }),
        json!({ "command": [outside.path().join("bin/git"), "status"] }),
        json!({ "command": ["git", "add", bench.root.join("a.txt")] }),
        json!({ "command": ["cat", "../a.txt"], "cwd": "sub" }),
        json!({ "command": ["cargo", "test"], "environment": { "RUST_BACKTRACE": "1", "CARGO_TERM_COLOR": "never" } }),
        json!({ "command": ["sort"], "stdin": "b\na\n" }),
        json!({ "command": ["git", "commit", "-m", "one line\n\nand - more; $(of) `it`"] }),
    ] {
        let found = bench.call("exec_probe", input.clone()).await;
        let program =
            found.unwrap_or_else(|err| panic!("{input}: {err}"))["program"].as_str().unwrap().to_owned();
        // Whatever it was called: the file that was judged.
        assert_eq!(Path::new(&program).parent().unwrap(), system, "{input}");
    }
}

/// The smallest grant of what is denied allows it, and nothing else does.
#[tokio::test]
async fn the_grant_in_a_denial_allows_exactly_what_was_denied() {
    for (input, more) in [
        (
            json!({ "command": ["git", "push", "--force", "origin", "a|b*", "", "=", "<path>", "x\ny\"\\\u{7f}\u{202e}"] }),
            "x",
        ),
        (json!({ "command": ["env"] }), "sh"),
        (json!({ "command": ["bash", "-c", "git status"] }), "x"),
        (json!({ "command": ["cargo", "run"], "environment": { "RUST_LOG": "x" }, "stdin": "y" }), "--"),
        (json!({ "command": ["a"], "script": "echo $1\n", "interpreter": "sh" }), "b"),
        (json!({ "script": "print(1)", "interpreter": "python" }), "b"),
    ] {
        let (first, _keep) = bench(read(LIST), Setup::default());
        let err = first.call("exec_probe", input.clone()).await.unwrap_err();
        let grant = err.rsplit_once(" could allow it is `").unwrap().1.trim_end_matches('`');
        let toml = format!("policy.commands = [{grant}]");
        let toml = toml.replace(first.root.to_str().unwrap(), "/**");
        let (second, _keep) = bench(read(&toml), Setup::default());
        assert!(second.call("exec_probe", input.clone()).await.is_ok(), "{grant}: {input}");
        let mut longer = input.clone();
        let mut argv = input["command"].as_array().cloned().unwrap_or_default();
        argv.push(more.into());
        longer["command"] = argv.into();
        for other in [longer, json!({ "command": ["git", "status"] }), json!({ "script": "true" })] {
            let err = second.call("exec_probe", other.clone()).await.expect_err(grant);
            assert!(err.starts_with("denied: "), "{other}: {err}");
        }
    }
    // What decides what runs is not granted with a program.
    let (bench, _keep) = bench(read(LIST), Setup::default());
    for input in [
        json!({ "command": ["git", "log"], "environment": { "LD_PRELOAD": "x" } }),
        json!({ "command": ["./git", "log"] }),
    ] {
        let err = bench.call("exec_probe", input).await.unwrap_err();
        assert!(err.ends_with("; no entry of `policy.commands` could allow it as it is"), "{err}");
    }
}

#[tokio::test]
async fn a_denial_of_a_command_names_the_entry_and_what_it_lacks() {
    let (bench, _keep) = bench(read(LIST), Setup::default());
    for (line, reason) in [
        ("git -c core.pager=x log", "`look at git` does not allow argument 1, `-c`"),
        ("git log --output=x", "`look at git` does not allow argument 2, `--output=x`"),
        ("git archive", "`pack with git` wants more than 1 arguments"),
        ("nice git log", "no entry is about `"),
    ] {
        let err = bench.call("exec_probe", command(line)).await.unwrap_err();
        assert!(
            err.contains("by `commands not listed` of `policy.commands`: ") && err.contains(reason),
            "{err}"
        );
    }
    let denied = bench.call("exec_probe", command("git show HEAD:secrets.txt")).await.unwrap_err();
    assert!(
        denied.contains("by `no secrets` of `policy.commands`; an administrator can exempt it"),
        "{denied}"
    );
}

#[tokio::test]
async fn deny_beats_ask_beats_allow_in_any_spelling() {
    let list = r#"
        [[policy.commands]]
        name = "git"
        verdict = "allow"
        program = "git"
        arguments = ["push|log|tag", "**"]
        options = ["--force", "--force-with-lease", "-f", "-fu", "--delete", "-q", "--", "-n <number>"]

        [[policy.commands]]
        name = "pushes are asked"
        verdict = "ask"
        program = "git"
        arguments = ["push"]

        [[policy.commands]]
        name = "no force"
        verdict = "deny"
        program = "git"
        arguments = ["push"]
        options = ["--force", "-f"]
    "#;
    let (bench, _keep) = bench(read(list), Setup::default());
    for (line, expected) in [
        ("git log", None),
        ("git log push", Some("needs_confirmation: ")),
        (
            "git push origin",
            Some("needs_confirmation: `exec_probe` (write) needs approval by rule `pushes are asked`"),
        ),
        ("git push --force", Some("denied: ")),
        ("git push -q --force", Some("denied: ")),
        ("git push --forc", Some("denied: ")),
        ("git push --force=x", Some("denied: ")),
        ("git push --force-with-lease", Some("denied: ")),
        ("git push -fu", Some("denied: ")),
        ("git tag -f v1", None),
        ("git pull", Some("denied: ")),
    ] {
        let found = bench.call("exec_probe", command(line)).await;
        match expected {
            None => assert!(found.is_ok(), "{line}: {found:?}"),
            Some(start) => {
                assert!(found.as_ref().is_err_and(|err| err.starts_with(start)), "{line}: {found:?}");
            }
        }
    }
    let asked = bench.call("exec_probe", command("git push origin")).await.unwrap_err();
    assert!(asked.contains("an entry of `policy.commands` with `verdict = \"allow\"`"), "{asked}");
    // An effect that is denied or asked for stays so, whatever a list allows.
    let asking = rule("ask all", Verdict::Ask, &["exec_*"], &[]);
    let (careful, _keep) = self::bench(read(list), Setup { rules: vec![asking], ..Setup::default() });
    let asked = careful.call("exec_probe", command("git log")).await.unwrap_err();
    assert!(asked.contains("needs approval by rule `ask all`"), "{asked}");
}

#[tokio::test]
async fn a_list_applies_to_its_users_and_workspaces() {
    for (scope, is_denied) in [
        ("", true),
        ("users = ['tester']", true),
        ("users = ['somebody']", false),
        ("workspaces = ['/**/work']", true),
        ("workspaces = ['~/work']", true),
        ("workspaces = ['/elsewhere/*']", false),
        ("users = ['tester']\nworkspaces = ['/elsewhere/*']", false),
    ] {
        let list = format!("[[policy.commands]]\nname = 'x'\nverdict = 'allow'\nprogram = 'ls'\n{scope}\n");
        let (bench, _keep) = bench(read(&list), Setup::default());
        let found = bench.call("exec_probe", command("cat a.txt")).await;
        assert_eq!(found.is_err(), is_denied, "{scope}: {found:?}");
        if !is_denied {
            // No list applies: effects alone decide, and nothing is judged.
            assert_eq!(found, Ok(json!({ "program": null })));
        }
    }
}

#[tokio::test]
async fn what_is_not_listed_is_asked_where_it_should_be() {
    let setup = Setup { unlisted_commands: Verdict::Ask, ..Setup::default() };
    let (bench, _keep) = bench(read(LIST), setup);
    let asked = bench.call("exec_probe", json!({ "script": "true" })).await.unwrap_err();
    assert!(asked.contains("needs approval by rule `commands not listed`"), "{asked}");
    let denied = bench.call("exec_probe", command("git show HEAD:secrets.txt")).await.unwrap_err();
    assert!(denied.starts_with("denied: "), "{denied}");
    assert!(bench.call("exec_probe", command("git status")).await.is_ok());
}

#[tokio::test]
async fn an_interpreter_is_a_permission_of_its_own() {
    let digest = "b5bea41b6c623f7c09f1bf24dcae58ebab3c0cdd90ad966bc43a45b44867e12b";
    let list = format!(
        "[[policy.commands]]\nname = 'bash'\nverdict = 'allow'\ninterpreter = 'bash'\n\
        [[policy.commands]]\nname = 'one script'\nverdict = 'allow'\ninterpreter = 'python'\nscripts = ['{digest}']\narguments = ['<path>']\n"
    );
    let (bench, _keep) = bench(read(&list), Setup::default());
    for (input, is_allowed) in [
        (json!({ "script": "anything", "command": ["-x"], "stdin": "y" }), true),
        (json!({ "command": ["bash", "-c", "anything"] }), true),
        (json!({ "command": ["bash"], "environment": { "BASH_ENV": "x" } }), false),
        (json!({ "command": ["sh", "-c", "anything"] }), false),
        (json!({ "script": "anything", "interpreter": "sh" }), false),
        (json!({ "script": "true", "interpreter": "python", "command": ["a.txt"] }), true),
        (json!({ "script": "true", "interpreter": "python", "command": ["/etc/passwd"] }), false),
        (json!({ "script": "true", "interpreter": "python" }), false),
        (json!({ "script": "true ", "interpreter": "python", "command": ["a.txt"] }), false),
        (json!({ "command": ["python3", "-c", "true"] }), false),
        (json!({ "command": ["git", "status"] }), false),
    ] {
        let found = bench.call("exec_probe", input.clone()).await;
        assert_eq!(found.is_ok(), is_allowed, "{input}: {found:?}");
    }
}

#[test]
fn entries_that_cannot_be_meant_are_refused() {
    for (entry, part) in [
        ("program = 'bash'\narguments = ['**']", "`interpreter = \"bash\"`"),
        ("program = '/usr/bin/python3.11'\narguments = ['<path>']", "runs what its arguments name"),
        ("program = 'env'\narguments = ['A=*', 'x']", "runs what its arguments name"),
        ("program = 'make'\narguments = ['all']\noptions = ['--eval=*']", "runs what its arguments name"),
        ("program = 'git'\narguments = ['**']", "the first argument of `git`"),
        ("program = './gradlew'", "whoever can write to the workspace"),
        ("program = 'a/b'", "whoever can write to the workspace"),
        ("program = 'git'\ninterpreter = 'bash'", "give one of"),
        ("", "give one of"),
        ("program = 'cargo'\nenvironment = ['RUSTC_WRAPPER']", "decides what `cargo` runs"),
        ("program = 'ls'\nenvironment = ['LD_PRELOAD']", "decides what `ls` runs"),
        ("program = 'ls'\nenvironment = ['*']", "no name of a variable"),
        ("program = 'ls'\nscripts = ['x']", "belongs to an `interpreter`"),
        ("interpreter = 'bash'\nscripts = ['x']", "no SHA-256"),
        ("interpreter = 'bash'\narguments = ['x']", "limit nothing"),
        ("program = 'ls'\nworkspaces = ['[']", "`[` in `workspaces`"),
        ("program = 'ls'\narguments = ['']", "an empty argument is written `=`"),
        ("program = 'ls'\narguments = ['*.py']", "is no pattern"),
        ("program = 'ls'\narguments = ['a|']", "is no pattern"),
        ("program = 'ls'\narguments = ['<file>']", "is no pattern"),
        ("program = 'ls'\noptions = ['all']", "is no option"),
        ("program = 'ls'\noptions = ['-']", "is no option"),
        ("program = 'ls'\noptions = ['-n*']", "is no option"),
        ("program = 'ls'\noptions = ['--a|--b']", "is no option"),
        ("program = 'ls'\noptions = ['--a --b']", "is no option"),
        ("program = 'ls'\noptions = ['--j<number>']", "is no option"),
        ("program = 'ls'\nargument = ['x']", "unknown field `argument`"),
        ("program = 'ls'\nverdict = 'deny'", "duplicate key"),
    ] {
        let toml = format!("[[policy.commands]]\nname = 'x'\nverdict = 'allow'\n{entry}\n");
        let err = toml::from_str::<List>(&toml).err().unwrap_or_else(|| panic!("{entry}")).to_string();
        assert!(err.contains(part), "{entry}: {err}");
    }
    // What forbids may be broad.
    for entry in ["program = 'bash'\narguments = ['**']", "program = 'git'\narguments = ['**']"] {
        read(&format!("[[policy.commands]]\nname = 'x'\nverdict = 'deny'\n{entry}\n"));
    }
}
