//! The last step inside the container: descriptors, filter, and `execve`.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcontainer::workload::ExecutorValidationError as Invalid;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError};
use oci_spec::runtime::Spec as OciSpec;

use crate::seccomp::Programs;
use crate::spec::Spec;
use crate::tiny::{self, Init};

/// Search path of a container that sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the command of a spec. Everything that can fail or allocate is prepared by the shim.
#[derive(Clone)]
pub struct Launcher {
    /// The filters, compiled.
    pub programs: Arc<Programs>,
    /// What to run.
    pub spec: Arc<Spec>,
    /// PID 1, if the command is not to be it.
    pub init: Option<Arc<Init>>,
}

impl Launcher {
    fn search_path(&self) -> &str {
        let named = self.spec.env.iter().rev().find(|(name, _)| name == "PATH");
        named.map_or(DEFAULT_PATH, |(_, value)| value)
    }

    /// The file that the command names, as seen from inside.
    fn find(&self) -> Result<PathBuf, Invalid> {
        let name = self.spec.args.first().map(String::as_str).unwrap_or_default();
        let refuse = |text: String| Err(Invalid::ArgValidationError(text));
        if name.contains('/') {
            return match runnable(Path::new(name)) {
                Runnable::Yes => Ok(PathBuf::from(name)),
                Runnable::No => refuse(format!("the command {name} is not executable by all")),
                Runnable::Absent => refuse(format!("the command {name} does not exist")),
            };
        }
        let path = self.search_path();
        let mut present = false;
        for dir in path.split(':').filter(|d| !d.is_empty()) {
            let file = Path::new(dir).join(name);
            match runnable(&file) {
                Runnable::Yes => return Ok(file),
                Runnable::No => present = true,
                Runnable::Absent => {}
            }
        }
        if present {
            return refuse(format!("the command {name} is in PATH but not executable by all"));
        }
        refuse(format!("the command {name} is not in the PATH ({path})"))
    }

    fn environment(&self) -> Vec<CString> {
        let mut vars: Vec<(String, String)> = Vec::with_capacity(self.spec.env.len() + 4);
        for (name, value) in &self.spec.env {
            vars.retain(|(other, _)| other != name);
            vars.push((name.clone(), value.clone()));
        }
        let mut default = |name: &str, value: String| {
            if !vars.iter().any(|(other, _)| other == name) {
                vars.push((name.into(), value));
            }
        };
        default("PATH", DEFAULT_PATH.into());
        // Set here so that nothing in the container's user database is ever looked up.
        default("HOME", if self.spec.uid == 0 { "/root".into() } else { "/".into() });
        if !self.spec.fds.is_empty() {
            default("LISTEN_FDS", self.spec.fds.len().to_string());
            // Process ids are dealt in order in a fresh namespace.
            default("LISTEN_PID", if self.spec.init { "2".into() } else { "1".into() });
        }
        vars.into_iter().filter_map(|(k, v)| CString::new(format!("{k}={v}")).ok()).collect()
    }

    fn run(&self, file: &Path) -> std::io::Result<std::convert::Infallible> {
        let program = CString::new(file.as_os_str().as_encoded_bytes())?;
        let args = self
            .spec
            .args
            .iter()
            .map(|a| CString::new(a.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let env = self.environment();
        writable_null()?;
        let mut fds = self.spec.fds.clone();
        let report = fds.iter().map(|(_, to)| *to).max().unwrap_or(2) + 1;
        fds.extend(self.init.as_ref().map(|init| (init.write.as_raw_fd(), report)));
        let init = self.init.as_ref().map(|init| tiny::duplicate(&init.program, report + 1));
        let init = init.transpose()?;
        place(&fds)?;
        reset_signals(init.is_some())?;
        // SAFETY: plain system call. The shim's death takes the container with it.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        for filter in self.programs.iter() {
            seccompiler::apply_filter(filter).map_err(std::io::Error::other)?;
        }
        if let Some(init) = init {
            let own = [c"init".to_owned(), c"init".to_owned(), number(report)?, program];
            return Err(tiny::exec(init.as_raw_fd(), &[&own[..], &args].concat(), &env));
        }
        Err(tiny::exec_path(&program, &args, &env))
    }
}

impl Executor for Launcher {
    fn exec(&self, _: &OciSpec) -> Result<(), ExecutorError> {
        let file = self.find().map_err(|e| ExecutorError::Other(e.to_string()))?;
        let error = match self.run(&file) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        // Too late for an error record: say it where the command would have spoken.
        eprintln!("keg: cannot run {}: {error}", file.display());
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        // SAFETY: plain system call; nothing of the shim's copy may run its destructors here.
        unsafe { libc::_exit(code) }
    }

    fn validate(&self, _: &OciSpec) -> Result<(), Invalid> {
        self.find().map(|_| ())
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The environment is handed to execve, in the spec's order.
        Ok(())
    }
}

fn number(value: i32) -> std::io::Result<CString> {
    Ok(CString::new(value.to_string())?)
}

enum Runnable {
    Yes,
    No,
    Absent,
}

fn runnable(file: &Path) -> Runnable {
    match std::fs::metadata(file) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => {
            // SAFETY: a live zero-terminated string; checks with the container's own ids.
            let allowed = CString::new(file.as_os_str().as_encoded_bytes())
                .is_ok_and(|p| unsafe { libc::access(p.as_ptr(), libc::X_OK) } == 0);
            if allowed { Runnable::Yes } else { Runnable::No }
        }
        Ok(_) => Runnable::No,
        Err(_) => Runnable::Absent,
    }
}

/// Reopens /dev/null for writing where an output stream is that: libcontainer opens the
/// container's own for reading only.
fn writable_null() -> std::io::Result<()> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    for fd in [1, 2] {
        let Ok(meta) = std::fs::metadata(format!("/proc/self/fd/{fd}")) else { continue };
        if meta.file_type().is_char_device() && meta.rdev() == libc::makedev(1, 3) {
            let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
            // SAFETY: plain system call on open descriptors.
            unsafe { libc::dup2(null.as_raw_fd(), fd) };
        }
    }
    Ok(())
}

/// Moves descriptors to their numbers, whatever the order and overlap.
fn place(fds: &[(i32, i32)]) -> std::io::Result<()> {
    let check = |fd| if fd < 0 { Err(std::io::Error::last_os_error()) } else { Ok(fd) };
    let mut parked = Vec::with_capacity(fds.len());
    let free = fds.iter().map(|(_, to)| *to + 1).max().unwrap_or(0);
    for (from, to) in fds {
        // SAFETY: plain system calls on descriptor numbers.
        let fd = check(unsafe { libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, free) })?;
        parked.push((fd, *to));
    }
    for (fd, to) in parked {
        // SAFETY: as above; the copy is not closed on exec.
        check(unsafe { libc::dup2(fd, to) })?;
    }
    Ok(())
}

/// Undoes what Rust's runtime and the shim did to signals: applications expect the defaults.
/// PID 1 begins with all of them `held`, so that one sent during set-up reaches the command.
fn reset_signals(held: bool) -> std::io::Result<()> {
    // SAFETY: plain system calls with live arguments; no handlers of ours exist.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        if held {
            libc::sigfillset(&mut set)
        } else {
            libc::sigemptyset(&mut set)
        };
        if libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}
