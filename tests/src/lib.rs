//! End to end: the real binaries as a person uses them, on a Keg of each test's own.

pub mod http;
pub mod link;
pub mod look;
pub mod netns;
pub mod process;
pub mod repo;
// The builder's tests make the same roots.
#[path = "../../builder/tests/deploy/rootfs.rs"]
#[allow(dead_code, missing_docs)]
mod rootfs;
pub mod world;

use std::time::{Duration, Instant};

pub use process::{Done, Running};
pub use repo::{Push, Repo};
pub use world::World;

/// Longest time a test waits for one thing.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until something is there.
///
/// # Panics
/// After [`PATIENCE`].
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

/// Whether tests may fetch packages from the registries (`KEG_TEST_NETWORK=1`).
pub fn network() -> bool {
    let wanted = std::env::var_os("KEG_TEST_NETWORK").is_some_and(|value| value == "1");
    if !wanted {
        println!("skipped: it fetches packages; KEG_TEST_NETWORK=1 allows that");
    }
    wanted
}

/// The version of this machine's Python, as `.python-version` wants it.
pub fn python_version() -> String {
    rootfs::Python::of_machine().version
}
