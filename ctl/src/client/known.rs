//! The MCP clients that are known: where each keeps its servers, and in what words.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The name of our entry.
pub(crate) const ENTRY: &str = "skynet";

/// What of an entry says how the server is started. It is ours in an entry that is there already, too.
pub(crate) const OWNED: [&str; 4] = ["args", "cmd", "command", "type"];

/// What an entry names its server's address by, where it is not started but reached.
pub(crate) const REMOTE: [&str; 4] = ["httpUrl", "serverUrl", "uri", "url"];

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON, with comments where somebody wrote some.
    Json,
    Toml,
    Yaml,
}

/// For whom an entry counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scope {
    /// In every project of this user.
    User,
    /// In this project, for everybody who works on it.
    Project,
}

/// How a client tells a server which project is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Project {
    /// It starts the server there.
    Directory,
    /// It fills in a variable.
    Variable(&'static str),
    /// Not at all: the entry must name it.
    Unknown,
}

/// The shape of an entry.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// `command` and `args`.
    Plain,
    /// The same with `"type": "stdio"`.
    Typed,
    /// Goose: `cmd`, `args`, `envs`.
    Extension,
    /// OpenCode: one list.
    List,
}

/// One client.
pub(crate) struct Client {
    /// What it is called here.
    pub(crate) name: &'static str,
    /// What people call it.
    pub(crate) title: &'static str,
    /// Below the home directory.
    user: &'static str,
    /// Below the project, if it has such a file.
    project: Option<&'static str>,
    pub(crate) format: Format,
    /// The table of servers.
    pub(crate) table: &'static str,
    pub(crate) opens: Project,
    shape: Shape,
}

/// All of them, by name.
pub(crate) const CLIENTS: [Client; 10] = [
    Client {
        name: "claude-code",
        title: "Claude Code",
        user: ".claude.json",
        project: Some(".mcp.json"),
        format: Format::Json,
        table: "mcpServers",
        opens: Project::Directory,
        shape: Shape::Typed,
    },
    Client {
        name: "claude-desktop",
        title: "Claude Desktop",
        user: ".config/Claude/claude_desktop_config.json",
        project: None,
        format: Format::Json,
        table: "mcpServers",
        opens: Project::Unknown,
        shape: Shape::Plain,
    },
    Client {
        name: "codex",
        title: "Codex",
        user: ".codex/config.toml",
        project: Some(".codex/config.toml"),
        format: Format::Toml,
        table: "mcp_servers",
        opens: Project::Directory,
        shape: Shape::Plain,
    },
    Client {
        name: "cursor",
        title: "Cursor",
        user: ".cursor/mcp.json",
        project: Some(".cursor/mcp.json"),
        format: Format::Json,
        table: "mcpServers",
        opens: Project::Variable("${workspaceFolder}"),
        shape: Shape::Typed,
    },
    Client {
        name: "gemini",
        title: "Gemini CLI",
        user: ".gemini/settings.json",
        project: Some(".gemini/settings.json"),
        format: Format::Json,
        table: "mcpServers",
        opens: Project::Directory,
        shape: Shape::Plain,
    },
    Client {
        name: "goose",
        title: "Goose",
        user: ".config/goose/config.yaml",
        project: None,
        format: Format::Yaml,
        table: "extensions",
        opens: Project::Directory,
        shape: Shape::Extension,
    },
    Client {
        name: "opencode",
        title: "OpenCode",
        user: ".config/opencode/opencode.json",
        project: Some("opencode.json"),
        format: Format::Json,
        table: "mcp",
        opens: Project::Directory,
        shape: Shape::List,
    },
    Client {
        name: "vscode",
        title: "VS Code",
        user: ".config/Code/User/mcp.json",
        project: Some(".vscode/mcp.json"),
        format: Format::Json,
        table: "servers",
        opens: Project::Variable("${workspaceFolder}"),
        shape: Shape::Typed,
    },
    Client {
        name: "windsurf",
        title: "Windsurf",
        user: ".codeium/windsurf/mcp_config.json",
        project: None,
        format: Format::Json,
        table: "mcpServers",
        opens: Project::Unknown,
        shape: Shape::Plain,
    },
    Client {
        name: "zed",
        title: "Zed",
        user: ".config/zed/settings.json",
        project: Some(".zed/settings.json"),
        format: Format::Json,
        table: "context_servers",
        opens: Project::Directory,
        shape: Shape::Plain,
    },
];

impl Client {
    /// The client of that name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        CLIENTS.iter().find(|client| client.name == name)
    }

    /// The file of a scope; `None` where the client has none.
    pub(crate) fn file(&self, scope: Scope, home: &Path, project: &Path) -> Option<PathBuf> {
        match scope {
            Scope::User => Some(home.join(self.user)),
            Scope::Project => self.project.map(|file| project.join(file)),
        }
    }

    /// Whether the client seems to be in use: its directory is there.
    pub(crate) fn is_present(&self, home: &Path) -> bool {
        let file = home.join(self.user);
        file.exists() || file.parent().is_some_and(|parent| parent != home && parent.is_dir())
    }

    /// Our entry.
    pub(crate) fn entry(&self, command: &str, arguments: &[String]) -> Value {
        match self.shape {
            Shape::Plain => json!({ "command": command, "args": arguments }),
            Shape::Typed => json!({ "type": "stdio", "command": command, "args": arguments }),
            Shape::Extension => json!({
                "enabled": true, "type": "stdio", "name": ENTRY, "cmd": command, "args": arguments, "envs": {}, "timeout": 300,
            }),
            Shape::List => {
                let whole: Vec<&str> =
                    std::iter::once(command).chain(arguments.iter().map(String::as_str)).collect();
                json!({ "type": "local", "command": whole, "enabled": true })
            }
        }
    }

    /// Command and arguments of an entry, whoever wrote it.
    pub(crate) fn command_of(&self, entry: &Value) -> Option<Vec<String>> {
        let strings = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        };
        match self.shape {
            Shape::List => strings(entry.get("command")?),
            Shape::Plain | Shape::Typed | Shape::Extension => {
                let key = if matches!(self.shape, Shape::Extension) { "cmd" } else { "command" };
                let mut whole = vec![entry.get(key)?.as_str()?.to_owned()];
                whole.extend(entry.get("args").and_then(strings).unwrap_or_default());
                Some(whole)
            }
        }
    }
}
