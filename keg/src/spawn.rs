//! Starting this very program again for work that is heavy or blocks.

use std::{ffi::OsStr, path::PathBuf, process::Command};

/// Names the binary to start instead of the running one (tests are not `keg` themselves).
pub const EXE_VARIABLE: &str = "KEG_EXE";

/// The program to start: `$KEG_EXE`, or the running one, also after its file was replaced.
pub fn self_exe() -> PathBuf {
    match std::env::var_os(EXE_VARIABLE) {
        Some(path) if !path.is_empty() => path.into(),
        _ => PathBuf::from("/proc/self/exe"),
    }
}

/// A command that starts it with these arguments, such as `["work", "import", KEY]`. The
/// environment, and with it `$KEG_HOME`, is inherited.
pub fn command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(self_exe());
    command.args(args);
    command
}
