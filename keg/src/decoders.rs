//! Everything that reads bytes from a disk or a peer, by name, for tests that feed it anything.
//!
//! Most decoders are private to the module whose bytes they read. Each such module lists its own
//! here, so that none has to be public and yet one test reaches all, from its corpus, with an
//! allocator that counts (`keg/tests/decoders`). Nothing else calls this.

use crate::{
    Kid, NamePath,
    kid::KidPrefix,
    object::{Commit, shards::Node},
};

/// What a decoder made of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// They are not what it reads.
    Refused,
    /// They are, and may have been written in another way, too.
    Read,
    /// They are, and this is the one way to write it: the bytes that were given, if all is well.
    Canonical(Vec<u8>),
}

/// Something that reads bytes.
#[derive(Clone, Copy)]
pub struct Decoder {
    /// What it is called: the name of its corpus, too.
    pub name: &'static str,
    /// Reads bytes and uses what it read.
    pub decode: fn(&[u8]) -> Decoded,
    /// Makes checksums fit, so that what is behind them is reached.
    pub seal: fn(&mut [u8]),
    /// Most memory it may take, in bytes, for inputs of a few KiB.
    pub memory: usize,
}

/// For formats without checksums.
pub(crate) fn unsealed(_: &mut [u8]) {}

/// Replaces the last 32 bytes by the BLAKE3 of those before.
pub(crate) fn seal_end(bytes: &mut [u8]) {
    if let Some(at) = bytes.len().checked_sub(32) {
        let sum = blake3::hash(&bytes[..at]);
        bytes[at..].copy_from_slice(sum.as_bytes());
    }
}

/// A file in memory with these bytes.
///
/// # Panics
/// If there is no memory.
pub(crate) fn file_of(bytes: &[u8]) -> std::fs::File {
    use std::io::Write;
    let mut file = tempfile::tempfile().expect("the temporary directory is writable");
    file.write_all(bytes).expect("a temporary file is writable");
    file
}

/// A directory with files of these names and bytes.
///
/// # Panics
/// If there is no room.
pub(crate) fn dir_of(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("the temporary directory is writable");
    for (name, bytes) in files {
        let path = dir.path().join(name);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(path, bytes)).expect("a new directory is writable");
    }
    dir
}

/// `Read` or `Refused`.
pub(crate) fn read_if(is: bool) -> Decoded {
    if is { Decoded::Read } else { Decoded::Refused }
}

/// What most decoders need at most.
pub(crate) const LITTLE: usize = 4 << 20;

/// All of them.
pub fn all() -> Vec<Decoder> {
    let mut all = vec![
        Decoder { name: "tree", decode: tree, seal: unsealed, memory: LITTLE },
        Decoder { name: "commit", decode: commit, seal: unsealed, memory: LITTLE },
        Decoder { name: "kid", decode: kid, seal: unsealed, memory: LITTLE },
        Decoder { name: "path", decode: path, seal: unsealed, memory: LITTLE },
        Decoder { name: "image-header", decode: image, seal: unsealed, memory: LITTLE },
    ];
    all.extend(crate::store::decoders::all());
    all.extend(crate::gc::decoders::all());
    all.extend(crate::sync::decoders::all());
    all.extend(crate::ingest::decoders::all());
    all.extend(crate::mount::decoders::all());
    all
}

/// A directory, or a node of one that is split.
fn tree(bytes: &[u8]) -> Decoded {
    let encoded = match Node::decode(bytes) {
        Ok(Node::Leaf(tree)) => tree.encode(),
        Ok(Node::Index(index)) => index.encode(),
        Err(_) => return Decoded::Refused,
    };
    encoded.map_or(Decoded::Refused, Decoded::Canonical)
}

fn commit(bytes: &[u8]) -> Decoded {
    let Ok(commit) = Commit::decode(bytes) else { return Decoded::Refused };
    commit.encode().map_or(Decoded::Refused, Decoded::Canonical)
}

/// Also what the marker of a sealed stream holds.
fn kid(bytes: &[u8]) -> Decoded {
    let Ok(text) = std::str::from_utf8(bytes) else { return Decoded::Refused };
    match (text.parse::<Kid>(), text.parse::<KidPrefix>()) {
        (Ok(kid), Ok(_)) => Decoded::Canonical(kid.to_string().into_bytes()),
        (Err(_), Ok(prefix)) => Decoded::Canonical(format!("K-{}", prefix.digits()).into_bytes()),
        _ => Decoded::Refused,
    }
}

fn path(bytes: &[u8]) -> Decoded {
    let parsed = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<NamePath>().ok());
    let Some(path) = parsed else { return Decoded::Refused };
    // A slash at the end is left out.
    let again = path.to_string().parse::<NamePath>();
    read_if(again.is_ok_and(|again| again == path))
}

fn image(bytes: &[u8]) -> Decoded {
    let mut file = std::io::Cursor::new(bytes);
    let header = crate::erofs::Header::read(&mut file);
    read_if(header.is_ok_and(|header| header.is_some_and(|it| it.matches(&mut file).is_ok())))
}
