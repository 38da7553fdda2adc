//! What every command of `skynetctl` prints, as reviewed. `SKYNET_UPDATE_GOLDENS=1` rewrites the files.

use skynet_tests::programs::{Daemon, Home, program};
use std::{fmt::Write as _, fs};

/// Compares with a file under review, or rewrites it.
fn check(name: &str, found: &str, reviewed: &str) {
    if std::env::var_os("SKYNET_UPDATE_GOLDENS").is_some() {
        fs::write(format!("{}/golden/{name}", env!("CARGO_MANIFEST_DIR")), found).unwrap();
        return;
    }
    let differ = found.lines().zip(reviewed.lines()).find(|(found, reviewed)| found != reviewed);
    assert!(
        found == reviewed,
        "{name} changed: {differ:?}; run with SKYNET_UPDATE_GOLDENS=1 and review the difference"
    );
}

/// The help of a command and of all below it.
fn help(home: &Home, path: &[&str], text: &mut String) {
    let (code, shown, said) = home.ctl(&[path, &["--help"]].concat());
    assert_eq!(code, 0, "{said}");
    writeln!(text, "## skynetctl {}\n\n{}", path.join(" "), shown.trim_end()).unwrap();
    text.push('\n');
    let commands = shown.split("Commands:").nth(1).unwrap_or_default();
    let names = commands.lines().skip(1).take_while(|line| !line.is_empty());
    for name in names.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = name.split_whitespace().next().unwrap();
        if name != "help" {
            help(home, &[path, &[name]].concat(), text);
        }
    }
}

#[test]
fn help_of_every_command() {
    let home = Home::new();
    let mut text = String::new();
    help(&home, &[], &mut text);
    check("ctl-help.txt", &text, include_str!("../golden/ctl-help.txt"));
}

/// The same line on every host and run: what varies is replaced by what it is.
fn settled(home: &Home, daemon: &Daemon, text: &str) -> String {
    let mut text = text.replace(home.path.to_str().unwrap(), "$HOME");
    let programs = program("skynetd").parent().unwrap().display().to_string();
    text = text.replace(&programs, "$BIN").replace(&daemon.pid().to_string(), "$PID");
    let mut out = String::new();
    for line in text.lines() {
        let words = line.split_inclusive([' ', '"', '`', ',', ']']).map(|word| {
            let bare = word.trim_end_matches([' ', '"', '`', ',', ']']);
            let end = &word[bare.len()..];
            let is_time = bare.len() >= 20 && bare.ends_with('Z') && bare.contains('T') && bare.contains(':');
            let is_long_hex =
                bare.len() >= 8 && bare.chars().all(|letter| letter.is_ascii_hexdigit() || letter == '.');
            if is_time {
                format!("$TIME{end}")
            } else if bare.starts_with("skynet_") && bare.len() > 40 {
                format!("$SECRET{end}")
            } else if is_long_hex && bare.chars().any(|letter| letter.is_ascii_digit()) {
                format!("$HEX{end}")
            } else {
                word.to_owned()
            }
        });
        out.push_str(words.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ").as_str());
        out.push('\n');
    }
    out
}

#[test]
fn output_of_every_command() {
    let home = Home::new();
    fs::write(home.project.join("f"), "x\n").unwrap();
    let daemon = Daemon::start(&home);
    let mut text = String::new();
    for arguments in [
        &["tools", "list"][..],
        &["tools", "describe", "git_blame"],
        &["tools", "call", "files_list"],
        &["--json", "tools", "call", "files_list"],
        &["tools", "call", "files_lst"],
        &["tools", "call", "files_list", "{\"paht\":1}"],
        &["toolset", "list"],
        &["toolset", "enable", "system"],
        &["toolset", "disable", "sytem"],
        &["index", "list"],
        &["index", "add", "--name", "here"],
        &["index", "search", "x"],
        &["index", "remove", "there"],
        &["index", "remove", "here"],
        &["token", "list"],
        &["token", "create", "ci"],
        &["--json", "token", "list"],
        &["token", "revoke", "ci"],
        &["token", "revoke", "ci"],
        &["approvals", "list"],
        &["approvals", "approve", "nothing"],
        &["sessions"],
        &["audit", "verify"],
        &["secret", "list"],
        &["secret", "env", "list"],
        &["--json", "secret", "env", "list"],
        &["secret", "env", "delete", "NOTHING"],
        &["secret", "link", "db", "db#password"],
        &["client", "list"],
        &["client", "add", "cursor", "--dry-run"],
        &["client", "add", "nonsense"],
        &["client", "doctor"],
        &["config", "path"],
        &["nonsense"],
    ] {
        let (code, shown, said) = home.ctl(arguments);
        writeln!(text, "$ skynetctl {}\n{shown}{said}exit {code}\n", arguments.join(" ")).unwrap();
    }
    let found = settled(&home, &daemon, &text);
    check("ctl-output.txt", &found, include_str!("../golden/ctl-output.txt"));
}

#[test]
fn completion_and_man_pages_name_every_command() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = home.ctl(&["completion", shell]);
        for word in ["client", "doctor", "token", "toolset", "approvals", "dry-run"] {
            assert!(code == 0 && script.contains(word), "{shell}: {word}");
        }
    }
    let pages = home.path.join("man");
    fs::create_dir(&pages).unwrap();
    assert_eq!(home.ctl(&["man", pages.to_str().unwrap()]).0, 0);
    // What the help has a section about has a page, and nothing else has.
    let help = include_str!("../golden/ctl-help.txt");
    let commands = help.lines().filter_map(|line| line.strip_prefix("## "));
    let mut expected: Vec<String> =
        commands.map(|command| format!("{}.1", command.trim().replace(' ', "-"))).collect();
    expected.sort();
    let mut found: Vec<String> =
        fs::read_dir(&pages).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, expected);
    for page in found {
        assert!(fs::read_to_string(pages.join(&page)).unwrap().contains(".TH"), "{page}");
    }
}

#[test]
fn output_of_the_policy_commands() {
    let home = Home::new();
    home.configure(
        "[[policy.commands]]\nname = 'look'\nverdict = 'allow'\nprogram = 'ls'\narguments = ['<path>...']\noptions = ['-[la]']\n\
        [[policy.commands]]\nname = 'removals'\nverdict = 'ask'\nprogram = 'rm'\narguments = ['<path>']\n\
        [[policy.commands]]\nname = 'no secrets'\nverdict = 'deny'\nprogram = 'ls'\narguments = ['secret']\n\
        [[policy.commands]]\nname = 'gone'\nverdict = 'allow'\nprogram = 'no-such-program'\n",
    );
    fs::create_dir(home.project.join("sub")).unwrap();
    let daemon = Daemon::start(&home);
    let mut text = String::new();
    for arguments in [
        &["policy", "explain", "--", "ls", "-l", "sub"][..],
        &["--json", "policy", "explain", "--", "ls"],
        &["policy", "explain", "--", "ls", "--color", "-x=|", ""],
        &["--json", "policy", "explain", "--", "ls", "/etc"],
        &["policy", "explain", "--directory", "sub", "--", "ls", ".."],
        &["policy", "explain", "--directory", "sub", "--", "ls", "../.."],
        &["policy", "explain", "--", "ls", "-l", "secret"],
        &["policy", "explain", "--", "rm", "f"],
        &["policy", "explain", "--env", "LD_PRELOAD", "--", "ls"],
        &["policy", "explain", "--env", "LC_ALL", "--stdin", "--", "ls"],
        &["policy", "explain", "--", "./ls"],
        &["policy", "explain", "--script", "ls", "--interpreter", "sh"],
        &["policy", "explain", "--script", "ls", "--interpreter", "zsh"],
        &["policy", "explain", "--user", "somebody", "--", "cat", "f"],
        &["policy", "explain", "--workspace", "/etc", "--", "ls"],
        &["policy", "explain"],
        &["policy", "check"],
        &["--json", "policy", "check"],
    ] {
        let (code, shown, said) = home.ctl(arguments);
        writeln!(text, "$ skynetctl {}\n{shown}{said}exit {code}\n", arguments.join(" ")).unwrap();
    }
    let found = settled(&home, &daemon, &text);
    check("ctl-policy.txt", &found, include_str!("../golden/ctl-policy.txt"));
}
