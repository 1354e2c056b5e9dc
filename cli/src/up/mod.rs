//! `keg up`: the small parent of everything. It checks the machine, opens the Keg, binds the two
//! listening sockets, starts the services and the work that is asked for, and restarts what dies.

mod machine;
mod preflight;
mod services;
mod supervisor;
mod work;

use std::{fs, io::Write, net::TcpListener, os::fd::OwnedFd, path::Path, sync::Arc};

use keg::Keg;
use rustix::{
    fs::{FlockOperation, flock},
    mount::{MountPropagationFlags, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::{
    args::Up,
    error::CommandError,
    find::{self, Running},
};

/// Runs until told to stop by SIGTERM or SIGINT.
pub fn up(args: Up) -> Result<(), CommandError> {
    preflight::check(&args)?;
    let home = preflight::home(&args)?;
    let keg = open(&home)?;
    let _lock = take_lock(&home)?;
    let front = bind(args.listen, "--listen")?;
    let router = bind(args.router, "--router")?;
    // Here, where people's mounts are, not in the namespace that follows.
    if let Err(error) = keg::mount::sweep(&keg) {
        eprintln!("keg up: what a crash left of `keg mount` cannot be taken away: {error}");
    }
    own_mounts()?;
    let running = Running {
        pid: std::process::id(),
        home: keg.home().to_owned(),
        machine: keg::machine::name(),
        url: format!("http://{}", address(&front)?),
        apps_url: format!("http://{{app}}.localhost:{}", address(&router)?.port()),
        started: keg::time::rfc3339(keg::time::now_ms()),
    };
    write_running(&home, &running)?;
    machine::write(&keg, &running)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sockets = services::Sockets { front: front.into(), router: router.into() };
    let result = runtime.block_on(supervisor::run(&keg, &running, sockets, args.keep, args.output));
    remove_running(&home);
    result
}

fn open(home: &Path) -> Result<Arc<Keg>, CommandError> {
    Keg::open_or_create(home).map(Arc::new).map_err(|error| {
        CommandError::config(format!("the Keg in {} cannot be opened", home.display()))
            .because(error)
            .hint("choose another directory with --home, or check it with `keg fsck`")
    })
}

/// The lock is held for as long as we live; the kernel lets go of it however we die.
fn take_lock(home: &Path) -> Result<OwnedFd, CommandError> {
    fs::create_dir_all(home.join("run"))?;
    let path = find::lock_path(home);
    let file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        CommandError::config(format!("a Keg is already running in {}", home.display()))
            .hint("`keg status` shows it; stop it first, or choose another --home")
    })?;
    Ok(file.into())
}

fn bind(address: std::net::SocketAddr, option: &str) -> Result<TcpListener, CommandError> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "another program listens there: stop it, or choose another port with {option} \
                 127.0.0.1:PORT (0 picks a free one)"
            ),
            _ => format!("choose another address with {option} 127.0.0.1:PORT"),
        };
        CommandError::config(format!("cannot listen on {address}")).because(error).hint(hint)
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn address(listener: &TcpListener) -> Result<std::net::SocketAddr, CommandError> {
    Ok(listener.local_addr()?)
}

/// A mount namespace of our own: whatever happens to us, no mount is left behind on the machine.
pub fn own_mounts() -> Result<(), CommandError> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    // SAFETY: only the mount namespace is unshared, and no other thread exists to be surprised.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
        .and_then(|()| mount_change("/", private))
        .map_err(|error| {
            CommandError::config("cannot make a mount namespace")
                .because(error)
                .hint("run `keg up` as root on the host, or in a container with CAP_SYS_ADMIN")
        })
}

fn write_running(home: &Path, running: &Running) -> Result<(), CommandError> {
    let path = find::running_path(home);
    let draft = path.with_extension("json.new");
    let mut file = fs::File::create(&draft)?;
    serde_json::to_writer_pretty(&mut file, running).map_err(std::io::Error::from)?;
    file.write_all(b"\n")?;
    fs::rename(&draft, &path)?;
    Ok(())
}

fn remove_running(home: &Path) {
    // The lock is the truth; the file only says where to look, so a failure here harms nobody.
    fs::remove_file(find::running_path(home)).unwrap_or_default();
}
