//! Packages that are not made here: that they say what theirs must say.

use skynet_tests::packages::{self, run};
use std::fs;

fn read(path: &str) -> String {
    let path = packages::source().join("packaging").join(path);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

#[test]
fn chocolatey_installs_into_wsl() {
    let nuspec = read("chocolatey/skynet.nuspec");
    // <https://learn.microsoft.com/nuget/reference/nuspec> and what Chocolatey's moderation asks for.
    for element in
        ["id", "version", "title", "authors", "projectUrl", "licenseUrl", "tags", "summary", "description"]
    {
        let (start, end) = (format!("<{element}>"), format!("</{element}>"));
        assert_eq!((nuspec.matches(&start).count(), nuspec.matches(&end).count()), (1, 1), "{element}");
    }
    assert!(nuspec.contains("<file src=\"tools\\**\" target=\"tools\" />"), "{nuspec}");
    let install = read("chocolatey/tools/chocolateyinstall.ps1");
    for must in [
        "$ErrorActionPreference = 'Stop'",
        "-ChecksumType 'sha256'",
        "Get-ChocolateyWebFile",
        "--user root",
        "systemd",
        "WSL2",
    ] {
        assert!(install.contains(must), "{must}");
    }
    for script in [&install, &read("chocolatey/tools/chocolateyuninstall.ps1")] {
        for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
            assert_eq!(script.matches(open).count(), script.matches(close).count(), "{open} {close}");
        }
        assert!(script.contains("$LASTEXITCODE -ne 0"), "a failure inside is one outside");
    }
}

#[test]
fn homebrew_builds_what_a_client_needs() {
    let formula = packages::source().join("packaging/homebrew/skynet.rb");
    let text = read("homebrew/skynet.rb");
    for program in ["skynetctl", "skynet-shim"] {
        assert!(text.contains(&format!("\"--package\", \"{program}\"")), "{program}");
    }
    for of_linux in ["skynetd", "skynet-hands", "skynet-sandbox"] {
        assert!(!text.contains(&format!("\"{of_linux}\"")), "{of_linux}");
    }
    if skynet_tests::components::program("ruby").is_some() {
        run("ruby", &["-c", formula.to_str().unwrap()]);
    }
}

#[test]
fn what_a_release_fills_in_is_known_to_it() {
    let release = fs::read_to_string(packages::source().join(".github/workflows/release.yml")).unwrap();
    for file in [
        "install.sh",
        "homebrew/skynet.rb",
        "chocolatey/skynet.nuspec",
        "chocolatey/tools/chocolateyinstall.ps1",
    ] {
        let text = read(file);
        for mark in text.split('@').filter(|word| {
            word.len() > 5
                && word.chars().all(|char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_')
        }) {
            assert!(release.contains(&format!("@{mark}@")), "{file}: @{mark}@");
        }
        assert!(release.contains(&format!("packaging/{file}")), "{file}");
    }
}
