//! The pass against stock git: the same packs, the same verdicts.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::*;
use crate::check::Checks;

/// What the pass makes of a pack that must be complete in itself.
fn take(pack: &[u8], scratch: &Path) -> Result<Option<Received>, PackError> {
    let mut packs = PackSet::new(Vec::new(), scratch);
    let mut checks = Checks::default();
    let mut source = pack;
    let received = receive(&mut source, &mut packs, &mut checks, scratch)?;
    let Some(received) = received else { return Ok(None) };
    let Received { pack, items, index, cache } = received;
    packs.add_received(pack, cache);
    checks.finish(&mut packs, &mut Budget::for_bytes(1 << 20))?;
    let pack = Pack::new("x", PackBytes::Memory(Vec::new()), PackBytes::Memory(index.clone()))?;
    Ok(Some(Received { pack, items, index, cache: Cache::default() }))
}

#[test]
#[ignore = "measures: RECEIVER_PACK=<file>"]
fn measure() {
    let path = PathBuf::from(std::env::var("RECEIVER_PACK").expect("RECEIVER_PACK"));
    let pack = std::fs::read(path).expect("the pack");
    let start = std::time::Instant::now();
    let received = take(&pack, Path::new("/tmp")).expect("a good pack").expect("objects");
    println!("{} objects in {:?}", received.items.len(), start.elapsed());
    println!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .expect("proc")
            .lines()
            .filter(|l| l.starts_with("VmHWM"))
            .collect::<String>()
    );
}
