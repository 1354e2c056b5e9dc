//! The direction of dependencies: `cli → {parts} → {sandbox, keg}`; parts never import one another.

use std::{fs, path::Path};

const PARTS: [&str; 7] = ["receiver", "importer", "builder", "registry", "mayor", "peer", "web"];
const BELOW: [&str; 2] = ["keg", "sandbox"];

#[test]
fn parts_import_only_what_is_below_them() {
    for part in PARTS {
        for dependency in workspace_dependencies(part) {
            assert!(BELOW.contains(&dependency.as_str()), "{part} must not import {dependency}");
        }
    }
}

#[test]
fn what_is_below_imports_no_part() {
    for below in BELOW {
        let found = workspace_dependencies(below);
        assert!(found.is_empty(), "{below} must stand alone, but imports {found:?}");
    }
}

#[test]
fn what_is_fuzzed_is_the_store_alone() {
    assert_eq!(workspace_dependencies("fuzz"), ["keg"]);
}

/// The members of this workspace that a member depends on, tests included.
fn workspace_dependencies(member: &str) -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(member).join("Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("each member has a manifest");
    let members: Vec<&str> = PARTS.into_iter().chain(BELOW).chain(["cli"]).collect();
    text.lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| *name != member && members.contains(name))
        .map(str::to_owned)
        .collect()
}
