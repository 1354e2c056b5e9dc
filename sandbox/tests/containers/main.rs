//! Real containers. The test program plays the `keg` binary: it is re-executed as
//! `<itself> sandbox run`. Needs root; says so and passes without.

mod cases;
mod lives;
mod world;

/// Every case of every module.
fn all() -> impl Iterator<Item = &'static Case> {
    cases::CASES.iter().chain(lives::CASES)
}

type Case = (&'static str, fn(&world::World));

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "sandbox") {
        std::process::exit(sandbox::main(&args[1..]));
    }
    if args.iter().any(|a| a == "--list") {
        all().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let filter = args.iter().find(|a| !a.starts_with('-'));
    // SAFETY: plain system call.
    if unsafe { libc::geteuid() } != 0 {
        println!("containers need root: 0 of {} cases run", all().count());
        return;
    }
    let exe = std::env::current_exe().expect("a program knows its own path");
    // SAFETY: there is one thread.
    unsafe { std::env::set_var("KEG_EXE", exe) };
    let mut failed = 0;
    for (name, case) in all().filter(|(n, _)| filter.is_none_or(|f| n.contains(f))) {
        let world = world::World::new(name);
        let begun = std::time::Instant::now();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&world)));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("containers::{name} ... {verdict} ({} ms)", begun.elapsed().as_millis());
        failed += usize::from(result.is_err());
    }
    std::process::exit(i32::from(failed > 0));
}
