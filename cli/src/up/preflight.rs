//! What must be true before a Keg can start, each said in one line when it is not.

use std::path::PathBuf;

use rustix::thread::{CapabilitySet, capabilities};

use crate::{args::Up, error::CommandError};

/// Capabilities the parent needs, to hand the right ones down.
const NEEDED: [(CapabilitySet, &str); 5] = [
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN (mounts and namespaces)"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN (network namespaces)"),
    (CapabilitySet::CHOWN, "CAP_CHOWN (owners of files)"),
    (CapabilitySet::SETUID, "CAP_SETUID (apps' users)"),
    (CapabilitySet::MKNOD, "CAP_MKNOD (devices of containers)"),
];

/// Rights and addresses.
pub fn check(args: &Up) -> Result<(), CommandError> {
    for (address, option) in [(args.listen, "--listen"), (args.router, "--router")] {
        if !address.ip().is_loopback() {
            return Err(CommandError::config(format!(
                "{option} {address} is not a loopback address, and Keg has no access tokens yet"
            ))
            .hint(format!("use {option} 127.0.0.1:{}", address.port())));
        }
    }
    let have = capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(cap, _)| !have.contains(*cap)).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(CommandError::config(format!("keg up needs root: missing {}", missing.join(", ")))
        .hint("run it with sudo, or as root"))
}

/// The Keg's directory, absolute.
pub fn home(args: &Up) -> Result<PathBuf, CommandError> {
    let home = args.home.clone().ok_or_else(|| {
        CommandError::cli("which directory is the Keg to live in?")
            .hint("give --home DIR or set KEG_HOME")
    })?;
    std::fs::create_dir_all(&home).map_err(|error| {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return error.into();
        }
        CommandError::config(format!("cannot make {}", home.display()))
            .because(error)
            .hint("choose a directory you may write to with --home DIR")
    })?;
    Ok(home.canonicalize()?)
}
