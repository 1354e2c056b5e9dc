//! The pass over a pack that arrives.

use std::{io::Read, path::Path};

use gix_hash::ObjectId;
use gix_object::Kind;
use gix_pack::data::{Entry, entry::Header};
use keg::Kid;

use super::{
    Buffer, Cache, MAX_DELTA_BYTES, MAX_META_BYTES, MAX_OBJECT_BYTES, Object, Pack, PackBytes,
    PackError, PackSet, STREAM_BLOB, index, input::Input, resolve::Resolver,
};
use crate::check::Checks;

/// Most bytes of delta instructions kept from the first reading.
const KEPT_INSTRUCTIONS: usize = 32 << 20;

/// What is known of one entry of the pack.
pub(crate) struct Item {
    /// Where it starts.
    pub(crate) offset: u64,
    /// Bytes of the object.
    pub(crate) size: u64,
    /// CRC-32 of its bytes in the pack.
    pub(crate) crc: u32,
    /// The item it is a delta of, once known; `NO_BASE` for whole objects.
    pub(crate) base: u32,
    /// Its kind; a delta takes its base's.
    pub(crate) kind: Kind,
    /// Its id; null until it is known.
    pub(crate) id: ObjectId,
    /// Its KID, if it is a blob.
    pub(crate) kid: Kid,
    /// Whether it is a pointer of Git LFS.
    pub(crate) lfs: bool,
}

/// [`Item::base`] of an item that is no delta, or whose base is not known yet.
pub(crate) const NO_BASE: u32 = u32::MAX;

/// What a delta is relative to.
#[derive(Clone, Copy)]
pub(crate) enum Base {
    /// An earlier item of the pack.
    Item(u32),
    /// An object anywhere.
    Id(ObjectId),
}

/// A delta of the pack, not applied yet.
pub(crate) struct PendingDelta {
    /// Which item it is.
    pub(crate) item: u32,
    /// What it is relative to.
    pub(crate) base: Base,
    /// Its instructions, if they were kept.
    pub(crate) instructions: Option<Box<[u8]>>,
}

/// A checked pack, complete in itself.
pub(crate) struct Received {
    /// The pack and its index.
    pub(crate) pack: Pack,
    /// Its items, sorted by id.
    pub(crate) items: Vec<Item>,
    /// The index as bytes, version 2.
    pub(crate) index: Vec<u8>,
    /// The objects that were kept in memory, by offset, as of pack 0.
    pub(crate) cache: Cache,
}

/// Reads a pack from `source` and checks everything in it. Bases of thin packs, and objects that
/// are named but not sent, are looked up in `stored`. `None`: no pack, or one without objects.
///
/// # Errors
/// The pack is malformed, incomplete, or costs too much.
pub(crate) fn receive(
    source: &mut dyn Read,
    stored: &mut PackSet,
    checks: &mut Checks,
    scratch: &Path,
) -> Result<Option<Received>, PackError> {
    let mut first = Pass {
        input: Input::new(source, scratch),
        items: Vec::new(),
        deltas: Vec::new(),
        kept: 0,
        cache: Cache::default(),
        checks,
    };
    let Some(count) = first.input.header()? else { return Ok(None) };
    for _ in 0..count {
        first.entry()?;
    }
    let checksum = first.input.trailer()?;
    if count == 0 {
        return Ok(None);
    }
    let Pass { input, items, deltas, cache, .. } = first;
    let Input { spool, budget, .. } = input;
    let resolver = Resolver::new(items, deltas, cache, spool, budget, scratch);
    let resolved = resolver.run(stored, checks, checksum)?;
    let mut items = resolved.items;
    items.sort_unstable_by_key(|item| item.id);
    if let Some(pair) = items.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(PackError::Duplicate(pair[0].id));
    }
    let index = index::encode(&items, &resolved.checksum);
    let pack = Pack::new("pack being received", resolved.bytes, PackBytes::Memory(index.clone()))?;
    Ok(Some(Received { pack, items, index, cache: resolved.cache }))
}

/// The first reading: entries in the order they come.
struct Pass<'a> {
    input: Input<'a>,
    items: Vec<Item>,
    deltas: Vec<PendingDelta>,
    kept: usize,
    cache: Cache,
    checks: &'a mut Checks,
}

impl Pass<'_> {
    /// Reads one entry.
    fn entry(&mut self) -> Result<(), PackError> {
        let entry = self.input.entry()?;
        match entry.header {
            Header::Blob if entry.decompressed_size > STREAM_BLOB => self.large_blob(&entry),
            Header::OfsDelta { base_distance } => {
                let offset = entry.pack_offset();
                let base = entry.checked_base_pack_offset(base_distance);
                let found = base.and_then(|base| {
                    self.items.binary_search_by_key(&base, |item| item.offset).ok()
                });
                let item = found.and_then(|item| u32::try_from(item).ok());
                self.delta(&entry, Base::Item(item.ok_or(PackError::Header { offset })?))
            }
            Header::RefDelta { base_id } => self.delta(&entry, Base::Id(base_id)),
            Header::Commit => self.whole(&entry, Kind::Commit),
            Header::Tree => self.whole(&entry, Kind::Tree),
            Header::Tag => self.whole(&entry, Kind::Tag),
            Header::Blob => self.whole(&entry, Kind::Blob),
        }
    }

    /// An object that fits in memory.
    fn whole(&mut self, entry: &Entry, kind: Kind) -> Result<(), PackError> {
        let offset = entry.pack_offset();
        limit(entry, if kind == Kind::Blob { STREAM_BLOB } else { MAX_META_BYTES }, "object")?;
        let mut bytes = Vec::with_capacity((entry.decompressed_size as usize).min(64 << 10));
        let crc = self.input.inflate(entry, &mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        let found = self.checks.object(kind, &bytes)?;
        self.items.push(Item {
            offset,
            size: entry.decompressed_size,
            crc,
            base: NO_BASE,
            kind,
            id: found.id,
            kid: found.kid,
            lfs: found.lfs,
        });
        self.cache.keep((0, offset), &Object { kind, bytes: Buffer::from_vec(bytes) });
        Ok(())
    }

    /// A blob that is hashed while it passes.
    fn large_blob(&mut self, entry: &Entry) -> Result<(), PackError> {
        limit(entry, MAX_OBJECT_BYTES, "file")?;
        let size = entry.decompressed_size;
        let mut sha1 = gix_hash::hasher(gix_hash::Kind::Sha1);
        sha1.update(&gix_object::encode::loose_header(Kind::Blob, size));
        let mut blake3 = blake3::Hasher::new();
        let crc = self.input.inflate(entry, &mut |chunk| {
            sha1.update(chunk);
            blake3.update(chunk);
            Ok(())
        })?;
        self.items.push(Item {
            offset: entry.pack_offset(),
            size,
            crc,
            base: NO_BASE,
            kind: Kind::Blob,
            id: sha1.try_finalize().map_err(|_| PackError::Collision)?,
            kid: blake3.finalize().into(),
            lfs: false,
        });
        Ok(())
    }

    /// A delta: its place is remembered.
    fn delta(&mut self, entry: &Entry, base: Base) -> Result<(), PackError> {
        let offset = entry.pack_offset();
        limit(entry, MAX_DELTA_BYTES, "delta")?;
        let keep = self.kept + entry.decompressed_size as usize <= KEPT_INSTRUCTIONS;
        let mut instructions = Vec::new();
        let crc = self.input.inflate(entry, &mut |chunk| {
            if keep {
                instructions.extend_from_slice(chunk);
            }
            Ok(())
        })?;
        self.kept += instructions.len();
        let item = u32::try_from(self.items.len()).map_err(|_| PackError::Header { offset })?;
        self.items.push(Item {
            offset,
            size: entry.decompressed_size,
            crc,
            base: NO_BASE,
            kind: Kind::Blob,
            id: ObjectId::null(gix_hash::Kind::Sha1),
            kid: Kid::from_bytes([0; 32]),
            lfs: false,
        });
        let instructions = keep.then(|| instructions.into_boxed_slice());
        self.deltas.push(PendingDelta { item, base, instructions });
        Ok(())
    }
}

/// Refuses an entry that claims more than `max` bytes.
fn limit(entry: &Entry, max: u64, what: &'static str) -> Result<(), PackError> {
    let size = entry.decompressed_size;
    if size <= max {
        return Ok(());
    }
    Err(PackError::TooLarge { what, offset: entry.pack_offset(), size, max })
}
