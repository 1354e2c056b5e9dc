//! Pulling images: by the API, by tar, by skopeo and podman.
//!
//! This file is its own harness because digests are computed by a child process, which is this
//! program started again (`work layer KID`).

mod api;
mod clients;
mod fixture;
mod tars;
mod world;

use std::{future::Future, pin::Pin, process::ExitCode, time::Instant};

use keg::Keg;
use tokio::process::Command;

/// How a test ended, if it did not panic.
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Something it needs is not here.
    Skipped(&'static str),
}

type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = Outcome>>>);

macro_rules! tests {
    ($($module:ident::$name:ident $(-> $skips:ident)?),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), || Box::pin(async {
            tests!(@run $module::$name $($skips)?)
        }))),*]
    };
    (@run $module:ident::$name:ident skips) => { $module::$name().await };
    (@run $module:ident::$name:ident) => {{ $module::$name().await; Outcome::Passed }};
}

const TESTS: &[Test] = tests![
    api::digests_stay_the_same,
    api::releases_share_what_is_the_same,
    api::many_clients_make_one_computation,
    api::the_api_is_the_specification,
    tars::tar_unpacks_to_the_same_tree,
    tars::ranges_are_parts_of_the_whole,
    tars::damage_is_never_served_as_whole,
    clients::skopeo_copies -> skips,
    clients::podman_pulls -> skips,
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, second, rest @ ..] = args.as_slice()
        && (first.as_str(), second.as_str()) == ("work", "layer")
    {
        let home = std::env::var_os("KEG_HOME").expect("the parent says where the Keg is");
        let keg = Keg::open(home.as_ref()).expect("the Keg is there");
        return ExitCode::from(registry::work_layer(&keg, rest) as u8);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let wanted = args.iter().find(|arg| !arg.starts_with('-'));
    if args.iter().any(|arg| arg == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    for (name, test) in TESTS {
        if wanted.is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        let start = Instant::now();
        // A panic ends the run with its message and a status that is not 0.
        match runtime.block_on(test()) {
            Outcome::Passed => println!("test {name} ... ok ({:.1?})", start.elapsed()),
            Outcome::Skipped(why) => eprintln!("test {name} ... SKIPPED: {why}"),
        }
    }
    ExitCode::SUCCESS
}

/// Whether a program is there.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs a program to its end; gives what it printed.
pub async fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).kill_on_drop(true).output().await;
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
