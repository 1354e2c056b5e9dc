//! How long the pass takes: `RECEIVER_PACK=<file> cargo test --release measure -- --ignored`.

use std::{path::Path, time::Instant};

use super::*;
use crate::check::Checks;

#[test]
#[ignore = "measures a pack: RECEIVER_PACK=<file>"]
fn measure() {
    let path = std::env::var("RECEIVER_PACK").expect("RECEIVER_PACK");
    let pack = std::fs::read(path).expect("the pack");
    let scratch = Path::new("/tmp");
    let start = Instant::now();
    let (mut packs, mut checks) = (PackSet::new(Vec::new(), scratch), Checks::default());
    let received = receive(&mut pack.as_slice(), &mut packs, &mut checks, scratch);
    let received = received.expect("a good pack").expect("objects");
    let count = received.items.len();
    let unpacked = start.elapsed();
    packs.add_received(received.pack, received.cache);
    checks.finish(&mut packs, &mut Budget::for_bytes(pack.len() as u64)).expect("complete");
    println!("{count} objects: {unpacked:.2?}, with links {:.2?}", start.elapsed());
}
