//! Builds from source to release with the real store, mounts, sandbox and packs; only the
//! importer's answers are set by hand, and its packages are this machine's own programs. Needs
//! root. This program is its own `keg`: the sandbox re-executes it.

mod failures;
mod recovery;
mod releases;
mod rootfs;
mod world;

use std::{process::ExitCode, time::Instant};

use keg::{Keg, spawn::EXE_VARIABLE};

const TESTS: &[(&str, fn())] = &[
    ("a_python_app_becomes_a_release", releases::python_app),
    ("the_same_inputs_give_the_same_image", releases::deterministic),
    ("an_edit_builds_the_app_layer_alone", releases::one_line_edit),
    ("the_same_tree_is_never_built_twice", releases::cached),
    ("newer_packages_are_a_new_build", releases::refreshed),
    ("a_static_site_becomes_a_release", releases::static_site),
    ("a_new_configuration_is_released", releases::configuration),
    ("the_image_runs", releases::image_runs),
    ("each_failure_says_what_to_do", failures::each_says_what_to_do),
    ("a_failure_leaves_the_release", failures::leaves_the_release),
    ("a_build_sees_nothing_else", failures::isolation),
    ("a_killed_build_is_pending_and_done_again", recovery::killed),
    ("a_push_during_a_build_is_built_next", recovery::newer_push),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["sandbox", ..] => std::process::exit(sandbox::main(&args[1..])),
        ["work", "build", home, app] => {
            let keg = Keg::open(home.as_ref()).expect("a Keg");
            std::process::exit(builder::work_build(&keg, &app.parse().expect("a name")));
        }
        ["--list", ..] => {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let exe = std::env::current_exe().expect("this program");
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var(EXE_VARIABLE, exe) };
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let fits = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(*part));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| fits(name)) {
        let started = Instant::now();
        let outcome = std::panic::catch_unwind(test);
        let seconds = started.elapsed().as_secs_f64();
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({seconds:.1} s)");
        if outcome.is_ok() { passed += 1 } else { failed += 1 }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
