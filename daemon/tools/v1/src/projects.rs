//! Projects and their environments.

use crate::arguments::{Arguments, schema};
use serde_json::{Value, json};
use skynet_core::Alias;

pub(crate) fn aliases() -> Vec<Alias> {
    vec![
        Alias::new(
            "create_project",
            "Create a new project of a fitting structure (Python, Node or generic).",
            &["env_create_project"],
            schema(
                json!({
                    "name": { "type": "string", "pattern": "^[a-zA-Z0-9_-]+$", "description": "Name of the project." },
                    "path": { "type": "string", "description": "Directory in which it gets one of its own." },
                    "type": { "enum": ["python", "node", "generic"], "description": "What it is written in." },
                    "template": { "type": "string", "description": "`app` or `library`." },
                }),
                &["name", "type"],
            ),
            |arguments| {
                let mut arguments = Arguments(arguments).rename("type", "kind");
                if let Some(path) = arguments.take_text("path") {
                    let name = arguments.0.get("name").and_then(Value::as_str).unwrap_or_default();
                    let directory = format!("{}/{name}", path.trim_end_matches('/'));
                    arguments = arguments.with("directory", directory);
                }
                ("env_create_project", arguments.0)
            },
        ),
        Alias::new(
            "setup_python_env",
            "Set up a virtual environment for Python (venv or conda).",
            &["env_create"],
            schema(
                json!({
                    "projectPath": { "type": "string", "description": "The project." },
                    "pythonVersion": { "type": "string", "description": "An interpreter such as `python3.12`, or a version." },
                    "useConda": { "type": "boolean", "description": "With conda instead of venv." },
                }),
                &["projectPath"],
            ),
            |arguments| {
                let mut arguments = Arguments(arguments).rename("projectPath", "directory");
                let with_conda = arguments.take_switch("useConda");
                if let Some(asked) = arguments.take_text("pythonVersion") {
                    let version = asked.trim_start_matches("python");
                    // The default of v1, `python3`, asks for no version.
                    let python = match (with_conda, version) {
                        (_, "" | "3") => None,
                        (true, version) => Some(version.to_owned()),
                        (false, version) => Some(format!("python{version}")),
                    };
                    if let Some(python) = python {
                        arguments = arguments.with("python", python);
                    }
                }
                let kind = if with_conda { "conda" } else { "venv" };
                ("env_create", arguments.with("kind", kind).0)
            },
        ),
        Alias::new(
            "setup_node_env",
            "Set up a Node project with the package manager that is named.",
            &["env_install"],
            schema(
                json!({
                    "projectPath": { "type": "string", "description": "The project." },
                    "packageManager": { "enum": ["npm", "yarn", "pnpm"], "description": "What installs." },
                    "nodeVersion": { "type": "string", "description": "The version of Node that it needs, such as `20`." },
                    "hosts": hosts(),
                }),
                &["projectPath", "packageManager"],
            ),
            |arguments| {
                let arguments = Arguments(arguments)
                    .rename("projectPath", "directory")
                    .rename("packageManager", "manager")
                    .rename("nodeVersion", "node_version");
                ("env_install", arguments.with("locked", false).0)
            },
        ),
        Alias::new(
            "install_dependencies",
            "Install the dependencies of a Python or Node project.",
            &["env_install"],
            schema(
                json!({
                    "projectPath": { "type": "string", "description": "The project." },
                    "type": { "enum": ["python", "node"], "description": "What it is written in." },
                    "dev": { "type": "boolean", "description": "Also what only developers need." },
                    "hosts": hosts(),
                }),
                &["projectPath", "type"],
            ),
            |arguments| {
                let mut arguments = Arguments(arguments).rename("projectPath", "directory");
                let with_dev = arguments.take_switch("dev");
                let manager = match arguments.take_text("type").as_deref() {
                    Some("python") => Value::from("pip"),
                    Some("node") => Value::from("npm"),
                    other => json!(other),
                };
                if with_dev && manager == "pip" {
                    arguments =
                        arguments.with("requirements", json!(["requirements.txt", "requirements-dev.txt"]));
                }
                let arguments =
                    arguments.with("manager", manager).with("dev", with_dev).with("locked", false);
                ("env_install", arguments.0)
            },
        ),
        Alias::new(
            "list_envs",
            "List the development environments there are.",
            &["env_list"],
            schema(
                json!({
                    "basePath": { "type": "string", "description": "Where to look." },
                    "type": { "enum": ["python", "node", "all"], "description": "Only those of this language." },
                }),
                &[],
            ),
            |arguments| {
                (
                    "env_list",
                    Arguments(arguments).rename("basePath", "directory").rename("type", "language").0,
                )
            },
        ),
    ]
}

/// What v1 reached without asking.
fn hosts() -> Value {
    json!({
        "type": "array", "items": { "type": "string" },
        "description": "Registries to let it reach; the answer names those that it asks for.",
    })
}
