//! The way out of an app that may use the network: `"egress": true`.
//!
//! An app's network namespace has a loopback interface and nothing else, with egress too: there is
//! no interface to the host, no forwarding, no address translation, no rule in the host's firewall,
//! and so nothing to be left behind. Instead, inside the namespace,
//! - every address is made a local one (a route), so that a connection to anywhere is tried;
//! - a program in the kernel ([`catcher`]) hands each to our listening socket, but for 127.0.0.0/8;
//! - we answer on 127.0.0.1:53 as the name server.
//!
//! A process outside ([`relay`]), one for each container, accepts the connection, sees where it was
//! to go, and if that is allowed ([`is_open`]) connects there itself and copies bytes both ways.
//! It ends with the container; when it dies, the mayor starts another.
//!
//! What this gives is TCP over IPv4 and names. A connection that cannot be made is accepted and
//! then reset, rather than refused.

mod catcher;
mod relay;
mod socket;

use std::{
    fs, io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::Path,
    process::Command,
    rc::Rc,
};

use serde::{Deserialize, Serialize};

use crate::events::handle;

pub use relay::main;

/// File of the [`Record`] in a process's directory.
const RECORD: &str = "egress.json";
/// Numbers of the relay's descriptors, from this one on: see [`Inside`] and the supervisor's.
const FIRST_FD: RawFd = 3;

/// What there is of us inside a network namespace.
pub struct Inside {
    /// Gets all connections to other machines.
    tcp: OwnedFd,
    /// Questions for names.
    names_udp: OwnedFd,
    /// The same over TCP.
    names_tcp: OwnedFd,
    /// Holds the program in place; it is gone once this is closed everywhere.
    catcher: OwnedFd,
}

/// A running relay, as it is written down for the next mayor.
#[derive(Serialize, Deserialize)]
struct Record {
    pid: i32,
    start: u64,
}

/// Opens a namespace: what the app sends from now on waits for a relay.
///
/// # Errors
/// The kernel lacks something, or the name server's port is taken.
pub fn open(namespace: &OwnedFd) -> io::Result<Inside> {
    let made = sandbox::netns::within(namespace, || {
        let tcp = socket::listen(Ipv4Addr::UNSPECIFIED, 0)?;
        let names_udp = socket::datagrams(Ipv4Addr::LOCALHOST, socket::NAMES_PORT)?;
        let names_tcp = socket::listen(Ipv4Addr::LOCALHOST, socket::NAMES_PORT)?;
        socket::make_all_addresses_local()?;
        Ok::<_, io::Error>((tcp, names_udp, names_tcp))
    });
    let (tcp, names_udp, names_tcp) = made.map_err(io::Error::other)??;
    let catcher = catcher::attach(&tcp, namespace)?;
    Ok(Inside { tcp, names_udp, names_tcp, catcher })
}

/// Starts the relay of a container, which ends with its supervisor. Gives a handle to it.
///
/// # Errors
/// It could not be started.
pub fn serve(inside: &Inside, app: &str, dir: &Path, shim: &OwnedFd) -> io::Result<Rc<OwnedFd>> {
    use std::os::unix::process::CommandExt as _;
    let given = [&inside.tcp, &inside.names_udp, &inside.names_tcp, &inside.catcher, shim];
    let given = given.map(AsRawFd::as_raw_fd);
    let mut command = Command::new(keg::spawn::self_exe());
    command.arg0("keg").args(["work", "egress", app]).stdin(std::process::Stdio::null());
    // SAFETY: only async-signal-safe system calls between fork and exec, and no allocation.
    unsafe {
        command.pre_exec(move || {
            // Out of the way of the numbers they are to get.
            let mut high = [0; 5];
            for (high, fd) in high.iter_mut().zip(given) {
                let free = FIRST_FD + given.len() as RawFd;
                *high = check(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, free))?;
            }
            for (to, fd) in (FIRST_FD..).zip(high) {
                check(libc::dup2(fd, to))?;
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    let handle = handle(child.id())?;
    let pid = child.id() as i32;
    let start = sandbox::record::start_time(pid).unwrap_or(0);
    fs::write(dir.join(RECORD), serde_json::to_vec(&Record { pid, start })?)?;
    Ok(handle)
}

/// The relay that a former mayor started, if it still runs.
pub fn running(dir: &Path) -> Option<Rc<OwnedFd>> {
    let record: Record = serde_json::from_slice(&fs::read(dir.join(RECORD)).ok()?).ok()?;
    let handle = handle(u32::try_from(record.pid).ok()?).ok()?;
    // Looked at after the handle was taken: no other process can slip in between.
    (sandbox::record::start_time(record.pid) == Some(record.start)).then_some(handle)
}

/// Whether apps may connect to an address: not to one that means something to the host alone.
/// The host's loopback carries the Keg's API, and 169.254.0.0/16 a cloud's keys.
pub fn is_open(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    let here = first == 0 || address.is_loopback() || address.is_link_local();
    !here && !address.is_multicast() && first < 240
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_hosts_alone_is_closed() {
        for (address, open) in [
            ("93.184.216.34", true),
            ("10.0.0.1", true),
            ("192.168.1.1", true),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("169.254.169.254", false),
            ("224.0.0.251", false),
            ("255.255.255.255", false),
            ("240.0.0.1", false),
        ] {
            assert_eq!(is_open(address.parse().unwrap()), open, "{address}");
        }
    }
}
