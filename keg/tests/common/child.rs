//! A test binary as its own child: one of its tests is the door, and does what the child is told
//! instead of what it tests.

use std::process::Command;

/// What a child is told to do.
const CHILD: &str = "KEG_TEST_CHILD";

/// What this process is told to do; `None`: it is no child.
pub fn told() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// A child that enters by the test of this name, and is told this. It has one thread.
pub fn command(door: &str, what: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", door, "--nocapture", "--test-threads=1"]).env(CHILD, what);
    command
}
