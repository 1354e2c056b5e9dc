//! Applying the deltas of a pack, each exactly once, from their bases down.

use std::{collections::HashMap, io::Write, path::Path};

use gix_hash::ObjectId;
use gix_pack::data::{Entry, header};

use super::{
    Budget, Buffer, Cache, MAX_META_BYTES, MAX_OBJECT_BYTES, Object, PackBytes, PackError, PackSet,
    delta::Delta,
    inflate::Inflater,
    receive::{Base, Item, NO_BASE, PendingDelta},
    spool::{Spool, View},
};
use crate::check::Checks;

/// Most bytes of bases held while their deltas are applied; beyond it they are rebuilt on return.
const HELD_BYTES: usize = 96 << 20;

/// Largest base that is appended to a thin pack; git makes no deltas of files above 512 MiB.
const MAX_BASE_BYTES: u64 = 128 << 20;

/// What [`Resolver::run`] leaves: every item with its id, and the pack's bytes.
pub(super) struct Resolved {
    pub(super) items: Vec<Item>,
    pub(super) bytes: PackBytes,
    pub(super) checksum: ObjectId,
    pub(super) cache: Cache,
}

/// The state of resolving.
pub(super) struct Resolver<'a> {
    items: Vec<Item>,
    deltas: Vec<PendingDelta>,
    /// (base item, delta), sorted: the deltas by offset.
    by_item: Vec<(u32, u32)>,
    /// Deltas by id whose base was not seen yet.
    by_id: HashMap<ObjectId, Vec<u32>>,
    cache: Cache,
    spool: Spool,
    budget: Budget,
    inflater: Inflater,
    scratch: &'a Path,
}

/// A base whose deltas are being applied.
struct Frame {
    item: u32,
    /// Its contents, unless they were dropped to save memory.
    object: Option<Object>,
    /// Deltas on it that are left, last first.
    children: Vec<u32>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        items: Vec<Item>,
        deltas: Vec<PendingDelta>,
        cache: Cache,
        spool: Spool,
        budget: Budget,
        scratch: &'a Path,
    ) -> Self {
        let mut by_item = Vec::new();
        let mut by_id: HashMap<ObjectId, Vec<u32>> = HashMap::new();
        for (number, delta) in (0u32..).zip(&deltas) {
            match delta.base {
                Base::Item(item) => by_item.push((item, number)),
                Base::Id(id) => by_id.entry(id).or_default().push(number),
            }
        }
        by_item.sort_unstable();
        let inflater = Inflater::new();
        Self { items, deltas, by_item, by_id, cache, spool, budget, inflater, scratch }
    }

    /// Applies all deltas, completing a thin pack from `stored`.
    pub(super) fn run(
        mut self,
        stored: &mut PackSet,
        checks: &mut Checks,
        checksum: ObjectId,
    ) -> Result<Resolved, PackError> {
        let sent = self.items.len();
        let mut pending = vec![true; sent];
        for delta in &self.deltas {
            pending[delta.item as usize] = false;
        }
        let roots: Vec<u32> =
            (0u32..).zip(pending).filter_map(|(i, root)| root.then_some(i)).collect();
        self.descend_all(&roots, checks)?;
        let bases = self.append_bases(stored)?;
        self.descend_all(&bases, checks)?;
        if let Some((base, _)) = self.by_id.iter().next() {
            let count = self.by_id.values().map(Vec::len).sum();
            return Err(PackError::MissingBase { base: base.to_string(), count });
        }
        // A delta on a delta that was never reached (a cycle cannot be, bases come earlier).
        let null = ObjectId::null(gix_hash::Kind::Sha1);
        if let Some(item) = self.items.iter().find(|item| item.id == null) {
            return Err(PackError::Delta { offset: item.offset });
        }
        let checksum = self.seal(sent, checksum)?;
        let bytes = self.spool.finish().map_err(PackError::io("storing the pack"))?;
        Ok(Resolved { items: self.items, bytes, checksum, cache: self.cache })
    }

    /// Writes the final header, if bases were appended, and the checksum.
    fn seal(&mut self, sent: usize, checksum: ObjectId) -> Result<ObjectId, PackError> {
        let failed = || PackError::io("storing the pack");
        let mut checksum = checksum;
        if self.items.len() != sent {
            let header = header::encode(gix_pack::data::Version::V2, self.items.len() as u32);
            self.spool.overwrite_start(&header).map_err(failed())?;
            let mut hash = gix_hash::hasher(gix_hash::Kind::Sha1);
            hash.update(&self.spool.view().map_err(failed())?);
            checksum = hash.try_finalize().map_err(|_| PackError::Collision)?;
        }
        self.spool.write_all(checksum.as_slice()).map_err(failed())?;
        Ok(checksum)
    }

    /// Appends the bases that a thin pack leaves out, as git does, so that the pack is complete.
    fn append_bases(&mut self, stored: &mut PackSet) -> Result<Vec<u32>, PackError> {
        let mut wanted: Vec<ObjectId> = self.by_id.keys().copied().collect();
        wanted.sort_unstable();
        let mut added = Vec::new();
        for id in wanted {
            let Some(object) = stored.read(&id, &mut self.budget)? else { continue };
            let offset = self.spool.len();
            let size = object.bytes.len() as u64;
            if size > MAX_BASE_BYTES {
                let (what, max) = ("base that a delta needs", MAX_BASE_BYTES);
                return Err(PackError::TooLarge { what, offset, size, max });
            }
            let bytes = entry_bytes(&object).map_err(PackError::io("storing the pack"))?;
            let mut crc = flate2::Crc::new();
            crc.update(&bytes);
            self.spool.write_all(&bytes).map_err(PackError::io("storing the pack"))?;
            added.push(self.items.len() as u32);
            let kid = keg::Kid::of_blob(&object.bytes);
            self.items.push(Item {
                offset,
                size,
                crc: crc.sum(),
                base: NO_BASE,
                kind: object.kind,
                id,
                kid,
                lfs: crate::lfs::is_pointer(&object.bytes),
            });
            self.cache.keep((0, offset), &object);
        }
        Ok(added)
    }

    /// Applies every delta below these items.
    fn descend_all(&mut self, roots: &[u32], checks: &mut Checks) -> Result<(), PackError> {
        if self.deltas.is_empty() {
            return Ok(());
        }
        let mut spool = std::mem::replace(&mut self.spool, Spool::new(self.scratch));
        let result = {
            let view = spool.view().map_err(PackError::io("reading the pack back"))?;
            roots.iter().try_for_each(|&root| self.descend(root, &view, checks))
        };
        self.spool = spool;
        result
    }

    /// Applies every delta below one item, depth first.
    fn descend(
        &mut self,
        root: u32,
        pack: &View<'_>,
        checks: &mut Checks,
    ) -> Result<(), PackError> {
        let children = self.take_children(root);
        if children.is_empty() {
            return Ok(());
        }
        let mut stack = vec![Frame { item: root, object: None, children }];
        let mut held = 0usize;
        while let Some(frame) = stack.last_mut() {
            let Some(child) = frame.children.pop() else {
                held -= frame.object.as_ref().map_or(0, |object| object.bytes.len());
                stack.pop();
                continue;
            };
            let base_item = frame.item;
            let base = match frame.object.clone() {
                Some(object) => object,
                None => {
                    let object = self.rebuild(base_item, pack)?;
                    held += object.bytes.len();
                    frame.object = Some(object.clone());
                    object
                }
            };
            if frame.children.is_empty() {
                // The last one needs nobody to return to: chains do not deepen the stack.
                held -= base.bytes.len();
                stack.pop();
            }
            let (item, object) = self.apply(child, base_item, &base, pack, checks)?;
            let children = self.take_children(item);
            if !children.is_empty() {
                held += object.bytes.len();
                stack.push(Frame { item, object: Some(object), children });
            }
            let below_top = stack.len().saturating_sub(1);
            for frame in &mut stack[..below_top] {
                if held <= HELD_BYTES {
                    break;
                }
                held -= frame.object.take().map_or(0, |object| object.bytes.len());
            }
        }
        Ok(())
    }

    /// The deltas on an item, those with deltas of their own first (they are taken last).
    fn take_children(&mut self, item: u32) -> Vec<u32> {
        let start = self.by_item.partition_point(|&(base, _)| base < item);
        let own = self.by_item[start..].iter().take_while(|&&(base, _)| base == item);
        let mut children: Vec<u32> = own.map(|&(_, delta)| delta).collect();
        if !self.by_id.is_empty() {
            children.extend(self.by_id.remove(&self.items[item as usize].id).unwrap_or_default());
        }
        children.sort_by_key(|&delta| {
            let item = self.deltas[delta as usize].item;
            let at = self.by_item.partition_point(|&(base, _)| base < item);
            self.by_item.get(at).is_none_or(|&(base, _)| base != item)
        });
        children
    }

    /// Applies one delta to its base: the item it is and the object it makes.
    fn apply(
        &mut self,
        delta: u32,
        base_item: u32,
        base: &Object,
        pack: &View<'_>,
        checks: &mut Checks,
    ) -> Result<(u32, Object), PackError> {
        let delta = &mut self.deltas[delta as usize];
        let item = delta.item;
        let kept = delta.instructions.take();
        let bytes = self.patch(item, kept.as_deref(), base, pack)?;
        let found = checks.object(base.kind, &bytes)?;
        let entry = &mut self.items[item as usize];
        entry.size = bytes.len() as u64;
        entry.base = base_item;
        entry.kind = base.kind;
        entry.id = found.id;
        entry.kid = found.kid;
        entry.lfs = found.lfs;
        let object = Object { kind: base.kind, bytes };
        self.cache.keep((0, self.items[item as usize].offset), &object);
        Ok((item, object))
    }

    /// The bytes that the delta at `item` makes of `base`.
    fn patch(
        &mut self,
        item: u32,
        kept: Option<&[u8]>,
        base: &Object,
        pack: &View<'_>,
    ) -> Result<Buffer, PackError> {
        let offset = self.items[item as usize].offset;
        let damaged = || PackError::Delta { offset };
        let inflated;
        let instructions = match kept {
            Some(instructions) => instructions,
            None => {
                inflated = self.inflate(offset, pack)?;
                &inflated
            }
        };
        let delta = Delta::parse(instructions).ok_or_else(damaged)?;
        if delta.base_size != base.bytes.len() as u64 {
            return Err(damaged());
        }
        let (size, meta) = (delta.target_size, base.kind != gix_object::Kind::Blob);
        let max = if meta { MAX_META_BYTES } else { MAX_OBJECT_BYTES };
        if size > max {
            return Err(PackError::TooLarge { what: "object", offset, size, max });
        }
        self.budget.spend(size)?;
        Buffer::filled(size as usize, self.scratch, |target| {
            delta.apply(&base.bytes, target).ok_or_else(damaged)
        })
    }

    /// Inflates the entry at `offset` again.
    fn inflate(&mut self, offset: u64, pack: &View<'_>) -> Result<Buffer, PackError> {
        let damaged = || PackError::Inflate { offset };
        let bytes = pack.get(offset as usize..).ok_or_else(damaged)?;
        let entry =
            Entry::from_bytes(bytes, offset, gix_hash::Kind::Sha1).map_err(|_| damaged())?;
        self.budget.spend(entry.decompressed_size)?;
        let data = bytes.get(entry.header_size()..).ok_or_else(damaged)?;
        Buffer::filled(entry.decompressed_size as usize, self.scratch, |out| {
            self.inflater.whole(data, out).ok_or_else(damaged)
        })
    }

    /// The contents of an item whose bases are all known: from the cache, or from its root down.
    fn rebuild(&mut self, item: u32, pack: &View<'_>) -> Result<Object, PackError> {
        let mut chain = Vec::new();
        let mut at = item;
        let mut object = loop {
            let known = &self.items[at as usize];
            if let Some(object) = self.cache.get((0, known.offset)) {
                break object;
            }
            if known.base == NO_BASE {
                let (offset, kind) = (known.offset, known.kind);
                break Object { kind, bytes: self.inflate(offset, pack)? };
            }
            chain.push(at);
            at = known.base;
        };
        for &item in chain.iter().rev() {
            let bytes = self.patch(item, None, &object, pack)?;
            object = Object { kind: object.kind, bytes };
        }
        Ok(object)
    }
}

/// An entry of a pack that holds `object` whole.
fn entry_bytes(object: &Object) -> std::io::Result<Vec<u8>> {
    let header = match object.kind {
        gix_object::Kind::Commit => gix_pack::data::entry::Header::Commit,
        gix_object::Kind::Tree => gix_pack::data::entry::Header::Tree,
        gix_object::Kind::Blob => gix_pack::data::entry::Header::Blob,
        gix_object::Kind::Tag => gix_pack::data::entry::Header::Tag,
    };
    let mut out = Vec::new();
    header.write_to(object.bytes.len() as u64, &mut out)?;
    let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::fast());
    encoder.write_all(&object.bytes)?;
    encoder.finish()
}
