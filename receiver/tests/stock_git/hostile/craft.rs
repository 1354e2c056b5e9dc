//! Packs made by hand.

use std::io::Write;

use gix_object::Kind;

/// The git id of an object.
pub fn id(kind: &str, bytes: &[u8]) -> String {
    let kind = Kind::from_bytes(kind.as_bytes()).expect("a kind");
    let id = gix_object::compute_hash(gix_hash::Kind::Sha1, kind, bytes).expect("no attack");
    id.to_string()
}

/// A commit of a tree.
pub fn commit(tree: &str) -> String {
    let who = "A <a@b.c> 1700000000 +0000";
    format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nhello\n")
}

/// A tree with these entries: mode, name, id.
pub fn tree(entries: &[(&str, &str, &str)]) -> Vec<u8> {
    let entry = |(mode, name, id): &(&str, &str, &str)| {
        [format!("{mode} {name}\0").as_bytes(), &hex::decode(id).expect("hex")].concat()
    };
    entries.iter().flat_map(entry).collect()
}

/// An entry of a pack.
#[derive(Clone)]
pub enum Entry {
    Whole {
        kind: u8,
        id: String,
        size: u64,
        deflated: Vec<u8>,
    },
    /// On an earlier entry.
    Ofs {
        base: usize,
        size: u64,
        deflated: Vec<u8>,
    },
    /// With a distance as it is.
    RawOfs {
        distance: u64,
        size: u64,
        deflated: Vec<u8>,
    },
    Reference {
        base: String,
        size: u64,
        deflated: Vec<u8>,
    },
}

impl Entry {
    pub fn whole(kind: &str, bytes: &[u8]) -> Self {
        let (size, deflated) = (bytes.len() as u64, deflate(bytes));
        Self::Whole { kind: code(kind), id: id(kind, bytes), size, deflated }
    }

    /// Many zeros.
    pub fn zeros(kind: &str, size: u64) -> Self {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), size), &mut encoder)
            .expect("memory");
        let deflated = encoder.finish().expect("memory");
        Self::Whole { kind: code(kind), id: "11".repeat(20), size, deflated }
    }

    pub fn ofs(base: usize, delta: &[u8]) -> Self {
        Self::Ofs { base, size: delta.len() as u64, deflated: deflate(delta) }
    }

    pub fn raw_ofs(distance: u64, delta: &[u8]) -> Self {
        Self::RawOfs { distance, size: delta.len() as u64, deflated: deflate(delta) }
    }

    pub fn reference(base: &str, delta: &[u8]) -> Self {
        let (size, deflated) = (delta.len() as u64, deflate(delta));
        Self::Reference { base: base.to_owned(), size, deflated }
    }

    fn id(&self) -> Option<&str> {
        match self {
            Self::Whole { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// A pack and the object a ref is to name.
#[derive(Clone)]
pub struct Pack {
    pub bytes: Vec<u8>,
    pub tip: String,
}

impl Pack {
    /// A pack whose tip is its last commit.
    pub fn of_commit(entries: Vec<Entry>) -> Self {
        let commit = |entry: &&Entry| matches!(entry, Entry::Whole { kind: 1, .. });
        let tip = entries.iter().rfind(commit).and_then(Entry::id).expect("a commit").to_owned();
        Self { bytes: encode(&entries), tip }
    }

    /// A pack whose tip is its last whole object.
    pub fn of_last(entries: Vec<Entry>) -> Self {
        let tip = entries.iter().rev().find_map(Entry::id).unwrap_or(&"11".repeat(20)).to_owned();
        Self { bytes: encode(&entries), tip }
    }

    /// A pack with a commit of this tree and the blob `hello`.
    pub fn of_tree(tree: &[u8]) -> Self {
        Self::of_commit(vec![
            Entry::whole("blob", super::BLOB),
            Entry::whole("tree", tree),
            Entry::whole("commit", commit(&id("tree", tree)).as_bytes()),
        ])
    }

    /// The same bytes with the sum they should have.
    pub fn resealed(mut self) -> Self {
        let end = self.bytes.len() - 20;
        self.bytes.truncate(end);
        seal(&mut self.bytes);
        self
    }
}

/// A pack of these entries.
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = b"PACK\0\0\0\x02".to_vec();
    out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    let mut starts = Vec::new();
    for entry in entries {
        let start = out.len();
        starts.push(start);
        let deflated = match entry {
            Entry::Whole { kind, size, deflated, .. } => {
                header(&mut out, *kind, *size);
                deflated
            }
            Entry::Ofs { base, size, deflated } => {
                header(&mut out, 6, *size);
                distance(&mut out, (start - starts[*base]) as u64);
                deflated
            }
            Entry::RawOfs { distance: raw, size, deflated } => {
                header(&mut out, 6, *size);
                distance(&mut out, *raw);
                deflated
            }
            Entry::Reference { base, size, deflated } => {
                header(&mut out, 7, *size);
                out.extend_from_slice(&hex::decode(base).expect("hex"));
                deflated
            }
        };
        out.extend_from_slice(deflated);
    }
    seal(&mut out);
    out
}

fn seal(out: &mut Vec<u8>) {
    let mut hash = gix_hash::hasher(gix_hash::Kind::Sha1);
    hash.update(out);
    out.extend_from_slice(hash.try_finalize().expect("no attack").as_slice());
}

fn header(out: &mut Vec<u8>, kind: u8, size: u64) {
    let mut byte = (kind << 4) | (size & 15) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}

fn distance(out: &mut Vec<u8>, distance: u64) {
    let mut bytes = vec![(distance & 0x7f) as u8];
    let mut rest = distance >> 7;
    while rest > 0 {
        rest -= 1;
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.reverse();
    out.extend_from_slice(&bytes);
}

fn code(kind: &str) -> u8 {
    match kind {
        "commit" => 1,
        "tree" => 2,
        "blob" => 3,
        "tag" => 4,
        other => panic!("{other} is no kind"),
    }
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
