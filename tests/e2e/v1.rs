//! What prompts written for v1.0.0 call, by the names and arguments they know. Docker and services are in `host/v1.rs`.

use image::RgbImage;
use serde_json::{Value, json};
use skynet_tests::{
    components,
    programs::{Daemon, Home, Shim},
};
use std::{collections::BTreeSet, fs, process::Command};

/// The devops server of v1.0.0.
pub(crate) const NAMES: [&str; 25] = [
    "container_logs",
    "convert_format",
    "create_project",
    "generate_thumbnail",
    "get_resource_usage",
    "get_system_info",
    "git_commit",
    "git_push",
    "git_status",
    "install_dependencies",
    "list_containers",
    "list_directory",
    "list_envs",
    "list_images",
    "list_services",
    "read_file",
    "resize_image",
    "restart_container",
    "restart_service",
    "service_status",
    "setup_node_env",
    "setup_python_env",
    "start_container",
    "stop_container",
    "write_file",
];

struct Bench {
    shim: Shim,
    home: Home,
    _daemon: Daemon,
}

impl Bench {
    fn new(configuration: &str) -> Self {
        let home = Home::new();
        home.configure(configuration);
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { shim, home, _daemon: daemon }
    }

    fn call(&mut self, tool: &str, input: Value) -> Value {
        self.shim.call(tool, input.clone()).unwrap_or_else(|err| panic!("{tool} {input}: {err}"))
    }

    /// As v1 took paths.
    fn absolute(&self, name: &str) -> String {
        self.home.project.join(name).display().to_string()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(["-C", &self.absolute("repo")]).args(arguments).env("HOME", &self.home.path);
        let output = git.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

const ON: &str = "[mcp]\ntoolsets = ['v1']\n";

#[test]
fn the_toolset_is_all_of_v1_and_off_unless_asked_for() {
    let mut bench = Bench::new(ON);
    let listed = bench.shim.request("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect::<Vec<_>>(), NAMES);
    for tool in tools {
        let schema = &tool["inputSchema"];
        assert_eq!(
            (&schema["type"], &schema["additionalProperties"]),
            (&json!("object"), &json!(false)),
            "{tool}"
        );
        let reads = ["get_", "list_", "read_", "service_status", "container_logs", "git_status"];
        let is_read = reads.iter().any(|start| tool["name"].as_str().unwrap().starts_with(start));
        assert_eq!(tool["annotations"]["readOnlyHint"], is_read, "{tool}");
    }
    let status = tools.iter().find(|tool| tool["name"] == "git_status").unwrap();
    let spellings: BTreeSet<_> = status["inputSchema"]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(spellings.into_iter().collect::<Vec<_>>(), ["repository", "repositoryPath"]);
    let commit = tools.iter().find(|tool| tool["name"] == "git_commit").unwrap();
    let author = &commit["inputSchema"]["properties"]["author"];
    assert_eq!(
        (&author["type"], &author["properties"]["email"]["format"]),
        (&json!(["string", "object"]), &json!("email")),
        "{author}"
    );

    let mut bench = Bench::new("");
    let unknown = bench.shim.call("read_file", json!({ "filePath": "a" })).unwrap_err();
    assert!(unknown.contains("no tool is named `read_file`"), "{unknown}");
    let refused = bench.shim.call("git_status", json!({ "repositoryPath": "." })).unwrap_err();
    assert!(refused.contains("repositoryPath"), "{refused}");
    bench.call("skynet_enable_toolset", json!({ "toolset": "v1" }));
    bench.call("write_file", json!({ "filePath": "a", "content": "x" }));
    assert_eq!(bench.call("read_file", json!({ "filePath": "a" }))["content"], "x");
}

#[test]
fn files_are_listed_read_and_written() {
    let mut bench = Bench::new(ON);
    let path = bench.absolute("notes/été.txt");
    bench.call(
        "write_file",
        json!({ "filePath": path, "content": "un\n", "encoding": "utf-8", "createDirs": true }),
    );
    bench.call(
        "write_file",
        json!({ "filePath": path, "content": "deux\n", "backup": true, "createDirs": true }),
    );
    // No second file beside it: what was replaced is taken back by the undo family.
    assert_eq!(fs::read_dir(bench.absolute("notes")).unwrap().count(), 1);
    for most in [100_u64, 1 << 40] {
        let input = json!({ "filePath": path, "encoding": "utf-8", "maxSize": most });
        assert_eq!(bench.call("read_file", input)["content"], "deux\n");
    }
    bench.call("write_file", json!({ "filePath": "latin", "content": "été", "encoding": "latin1" }));
    assert_eq!(fs::read(bench.absolute("latin")).unwrap(), b"\xe9t\xe9");
    bench.call("write_file", json!({ "filePath": "bytes", "content": "AP8=", "encoding": "base64" }));
    assert_eq!(fs::read(bench.absolute("bytes")).unwrap(), [0, 255]);
    let refused =
        bench.shim.call("write_file", json!({ "filePath": "x", "content": "漢", "encoding": "latin1" }));
    assert!(refused.unwrap_err().contains("latin1"));
    let refused =
        bench.shim.call("write_file", json!({ "filePath": "x", "content": "?", "encoding": "base64" }));
    assert!(refused.unwrap_err().contains("base64"));
    assert!(!bench.home.project.join("x").exists());

    fs::write(bench.home.project.join(".hidden"), "").unwrap();
    // v1 failed on one of these.
    std::os::unix::fs::symlink("nowhere", bench.home.project.join("dangling")).unwrap();
    let names = |listed: &Value| -> Vec<String> {
        let entries = listed["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    let root = bench.absolute("");
    let listed = bench.call("list_directory", json!({ "path": root }));
    assert_eq!(names(&listed), ["bytes", "dangling", "latin", "notes"]);
    let listed =
        bench.call("list_directory", json!({ "path": root, "includeHidden": true, "pattern": "*i*" }));
    assert_eq!(names(&listed), [".hidden", "dangling", "latin"]);
    let found = bench.call("list_directory", json!({ "path": root, "recursive": true, "pattern": "*.txt" }));
    assert_eq!(found["paths"], json!(["notes/été.txt"]));
    // An empty pattern was none.
    for input in [
        json!({ "path": root, "recursive": true }),
        json!({ "path": root, "recursive": true, "pattern": "" }),
    ] {
        let found = bench.call("list_directory", input);
        assert_eq!(found["paths"].as_array().unwrap().len(), 5, "{found}");
    }
    let listed = bench.call("list_directory", json!({ "path": root, "pattern": "" }));
    assert_eq!(names(&listed), ["bytes", "dangling", "latin", "notes"]);
    for (tool, input) in [
        ("read_file", json!({ "filePath": "/etc/passwd" })),
        ("list_directory", json!({ "path": "/etc" })),
        ("write_file", json!({ "filePath": "../x", "content": "" })),
    ] {
        let refused = bench.shim.call(tool, input).unwrap_err();
        assert!(refused.starts_with("denied"), "{refused}");
    }
    for input in [json!({ "filePath": "a", "extra": 1 }), json!({}), json!({ "filePath": 5 })] {
        let refused = bench.shim.call("read_file", input).unwrap_err();
        assert!(refused.starts_with("invalid_input"), "{refused}");
    }
}

#[test]
fn git_takes_either_spelling() {
    let mut bench = Bench::new(
        "[mcp]\ntoolsets = ['v1']\n[[policy.rules]]\nname = 'push'\nverdict = 'allow'\ntools = ['git_push']\n",
    );
    fs::create_dir(bench.home.project.join("repo")).unwrap();
    bench.git(&["init", "--quiet", "--initial-branch=main"]);
    fs::write(bench.home.path.join(".gitconfig"), "[user]\nname = Tester\nemail = t@example.org\n").unwrap();
    fs::write(bench.home.project.join("repo/a"), "a").unwrap();
    fs::write(bench.home.project.join("repo/b"), "b").unwrap();
    let path = bench.absolute("repo");
    let author = json!({ "name": "Ada Lovelace", "email": "ada@example.org" });
    let input = json!({ "repositoryPath": path, "message": "First", "files": ["a"], "author": author });
    bench.call("git_commit", input);
    assert_eq!(
        bench.git(&["log", "--format=%an <%ae> %cn %s"]),
        "Ada Lovelace <ada@example.org> Tester First"
    );
    assert_eq!(bench.git(&["show", "--format=", "--name-only"]), "a");
    for spelling in ["repositoryPath", "repository"] {
        let status = bench.call("git_status", json!({ spelling: path }));
        assert!(status.to_string().contains("\"b\""), "{status}");
    }
    let refused =
        bench.shim.call("git_commit", json!({ "message": "x", "repository": "repo", "author": "Ada" }));
    assert!(refused.unwrap_err().contains("Ada Lovelace <ada@example.org>"));
    let refused = bench.shim.call("git_push", json!({ "repositoryPath": path, "force": false })).unwrap_err();
    assert!(refused.contains("`origin`"), "{refused}");
}

#[test]
fn the_host_is_described() {
    let mut bench = Bench::new(ON);
    assert!(bench.call("get_system_info", json!({}))["kernel"].is_string());
    let used = bench.call("get_resource_usage", json!({ "includeProcesses": true, "topN": 3 }));
    assert_eq!(used["top"].as_array().unwrap().len(), 3, "{used}");
    let used = bench.call("get_resource_usage", json!({}));
    assert_eq!(used["top"].as_array().unwrap().len(), 0, "{used}");
}

#[test]
fn pictures_are_resized_converted_and_made_small() {
    let mut bench = Bench::new(ON);
    let picture = bench.absolute("a.png");
    RgbImage::new(400, 200).save(&picture).unwrap();
    let output = bench.absolute("b.png");
    let input =
        json!({ "inputPath": picture, "outputPath": output, "width": 100, "height": 100, "quality": 90 });
    bench.call("resize_image", input.clone());
    assert_eq!(image::image_dimensions(&output).unwrap(), (100, 100));
    // As v1 did, it replaces what is there.
    bench.call("resize_image", input);
    let output = bench.absolute("c.jpg");
    bench
        .call("convert_format", json!({ "inputPath": picture, "outputFormat": "jpg", "outputPath": output }));
    assert_eq!(image::image_dimensions(&output).unwrap(), (400, 200));
    let output = bench.absolute("d.webp");
    bench.call(
        "generate_thumbnail",
        json!({ "inputPath": picture, "outputPath": output, "size": 64, "format": "webp" }),
    );
    assert_eq!(image::image_dimensions(&output).unwrap(), (64, 32));
}

#[test]
fn projects_and_environments_are_made_and_listed() {
    let mut bench = Bench::new(ON);
    fs::create_dir(bench.home.project.join("all")).unwrap();
    for (kind, file) in [("python", "pyproject.toml"), ("node", "package.json"), ("generic", "README.md")] {
        let all = bench.absolute("all");
        bench.call(
            "create_project",
            json!({ "name": kind, "path": all, "type": kind, "template": "library" }),
        );
        assert!(bench.home.project.join("all").join(kind).join(file).is_file(), "{kind}");
    }
    if components::program("python3").is_some() {
        let project = bench.absolute("all/python");
        let made = bench.call(
            "setup_python_env",
            json!({ "projectPath": project, "pythonVersion": "python3", "useConda": false }),
        );
        assert_eq!(made["succeeded"], true, "{made}");
        let installed = bench
            .call("install_dependencies", json!({ "projectPath": project, "type": "python", "dev": false }));
        assert_eq!(installed["succeeded"], true, "{installed}");
        let listed = bench.call("list_envs", json!({ "basePath": bench.absolute("all"), "type": "python" }));
        assert_eq!(listed["environments"][0]["path"], "all/python/.venv");
    }
    if let Some(node) = components::program("node") {
        let version =
            String::from_utf8(Command::new(node).arg("--version").output().unwrap().stdout).unwrap();
        let major = version.trim_start_matches('v').split('.').next().unwrap();
        let project = bench.absolute("all/node");
        let input = |version: &str| json!({ "projectPath": project, "packageManager": "npm", "nodeVersion": version });
        let installed = bench.call("setup_node_env", input(major));
        assert_eq!(
            (&installed["command"], &installed["succeeded"]),
            (&json!("npm install"), &json!(true)),
            "{installed}"
        );
        let refused = bench.shim.call("setup_node_env", input("4.2")).unwrap_err();
        assert!(refused.starts_with("conflict") && refused.contains("not 4.2"), "{refused}");
        let installed = bench
            .call("install_dependencies", json!({ "projectPath": project, "type": "node", "dev": true }));
        assert_eq!(installed["succeeded"], true, "{installed}");
    }
}

#[test]
fn rules_and_audit_know_the_tool_and_not_its_old_name() {
    let mut bench = Bench::new(
        "[mcp]\ntoolsets = ['v1']\n[[policy.rules]]\nname = 'no-reading'\nverdict = 'deny'\ntools = ['files_read']\n",
    );
    let denied = bench.shim.call("read_file", json!({ "filePath": "a" })).unwrap_err();
    assert!(denied.contains("no-reading"), "{denied}");
    let (_, told, _) = bench.home.ctl(&["audit", "query", "--json"]);
    assert!(told.contains("\"files_read\"") && told.contains("\"read_file\""), "{told}");
    let path = bench.home.path.join(".config/skynet/config.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("'files_read'", "'read_file'")).unwrap();
    let (code, _, told) = bench.home.ctl(&["config", "check"]);
    assert!(code != 0 && told.contains("there is no tool `read_file`; did you mean `files_read`?"), "{told}");
}
