//! Sockets and the one route inside an app's namespace; all calls are made by a thread in it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, listen as start_listening, socket_with,
};

/// Port of name servers.
pub const NAMES_PORT: u16 = 53;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// Number of the loopback interface in every namespace.
const LOOPBACK: u32 = 1;

/// A listening TCP socket.
pub fn listen(address: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let socket = make(SocketType::STREAM)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(address, port))?;
    start_listening(&socket, BACKLOG)?;
    Ok(socket)
}

/// A bound UDP socket.
pub fn datagrams(address: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let socket = make(SocketType::DGRAM)?;
    bind(&socket, &SocketAddrV4::new(address, port))?;
    Ok(socket)
}

fn make(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::INET, kind, flags, None)?)
}

/// `ip route replace local 0.0.0.0/0 dev lo src 127.0.0.1`, said to the kernel (rtnetlink(7)).
pub fn make_all_addresses_local() -> io::Result<()> {
    #[repr(C)]
    struct Request {
        header: libc::nlmsghdr,
        /// `struct rtmsg`: family, destination and source length, service, table, protocol, scope,
        /// type; then flags.
        route: [u8; 8],
        flags: u32,
        interface: (u16, u16, u32),
        source: (u16, u16, [u8; 4]),
    }
    #[repr(C)]
    struct Answer {
        header: libc::nlmsghdr,
        error: i32,
        rest: [u8; 256],
    }
    const ATTRIBUTE: u16 = 8;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let kind = libc::RTM_NEWROUTE;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let request = Request {
        header: libc::nlmsghdr {
            nlmsg_len: size_of::<Request>() as u32,
            nlmsg_type: kind,
            nlmsg_flags: flags as u16,
            nlmsg_seq: 1,
            nlmsg_pid: 0,
        },
        route: [
            libc::AF_INET as u8,
            0,
            0,
            0,
            libc::RT_TABLE_LOCAL,
            libc::RTPROT_STATIC,
            libc::RT_SCOPE_HOST,
            libc::RTN_LOCAL,
        ],
        flags: 0,
        interface: (ATTRIBUTE, libc::RTA_OIF, LOOPBACK),
        source: (ATTRIBUTE, libc::RTA_PREFSRC, Ipv4Addr::LOCALHOST.octets()),
    };
    // SAFETY: plain data without padding, read and written within its size.
    let answer = unsafe {
        let sent =
            libc::send(socket.as_raw_fd(), (&raw const request).cast(), size_of::<Request>(), 0);
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answer: Answer = std::mem::zeroed();
        let room = (&raw mut answer).cast();
        if libc::recv(socket.as_raw_fd(), room, size_of::<Answer>(), 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        answer
    };
    match answer.error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
