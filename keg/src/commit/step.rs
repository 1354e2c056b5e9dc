//! Dying at a chosen step, for tests: `KEG_DIE_AT=noted:3` kills a debug build the third time it
//! comes to the step `noted`. A release build has no such thing.

/// Tells that a step was reached.
#[cfg(not(debug_assertions))]
pub(crate) fn step(_name: &str) {}

/// Whether this is the step to die at, once the caller is in the middle of it.
#[cfg(not(debug_assertions))]
pub(crate) fn dies_at(_name: &str) -> bool {
    false
}

/// Tells that a step was reached.
#[cfg(debug_assertions)]
pub(crate) fn step(name: &str) {
    if dies_at(name) {
        die();
    }
}

/// Whether this is the step to die at, once the caller is in the middle of it.
#[cfg(debug_assertions)]
pub(crate) fn dies_at(name: &str) -> bool {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };
    static CHOSEN: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static TIMES: AtomicU32 = AtomicU32::new(0);
    let chosen = CHOSEN.get_or_init(|| {
        let spec = std::env::var("KEG_DIE_AT").ok()?;
        let (step, times) = spec.split_once(':')?;
        Some((step.to_owned(), times.parse().ok()?))
    });
    match chosen {
        Some((step, times)) if step == name => TIMES.fetch_add(1, Ordering::Relaxed) + 1 == *times,
        _ => false,
    }
}

/// As `kill -9` does.
pub(crate) fn die() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}
