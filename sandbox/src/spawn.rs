//! The caller's side: start a shim, wait for it, read its records.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::error::SandboxError;
use crate::record::{self, Exit, Outcome};
use crate::shim;
use crate::spec::Spec;

/// The program to run again: `$KEG_EXE`, else the running one.
pub fn self_exe() -> PathBuf {
    std::env::var_os("KEG_EXE").map_or_else(|| PathBuf::from("/proc/self/exe"), PathBuf::from)
}

/// Entry of the re-exec'd child. `args` follow `sandbox` on its command line.
pub fn main(args: &[String]) -> i32 {
    match args {
        [mode] if mode == "run" => shim::main(),
        _ => {
            eprintln!("keg sandbox: for internal use: `sandbox run` with a spec on standard input");
            2
        }
    }
}

/// Runs a container to its end; blocks. The container is stopped if the caller dies meanwhile.
///
/// # Errors
/// [`SandboxError::BadSpec`] before anything is done; [`SandboxError::Setup`] when the container
/// or its command could not start; [`SandboxError::Lost`] when the shim was killed.
pub fn run(spec: &Spec) -> Result<Exit, SandboxError> {
    let mut child = start(spec, true)?;
    let status = child
        .wait()
        .map_err(|source| SandboxError::System { what: "wait for the shim", source })?;
    match record::outcome(&spec.dir())? {
        Outcome::Exited(exit) => Ok(exit),
        Outcome::Failed(error) => Err(SandboxError::Setup(error)),
        _ if status.code() == Some(shim::FAILED) => {
            Err(SandboxError::Exists { id: spec.id.clone(), dir: spec.dir() })
        }
        _ => Err(SandboxError::Lost { id: spec.id.clone() }),
    }
}

/// Starts a container and returns its shim, which outlives the caller.
///
/// SIGTERM to the shim sends SIGTERM to the command, and after [`Spec::grace`] seconds kills it;
/// SIGQUIT kills it at once. Once the shim has ended, [`record::outcome`] tells what happened.
///
/// # Errors
/// [`SandboxError::BadSpec`], or the shim could not be started.
pub fn spawn(spec: &Spec) -> Result<Child, SandboxError> {
    start(spec, false)
}

/// As [`spawn`], but the container is stopped when the calling thread's process dies.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_tied(spec: &Spec) -> Result<Child, SandboxError> {
    start(spec, true)
}

fn start(spec: &Spec, tied: bool) -> Result<Child, SandboxError> {
    spec.validate()?;
    std::fs::create_dir_all(&spec.state_dir)
        .map_err(|e| SandboxError::io("create", &spec.state_dir, e))?;
    if spec.dir().exists() {
        return Err(SandboxError::Exists { id: spec.id.clone(), dir: spec.dir() });
    }
    let exe = self_exe();
    let passed: Vec<i32> = spec.fds.iter().map(|(from, _)| *from).collect();
    let mut command = Command::new(&exe);
    command.args(["sandbox", "run"]).stdin(Stdio::from(spec_file(spec)?));
    // SAFETY: only system calls that are allowed between fork and exec, no allocation.
    unsafe {
        command.pre_exec(move || {
            for fd in &passed {
                if libc::fcntl(*fd, libc::F_SETFD, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            if tied && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn().map_err(|e| SandboxError::io("run", &exe, e))
}

/// The spec in an anonymous file, so that handing it over never blocks.
fn spec_file(spec: &Spec) -> Result<File, SandboxError> {
    let failed = |source| SandboxError::System { what: "hand the spec over", source };
    let memfd = rustix::fs::memfd_create("keg-spec", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(memfd.map_err(|e| failed(e.into()))?);
    let bytes = serde_json::to_vec(spec).map_err(|e| failed(std::io::Error::other(e)))?;
    file.write_all(&bytes).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(file)
}
