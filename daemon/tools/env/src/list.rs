//! Lists the environments of a workspace.

use crate::{
    scan::{Place, places},
    work::default_directory,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Place as Where, Result, Tool, Workspace};

pub(crate) struct EnvList;

/// In an answer.
const MOST: usize = 200;

/// What an environment is of.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Which {
    #[default]
    All,
    Python,
    Node,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Where to look, relative to the workspace; four levels deep.
    #[serde(default = "default_directory")]
    directory: String,
    /// Only those of this language.
    #[serde(default)]
    language: Which,
}

/// What made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Venv,
    Conda,
    NodeModules,
}

#[derive(Serialize, JsonSchema)]
struct Environment {
    /// Where it is, relative to the workspace.
    path: String,
    /// What made it.
    kind: Kind,
    /// The version of Python, or of Node that `.nvmrc` or `.node-version` beside it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// The interpreter that it is based on.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    /// How many packages are installed, where that can be told by counting.
    #[serde(skip_serializing_if = "Option::is_none")]
    packages: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// In order of path; at most 200.
    environments: Vec<Environment>,
    /// Whether there are more, or directories that were not looked into.
    truncated: bool,
}

impl Tool for EnvList {
    const NAME: &'static str = "env_list";
    const SUMMARY: &'static str = "List the environments in the workspace: virtual environments of Python (venv, uv, conda) and installed Node modules, with versions and package counts.";
    const KEYWORDS: &'static str = "list environments virtualenv venv conda node_modules python versions installed where | lister environnements virtuels python node disponibles";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Where = Where::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let (found, is_all) = places(ctx, &input.directory)?;
        let mut environments: Vec<_> = found.iter().flat_map(|place| within(workspace, place)).collect();
        environments.retain(|one| match input.language {
            Which::All => true,
            Which::Python => one.kind != Kind::NodeModules,
            Which::Node => one.kind == Kind::NodeModules,
        });
        environments.sort_by(|a, b| a.path.cmp(&b.path));
        let truncated = !is_all || environments.len() > MOST;
        environments.truncate(MOST);
        Ok(Output { environments, truncated })
    }
}

/// Those that lie in a directory.
fn within(workspace: &Workspace, place: &Place) -> Vec<Environment> {
    let named = |directory: &str| place.path.join(directory.as_ref());
    let count = |directory: &str, is_one: fn(&str) -> bool| {
        let below = workspace.relative(&named(directory).to_string()).ok()?;
        let opened = workspace.open_directory(&below).ok()?;
        let entries = rustix::fs::Dir::read_from(opened).ok()?.flatten();
        Some(entries.filter(|entry| entry.file_name().to_str().is_ok_and(is_one)).count())
    };
    let mut environments = Vec::new();
    for directory in &place.directories {
        let path = named(directory).to_string();
        // PEP 405: `pyvenv.cfg` makes a directory an environment.
        let settings = place.read_in(workspace, directory, "pyvenv.cfg");
        let history = place.read_in(workspace, directory, "conda-meta/history");
        if !settings.is_empty() {
            let says = |names: &[&str]| {
                let mut pairs = settings.lines().filter_map(|line| line.split_once('='));
                pairs.find(|(name, _)| names.contains(&name.trim())).map(|(_, value)| value.trim().to_owned())
            };
            let version = says(&["version", "version_info"]);
            let short =
                version.as_deref().unwrap_or_default().splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
            let packages = count(&format!("{directory}/lib/python{short}/site-packages"), |name| {
                name.ends_with(".dist-info")
            });
            environments.push(Environment {
                path,
                kind: Kind::Venv,
                version,
                base: says(&["home"]),
                packages,
            });
        } else if !history.is_empty() {
            let packages = count(&format!("{directory}/conda-meta"), |name| name.ends_with(".json"));
            environments.push(Environment { path, kind: Kind::Conda, version: None, base: None, packages });
        } else if directory == "node_modules" {
            let asked = [".nvmrc", ".node-version"].map(|file| place.read(workspace, file));
            let version = asked.iter().map(|text| text.trim().to_owned()).find(|text| !text.is_empty());
            let packages = count(directory, |name| !name.starts_with('.') && !name.starts_with('@'));
            environments.push(Environment { path, kind: Kind::NodeModules, version, base: None, packages });
        }
    }
    environments
}
