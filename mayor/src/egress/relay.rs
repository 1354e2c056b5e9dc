//! The process that brings an app's connections out: `keg work egress APP`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{FromRawFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::LocalSet,
    time::{sleep, timeout},
};

use super::{FIRST_FD, is_open, socket::NAMES_PORT};
use crate::events::gone;

/// Most connections of an app at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 512;
/// Most open files: two for each connection of both kinds, and those for questions.
const MAX_FILES: u64 = 4 * MAX_CONNECTIONS as u64 + 256;
/// Most questions for names under way; more are dropped, and asked again by whoever asks.
const MAX_QUESTIONS: usize = 64;
/// Longest question or answer in one datagram (RFC 6891 advises 4096).
const MAX_DATAGRAM: usize = 4096;
/// How long the other side may take to accept.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// How long one name server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of each direction that are in our hands at a time.
const BUFFER: usize = 16 * 1024;
/// Pause after an error that concerns all connections, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);
/// Most name servers that are asked.
const MAX_SERVERS: usize = 3;

/// Relays between the descriptors that [`super::serve`] passes until the container's supervisor
/// ends; gives the exit code.
pub fn main() -> i32 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(MAX_FILES, |maximum| maximum.min(MAX_FILES));
    if current.is_some_and(|current| current < wanted) {
        // Where it cannot be raised, some connections wait for others to end.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
    let result = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match result.and_then(|runtime| runtime.block_on(LocalSet::new().run_until(relay()))) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("keg: an app's way to the network is closed: {error}");
            1
        }
    }
}

async fn relay() -> io::Result<()> {
    let passed = |index: i32| {
        let fd = FIRST_FD + index;
        // SAFETY: a plain system call; it tells whether there is such a descriptor.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
            return Err(io::Error::other("`keg work egress` is started by the mayor"));
        }
        // SAFETY: the mayor passed it to us, and nothing else here owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let tcp = TcpListener::from_std(passed(0)?.into())?;
    let names_udp = Rc::new(UdpSocket::from_std(passed(1)?.into())?);
    let names_tcp = TcpListener::from_std(passed(2)?.into())?;
    let (_catcher, shim) = (passed(3)?, passed(4)?);
    tokio::select! {
        () = accept(&tcp, allowed) => {}
        () = accept(&names_tcp, |_| servers()) => {}
        () = questions(&names_udp) => {}
        () = gone(&shim) => {}
    }
    Ok(())
}

/// Where the app asked to go, if it may.
fn allowed(asked: Option<SocketAddrV4>) -> Vec<SocketAddr> {
    asked.filter(|to| is_open(*to.ip())).map(SocketAddr::V4).into_iter().collect()
}

/// Brings each connection to the first of the places that `places` gives for where it was to go.
async fn accept(listener: &TcpListener, places: impl Fn(Option<SocketAddrV4>) -> Vec<SocketAddr>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        // The socket's own address is the one the app asked for.
        let asked = match stream.local_addr() {
            Ok(SocketAddr::V4(asked)) => Some(asked),
            _ => None,
        };
        tokio::task::spawn_local(bring(stream, places(asked), permit));
    }
}

async fn bring(mut app: TcpStream, places: Vec<SocketAddr>, _permit: OwnedSemaphorePermit) {
    for place in places {
        let Ok(Ok(mut there)) = timeout(CONNECT_WITHIN, TcpStream::connect(place)).await else {
            continue;
        };
        // Without it answers are right, only slower.
        let _ = (app.set_nodelay(true), there.set_nodelay(true));
        // An error is either side going away, which both learn by their connection being closed.
        let _ = copy_bidirectional_with_sizes(&mut app, &mut there, BUFFER, BUFFER).await;
        return;
    }
    // Closed like this it is a reset, which no program takes for an empty answer.
    let _ = app.set_zero_linger();
}

async fn questions(socket: &Rc<UdpSocket>) {
    let permits = Arc::new(Semaphore::new(MAX_QUESTIONS));
    let mut room = vec![0; MAX_DATAGRAM];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut room).await else {
            sleep(PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
        let (socket, question) = (Rc::clone(socket), room[..length].to_vec());
        tokio::task::spawn_local(async move {
            if let Some(answer) = ask(&question, servers()).await {
                // Whoever asked may be gone.
                let _ = socket.send_to(&answer, from).await;
            }
            drop(permit);
        });
    }
}

/// The first answer that one of the servers gives.
async fn ask(question: &[u8], servers: Vec<SocketAddr>) -> Option<Vec<u8>> {
    for server in servers {
        let asked = timeout(ANSWER_WITHIN, async {
            let any: IpAddr = match server {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0)).await?;
            // Connected, it takes answers from nobody else.
            socket.connect(server).await?;
            socket.send(question).await?;
            let mut room = vec![0; MAX_DATAGRAM];
            let length = socket.recv(&mut room).await?;
            room.truncate(length);
            Ok::<_, io::Error>(room)
        });
        if let Ok(Ok(answer)) = asked.await {
            return Some(answer);
        }
    }
    None
}

/// The machine's own name servers: asked from outside, those on its loopback answer too.
fn servers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers =
        text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok());
    servers.take(MAX_SERVERS).map(|server: IpAddr| SocketAddr::new(server, NAMES_PORT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_server_is_asked_where_one_does_not_answer() {
        let answering = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let closed = silent.local_addr().expect("bound");
        drop(silent);
        let there = answering.local_addr().expect("bound");
        let serve = async {
            let mut room = [0; 64];
            let (length, from) = answering.recv_from(&mut room).await.expect("a question");
            room[..length].reverse();
            answering.send_to(&room[..length], from).await.expect("sent");
        };
        let (answer, ()) = tokio::join!(ask(b"abc", vec![closed, there]), serve);
        assert_eq!(answer.as_deref(), Some(&b"cba"[..]));
        assert_eq!(ask(b"abc", vec![]).await, None);
    }
}
