//! The child that sets a container up, starts it, and stays as its supervisor.
//!
//! It is a fresh `exec` of the calling program, because libcontainer changes the process it runs
//! in for good (not dumpable, other directory for a moment) and blocks. In order: records and
//! control group are claimed, the filter compiled, the network entered, a private mount namespace
//! made in which the root allows no devices, then libcontainer builds, the processor quota is set,
//! the command started, and the shim becomes the [waiter](crate::tiny).

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{SandboxError, SetupError};
use crate::executor::Launcher;
use crate::record::{self, PidRecord};
use crate::spec::{Network, Output, Spec};
use crate::tiny::{self, Tiny, Watched};
use crate::{cgroup, netns, oci, seccomp, trace};

/// Exit code of a shim that could not start its container; `error.json` says why.
pub const FAILED: i32 = 125;
/// Largest spec that is read.
const MAX_SPEC: u64 = 16 << 20;
/// What libcontainer keeps while it builds, inside the container's directory.
const LIBRARY_DIR: &str = "library";
/// The OCI bundle: only `config.json`.
const BUNDLE_DIR: &str = "bundle";

/// Entry of the child: reads a spec from standard input. Returns only on failure.
pub fn main() -> i32 {
    let begun = Instant::now();
    let spec = match read_spec() {
        Ok(spec) => spec,
        Err(error) => {
            eprintln!("keg sandbox: {}", error.chain());
            return FAILED;
        }
    };
    // Signals wait until the waiter asks for them: a stop in mid set-up is obeyed, not lost.
    tiny::hold_signals();
    // SAFETY: plain system call; fails harmlessly if this is a session leader already.
    unsafe { libc::setsid() };
    if let Err(error) = claim(&spec) {
        // Not ours to write into: another container may live there.
        eprintln!("keg sandbox: {}", error.chain());
        return FAILED;
    }
    let log = trace::capture();
    let error = match start(&spec, begun) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let report = explain(&spec, error, trace::text(&log));
    cgroup::kill(&spec.id);
    cgroup::remove(&spec.id);
    let _ = fs::remove_dir_all(spec.dir().join(LIBRARY_DIR));
    if let Err(error) = record::write(&spec.dir(), record::ERROR_FILE, &report) {
        eprintln!("keg sandbox: {}: {report}", error.chain());
    }
    FAILED
}

fn read_spec() -> Result<Spec, SandboxError> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_SPEC)
        .read_to_end(&mut bytes)
        .map_err(|source| SandboxError::System { what: "read the spec", source })?;
    let spec: Spec = serde_json::from_slice(&bytes).map_err(|e| SandboxError::System {
        what: "understand the spec",
        source: io::Error::other(e),
    })?;
    spec.validate()?;
    let null = File::open("/dev/null").map_err(|e| SandboxError::io("open", "/dev/null", e))?;
    // SAFETY: plain system call on an open descriptor: the container's standard input.
    unsafe { libc::dup2(null.as_raw_fd(), 0) };
    Ok(spec)
}

/// Makes the record directory: whoever makes it owns the id.
fn claim(spec: &Spec) -> Result<(), SandboxError> {
    let dir = spec.dir();
    let exists = || SandboxError::Exists { id: spec.id.clone(), dir: dir.clone() };
    match fs::create_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(exists()),
        other => other.map_err(|e| SandboxError::io("create", &dir, e))?,
    }
    cgroup::prepare();
    // An empty group left behind is reused; one with processes is not joined, since ending this
    // container would kill them.
    if !cgroup::pids(&spec.id).is_empty() {
        let _ = fs::remove_dir(&dir);
        return Err(exists());
    }
    Ok(())
}

fn start(spec: &Spec, begun: Instant) -> Result<std::convert::Infallible, SandboxError> {
    let programs = Arc::new(seccomp::compile(spec.profile)?);
    let stdout = Stream::open(&spec.stdout)?;
    let stderr = Stream::open(&spec.stderr)?;
    match &spec.network {
        Network::None => netns::unshare()?,
        Network::Join(path) => netns::join(path)?,
    }
    let home = File::open("/proc/self/ns/mnt")
        .map_err(|e| SandboxError::io("open", "/proc/self/ns/mnt", e))?;
    private_root(&spec.rootfs)?;
    let tiny = Tiny::new()?;
    // Held here as well: the waiter inherits the reading end of the report.
    let init = if spec.init { Some(Arc::new(tiny.init()?)) } else { None };
    let report = init.as_ref().map(|init| init.report.as_raw_fd());
    let launcher = Launcher { programs, spec: Arc::new(spec.clone()), init: init.clone() };
    let mut container = build(spec, launcher, stdout.given, stderr.given)?;
    // The shim must not keep other containers' mounts alive for as long as this one lives.
    move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Mount)).map_err(|e| {
        SandboxError::System { what: "leave the mount namespace", source: e.into() }
    })?;
    let pid = container.pid().map(|p| p.as_raw()).ok_or(SandboxError::System {
        what: "learn the process id of the container",
        source: io::ErrorKind::NotFound.into(),
    })?;
    if let Some(cpus) = spec.limits.cpus {
        cgroup::set_cpus(&spec.id, cpus)?;
    }
    container.start().map_err(|e| setup(&e))?;
    record::write(&spec.dir(), record::PID_FILE, &pid_record(pid, begun)?)?;
    for left in [LIBRARY_DIR, BUNDLE_DIR] {
        let _ = fs::remove_dir_all(spec.dir().join(left));
    }
    tiny.become_waiter(&Watched { spec, pid, report, pipes: [&stdout.read, &stderr.read] })
}

fn pid_record(pid: i32, begun: Instant) -> Result<PidRecord, SandboxError> {
    let me = std::process::id() as i32;
    Ok(PidRecord {
        pid,
        // A command that ended at once is a zombie until the waiter reaps it: 0 matches nothing.
        start: record::start_time(pid).unwrap_or(0),
        shim: me,
        shim_start: record::start_time(me).unwrap_or(0),
        boot_id: record::boot_id()
            .map_err(|source| SandboxError::System { what: "read the boot id", source })?,
        setup_us: begun.elapsed().as_micros() as u64,
    })
}

fn build(
    spec: &Spec,
    launcher: Launcher,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
) -> Result<Container, SandboxError> {
    let bundle = spec.dir().join(BUNDLE_DIR);
    fs::create_dir(&bundle).map_err(|e| SandboxError::io("create", &bundle, e))?;
    let config = oci::config(spec).map_err(|e| setup(&e))?;
    let file = bundle.join("config.json");
    let bytes = serde_json::to_vec(&config).map_err(|e| setup(&e))?;
    fs::write(&file, bytes).map_err(|e| SandboxError::io("write", &file, e))?;
    let mut builder = ContainerBuilder::new(spec.id.clone(), SyscallType::default())
        .with_root_path(spec.dir().join(LIBRARY_DIR))
        .map_err(|e| setup(&e))?
        .with_executor(launcher);
    if let Some(fd) = stdout {
        builder = builder.with_stdout(fd);
    }
    if let Some(fd) = stderr {
        builder = builder.with_stderr(fd);
    }
    builder.as_init(&bundle).with_systemd(false).build().map_err(|e| setup(&e))
}

/// An error of the container library, whose text wraps ours.
fn setup(error: &(dyn std::error::Error + 'static)) -> SandboxError {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    let message = deepest.to_string();
    SandboxError::Setup(SetupError { message, hint: String::new(), detail: String::new() })
}

/// Turns a failure into words for people. The library's own log names the step and the cause.
fn explain(spec: &Spec, error: SandboxError, detail: String) -> SetupError {
    let text = error.chain();
    let (message, hint) = if let Some(start) = text.find("the command ") {
        let hint = "check the command's name, and that the package it comes from is in the image";
        (text[start..].to_owned(), hint)
    } else if detail.starts_with("failed to chdir") {
        let message = format!("the working directory {} does not exist in the container", spec.cwd);
        (message, "set a working directory that the image has")
    } else if let Some(step) = detail.lines().next() {
        (format!("the container could not be set up: {step}"), "the detail says what was tried")
    } else {
        (format!("the container could not be set up: {text}"), "")
    };
    SetupError { message, hint: hint.into(), detail }
}

/// In a mount namespace of its own, lays the root over itself without devices and set-id bits:
/// a device file in a hostile image is only a name then.
fn private_root(root: &Path) -> Result<(), SandboxError> {
    let path = CString::new(root.as_os_str().as_bytes())
        .map_err(|e| SandboxError::io("name", root, e.into()))?;
    let none: *const libc::c_char = std::ptr::null();
    // SAFETY: plain system calls with live zero-terminated strings.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) != 0 {
            return Err(SandboxError::os("make a mount namespace"));
        }
        let flags = libc::MS_REC | libc::MS_SLAVE;
        if libc::mount(none.cast(), c"/".as_ptr(), none.cast(), flags, none.cast()) != 0 {
            return Err(SandboxError::os("make mounts private"));
        }
        let flags = libc::MS_BIND | libc::MS_REC;
        if libc::mount(path.as_ptr(), path.as_ptr(), none.cast(), flags, none.cast()) != 0 {
            return Err(SandboxError::io("use as a root", root, io::Error::last_os_error()));
        }
        let attributes = libc::mount_attr {
            attr_set: libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID,
            attr_clr: 0,
            propagation: 0,
            userns_fd: 0,
        };
        let ret = libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &attributes,
            size_of::<libc::mount_attr>(),
        );
        if ret != 0 {
            return Err(SandboxError::io("restrict the root", root, io::Error::last_os_error()));
        }
    }
    Ok(())
}

/// Both ends of an output stream.
struct Stream {
    /// What the container gets; `None`: the shim's own.
    given: Option<OwnedFd>,
    /// What the waiter reads lines from.
    read: Option<OwnedFd>,
}

impl Stream {
    fn open(output: &Output) -> Result<Stream, SandboxError> {
        match output {
            Output::Inherit => Ok(Stream { given: None, read: None }),
            Output::Path(path) => {
                let fifo = fs::metadata(path).is_ok_and(|m| m.file_type().is_fifo());
                // A FIFO held for reading as well never breaks, whoever reads it.
                let opened = OpenOptions::new().read(fifo).append(true).create(!fifo).open(path);
                let file = opened.map_err(|e| SandboxError::io("open for output", path, e))?;
                Ok(Stream { given: Some(file.into()), read: None })
            }
            Output::Lines { .. } => {
                let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                    .map_err(|e| SandboxError::System { what: "make a pipe", source: e.into() })?;
                Ok(Stream { given: Some(write), read: Some(read) })
            }
        }
    }
}
