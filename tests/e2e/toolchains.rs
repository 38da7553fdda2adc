//! What developers run, typed as they type it, in a slot.

use serde_json::{Value, json};
use skynet_tests::{
    components,
    programs::{Daemon, Home, Shim},
};
use std::{fs, net::ToSocketAddrs as _, process::Command};

/// A client whose commands may reach the registries of packages.
pub(crate) struct Bench {
    pub(crate) shim: Shim,
    pub(crate) home: Home,
    _daemon: Daemon,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    pub(crate) fn with(configuration: &str) -> Self {
        let home = Home::new();
        let allowed = "[[policy.rules]]\nname = 'out'\nverdict = 'allow'\neffects = ['external']\n";
        home.configure(&format!("{allowed}{configuration}"));
        let daemon = Daemon::start(&home);
        let shim = Shim::connected(&home, "2025-11-25", json!({}));
        Self { shim, home, _daemon: daemon }
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.home.project.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// What it wrote to stdout; it must succeed.
    fn run(&mut self, script: &str, network: Value) -> String {
        let input = json!({ "script": script, "network": network, "timeout_seconds": 300 });
        let ended = self.shim.call("exec_run", input).unwrap_or_else(|err| panic!("{err}"));
        assert_eq!(ended["exit_code"], 0, "{script}: {ended}");
        ended["stdout"].as_str().unwrap().to_owned()
    }
}

/// A registry of packages that can be reached from here.
pub(crate) struct Registry {
    pub(crate) url: String,
    pub(crate) host: String,
    /// Configuration for a registry of this network's own, as it may be.
    pub(crate) reachable: String,
}

impl Registry {
    /// The one that npm is configured with.
    pub(crate) fn of_npm() -> Option<Self> {
        let asked = Command::new(components::program("npm")?).args(["config", "get", "registry"]).output();
        let url = String::from_utf8(asked.unwrap().stdout).unwrap().trim().to_owned();
        let host = url.trim_start_matches("https://").split('/').next().unwrap().to_owned();
        let Ok(addresses) = (host.as_str(), 443).to_socket_addrs() else {
            eprintln!("SKIP npm: its registry is not to be reached");
            return None;
        };
        let addresses: Vec<String> =
            addresses.map(|one| format!("'{}/{}'", one.ip(), if one.is_ipv4() { 32 } else { 128 })).collect();
        let reachable = format!("[network]\nreachable = [{}]\n", addresses.join(", "));
        Some(Self { url, host, reachable })
    }
}

#[test]
fn cargo_builds_and_tests() {
    let Some(rust) = components::program("cargo") else { return };
    let mut bench = Bench::new();
    bench.write("Cargo.toml", "[package]\nname = 'sample'\nversion = '0.1.0'\nedition = '2021'\n");
    bench.write("src/lib.rs", "pub fn two() -> u8 { 2 }\n#[test]\nfn it_is() { assert_eq!(two(), 2) }\n");
    bench.write("build.rs", "fn main() { println!(\"cargo:rustc-env=BUILT=yes\") }\n");
    let path = rust.parent().unwrap().display();
    let said = bench.run(&format!("export PATH={path}:$PATH; cargo build && cargo test 2>&1"), json!({}));
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn code_of_each_language_runs_apart_from_the_workspace() {
    let mut bench = Bench::new();
    bench.write("secret", "of the workspace");
    let rust = components::program("rustc");
    let path = rust.as_ref().and_then(|rust| rust.parent()).map(|directory| directory.display().to_string());
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", path.unwrap_or_default());
    let samples = [
        ("bash", "bash", "read x; echo $1 $x; ls -A | wc -l"),
        (
            "node",
            "node",
            "console.log(process.argv[1], require('fs').readFileSync(0, 'utf8').trim()); console.log(require('fs').readdirSync('.').length)",
        ),
        ("python", "python3", "import os, sys\nprint(sys.argv[1], input())\nprint(len(os.listdir('.')))"),
        ("ruby", "ruby", "puts \"#{ARGV[0]} #{$stdin.gets.strip}\"; puts Dir.children('.').size"),
        (
            "go",
            "go",
            "package main\nimport (\"bufio\"; \"fmt\"; \"os\")\nfunc main() { s := bufio.NewScanner(os.Stdin); s.Scan(); fmt.Println(os.Args[1], s.Text()); fmt.Println(0) }",
        ),
        (
            "rust",
            "rustc",
            "fn main() { let mut s = String::new(); std::io::stdin().read_line(&mut s).unwrap(); println!(\"{} {}\", std::env::args().nth(1).unwrap(), s.trim()); println!(\"0\"); }",
        ),
    ];
    for (language, program, code) in samples {
        if components::program(program).is_none() {
            continue;
        }
        let input = json!({
            "language": language, "code": code, "arguments": ["arg"], "stdin": "in\n", "environment": { "PATH": path },
        });
        let ended = bench.shim.call("exec_run_code", input).unwrap_or_else(|err| panic!("{language}: {err}"));
        assert_eq!(ended["stdout"], "arg in\n0\n", "{language}: {ended}");
    }
    let look = format!("cat {}/secret; pwd; echo x > left", bench.home.project.display());
    for _ in 0..2 {
        let ended = bench.shim.call("exec_run_code", json!({ "language": "bash", "code": look })).unwrap();
        assert_eq!(ended["stdout"], "/tmp/code\n", "{ended}");
    }
    assert_eq!(fs::read_dir(&bench.home.project).unwrap().count(), 1);
    // What it writes is a limit like the others.
    let input = |output_kib: u32| json!({ "language": "bash", "code": "yes", "output_kib": output_kib });
    let ended = bench.shim.call("exec_run_code", input(3)).unwrap();
    let length = ended["stdout"].as_str().unwrap().len();
    assert_eq!((&ended["ended_by"], length), (&json!("output"), 3 << 10), "{ended}");
    for none in [0, 4097] {
        let err = bench.shim.call("exec_run_code", input(none)).unwrap_err();
        assert!(err.starts_with("invalid_input"), "{none}: {err}");
    }
}

#[test]
fn go_builds_and_tests() {
    if components::program("go").is_none() {
        return;
    }
    let mut bench = Bench::new();
    bench.write("go.mod", "module sample\n\ngo 1.19\n");
    bench.write("two.go", "package sample\n\nfunc Two() int { return 2 }\n");
    bench.write(
        "two_test.go",
        "package sample\n\nimport (\n\t\"net/http\"\n\t\"net/http/httptest\"\n\t\"testing\"\n)\n\nfunc TestServed(t *testing.T) {\n\tserver := httptest.NewServer(http.NotFoundHandler())\n\tdefer server.Close()\n\tanswer, err := http.Get(server.URL)\n\tif err != nil || answer.StatusCode != 404 || Two() != 2 {\n\t\tt.Fatal(err)\n\t}\n}\n",
    );
    let said = bench.run("go vet ./... && go test ./...", json!({}));
    assert!(said.starts_with("ok"), "{said}");
}

#[test]
fn make_and_a_compiler_build() {
    if components::program("make").is_none() || components::program("cc").is_none() {
        return;
    }
    let mut bench = Bench::new();
    bench.write("main.c", "#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n");
    bench.write("Makefile", "main: main.c\n\tcc -O2 -o main main.c\ncheck: main\n\t./main\n");
    let said = bench.run("make -j4 check", json!({}));
    assert!(said.ends_with("built\n"), "{said}");
}

#[test]
fn pytest_tests() {
    if components::program("pytest-3").is_none() {
        return;
    }
    let mut bench = Bench::new();
    bench.write(
        "test_pool.py",
        "import multiprocessing, tempfile\ndef double(x): return 2 * x\ndef test_pool(tmp_path):\n    with multiprocessing.Pool(2) as pool: assert pool.map(double, [1, 2]) == [2, 4]\n    (tmp_path / 'f').write_text('x')\n",
    );
    let said = bench.run("pytest-3 -q", json!({}));
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn java_compiles_and_runs() {
    if components::program("javac").is_none() {
        return;
    }
    let mut bench = Bench::new();
    bench.write("src/Main.java", "public class Main { public static void main(String[] a) throws Exception { var t = new Thread(() -> System.out.println(\"ran\")); t.start(); t.join(); } }\n");
    let said = bench
        .run("javac -d out src/Main.java && jar cfe app.jar Main -C out . && java -jar app.jar", json!({}));
    assert_eq!(said, "ran\n");
}

#[test]
fn npm_installs_from_its_registry() {
    let Some(Registry { url, host, reachable }) = Registry::of_npm() else { return };
    let mut bench = Bench::with(&reachable);
    bench.write("package.json", r#"{ "name": "sample", "version": "1.0.0", "dependencies": { "is-number": "7.0.0" }, "scripts": { "test": "node test.js" } }"#);
    bench.write("test.js", "console.log(require('is-number')(5) && 'number')\n");
    let install = format!(
        "npm install --silent --registry {url} && rm -r node_modules && npm ci --silent --registry {url}"
    );
    bench.run(&install, json!({ "hosts": [host] }));
    let said = bench.run("npm test --silent", json!({}));
    assert_eq!(said, "number\n");
}

#[test]
fn tests_use_a_database_of_their_own_on_localhost() {
    if components::program("redis-check-rdb").is_none() {
        return;
    }
    let mut bench = Bench::new();
    // One file for both, which goes by its name; where it has the other name too, Debian starts it as a service.
    let script = "(exec -a redis-server redis-check-rdb --port 6379 --daemonize yes --save '' > /dev/null); until redis-cli ping > /dev/null; do sleep 0.1; done; redis-cli set k v; redis-cli get k";
    assert_eq!(bench.run(script, json!({})), "OK\nv\n");
}
