//! Reading objects out of complete packs.

use std::path::{Path, PathBuf};

use gix_hash::oid;
use gix_object::Kind;
use gix_pack::data::{Entry, entry::Header};

use super::{
    Budget, Buffer, Cache, Object, PackBytes, PackError, PackKey, delta::Delta, inflate::Inflater,
};

/// A complete pack with its index.
pub(crate) struct Pack {
    /// Its name, for messages.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) data: PackBytes,
    index: gix_pack::index::File<PackBytes>,
}

impl Pack {
    /// A pack and its index, version 2.
    ///
    /// # Errors
    /// [`PackError::Stored`]: the index is damaged.
    pub(crate) fn new(name: &str, data: PackBytes, index: PackBytes) -> Result<Self, PackError> {
        let sha1 = gix_hash::Kind::Sha1;
        let index = gix_pack::index::File::from_data(index, PathBuf::from(name), sha1)
            .map_err(|error| stored(name, error.to_string()))?;
        Ok(Self { name: name.to_owned(), data, index })
    }

    /// Where the object is, if it is here.
    fn offset_of(&self, id: &oid) -> Option<u64> {
        self.index.lookup(id).map(|at| self.index.pack_offset_at_index(at))
    }

    /// The header of the entry at `offset`, and the bytes after it.
    fn entry(&self, offset: u64) -> Result<(Entry, &[u8]), PackError> {
        let damaged = || stored(&self.name, format!("no entry at byte {offset}"));
        let bytes = usize::try_from(offset).ok().and_then(|at| self.data.get(at..));
        let bytes = bytes.ok_or_else(damaged)?;
        let entry =
            Entry::from_bytes(bytes, offset, gix_hash::Kind::Sha1).map_err(|_| damaged())?;
        let data = bytes.get(entry.header_size()..).ok_or_else(damaged)?;
        Ok((entry, data))
    }

    /// Where the base of a delta is; `None` for a whole object.
    fn base_of(&self, entry: &Entry) -> Result<Option<u64>, PackError> {
        let base = match entry.header {
            Header::OfsDelta { base_distance } => entry.checked_base_pack_offset(base_distance),
            Header::RefDelta { base_id } => self.offset_of(&base_id),
            _ => return Ok(None),
        };
        let missing = || stored(&self.name, format!("no base at byte {}", entry.pack_offset()));
        base.map(Some).ok_or_else(missing)
    }
}

/// A fault in a pack of the Keg.
fn stored(pack: &str, message: String) -> PackError {
    PackError::Stored { pack: pack.to_owned(), source: message.into() }
}

/// The packs of one app, the newest last.
pub(crate) struct PackSet {
    packs: Vec<Pack>,
    /// Contents kept for reuse.
    pub(crate) cache: Cache,
    inflater: Inflater,
    scratch: PathBuf,
}

impl PackSet {
    /// The packs; large objects use unlinked files in `scratch`.
    pub(crate) fn new(packs: Vec<Pack>, scratch: &Path) -> Self {
        Self {
            packs,
            cache: Cache::default(),
            inflater: Inflater::new(),
            scratch: scratch.to_owned(),
        }
    }

    /// Puts the pack just received in front: it becomes pack 0, whose objects `cache` holds.
    pub(crate) fn add_received(&mut self, pack: Pack, cache: Cache) {
        self.packs.insert(0, pack);
        self.cache = cache;
    }

    /// Bytes of all packs.
    pub(crate) fn bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.data.len() as u64).sum()
    }

    /// The object's kind, if it is here.
    ///
    /// # Errors
    /// [`PackError::Stored`]: a pack is damaged.
    pub(crate) fn kind(&self, id: &oid) -> Result<Option<Kind>, PackError> {
        let Some((number, mut offset)) = self.find(id) else { return Ok(None) };
        let pack = &self.packs[number];
        loop {
            if let Some(object) = self.cache.get((number, offset)) {
                return Ok(Some(object.kind));
            }
            let (entry, _) = pack.entry(offset)?;
            match pack.base_of(&entry)? {
                None => return Ok(entry.header.as_kind()),
                Some(base) => offset = base,
            }
        }
    }

    /// The object, if it is here. The work is paid from `budget`.
    ///
    /// # Errors
    /// [`PackError::Stored`]: a pack is damaged; [`PackError::Work`].
    pub(crate) fn read(
        &mut self,
        id: &oid,
        budget: &mut Budget,
    ) -> Result<Option<Object>, PackError> {
        let Some(place) = self.find(id) else { return Ok(None) };
        self.read_at(place, budget).map(Some)
    }

    /// The newest place of the object.
    fn find(&self, id: &oid) -> Option<PackKey> {
        let mut packs = self.packs.iter().enumerate();
        packs.find_map(|(number, pack)| Some((number, pack.offset_of(id)?)))
    }

    /// The object at a place: its chain of bases is followed up, then applied down.
    fn read_at(&mut self, place: PackKey, budget: &mut Budget) -> Result<Object, PackError> {
        let (number, mut offset) = place;
        let mut chain = Vec::new();
        let mut object = loop {
            if let Some(object) = self.cache.get((number, offset)) {
                break object;
            }
            let (entry, _) = self.packs[number].entry(offset)?;
            match self.packs[number].base_of(&entry)? {
                Some(base) => {
                    chain.push(offset);
                    budget.spend(CHAIN_STEP)?;
                    offset = base;
                }
                None => {
                    let bytes = self.inflate(number, offset, budget)?;
                    let kind = entry.header.as_kind().unwrap_or(Kind::Blob);
                    let object = Object { kind, bytes };
                    self.cache.insert((number, offset), &object);
                    break object;
                }
            }
        };
        for &offset in chain.iter().rev() {
            let instructions = self.inflate(number, offset, budget)?;
            let name = &self.packs[number].name;
            let damaged = || stored(name, format!("a delta at byte {offset} does not apply"));
            let delta = Delta::parse(&instructions).ok_or_else(damaged)?;
            budget.spend(delta.target_size)?;
            let size = usize::try_from(delta.target_size).map_err(|_| damaged())?;
            let bytes = Buffer::filled(size, &self.scratch, |target| {
                delta.apply(&object.bytes, target).ok_or_else(damaged)
            })?;
            object = Object { kind: object.kind, bytes };
            self.cache.insert((number, offset), &object);
        }
        Ok(object)
    }

    /// Inflates one entry.
    fn inflate(
        &mut self,
        number: usize,
        offset: u64,
        budget: &mut Budget,
    ) -> Result<Buffer, PackError> {
        let pack = &self.packs[number];
        let (entry, bytes) = pack.entry(offset)?;
        let damaged = || stored(&pack.name, format!("byte {offset} cannot be inflated"));
        budget.spend(entry.decompressed_size)?;
        let size = usize::try_from(entry.decompressed_size).map_err(|_| damaged())?;
        Buffer::filled(size, &self.scratch, |out| {
            self.inflater.whole(bytes, out).ok_or_else(damaged)
        })
    }
}

/// What following one delta to its base costs, in bytes of work: it also bounds cycles in a
/// damaged pack.
const CHAIN_STEP: u64 = 64;
