//! The sidecar of a pack: what became of its objects in the Keg.
//!
//! A file `packs/<id>.kids` is `KEGKIDS1`, then records of 72 bytes sorted by git id:
//!
//! ```text
//! 0  git id, 20 bytes          24 KID, 32 bytes
//! 20 kind: 0 blob, 1 tree      56 bytes of the file, or of all files below: u64, little endian
//! 21 flags: 1 LFS, 2 submodule 64 entries below a tree: u64, little endian
//! 22 zero, 2 bytes
//! ```
//!
//! Blobs are there once they were received, so their KID is known but the Keg may not hold them
//! (old versions of files). Trees are there once they were converted.

use gix_hash::{ObjectId, oid};
use keg::Kid;

use crate::pack::PackBytes;

const MAGIC: &[u8; 8] = b"KEGKIDS1";
const RECORD: usize = 72;
/// The file is, or some file below the tree is, a pointer of Git LFS.
pub(crate) const LFS: u8 = 1;
/// There is a submodule below the tree.
pub(crate) const SUBMODULE: u8 = 2;

/// What a git object became.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// Whether it is a tree (else a blob).
    pub(crate) is_tree: bool,
    /// [`LFS`] and [`SUBMODULE`].
    pub(crate) flags: u8,
    /// Its KID.
    pub(crate) kid: Kid,
    /// Bytes of the file, or of all files below.
    pub(crate) bytes: u64,
    /// Entries below a tree.
    pub(crate) entries: u64,
}

/// A sidecar.
pub(crate) struct Kids(PackBytes);

impl Kids {
    /// A sidecar from its bytes; `None` if they are not one.
    pub(crate) fn new(bytes: PackBytes) -> Option<Self> {
        let records = bytes.strip_prefix(MAGIC)?;
        (records.len() % RECORD == 0).then_some(Self(bytes))
    }

    /// What the object became, if this sidecar knows.
    pub(crate) fn get(&self, id: &oid) -> Option<Known> {
        let (records, _) = self.0[MAGIC.len()..].as_chunks::<RECORD>();
        let at = records.binary_search_by(|record| record[..20].cmp(id.as_bytes())).ok()?;
        decode(&records[at])
    }
}

impl Kids {
    /// All it knows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ObjectId, Known)> {
        let (records, _) = self.0[MAGIC.len()..].as_chunks::<RECORD>();
        let id = |record: &[u8; RECORD]| ObjectId::from_bytes_or_panic(&record[..20]);
        records.iter().filter_map(move |record| Some((id(record), decode(record)?)))
    }
}

/// The bytes of a sidecar with these objects.
pub(crate) fn encode(objects: impl IntoIterator<Item = (ObjectId, Known)>) -> Vec<u8> {
    let mut records: Vec<[u8; RECORD]> = objects
        .into_iter()
        .map(|(id, known)| {
            let mut record = [0; RECORD];
            record[..20].copy_from_slice(id.as_slice());
            record[20] = u8::from(known.is_tree);
            record[21] = known.flags;
            record[24..56].copy_from_slice(known.kid.as_bytes());
            record[56..64].copy_from_slice(&known.bytes.to_le_bytes());
            record[64..].copy_from_slice(&known.entries.to_le_bytes());
            record
        })
        .collect();
    records.sort_unstable();
    records.dedup_by(|a, b| a[..20] == b[..20]);
    [MAGIC.as_slice(), records.as_flattened()].concat()
}

fn decode(record: &[u8; RECORD]) -> Option<Known> {
    let number = |at: usize| Some(u64::from_le_bytes(*record.get(at..)?.first_chunk()?));
    Some(Known {
        is_tree: record[20] == 1,
        flags: record[21],
        kid: Kid::from_bytes(*record.get(24..)?.first_chunk()?),
        bytes: number(56)?,
        entries: number(64)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_finds_what_was_put_in() {
        let id = |n: u8| ObjectId::from_bytes_or_panic(&[n; 20]);
        let known = |n: u8| Known {
            is_tree: n > 5,
            flags: n,
            kid: Kid::of_blob(&[n]),
            bytes: u64::from(n),
            entries: 3,
        };
        let bytes = encode([9, 2, 200, 2].map(|n| (id(n), known(n))));
        assert_eq!(bytes.len(), 8 + 3 * RECORD);
        let kids = Kids::new(PackBytes::Memory(bytes.clone())).expect("well formed");
        for n in [2, 9, 200] {
            assert_eq!(kids.get(&id(n)), Some(known(n)), "{n}");
        }
        assert_eq!(kids.get(&id(3)), None);
        assert_eq!(kids.iter().map(|(id, _)| id).collect::<Vec<_>>(), [2, 9, 200].map(id));
        assert!(Kids::new(PackBytes::Memory(bytes[..70].to_vec())).is_none());
    }
}
