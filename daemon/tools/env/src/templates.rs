//! What a new project begins with: the least that installs, runs and passes a test with the tools of its ecosystem.

use crate::create_project::{Kind, Template};

/// Files by their path below the project.
pub(crate) fn files(name: &str, kind: Kind, template: Template) -> Vec<(String, String)> {
    let is_app = template == Template::App;
    let mut files = match kind {
        Kind::Python => python(name, is_app),
        Kind::Node => node(name, is_app),
        Kind::Rust => rust(name, is_app),
        Kind::Go => go(name, is_app),
        Kind::Java => java(name, is_app),
        Kind::Generic => Vec::new(),
    };
    files.push((".gitignore", ignored(kind).to_owned()));
    files.push(("README.md", readme(name, kind)));
    files.into_iter().map(|(file, content)| (file.replace("NAME", &identifier(name)), content)).collect()
}

/// A name as a programming language takes it; `NAME` in the path of a file stands for it.
fn identifier(name: &str) -> String {
    let name = name.to_ascii_lowercase().replace('-', "_");
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// A name as registries take it.
fn package(name: &str) -> String {
    name.to_ascii_lowercase().trim_matches(['-', '_']).to_owned()
}

const fn ignored(kind: Kind) -> &'static str {
    match kind {
        Kind::Python => ".venv/\n__pycache__/\n*.egg-info/\ndist/\nbuild/\n.pytest_cache/\n",
        Kind::Node => "node_modules/\ndist/\ncoverage/\n",
        Kind::Rust => "/target\n",
        Kind::Go => "/bin/\n*.test\n",
        Kind::Java => "target/\n*.class\n",
        Kind::Generic => "*.log\n.env\n",
    }
}

fn readme(name: &str, kind: Kind) -> String {
    let run = match kind {
        Kind::Python => "python3 -m venv .venv\n.venv/bin/pip install -e '.[dev]'\n.venv/bin/pytest",
        Kind::Node => "npm install\nnpm test",
        Kind::Rust => "cargo test",
        Kind::Go => "go test ./...",
        Kind::Java => "mvn test",
        Kind::Generic => return format!("# {name}\n"),
    };
    format!("# {name}\n\n```sh\n{run}\n```\n")
}

fn python(name: &str, is_app: bool) -> Vec<(&'static str, String)> {
    let (identifier, package) = (identifier(name), package(name));
    let script = if is_app {
        format!("\n[project.scripts]\n{package} = \"{identifier}.main:main\"\n")
    } else {
        String::new()
    };
    let manifest = format!(
        "[build-system]\nrequires = [\"setuptools>=61\"]\nbuild-backend = \"setuptools.build_meta\"\n\n[project]\nname = \"{package}\"\nversion = \"0.1.0\"\nrequires-python = \">=3.10\"\ndependencies = []\n\n[project.optional-dependencies]\ndev = [\"pytest\", \"ruff\"]\n{script}\n[tool.setuptools.packages.find]\nwhere = [\"src\"]\n\n[tool.pytest.ini_options]\npythonpath = [\"src\"]\n"
    );
    let mut files = vec![
        ("pyproject.toml", manifest),
        ("requirements.txt", String::new()),
        ("src/NAME/__init__.py", "def greet(name: str) -> str:\n    return f\"Hello, {name}!\"\n".to_owned()),
        (
            "tests/test_NAME.py",
            format!(
                "from {identifier} import greet\n\n\ndef test_greet():\n    assert greet(\"you\") == \"Hello, you!\"\n"
            ),
        ),
    ];
    if is_app {
        files.push((
            "src/NAME/main.py",
            format!("from {identifier} import greet\n\n\ndef main() -> None:\n    print(greet(\"world\"))\n\n\nif __name__ == \"__main__\":\n    main()\n"),
        ));
    }
    files
}

fn node(name: &str, is_app: bool) -> Vec<(&'static str, String)> {
    let scripts = if is_app {
        serde_json::json!({ "start": "node src/main.js", "test": "node --test" })
    } else {
        serde_json::json!({ "test": "node --test" })
    };
    let manifest = serde_json::json!({
        "name": package(name),
        "version": "0.1.0",
        "private": true,
        "type": "module",
        "main": "src/index.js",
        "scripts": scripts,
    });
    let mut files = vec![
        ("package.json", format!("{manifest:#}\n")),
        ("src/index.js", "export function greet(name) {\n  return `Hello, ${name}!`;\n}\n".to_owned()),
        (
            "test/index.test.js",
            "import assert from \"node:assert/strict\";\nimport { test } from \"node:test\";\nimport { greet } from \"../src/index.js\";\n\ntest(\"greets\", () => {\n  assert.equal(greet(\"you\"), \"Hello, you!\");\n});\n".to_owned(),
        ),
    ];
    if is_app {
        files.push((
            "src/main.js",
            "import { greet } from \"./index.js\";\n\nconsole.log(greet(\"world\"));\n".to_owned(),
        ));
    }
    files
}

fn rust(name: &str, is_app: bool) -> Vec<(&'static str, String)> {
    let (identifier, package) = (identifier(name), package(name));
    let manifest = format!(
        "[package]\nname = \"{package}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[lib]\nname = \"{identifier}\"\npath = \"src/lib.rs\"\n\n[dependencies]\n"
    );
    let library = "/// Says hello.\n#[must_use]\npub fn greet(name: &str) -> String {\n    format!(\"Hello, {name}!\")\n}\n\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n    #[test]\n    fn greets() {\n        assert_eq!(greet(\"you\"), \"Hello, you!\");\n    }\n}\n";
    let mut files = vec![("Cargo.toml", manifest), ("src/lib.rs", library.to_owned())];
    if is_app {
        files.push((
            "src/main.rs",
            format!("fn main() {{\n    println!(\"{{}}\", {identifier}::greet(\"world\"));\n}}\n"),
        ));
    }
    files
}

fn go(name: &str, is_app: bool) -> Vec<(&'static str, String)> {
    let (identifier, package) = (identifier(name), package(name));
    let unit = if is_app { "main" } else { &*identifier };
    let main =
        if is_app { "import \"fmt\"\n\nfunc main() {\n\tfmt.Println(Greet(\"world\"))\n}\n\n" } else { "" };
    vec![
        ("go.mod", format!("module {package}\n\ngo 1.19\n")),
        (
            "NAME.go",
            format!(
                "package {unit}\n\n{main}// Greet says hello.\nfunc Greet(name string) string {{\n\treturn \"Hello, \" + name + \"!\"\n}}\n"
            ),
        ),
        (
            "NAME_test.go",
            format!(
                "package {unit}\n\nimport \"testing\"\n\nfunc TestGreet(t *testing.T) {{\n\tif got := Greet(\"you\"); got != \"Hello, you!\" {{\n\t\tt.Fatal(got)\n\t}}\n}}\n"
            ),
        ),
    ]
}

fn java(name: &str, is_app: bool) -> Vec<(&'static str, String)> {
    let (identifier, package) = (identifier(name), package(name));
    let manifest = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  <groupId>{identifier}</groupId>\n  <artifactId>{package}</artifactId>\n  <version>0.1.0</version>\n  <properties>\n    <maven.compiler.source>17</maven.compiler.source>\n    <maven.compiler.target>17</maven.compiler.target>\n    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>\n  </properties>\n  <dependencies>\n    <dependency>\n      <groupId>org.junit.jupiter</groupId>\n      <artifactId>junit-jupiter</artifactId>\n      <version>5.10.2</version>\n      <scope>test</scope>\n    </dependency>\n  </dependencies>\n</project>\n"
    );
    let main = if is_app {
        "\n    public static void main(String[] arguments) {\n        System.out.println(greet(\"world\"));\n    }\n"
    } else {
        ""
    };
    vec![
        ("pom.xml", manifest),
        (
            "src/main/java/NAME/Greeter.java",
            format!(
                "package {identifier};\n\npublic final class Greeter {{\n    private Greeter() {{}}\n\n    public static String greet(String name) {{\n        return \"Hello, \" + name + \"!\";\n    }}\n{main}}}\n"
            ),
        ),
        (
            "src/test/java/NAME/GreeterTest.java",
            format!(
                "package {identifier};\n\nimport static org.junit.jupiter.api.Assertions.assertEquals;\n\nimport org.junit.jupiter.api.Test;\n\nclass GreeterTest {{\n    @Test\n    void greets() {{\n        assertEquals(\"Hello, you!\", Greeter.greet(\"you\"));\n    }}\n}}\n"
            ),
        ),
    ]
}
