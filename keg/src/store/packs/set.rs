//! All packs of a Keg, as one process sees them.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use zstd::zstd_safe::DCtx;

use super::{
    block::{Stored, lengths, unpack_bare},
    directory, display,
    index::ROW,
    open::{Data, Pack, index_path},
    recipe::{Recipe, Source},
};
use crate::{
    Kid,
    kid::KidPrefix,
    store::{StoreError, io},
};

/// Unpacked blocks kept for the next read: 32 MiB.
const CACHED_BYTES: usize = 32 << 20;
/// Most of them, whatever their size.
const CACHED_BLOCKS: usize = 256;
/// A directory that changed this short before it was listed may have changed again since without
/// another time stamp.
const COARSE: Duration = Duration::from_secs(1);
/// Deeper than any object.
const ANY_DEPTH: u8 = u8::MAX;
/// Most packs of a Keg.
const MAX_PACKS: usize = 100_000;

/// The packs of a Keg. Others may add packs meanwhile: what is not found is looked for again.
pub(crate) struct PackSet {
    home: PathBuf,
    state: Mutex<State>,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct State {
    packs: Vec<Arc<Pack>>,
    /// Packs that cannot be opened, and why.
    broken: BTreeMap<Kid, String>,
    /// Objects that no index has yet.
    extra: HashMap<Kid, Found>,
    /// When the directory had changed last when it was listed, and when that was.
    listed: Option<(SystemTime, SystemTime)>,
}

/// An object in a pack.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) pack: Kid,
    pub(super) data: Arc<Data>,
    pub(crate) recipe: Recipe,
}

struct Blocks {
    context: DCtx<'static>,
    recent: VecDeque<(Key, Arc<Vec<u8>>)>,
    bytes: usize,
    /// Memory to be used again: making it costs as much as unpacking a quarter of a block.
    frame: Vec<u8>,
    spare: Vec<u8>,
}

/// Pack and offset of a block.
type Key = (Kid, u64);

/// The packs that can be opened, and what is wrong with the others.
type Packs = (Vec<Arc<Pack>>, BTreeMap<Kid, String>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PackSet {
    pub(crate) fn new(home: &Path) -> Arc<Self> {
        let blocks = Blocks {
            context: DCtx::create(),
            recent: VecDeque::new(),
            bytes: 0,
            frame: Vec::new(),
            spare: Vec::new(),
        };
        let state = Mutex::default();
        Arc::new(Self { home: home.to_owned(), state, blocks: Mutex::new(blocks) })
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Where an object is; `None`: in no pack.
    ///
    /// # Errors
    /// Its recipe is damaged, a pack that may have it cannot be opened, or the disk's.
    pub(crate) fn find(&self, kid: &Kid) -> Result<Option<Found>, StoreError> {
        self.find_less_deep(kid, ANY_DEPTH)
    }

    /// As [`PackSet::find`], but only in packs that are there now: for whoever relies upon one. Those
    /// that were opened before can be read as long as they are known, also when they are removed.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn find_now(&self, kid: &Kid) -> Result<Option<Found>, StoreError> {
        lock(&self.state).list_again(&self.home)?;
        self.find(kid)
    }

    /// As [`PackSet::find`], for what something of this depth is built upon: an object may be in
    /// several packs, as a difference to others in some.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn find_less_deep(&self, kid: &Kid, depth: u8) -> Result<Option<Found>, StoreError> {
        let mut state = lock(&self.state);
        if let Some(found) = state.find(kid, depth)? {
            return Ok(Some(found));
        }
        if state.list_again(&self.home)?
            && let Some(found) = state.find(kid, depth)?
        {
            return Ok(Some(found));
        }
        match state.broken.first_key_value() {
            None => Ok(None),
            Some((pack, what)) => Err(StoreError::Pack { pack: display(pack), what: what.clone() }),
        }
    }

    /// How many bytes an object takes in its pack, with its part of the frames that it shares;
    /// `None`: it is in no pack.
    ///
    /// # Errors
    /// As [`PackSet::find`], or what is wrong with a block.
    pub(crate) fn disk_bytes(&self, kid: &Kid) -> Result<Option<u64>, StoreError> {
        let Some(found) = self.find(kid)? else { return Ok(None) };
        let damaged = |what| StoreError::Pack { pack: display(&found.pack), what };
        let mut table = Vec::new();
        found.recipe.encode(&mut table, &mut |_| 0);
        let mut bytes = (table.len() + ROW) as u64;
        for piece in &found.recipe.pieces {
            bytes += match piece.source {
                Source::Copy { .. } | Source::Within { .. } => 0,
                Source::Patch { block, .. } => {
                    lengths(found.data.file(), block).map_err(damaged)?.0
                }
                Source::Slice { block, .. } => {
                    let (stored, raw) = lengths(found.data.file(), block).map_err(damaged)?;
                    stored * piece.len / raw
                }
            };
        }
        Ok(Some(bytes))
    }

    /// Whether there may be packs: one `stat`.
    pub(crate) fn may_be_any(&self) -> bool {
        directory(&self.home).exists()
    }

    /// Whether there was no `packs/` when something was last missed: then nothing moves to and fro.
    pub(crate) fn never_any(&self) -> bool {
        lock(&self.state).listed.is_none()
    }

    /// All packs that can be opened now, and what is wrong with the others.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn all(&self) -> Result<Packs, StoreError> {
        let mut state = lock(&self.state);
        state.list_again(&self.home)?;
        Ok((state.packs.clone(), state.broken.clone()))
    }

    /// KIDs that start with a prefix.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn candidates(
        &self,
        prefix: &KidPrefix,
        found: &mut Vec<Kid>,
        limit: usize,
    ) -> Result<(), StoreError> {
        for pack in self.all()?.0 {
            pack.candidates(prefix, found, limit);
        }
        Ok(())
    }

    /// Makes an object known that no index has yet.
    pub(super) fn add(&self, kid: Kid, found: Found) {
        lock(&self.state).extra.insert(kid, found);
    }

    /// The bytes of a block behind a prefix.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn behind(&self, stored: &Stored, prefix: &[u8]) -> Result<Vec<u8>, String> {
        stored.unpack_behind(&mut lock(&self.blocks).context, prefix)
    }

    /// The `len` bytes of a frame without its magic number, behind a prefix.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn within(
        &self,
        frame: &[u8],
        len: usize,
        prefix: &[u8],
    ) -> Result<Vec<u8>, String> {
        unpack_bare(&mut lock(&self.blocks).context, frame, len, prefix)
    }

    /// The bytes of a block that needs no prefix.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn block(&self, found: &Found, at: u64) -> Result<Arc<Vec<u8>>, String> {
        let key = (found.pack, at);
        let mut blocks = lock(&self.blocks);
        if let Some(bytes) = blocks.get(&key) {
            return Ok(bytes);
        }
        let Blocks { context, frame, spare, .. } = &mut *blocks;
        let stored = found.data.block(at, std::mem::take(frame))?;
        let unpacked = stored.unpack_plain(context, std::mem::take(spare));
        *frame = stored.into_memory();
        let bytes = Arc::new(unpacked.map_err(|what| format!("the block at {at}: {what}"))?);
        blocks.keep(key, &bytes);
        Ok(bytes)
    }
}

impl Blocks {
    fn get(&mut self, key: &Key) -> Option<Arc<Vec<u8>>> {
        let at = self.recent.iter().position(|(known, _)| known == key)?;
        let entry = self.recent.remove(at)?;
        let bytes = entry.1.clone();
        self.recent.push_front(entry);
        Some(bytes)
    }

    fn keep(&mut self, key: Key, bytes: &Arc<Vec<u8>>) {
        // What is used again may have more room than bytes.
        self.bytes += bytes.capacity();
        self.recent.push_front((key, bytes.clone()));
        while self.bytes > CACHED_BYTES || self.recent.len() > CACHED_BLOCKS {
            let Some((_, oldest)) = self.recent.pop_back() else { break };
            self.bytes -= oldest.capacity();
            self.spare = Arc::into_inner(oldest).unwrap_or_default();
        }
    }
}

impl State {
    fn find(&self, kid: &Kid, depth: u8) -> Result<Option<Found>, StoreError> {
        if let Some(found) = self.extra.get(kid).filter(|found| found.recipe.depth() < depth) {
            return Ok(Some(found.clone()));
        }
        let mut wrong = None;
        for pack in &self.packs {
            match pack.find(kid) {
                None => {}
                Some(Ok(recipe)) if recipe.depth() >= depth => {
                    wrong =
                        Some((display(pack.name()), format!("{kid} is a base of itself: a cycle")));
                }
                Some(Ok(recipe)) => {
                    let (data, pack) = (pack.data().clone(), *pack.name());
                    return Ok(Some(Found { pack, data, recipe }));
                }
                Some(Err(what)) => wrong = Some((display(pack.name()), what)),
            }
        }
        match wrong {
            None => Ok(None),
            Some((pack, what)) => Err(StoreError::Pack { pack, what }),
        }
    }

    /// Lists the directory if it has changed; whether it was listed.
    fn list_again(&mut self, home: &Path) -> Result<bool, StoreError> {
        let dir = directory(home);
        let what = format!("listing {}", dir.display());
        let changed = match fs::metadata(&dir).and_then(|meta| meta.modified()) {
            Ok(changed) => changed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                *self = Self { extra: std::mem::take(&mut self.extra), ..Self::default() };
                return Ok(false);
            }
            Err(error) => return Err(io(what)(error)),
        };
        if let Some((known, at)) = self.listed
            && known == changed
            && at.duration_since(changed).is_ok_and(|since| since > COARSE)
        {
            return Ok(false);
        }
        let now = SystemTime::now();
        let names = list(home)?;
        let mut changing = false;
        self.packs.retain(|pack| names.contains(pack.name()));
        self.broken.retain(|name, _| names.contains(name));
        for name in names {
            if self.packs.iter().any(|pack| *pack.name() == name) {
                continue;
            }
            match Pack::open(home, &name) {
                Ok(pack) => {
                    self.broken.remove(&name);
                    self.packs.push(Arc::new(pack));
                }
                // It was removed meanwhile: what it had is in another one.
                Err(_) if !index_path(home, &name).exists() => changing = true,
                Err(what) => {
                    self.broken.insert(name, what);
                }
            }
        }
        self.listed = Some((changed, if changing { changed } else { now }));
        Ok(true)
    }
}

/// The names of all packs that have an index: what others may rely upon.
fn list(home: &Path) -> Result<Vec<Kid>, StoreError> {
    let dir = directory(home);
    let what = format!("listing {}", dir.display());
    let entries = fs::read_dir(&dir).map_err(io(&what))?.take(2 * MAX_PACKS);
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(io(&what))?.file_name();
        let hex = name.to_str().and_then(|name| name.strip_suffix(".idx"));
        names.extend(hex.and_then(|hex| format!("K-{hex}").parse::<Kid>().ok()));
    }
    names.sort_unstable();
    Ok(names)
}
