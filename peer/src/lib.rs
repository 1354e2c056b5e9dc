//! HTTP between Kegs: the protocol of `docs/sync.md` as `POST /-/sync/<verb>`.
//!
//! [`router`] answers: the service only moves bytes, each request is worked on by a child process
//! (`keg work sync <verb>`, [`work`]) which gets the body as its stdin and whose stdout is the
//! answer. So a long pull blocks nobody, and its memory is gone when it ends. [`Peer`] asks; it
//! blocks and belongs into a process of its own.

mod child;
mod client;
mod feed;
mod http;
pub mod pointer;

use std::io::{BufWriter, stdin, stdout};

use keg::{
    Keg,
    sync::{Verb, serve},
};

pub use client::{Peer, PeerError};
pub use http::{Pushes, router};

/// Bytes of an answer that are written at once.
const CHUNK: usize = 64 << 10;

/// The child process `keg work sync VERB`: answers the request on stdin on stdout. Returns the
/// exit code: 0, 1 on failure (the answer says so, too), 2 on wrong use.
pub fn work(keg: &Keg, args: &[String]) -> i32 {
    let verb = match args {
        [text] => text.parse::<Verb>(),
        _ => {
            eprintln!("keg work sync: give one of trees, pack, offer-trees, offer-pack");
            return 2;
        }
    };
    let verb = match verb {
        Ok(verb) => verb,
        Err(error) => {
            eprintln!("keg work sync: {error}");
            return 2;
        }
    };
    let mut answer = BufWriter::with_capacity(CHUNK, stdout().lock());
    match serve(keg, verb, &mut stdin().lock(), &mut answer) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("keg work sync {}: {error}", verb.as_str());
            1
        }
    }
}
