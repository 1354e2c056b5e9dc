//! Kegs that talk over HTTP on loopback: real processes, killed at any moment.
//!
//! This file is its own harness because every end is this program started again: `serve HOME`,
//! `pull|push|clone URL HOME PATH`, and, by the server, `work sync VERB`.

#![allow(clippy::disallowed_methods, reason = "a test may have threads")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ends;
mod line;
mod runs;
mod wire;

use std::{process::ExitCode, time::Instant};

/// How a test ended, if it did not panic.
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Something it needs is not here.
    Skipped(String),
}

type Test = (&'static str, fn() -> Outcome);

macro_rules! tests {
    ($($module:ident::$name:ident $(-> $skips:ident)?),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), || {
            tests!(@run $module::$name $($skips)?)
        })),*]
    };
    (@run $module:ident::$name:ident skips) => { $module::$name() };
    (@run $module:ident::$name:ident) => {{ $module::$name(); Outcome::Passed }};
}

const TESTS: &[Test] = tests![
    runs::a_value_goes_there_and_back_in_two_requests_each,
    runs::what_is_refused,
    runs::a_backup_is_made_followed_and_restored,
    runs::killed_pulls_go_on,
    runs::killed_servers_leave_both_sides_sound,
    runs::memory_is_bounded,
    wire::one_line_costs_a_few_bytes,
    wire::one_percent_of_a_tree_costs_little,
    wire::one_percent_of_the_large_tree -> skips,
    wire::latency_is_paid_twice,
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = ends::main(&args) {
        return code;
    }
    if args.iter().any(|arg| arg == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted = args.iter().find(|arg| !arg.starts_with('-'));
    for (name, test) in TESTS {
        if wanted.is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        let start = Instant::now();
        // A panic ends the run with its message and a status that is not 0.
        match test() {
            Outcome::Passed => println!("test {name} ... ok ({:.1?})", start.elapsed()),
            Outcome::Skipped(why) => eprintln!("test {name} ... SKIPPED: {why}"),
        }
    }
    ExitCode::SUCCESS
}
