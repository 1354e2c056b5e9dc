//! Whether a web process answers: connections into its network namespace, and the HTTP check.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Port of every web process in its own network namespace.
pub const PORT: u16 = 5000;
/// First pause between two attempts; it grows by a half each time.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Longest wait for one answer.
const ONE_ANSWER: Duration = Duration::from_secs(15);
/// Bytes of an answer that are looked at for the status.
const MAX_STATUS_LINE: usize = 256;

/// Where web processes listen, seen from inside.
pub fn address() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT)
}

/// Connects to an address inside a network namespace.
///
/// # Errors
/// The namespace cannot be entered, or nothing listens there.
pub async fn connect(namespace: &OwnedFd, address: SocketAddr) -> io::Result<TcpStream> {
    // Only the making of the socket happens inside: it belongs there from then on.
    let made = sandbox::netns::within(namespace, || {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
    });
    let socket = made.map_err(io::Error::other)??;
    let stream = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks `GET path` again and again until an answer below 500 comes.
///
/// # Errors
/// After `within`: what was seen last, for people.
pub async fn answers(
    namespace: &OwnedFd,
    host: &str,
    path: &str,
    within: Duration,
) -> Result<(), String> {
    let until = Instant::now() + within;
    let mut pause = FIRST_PAUSE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let asked = tokio::time::timeout(left.min(ONE_ANSWER), ask(namespace, host, path)).await;
        let seen = match asked {
            Ok(Ok(status)) if (100..500).contains(&status) => return Ok(()),
            Ok(Ok(status)) => format!("it answers GET {path} with {status}"),
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => {
                format!("nothing listens on port {PORT}")
            }
            Ok(Err(e)) => format!("GET {path} fails: {e}"),
            Err(_) => format!("it accepts connections but does not answer GET {path}"),
        };
        if Instant::now() + pause >= until {
            return Err(seen);
        }
        tokio::time::sleep(pause).await;
        pause = (pause + pause / 2).min(LONGEST_PAUSE);
    }
}

async fn ask(namespace: &OwnedFd, host: &str, path: &str) -> io::Result<u16> {
    let mut stream = connect(namespace, address().into()).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: keg-mayor\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::with_capacity(MAX_STATUS_LINE);
    while line.len() < MAX_STATUS_LINE && !line.contains(&b'\n') {
        let mut room = [0; MAX_STATUS_LINE];
        let read = stream.read(&mut room).await?;
        if read == 0 {
            break;
        }
        line.extend_from_slice(&room[..read]);
    }
    status(&line).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line.get(..12)?).ok()?;
    line.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok()
}

/// Established connections to the web port in the namespace of a running process.
pub fn connections(pid: i32) -> usize {
    const ESTABLISHED: &str = "01";
    let port = format!(":{PORT:04X}");
    let count = |table: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let open = text.lines().filter(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, state) = (fields.next(), fields.nth(1));
            local.is_some_and(|l| l.ends_with(&port)) && state == Some(ESTABLISHED)
        });
        open.count()
    };
    count("tcp") + count("tcp6")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        let table: &[(&[u8], Option<u16>)] = &[
            (b"HTTP/1.1 200 OK\r\n", Some(200)),
            (b"HTTP/1.0 404", Some(404)),
            (b"HTTP/2 200 OK\r\n", None),
            (b"SSH-2.0-OpenSSH", None),
            (b"HTTP/1.1 x", None),
            (b"", None),
        ];
        for (line, want) in table {
            assert_eq!(status(line), *want, "{}", String::from_utf8_lossy(line));
        }
    }
}
