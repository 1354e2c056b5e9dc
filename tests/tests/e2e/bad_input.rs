//! What people and machines get wrong: one clear message, the right exit code, nothing lost.

mod apps;
mod damage;
mod names;
mod pushes;
mod setup;

use keg_tests::{Done, World};

/// A command that must fail with this code, having said all these words on standard error, with a
/// cause and what to do next.
#[track_caller]
fn fails(done: &Done, code: i32, words: &[&str]) {
    assert_eq!(done.code, code, "{done:?}");
    for word in words.iter().chain(&["Error: ", "Hint: "]) {
        assert!(done.err.contains(word), "{word:?} is missing in:\n{}", done.err);
    }
}

/// The same of `keg …` on a Keg; with `--json` the error is one JSON document.
#[track_caller]
fn refuses(world: &World, args: &[&str], code: i32, words: &[&str]) {
    fails(&world.keg(args), code, words);
    let done = world.keg(&[args, &["--json"]].concat());
    assert_eq!(done.code, code, "{done:?}");
    let document: serde_json::Value =
        serde_json::from_str(&done.err).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    let hint = document["error"]["hint"].as_str().unwrap_or_default();
    let message = document["error"]["message"].as_str().unwrap_or_default();
    assert!(!hint.is_empty() && !message.is_empty(), "{document}");
}
