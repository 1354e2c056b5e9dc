//! What TCP gives without anything: one connection, bytes from memory, thrown away.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use keg_tests::netns::Namespace;

/// Bytes written and read at once.
const CHUNK: usize = 64 << 10;

/// From connecting, by the receiver, until `bytes` have come.
pub fn transfer(from: &Namespace, ip: &str, to: &Namespace, bytes: u64) -> Duration {
    let listener = from.inside(|| TcpListener::bind((ip, 0)).expect("a port"));
    let address = listener.local_addr().expect("an address");
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || send(&listener, bytes));
        let took = to.inside(|| receive(address, bytes));
        sending.join().expect("sent");
        took
    })
}

fn send(listener: &TcpListener, bytes: u64) {
    let (mut stream, _) = listener.accept().expect("a connection");
    let chunk = vec![7; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let len = left.min(CHUNK as u64) as usize;
        stream.write_all(&chunk[..len]).expect("sent");
        left -= len as u64;
    }
}

fn receive(from: SocketAddr, bytes: u64) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(from).expect("a connection");
    let (mut chunk, mut left) = (vec![0; CHUNK], bytes);
    while left > 0 {
        match stream.read(&mut chunk).expect("received") {
            0 => panic!("{left} bytes did not come"),
            len => left -= len as u64,
        }
    }
    begun.elapsed()
}
