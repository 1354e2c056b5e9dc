//! The mayor with real containers. The test program plays three parts: the `keg` binary
//! (`sandbox run`), a mayor in a process of its own (`mayor`), and the app inside (`app …`).
//! Needs root; says so and passes without.

mod app;
mod cases;
mod failures;
mod world;

use std::sync::Arc;

type Case = (&'static str, fn(&mut world::World));

fn all() -> impl Iterator<Item = &'static Case> {
    cases::CASES.iter().chain(failures::CASES)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("sandbox") => std::process::exit(sandbox::main(&args[1..])),
        Some("work") => std::process::exit(mayor::work_egress()),
        Some("mayor") => return mayor(&args[1..]),
        Some("app") => return app::main(&args[1..]),
        Some("--list") => return all().for_each(|(name, _)| println!("{name}: test")),
        _ => {}
    }
    let filter = args.iter().find(|a| !a.starts_with('-'));
    if !rustix::process::geteuid().is_root() {
        println!("the mayor needs root: 0 of {} cases run", all().count());
        return;
    }
    let mut failed = 0;
    for (name, case) in all().filter(|(name, _)| filter.is_none_or(|f| name.contains(f))) {
        let mut world = world::World::new();
        let begun = std::time::Instant::now();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&mut world)));
        if result.is_err() {
            world.tell();
        }
        drop(world);
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("mayor::{name} ... {verdict} ({} ms)", begun.elapsed().as_millis());
        failed += usize::from(result.is_err());
    }
    std::process::exit(i32::from(failed > 0));
}

/// A mayor until SIGTERM, as `keg up` runs it.
fn mayor(args: &[String]) {
    let [home, rest @ ..] = args else { panic!("which Keg?") };
    let keg = Arc::new(keg::Keg::open(home.as_ref()).expect("a Keg"));
    let keep = rest.iter().any(|arg| arg == "--keep");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.expect("a runtime").block_on(async {
        let terminate = tokio::signal::unix::SignalKind::terminate();
        let mut terminated = tokio::signal::unix::signal(terminate).expect("a handler");
        let shutdown = async move {
            terminated.recv().await;
        };
        let url = "http://{app}.localhost:8080";
        let options = mayor::Options::new(keg::machine::name(), url, keep, shutdown);
        mayor::serve(keg, options).await
    });
    result.expect("the mayor works");
}
