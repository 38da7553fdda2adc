//! Says what a project is made of, and which calls fit it.

use crate::{
    manager::Manager,
    scan::{Place, places},
    work::default_directory,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use skynet_core::{CallCtx, Effect, Place as Where, Result, Tool, Workspace};
use std::collections::BTreeMap;

pub(crate) struct EnvShowProject;

/// In an answer.
const MOST_PARTS: usize = 60;

/// Of one part.
const MOST_SCRIPTS: usize = 40;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Where to look, relative to the workspace; four levels deep.
    #[serde(default = "default_directory")]
    directory: String,
}

/// What a part is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Ecosystem {
    Python,
    Node,
    Rust,
    Go,
    Java,
}

/// A part of the project: what one manifest describes.
#[derive(Serialize, JsonSchema)]
struct Part {
    /// Where it is, relative to the workspace.
    directory: String,
    /// What it is written in.
    ecosystem: Ecosystem,
    /// The file that describes it.
    manifest: String,
    /// Its name, as the manifest says.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Its version, as the manifest says.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Its package manager, as lock file or manifest say.
    manager: Manager,
    /// The file that says exact versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    lock_file: Option<String>,
    /// The virtual environment that is there, below `directory`, or `node_modules`.
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    /// Scripts by name, with what they run. At most 40.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    scripts: BTreeMap<String, String>,
    /// Calls that fit it, as tool and arguments.
    calls: Vec<Suggested>,
}

/// A call.
#[derive(Serialize, JsonSchema)]
struct Suggested {
    /// The tool.
    tool: &'static str,
    /// Its arguments.
    arguments: Map<String, Value>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Its parts, the nearest first; at most 60.
    parts: Vec<Part>,
    /// Whether there are more, or directories that were not looked into.
    truncated: bool,
    /// Whether it is a Git repository.
    git: bool,
    /// Files that describe containers, relative to the workspace.
    containers: Vec<String>,
    /// Files that describe what CI does, relative to the workspace.
    ci: Vec<String>,
    /// What to do if nothing was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'static str>,
}

impl Tool for EnvShowProject {
    const NAME: &'static str = "env_show_project";
    const SUMMARY: &'static str = "Say what a project is: languages, manifests, package managers, lock files, scripts, environments, containers and CI, and which calls install, test, lint and format it.";
    const KEYWORDS: &'static str = "what is this project kind type language stack framework detect inspect overview package manager how to build test scripts | quel est ce projet type langage technologies détecter aperçu gestionnaire de paquets";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Where = Where::Hands;
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let workspace = ctx.workspace()?;
        let (found, is_all) = places(ctx, &input.directory)?;
        let mut parts: Vec<Part> = found.iter().flat_map(|place| parts_of(workspace, place)).collect();
        parts.sort_by_key(|part| {
            (part.directory.matches('/').count() + usize::from(part.directory != "."), part.directory.clone())
        });
        let truncated = !is_all || parts.len() > MOST_PARTS;
        parts.truncate(MOST_PARTS);
        let (mut containers, mut ci) = (Vec::new(), Vec::new());
        for place in &found {
            let named = |file: &String| place.path.join(file.as_ref()).to_string();
            containers.extend(place.files.iter().filter(|file| describes_containers(file)).map(named));
            ci.extend(place.files.iter().filter(|file| CI_FILES.contains(&file.as_str())).map(named));
            if place.directories.contains(".github") && place.path.as_path().as_os_str() == found_root(&found)
            {
                ci.push(place.path.join(".github/workflows".as_ref()).to_string());
            }
        }
        let git = found.first().is_some_and(|place| place.directories.contains(".git") || place.has(".git"));
        let next = parts.is_empty().then_some(
            "no manifest is known here: look around with `files_tree`, or begin one with `env_create_project`",
        );
        Ok(Output { parts, truncated, git, containers, ci, next })
    }
}

const CI_FILES: [&str; 5] =
    [".gitlab-ci.yml", "Jenkinsfile", ".travis.yml", "azure-pipelines.yml", "bitbucket-pipelines.yml"];

fn describes_containers(file: &str) -> bool {
    let file = file.to_ascii_lowercase();
    file.starts_with("dockerfile")
        || file.starts_with("containerfile")
        || ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"].contains(&&*file)
}

fn found_root(found: &[Place]) -> &std::ffi::OsStr {
    found.first().map(|place| place.path.as_path().as_os_str()).unwrap_or_default()
}

/// The parts that a directory's manifests describe.
fn parts_of(workspace: &Workspace, place: &Place) -> Vec<Part> {
    [
        python(workspace, place),
        node(workspace, place),
        rust(workspace, place),
        go(workspace, place),
        java(workspace, place),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A part with what all have.
fn part(place: &Place, ecosystem: Ecosystem, manifest: String, manager: Manager) -> Part {
    let directory = place.path.to_string();
    Part {
        directory: if directory.is_empty() { ".".to_owned() } else { directory },
        ecosystem,
        manifest,
        name: None,
        version: None,
        manager,
        lock_file: None,
        environment: None,
        scripts: BTreeMap::new(),
        calls: Vec::new(),
    }
}

impl Part {
    fn suggest(&mut self, tool: &'static str, arguments: Value) {
        let Value::Object(mut arguments) = arguments else { return };
        if self.directory != "." {
            arguments.insert("directory".to_owned(), json!(self.directory));
        }
        self.calls.push(Suggested { tool, arguments });
    }
}

fn python(workspace: &Workspace, place: &Place) -> Option<Part> {
    let manifest =
        place.first(&["pyproject.toml", "requirements.txt", "setup.py", "Pipfile", "environment.yml"])?;
    let text = place.read(workspace, &manifest);
    let said: toml::Table =
        if manifest == "pyproject.toml" { text.parse().unwrap_or_default() } else { toml::Table::new() };
    let tool = |name: &str| said.get("tool").and_then(|tool| tool.get(name));
    let manager = match () {
        () if place.has("uv.lock") || tool("uv").is_some() => Manager::Uv,
        () if place.has("poetry.lock") || tool("poetry").is_some() => Manager::Poetry,
        () if manifest == "environment.yml" => Manager::Conda,
        () => Manager::Pip,
    };
    let mut part = part(place, Ecosystem::Python, manifest.clone(), manager);
    let about = said.get("project").or_else(|| tool("poetry"));
    let says = |key: &str| Some(about?.get(key)?.as_str()?.to_owned());
    (part.name, part.version) = (says("name"), says("version"));
    part.lock_file = place.first(&["uv.lock", "poetry.lock", "Pipfile.lock"]);
    let environments = place.directories.iter();
    let mut environments = environments.filter(|directory| {
        !place.read_in(workspace, directory, "pyvenv.cfg").is_empty() || *directory == ".conda"
    });
    part.environment = environments.next().cloned();
    let mut all = text;
    for file in ["requirements.txt", "requirements-dev.txt", "setup.cfg", "tox.ini"] {
        all.push_str(&place.read(workspace, file));
    }
    let environment = part.environment.clone();
    let within = |mut arguments: Value| {
        if let (Some(environment), Some(arguments)) = (&environment, arguments.as_object_mut()) {
            arguments.insert("environment".to_owned(), json!(environment));
        }
        arguments
    };
    match manager {
        Manager::Pip => {
            if environment.is_none() {
                part.suggest("env_create", json!({ "kind": "venv" }));
            }
            if place.has("requirements.txt") {
                part.suggest("env_install", within(json!({ "manager": "pip" })));
            }
        }
        _ => part.suggest("env_install", json!({ "manager": manager, "locked": part.lock_file.is_some() })),
    }
    let has_tests =
        place.directories.contains("tests") || place.files.iter().any(|file| file.starts_with("test_"));
    if all.contains("pytest") || has_tests || place.has("conftest.py") {
        part.suggest("env_test", within(json!({ "runner": "pytest" })));
    }
    if all.contains("ruff") || place.has("ruff.toml") {
        part.suggest("env_lint", within(json!({ "linter": "ruff" })));
        part.suggest("env_format", within(json!({ "formatter": "ruff", "check": true })));
    } else if all.contains("black") {
        part.suggest("env_format", within(json!({ "formatter": "black", "check": true })));
    }
    Some(part)
}

fn node(workspace: &Workspace, place: &Place) -> Option<Part> {
    let manifest = place.first(&["package.json"])?;
    let said: Value = serde_json::from_str(&place.read(workspace, &manifest)).unwrap_or_default();
    // The `packageManager` of corepack is like `pnpm@9.1.0`.
    let named = said.get("packageManager").and_then(Value::as_str).and_then(|named| named.split('@').next());
    let manager = match named {
        Some("pnpm") => Manager::Pnpm,
        Some("yarn") => Manager::Yarn,
        Some("npm") => Manager::Npm,
        _ if place.has("pnpm-lock.yaml") => Manager::Pnpm,
        _ if place.has("yarn.lock") => Manager::Yarn,
        _ => Manager::Npm,
    };
    let mut part = part(place, Ecosystem::Node, manifest, manager);
    let says = |key: &str| said.get(key).and_then(Value::as_str).map(str::to_owned);
    (part.name, part.version) = (says("name"), says("version"));
    part.lock_file =
        place.first(&["pnpm-lock.yaml", "yarn.lock", "package-lock.json", "npm-shrinkwrap.json"]);
    part.environment = place.directories.get("node_modules").cloned();
    let scripts = said.get("scripts").and_then(Value::as_object).into_iter().flatten();
    let scripts = scripts.filter_map(|(name, script)| Some((name.clone(), script.as_str()?.to_owned())));
    part.scripts = scripts.take(MOST_SCRIPTS).collect();
    let needs = |package: &str| {
        ["dependencies", "devDependencies"]
            .iter()
            .any(|kind| said.get(*kind).is_some_and(|all| all.get(package).is_some()))
    };
    let test = part.scripts.get("test").cloned();
    part.suggest("env_install", json!({ "manager": manager, "locked": part.lock_file.is_some() }));
    let runner = match &test {
        _ if needs("vitest") => Some("vitest"),
        _ if needs("jest") => Some("jest"),
        Some(script) if script.contains("node --test") => Some("node"),
        Some(_) => Some("npm"),
        None => None,
    };
    if let Some(runner) = runner {
        part.suggest("env_test", json!({ "runner": runner }));
    }
    for (package, tool, arguments) in [
        ("eslint", "env_lint", json!({ "linter": "eslint" })),
        ("typescript", "env_lint", json!({ "linter": "tsc" })),
        ("prettier", "env_format", json!({ "formatter": "prettier", "check": true })),
    ] {
        if needs(package) {
            part.suggest(tool, arguments);
        }
    }
    Some(part)
}

fn rust(workspace: &Workspace, place: &Place) -> Option<Part> {
    let manifest = place.first(&["Cargo.toml"])?;
    let said: toml::Table = place.read(workspace, &manifest).parse().unwrap_or_default();
    let mut part = part(place, Ecosystem::Rust, manifest, Manager::Cargo);
    let says = |key: &str| Some(said.get("package")?.get(key)?.as_str()?.to_owned());
    (part.name, part.version) = (says("name"), says("version"));
    part.lock_file = place.first(&["Cargo.lock"]);
    part.suggest("env_install", json!({ "manager": "cargo", "locked": part.lock_file.is_some() }));
    part.suggest("env_test", json!({ "runner": "cargo" }));
    part.suggest("env_lint", json!({ "linter": "clippy" }));
    part.suggest("env_format", json!({ "formatter": "rustfmt", "check": true }));
    Some(part)
}

fn go(workspace: &Workspace, place: &Place) -> Option<Part> {
    let manifest = place.first(&["go.mod"])?;
    let text = place.read(workspace, &manifest);
    let mut part = part(place, Ecosystem::Go, manifest, Manager::Go);
    part.name = text.lines().find_map(|line| line.strip_prefix("module ")).map(|name| name.trim().to_owned());
    part.lock_file = place.first(&["go.sum"]);
    part.suggest("env_install", json!({ "manager": "go" }));
    part.suggest("env_test", json!({ "runner": "go" }));
    part.suggest("env_lint", json!({ "linter": "go_vet" }));
    part.suggest("env_format", json!({ "formatter": "gofmt", "check": true }));
    Some(part)
}

fn java(workspace: &Workspace, place: &Place) -> Option<Part> {
    let manifest = place.first(&["pom.xml", "build.gradle", "build.gradle.kts"])?;
    let manager = if manifest == "pom.xml" { Manager::Maven } else { Manager::Gradle };
    let text = place.read(workspace, &manifest);
    let mut part = part(place, Ecosystem::Java, manifest, manager);
    if manager == Manager::Maven {
        // What a parent says stands before it; its own name is the first outside of that.
        let own = text.split_once("</parent>").map_or(&*text, |(_, rest)| rest);
        let says = |tag: &str| {
            let (_, rest) = own.split_once(&format!("<{tag}>"))?;
            Some(rest.split_once(&format!("</{tag}>"))?.0.trim().to_owned())
        };
        (part.name, part.version) = (says("artifactId"), says("version"));
    }
    part.lock_file = place.first(&["gradle.lockfile"]);
    part.suggest("env_install", json!({ "manager": manager }));
    part.suggest("env_test", json!({ "runner": manager }));
    Some(part)
}
