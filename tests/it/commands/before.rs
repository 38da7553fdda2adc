//! What a tool starts to look at something first is judged as what it is for.

use super::{plant, read};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use skynet_core::{CallCtx, CommandLine, Effect, Place, Result, Tool, Toolset, command::Programs};
use skynet_tests::workbench::{Setup, Workbench};

const INSTALL: &str = r#"
[[policy.commands]]
name = "install"
verdict = "allow"
program = "npm"
arguments = ["ci"]
"#;

const LOOK: &str = r#"
[[policy.commands]]
name = "look"
verdict = "VERDICT"
program = "node"
options = ["--version"]
"#;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Whether it looks first.
    looks: bool,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    /// What the list allowed.
    program: Option<String>,
    /// The same of what is started first.
    before: Option<String>,
}

/// As `env_install` with a version of Node.
struct EnvProbe(Programs);

impl EnvProbe {
    fn line(&self, words: &str) -> CommandLine {
        CommandLine {
            argv: words.split(' ').map(str::to_owned).collect(),
            script: None,
            variables: Vec::new(),
            has_stdin: false,
            directory: ".".into(),
            programs: self.0.clone(),
        }
    }
}

impl Tool for EnvProbe {
    const NAME: &'static str = "env_probe";
    const SUMMARY: &'static str = "Starts nothing.";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Daemon;
    type Input = Input;
    type Output = Output;

    fn command(&self, _input: &Input) -> Result<Option<CommandLine>> {
        Ok(Some(self.line("npm ci")))
    }

    fn command_before(&self, input: &Input) -> Result<Option<CommandLine>> {
        Ok(input.looks.then(|| self.line("node --version")))
    }

    async fn call(&self, ctx: &CallCtx, _input: Input) -> Result<Output> {
        let name = |program: &Option<std::path::PathBuf>| {
            program.as_ref().map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        };
        Ok(Output { program: name(&ctx.program), before: name(&ctx.program_before) })
    }
}

#[tokio::test]
async fn what_is_started_first_is_judged_too() {
    let outside = tempfile::tempdir().unwrap();
    let system = outside.path().canonicalize().unwrap().join("usr/bin");
    plant(&system.join("npm"));
    plant(&system.join("node"));
    let programs = Programs { path: vec![system.clone()], fixed: vec![system] };
    let bench = |list: String| {
        let toolsets = vec![Toolset::new("env", "probes").with(EnvProbe(programs.clone()))];
        Workbench::new(Setup { commands: read(&list), toolsets, ..Setup::default() })
    };
    let look = |verdict: &str| LOOK.replace("VERDICT", verdict);
    let looking = || json!({ "looks": true });

    let without = bench(INSTALL.to_owned());
    without.check("env_probe", json!({ "looks": false }), json!({ "program": "npm", "before": null })).await;
    without.check_refused("env_probe", looking(), "denied", "`policy.commands`").await;
    without.check_refused("env_probe", looking(), "denied", "node").await;
    let with = bench(format!("{INSTALL}{}", look("allow")));
    with.check("env_probe", looking(), json!({ "program": "npm", "before": "node" })).await;
    let denying = bench(format!("{INSTALL}{}", look("deny")));
    denying.check_refused("env_probe", looking(), "denied", "`look` of `policy.commands`").await;
    let asking = bench(format!("{INSTALL}{}", look("ask")));
    asking.check_refused("env_probe", looking(), "needs_confirmation", "`look`").await;
    // To be allowed to look is no leave to do it.
    bench(look("allow")).check_refused("env_probe", looking(), "denied", "npm").await;
    // Without any list nothing is judged, and nothing is told to be.
    let free = bench("[policy]\ncommands = []\n".to_owned());
    free.check("env_probe", looking(), json!({ "program": null, "before": null })).await;
}
