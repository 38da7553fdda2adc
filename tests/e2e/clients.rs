//! `skynetctl client` on the files of ten clients, and the servers that come of it.

use serde_json::Value;
use skynet_tests::programs::{Daemon, Home};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

/// Name, file below the home, and what a user has in it.
const FILES: [(&str, &str, &str); 10] = [
    (
        "claude-code",
        ".claude.json",
        "{\n  \"theme\": \"dark\",\n  \"mcpServers\": {\n    \"other\": { \"command\": \"x\" }\n  }\n}\n",
    ),
    ("claude-desktop", ".config/Claude/claude_desktop_config.json", "{}\n"),
    ("codex", ".codex/config.toml", "# mine\nmodel = \"o\"\n\n[mcp_servers.other]\ncommand = \"x\" # keep\n"),
    ("cursor", ".cursor/mcp.json", "{\n  \"mcpServers\": {}\n}\n"),
    ("gemini", ".gemini/settings.json", "{\n  // mine\n  \"ui\": { \"theme\": \"x\" },\n}\n"),
    (
        "goose",
        ".config/goose/config.yaml",
        "# mine\nextensions:\n  other: # keep\n    cmd: y\n    enabled: true\n",
    ),
    ("opencode", ".config/opencode/opencode.json", "{\n  \"$schema\": \"x\" // keep\n}\n"),
    (
        "vscode",
        ".config/Code/User/mcp.json",
        "{\n\t// keep\n\t\"servers\": {\n\t\t\"a\": {\n\t\t\t\"command\": \"x\"\n\t\t}\n\t}\n}\n",
    ),
    ("windsurf", ".codeium/windsurf/mcp_config.json", ""),
    (
        "zed",
        ".config/zed/settings.json",
        "// Zed settings\n{\n  \"vim_mode\": true,\n  \"context_servers\": {},\n}\n",
    ),
];

fn put(home: &Home, file: &str, text: &str) -> std::path::PathBuf {
    let path = home.path.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn add<'a>(client: &'a str, home: &'a Home) -> Vec<&'a str> {
    let mut arguments = vec!["client", "add", client];
    if ["claude-desktop", "windsurf"].contains(&client) {
        arguments.extend(["--workspace", home.project.to_str().unwrap()]);
    }
    arguments
}

#[test]
fn each_client_is_set_up_works_and_is_left_as_it_was() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    for (client, file, text) in FILES {
        let path = put(&home, file, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let arguments = add(client, &home);
        let (code, shown, said) = home.ctl(&[&arguments[..], &["--dry-run"]].concat());
        assert!(code == 0 && shown.contains("+"), "{client}: {shown}{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{client}: a dry run wrote");

        assert_eq!(home.ctl(&arguments).0, 0, "{client}");
        let added = fs::read_to_string(&path).unwrap();
        for word in
            ["mine", "keep", "other", "theme", "Zed settings"].iter().filter(|word| text.contains(**word))
        {
            assert!(added.contains(word), "{client} lost `{word}`: {added}");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "{client}");
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        let backup = path.with_file_name(format!("{name}.before-skynet"));
        assert_eq!(fs::read_to_string(backup).unwrap(), text, "{client}");
        // Again: nothing to do.
        let (_, again, _) = home.ctl(&[&["--json"][..], &arguments].concat());
        assert!(again.contains(r#""changed": false"#), "{client}: {again}");
        assert_eq!(fs::read_to_string(&path).unwrap(), added, "{client}");
    }
    let (code, checked, said) = home.ctl(&["client", "doctor"]);
    assert!(code == 0 && checked.lines().count() == 10 && !checked.contains("FAIL"), "{checked}{said}");
    let (_, listed, _) = home.ctl(&["--json", "client", "list"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let states =
        listed.as_array().unwrap().iter().filter(|seen| seen["scope"] == "user" && seen["state"] == "yes");
    assert_eq!(states.count(), 10, "{listed}");

    let squeezed = |text: &str| text.replace(char::is_whitespace, "").replace(",}", "}");
    for (client, file, text) in FILES {
        assert_eq!(home.ctl(&["client", "remove", client]).0, 0, "{client}");
        let left = fs::read_to_string(home.path.join(file)).unwrap();
        // A table that was missing stays, empty; what the user wrote is there as it was.
        let written = squeezed(text).trim_end_matches('}').replace(',', "");
        assert!(squeezed(&left).replace(',', "").starts_with(&written), "{client}: {left}");
    }
}

#[test]
fn a_project_gets_a_file_of_its_own() {
    let home = Home::new();
    let _daemon = Daemon::start(&home);
    for (client, file) in [
        ("claude-code", ".mcp.json"),
        ("codex", ".codex/config.toml"),
        ("cursor", ".cursor/mcp.json"),
        ("gemini", ".gemini/settings.json"),
        ("opencode", "opencode.json"),
        ("vscode", ".vscode/mcp.json"),
        ("zed", ".zed/settings.json"),
    ] {
        let (code, _, said) = home.ctl(&["client", "add", client, "--scope", "project"]);
        assert_eq!(code, 0, "{client}: {said}");
        assert!(fs::read_to_string(home.project.join(file)).unwrap().contains("skynet-shim"), "{client}");
    }
    let (code, checked, _) = home.ctl(&["client", "doctor"]);
    assert!(code == 0 && checked.lines().count() == 7, "{checked}");
    for client in ["claude-desktop", "goose", "windsurf"] {
        let (code, _, said) = home.ctl(&["client", "add", client, "--scope", "project", "--workspace", "."]);
        assert!(code == 2 && said.contains("no configuration per project"), "{said}");
    }
}

#[test]
fn an_entry_that_is_there_keeps_what_its_user_added() {
    let home = Home::new();
    for (client, file, text, kept) in [
        (
            "cursor",
            ".cursor/mcp.json",
            r#"{ "mcpServers": { "skynet": { "command": "/old/skynet-shim", "env": { "A": "b" }, "disabled": true, "alwaysAllow": ["files_read"] } } }"#,
            [r#""env": { "A": "b" }"#, r#""disabled": true"#, r#""alwaysAllow": ["files_read"]"#],
        ),
        (
            "codex",
            ".codex/config.toml",
            "[mcp_servers.skynet] # mine\ncommand = \"/old/skynet-shim\"\nstartup_timeout_sec = 20\n\n[mcp_servers.skynet.env]\nA = \"b\"\n",
            ["# mine", "startup_timeout_sec = 20", "[mcp_servers.skynet.env]\nA = \"b\""],
        ),
        (
            "goose",
            ".config/goose/config.yaml",
            "extensions:\n  skynet:\n    cmd: /old/skynet-shim\n    enabled: false\n    timeout: 7 # mine\n    envs:\n      A: b\n",
            ["enabled: false", "timeout: 7 # mine", "      A: b\n"],
        ),
    ] {
        let path = put(&home, file, text);
        let (code, _, said) = home.ctl(&["client", "add", client]);
        assert_eq!(code, 0, "{client}: {said}");
        let added = fs::read_to_string(path).unwrap();
        assert!(!added.contains("/old/") && added.contains("skynet-shim"), "{client}: {added}");
        for words in kept {
            assert!(added.contains(words), "{client} lost `{words}`: {added}");
        }
    }
    // Both a command and an address is what some clients refuse all of their file for.
    let text = r#"{ "mcpServers": { "skynet": { "url": "http://127.0.0.1:7345/mcp" } } }"#;
    let path = put(&home, ".cursor/mcp.json", text);
    let (code, _, said) = home.ctl(&["client", "add", "cursor"]);
    assert!(code == 1 && said.contains("skynetctl client remove"), "{said}");
    assert_eq!(fs::read_to_string(path).unwrap(), text);
}

#[test]
fn a_file_that_is_not_understood_is_left_as_it_is() {
    let home = Home::new();
    for (client, file, text) in [
        ("claude-code", ".claude.json", "{ \"mcpServers\": "),
        ("codex", ".codex/config.toml", "mcp_servers = 1\n"),
        ("goose", ".config/goose/config.yaml", "- a\n"),
        ("zed", ".config/zed/settings.json", "{ \"context_servers\": [] }"),
    ] {
        let path = put(&home, file, text);
        let (code, _, said) = home.ctl(&["client", "add", client]);
        assert!(code == 1 && said.contains("is left as it is"), "{client}: {said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{client}");
    }
    let (code, _, said) = home.ctl(&["client", "add", "windsurf"]);
    assert!(code == 2 && said.contains("--workspace DIR"), "{said}");
    // Broken entries are named.
    put(&home, ".cursor/mcp.json", r#"{ "mcpServers": { "skynet": { "command": "/no/such/program" } } }"#);
    let (code, checked, _) = home.ctl(&["client", "doctor"]);
    assert!(
        code == 1 && checked.contains("FAIL cursor") && checked.contains("/no/such/program"),
        "{checked}"
    );
    // What a project's author wrote there is not run by looking at it.
    let mark = home.path.join("ran");
    let server = serde_json::json!({ "command": "/usr/bin/touch", "args": [mark] });
    let file = serde_json::json!({ "mcpServers": { "skynet": server } });
    fs::write(home.project.join(".mcp.json"), file.to_string()).unwrap();
    let (code, checked, _) = home.ctl(&["client", "doctor"]);
    assert!(code == 1 && checked.contains("was not started") && !mark.exists(), "{checked}");
}
