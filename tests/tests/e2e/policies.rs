//! The programs of `examples/policies`, as people run them.

use std::{fs, path::PathBuf, process::Command};

use keg::Keg;
use keg_tests::{Done, Repo, World, process::run};
use serde_json::{Value as Json, json};

/// A program of `examples/policies` on a Keg, to be run.
pub fn policy(world: &World, name: &str, args: &[&str]) -> Command {
    let keg = PathBuf::from(world.keg_command(&[]).get_program());
    let mut path = keg.parent().expect("a directory").as_os_str().to_owned();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    let mut command = Command::new(Repo::project("examples/policies").join(name));
    command.args(args).env("PATH", path).env("KEG_HOME", world.home()).env_remove("KEG_URL");
    command
}

fn ask(world: &World, name: &str, args: &[&str]) -> Done {
    run(&mut policy(world, name, args))
}

fn lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// A Keg that nothing runs on.
fn quiet() -> World {
    let world = World::down();
    Keg::create(&world.home()).expect("a Keg");
    world
}

#[test]
fn each_says_what_it_is_for_and_refuses_what_it_does_not_understand() {
    let world = quiet();
    let readme = fs::read_to_string(Repo::project("examples/policies/README.md")).expect("there");
    for entry in fs::read_dir(Repo::project("examples/policies")).expect("there").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        if name == "README.md" {
            continue;
        }
        assert!(readme.contains(&format!("- `{name}`: ")), "{name} has no line in the README");
        let help = ask(&world, &name, &["--help"]).ok();
        assert!(help.to_lowercase().contains("usage: ") && help.contains(&name), "{help}");
        let wrong = ask(&world, &name, &["--nonsense"]);
        assert!(wrong.code == 2 && wrong.err.contains("--nonsense"), "{wrong:?}");
    }
}

#[test]
fn what_is_kept_is_said_by_subtree_and_checked_at_once() {
    let world = quiet();
    assert_eq!(lines_of(&ask(&world, "keep", &[]).ok()), json!({}));
    let rules = ["/", "9 versions", "/apps/*", "2 weeks", "--grace", "5 minutes"];
    let said = lines_of(&ask(&world, "keep", &rules).ok());
    let paths = json!({"/machines": "100 versions or 1 day", "/apps/*": "2 weeks"});
    assert_eq!(said, json!({"keep": "9 versions", "paths": paths, "grace": "5 minutes"}));
    for rule in ["3 fortnights", "0 versions", ""] {
        let wrong = ask(&world, "keep", &["/photos", rule]);
        assert!(wrong.code == 1 && wrong.err.contains("nothing was changed"), "{wrong:?}");
        assert_eq!(lines_of(&ask(&world, "keep", &[]).ok()), said, "{rule:?}");
    }
    let less = lines_of(&ask(&world, "keep", &["/apps/*", "default", "/", "default"]).ok());
    assert_eq!(less["paths"], json!({"/machines": "100 versions or 1 day"}));
    assert_eq!(less.get("keep"), None);
}

fn lines_of(text: &str) -> Json {
    serde_json::from_str(text).expect(text)
}

#[test]
fn each_night_what_is_cold_becomes_small() {
    let world = quiet();
    let file = world.scratch().join("file");
    let put = |word: &str| {
        let lines: String = (0..5000).map(|n| format!("{word} {n}\n")).collect();
        fs::write(&file, lines).expect("written");
        world.keg(&["put", "/notes", &file.display().to_string()]).ok();
    };
    put("one");
    put("two");
    let nights = lines(&ask(&world, "pack-nightly", &["--every", "0", "--times", "2"]).ok());
    assert_eq!(nights.len(), 2, "{nights:?}");
    assert_eq!(
        (&nights[0]["packed"]["removed"], &nights[1]["packed"]["removed"]),
        (&json!(1), &json!(0))
    );
    assert!(nights.iter().all(|night| night["collected"]["needed"].as_u64() > Some(0)));
    let all = lines(&ask(&world, "pack-nightly", &["--all"]).ok());
    assert_eq!(all[0]["packed"]["removed"], json!(1), "{all:?}");
    assert!(world.keg(&["cat", "/notes"]).ok().starts_with("two 0\n"));
    world.keg(&["fsck"]).ok();
    // One that goes wrong is said, and is no reason to stop.
    fs::rename(world.home(), world.scratch().join("away")).expect("renamed");
    let wrong = ask(&world, "pack-nightly", &["--every", "0", "--times", "2"]);
    assert_eq!(wrong.err.matches("it went wrong").count(), 2, "{wrong:?}");
    assert_ne!(ask(&world, "pack-nightly", &[]).code, 0);
}
