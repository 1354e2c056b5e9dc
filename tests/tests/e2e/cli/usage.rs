//! Help, completions, and command lines that are wrong.

use std::process::Command;

use keg_tests::{Done, Running, world::binary};

/// Every command a person types.
const COMMANDS: [&str; 17] = [
    "up",
    "status",
    "ps",
    "apps",
    "logs",
    "ls",
    "cat",
    "log",
    "diff",
    "watch",
    "import",
    "import debian",
    "import pypi",
    "why",
    "rollback",
    "fsck",
    "completions",
];

fn keg(line: &str) -> Done {
    let mut command = Command::new(binary());
    command.args(line.split_whitespace()).env_remove("KEG_HOME").env_remove("KEG_URL");
    Running::start(&mut command).wait()
}

#[test]
fn help_has_an_example_of_each() {
    let all = keg("--help").ok();
    for command in COMMANDS {
        let help = keg(&format!("{command} --help")).ok();
        let example = format!("\n  keg {command}");
        assert!(help.contains("Example:") && help.contains(&example), "{command}:\n{help}");
        let name = command.split(' ').next().unwrap_or(command);
        assert!(all.contains(&format!("\n  {name} ")), "{name} in\n{all}");
        assert!(help.contains("--json") || ["import", "completions"].contains(&command), "{help}");
    }
    assert!(all.contains("$KEG_URL or $KEG_HOME") && all.contains("Exit codes:"), "{all}");
    // What services start is nothing for people.
    assert!(!all.contains("sandbox") && !all.contains("Service"), "{all}");
    assert!(keg("--version").ok().starts_with("keg 0."));
}

#[test]
fn completions_for_shells() {
    for (shell, check) in [("bash", "bash -n"), ("zsh", "zsh -n"), ("fish", "fish -n")] {
        let script = keg(&format!("completions {shell}")).ok();
        for word in ["rollback", "status", "--json"] {
            let word = if shell == "fish" { word.trim_start_matches('-') } else { word };
            assert!(script.contains(word), "{shell} without {word}");
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("script");
        std::fs::write(&path, script).expect("written");
        // Shells that are here read it without complaint.
        let line = format!("! command -v {shell} >/dev/null || {check} {}", path.display());
        Running::start(Command::new("sh").args(["-c", &line])).wait().ok();
    }
}

#[test]
fn wrong_command_lines() {
    for line in [
        "",
        "frob",
        "ps --colour",
        "logs",
        "diff /a",
        "watch / --count many",
        "up --listen nowhere",
        "import debian trixie",
        "completions tcsh",
        "work frob",
    ] {
        let done = keg(line);
        assert_eq!(done.code, 2, "{line:?}: {done:?}");
        assert!(!done.err.is_empty() && done.out.is_empty(), "{line:?}: {done:?}");
    }
    for line in ["ps --colour --json", "diff /a --json", "import pypi --json"] {
        let done = keg(line);
        assert_eq!(done.code, 2, "{line:?}: {done:?}");
        let document: serde_json::Value = serde_json::from_str(&done.err).expect("JSON");
        assert!(document["error"]["message"].is_string(), "{document}");
        assert!(document["error"]["hint"].is_string(), "{document}");
    }
}
