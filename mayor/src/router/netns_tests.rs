use std::{
    fs::read_link,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::mpsc,
};

use rustix::thread::{UnshareFlags, gettid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Brings the loopback device of the thread's namespace up.
fn loopback_up() {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket needs no device");
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: the request lives for the call, which reads it.
    let done = unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &request) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// A thread in a network namespace of its own that answers one connection with what it is sent.
#[expect(clippy::disallowed_methods, reason = "a test's stand-in for an app's process")]
fn app() -> (PathBuf, SocketAddr, std::thread::JoinHandle<()>) {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        // SAFETY: only this thread's network namespace changes.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("tests run as root");
        loopback_up();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let netns = format!("/proc/self/task/{}/ns/net", gettid().as_raw_nonzero());
        let address = listener.local_addr().expect("it listens");
        tell.send((PathBuf::from(netns), address)).expect("the test waits");
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).expect("four bytes");
        stream.write_all(&bytes).expect("they go back");
    });
    let (netns, address) = told.recv().expect("the thread starts");
    (netns, address, thread)
}

#[tokio::test(flavor = "current_thread")]
async fn sockets_are_made_there_and_we_stay_here() {
    let before = read_link(OWN).expect("a namespace");
    let (netns, address, thread) = app();
    assert_ne!(read_link(&netns).expect("its namespace"), before);

    let refused = TcpStream::connect(address).await.expect_err("nobody listens on our loopback");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    let mut stream = connect(&netns, address).await.expect("it listens there");
    assert!(stream.nodelay().expect("an option"));
    stream.write_all(b"ping").await.expect("open");
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.expect("an echo");
    assert_eq!(&back, b"ping");
    assert_eq!(read_link(OWN).expect("a namespace"), before);
    thread.join().expect("the app ends well");
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_namespace_is_an_error_and_we_stay_here() {
    let before = read_link(OWN).expect("a namespace");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    for wrong in ["/proc/self/ns/mnt", "/proc/self/status", "/nowhere"] {
        assert!(connect(Path::new(wrong), address).await.is_err(), "{wrong}");
        assert_eq!(read_link(OWN).expect("a namespace"), before, "{wrong}");
    }
}
