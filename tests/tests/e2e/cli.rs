//! Every command, for people and for scripts.

mod commands;
mod finding;
mod streams;
mod usage;

use std::{
    io,
    process::{Command, Stdio},
};

use keg_tests::{Repo, World, until};
use serde_json::Value as Json;

/// A Keg with the app `blog` in its second release, which says `two`.
fn blog() -> (World, Repo) {
    let world = World::with_python();
    let repo = world.probe("blog");
    repo.push().ok();
    let app = std::fs::read_to_string(repo.path().join("app.py")).expect("there");
    repo.write("app.py", &app.replace("WORD = \"one\"", "WORD = \"two\""));
    repo.commit("Two");
    repo.push().ok();
    until("the first to be retired", || (world.ps("blog").len() == 1).then_some(()));
    (world, repo)
}

/// Each line of an output, as JSON.
#[track_caller]
fn lines(text: &str) -> Vec<Json> {
    let parse = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    };
    text.lines().map(parse).collect()
}

/// A text field.
#[track_caller]
fn text<'a>(document: &'a Json, field: &str) -> &'a str {
    document[field].as_str().unwrap_or_else(|| panic!("{field} of {document}"))
}

/// Runs a command whose reader is gone; the exit code and what it says of that.
fn without_reader(command: &mut Command) -> (Option<i32>, String) {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let child = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn();
    let output = child.expect("it starts").wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
