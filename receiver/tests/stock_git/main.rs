//! Stock git against the receiver, over HTTP, with the real child processes.
//!
//! This binary is its own `keg`: `work receive …` runs a child, `serve <home>` the front, and
//! anything else the tests (a word selects those whose names contain it).

mod deploy;
mod fetch;
mod hostile;
mod http;
mod push;
mod refused;
mod world;

use std::{panic, process::ExitCode, time::Instant};

/// A test and its name.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["work", "receive", ..] => {
            let code = receiver::work_receive(&args[2..]);
            return ExitCode::from(u8::try_from(code).unwrap_or(1));
        }
        ["serve", home] => {
            world::serve(home);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let wanted = args.iter().find(|arg| !arg.starts_with('-'));
    let tests =
        [push::TESTS, refused::TESTS, deploy::TESTS, fetch::TESTS, http::TESTS, hostile::TESTS]
            .concat();
    let mut failed = Vec::new();
    for (name, test) in tests {
        if wanted.is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        let start = Instant::now();
        let ok = panic::catch_unwind(test).is_ok();
        println!("test {name} ... {} ({:.2?})", if ok { "ok" } else { "FAILED" }, start.elapsed());
        if !ok {
            failed.push(name);
        }
    }
    println!(
        "test result: {}",
        if failed.is_empty() { "ok".to_owned() } else { failed.join(", ") }
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
