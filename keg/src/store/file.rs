//! The file store: raw files for large blobs, the log for everything small and for the names.
//!
//! ```text
//! format.json      what must be understood to open it
//! objects/ab/cd…   blobs above 2048 bytes, raw, 0444: the kernel serves them under mounts
//! log/             everything else, see `log.rs`
//! tmp/             blobs being written, a locked directory per process
//! ```
//! Locks are `flock`s, so they die with their owners; who needs two takes `log/synclock` before
//! `log/lock`. Nothing is ever deleted, so there is nothing for readers to lock.

use std::{
    fs::{self, File},
    io::{Cursor, Read},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Advance, Audited, BlobRead, INLINE_MAX, MAX_CANDIDATES, MAX_IN_MEMORY, Master, Object, Objects,
    Plan, Root, StoreError,
    audit::audit_directory,
    canonical::check_canonical,
    format::{self, Access},
    io,
    large::Large,
    layout,
    log::{Check, FEATURE, Log, NewObject, Place},
    packs::{PackSet, audit_packs},
    pending::Pending,
    share::audit_shared,
    splits::Splits,
    trash::Trash,
    verify::Verifying,
};
use crate::{Kid, kid::KidPrefix, names::CommitError, object::Kind};

/// A store in a directory, used by many processes at once.
pub struct FileStore {
    pub(super) home: PathBuf,
    pub(super) log: Log,
    trash: Trash,
    pending: Mutex<Pending>,
    pub(super) packs: Arc<PackSet>,
    pub(super) splits: Splits,
    access: Access,
}

impl FileStore {
    /// Makes a new Keg in a directory that is empty or not there.
    ///
    /// # Errors
    /// [`StoreError::Exists`], or the disk's.
    pub fn create(home: &Path) -> Result<Self, StoreError> {
        layout::make(home, false)?;
        Self::open(home)
    }

    /// Opens the Keg in a directory.
    ///
    /// # Errors
    /// [`StoreError::NotAKeg`], [`StoreError::Format`], [`StoreError::Log`], or the disk's.
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        let access = format::check(home)?;
        let home = home.canonicalize().map_err(io(format_args!("opening {}", home.display())))?;
        let by = if format::uses(&home, FEATURE)? { Check::Kid } else { Check::Sum };
        let log = Log::open(&home.join("log"), by)?;
        let (packs, trash) = (PackSet::new(&home), Trash::new(&home));
        Ok(Self {
            home,
            log,
            trash,
            pending: Mutex::default(),
            packs,
            splits: Splits::default(),
            access,
        })
    }

    /// Opens the Keg in a directory, or makes a new one there. Many processes may try at once.
    ///
    /// # Errors
    /// As [`FileStore::open`] and [`FileStore::create`].
    pub fn open_or_create(home: &Path) -> Result<Self, StoreError> {
        match Self::open(home) {
            Err(StoreError::NotAKeg { .. }) => {
                layout::make(home, true)?;
                Self::open(home)
            }
            other => other,
        }
    }

    /// The directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// As [`Master::audit`], with a process that does half of it.
    pub(crate) fn audit_with(
        &self,
        helper: Option<&mut Command>,
        visit: &mut dyn FnMut(Audited),
    ) -> Result<(), StoreError> {
        self.log.audit(visit)?;
        match helper {
            Some(helper) => audit_shared(&self.home, helper, visit)?,
            None => (0..=255).try_for_each(|n| audit_directory(&self.home, n, visit))?,
        }
        audit_packs(&self.home, visit)
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn packs(&self) -> &PackSet {
        &self.packs
    }

    pub(crate) fn trash(&self) -> &Trash {
        &self.trash
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        match &self.access {
            Access::Full => Ok(()),
            Access::ReadOnly(features) => {
                Err(StoreError::ReadOnly { home: self.home.clone(), features: features.clone() })
            }
        }
    }

    pub(super) fn put_small(&self, kind: Kind, bytes: &[u8]) -> Result<Kid, StoreError> {
        let kid = kind.kid_of(bytes);
        if self.log.relies_on(&kid)? {
            return Ok(kid);
        }
        // What is cold is in packs.
        let packed = if kind == Kind::Commit { None } else { self.packed_safe(&kid)? };
        match packed {
            Some(found) => self.rely_on_packed(&mut self.pending(), &found),
            None => drop(self.log.appender()?.append(&[NewObject { kind, kid, bytes }], None)?),
        }
        Ok(kid)
    }

    /// An object of the log.
    fn read_small(&self, kid: &Kid) -> Result<Option<Object>, StoreError> {
        let Some((Place { kind, .. }, bytes)) = self.log.load(kid)? else { return Ok(None) };
        Ok(Some(Object { kind, bytes: checked(kind, kid, bytes)? }))
    }

    pub(crate) fn publish(&self) -> Result<(), StoreError> {
        let mut pending = self.pending();
        if pending.is_empty() {
            return Ok(());
        }
        pending.publish(&self.home).inspect_err(|error| {
            if matches!(error, StoreError::Io { .. }) {
                self.log.fail();
            }
        })
    }
}

pub(super) fn checked(kind: Kind, kid: &Kid, bytes: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    if kind.kid_of(&bytes) != *kid {
        let what = "its bytes hash to another KID".to_owned();
        return Err(StoreError::Corrupt { kid: *kid, what });
    }
    Ok(bytes)
}

impl<'a> From<&'a Object> for NewObject<'a> {
    fn from(object: &'a Object) -> Self {
        let bytes = &object.bytes;
        Self { kind: object.kind, kid: object.kind.kid_of(bytes), bytes }
    }
}

impl Objects for FileStore {
    fn get(&self, kid: &Kid) -> Result<Object, StoreError> {
        if let Some(object) = self.read_small(kid)? {
            return Ok(object);
        }
        let too_big = |bytes| StoreError::TooBig { bytes, limit: MAX_IN_MEMORY };
        let large = match self.open_large(kid) {
            Err(StoreError::Missing { kid }) => {
                return self.swept(&kid)?.ok_or(StoreError::Missing { kid });
            }
            opened => opened?,
        };
        match large {
            Large::Loose(_, size) if size > MAX_IN_MEMORY => Err(too_big(size)),
            Large::Loose(file, size) => {
                let mut bytes = Vec::with_capacity(size as usize);
                let read = file.take(MAX_IN_MEMORY + 1).read_to_end(&mut bytes);
                read.map_err(io(format_args!("reading {kid}")))?;
                Ok(Object { kind: Kind::Blob, bytes: checked(Kind::Blob, kid, bytes)? })
            }
            Large::Packed(blob) if blob.size() > MAX_IN_MEMORY => Err(too_big(blob.size())),
            Large::Packed(mut blob) => Ok(Object { kind: blob.kind(), bytes: blob.read_whole()? }),
        }
    }

    fn open_blob(&self, kid: &Kid) -> Result<Box<dyn BlobRead>, StoreError> {
        let small = match self.read_small(kid)? {
            Some(object) => object,
            None => match self.open_large(kid) {
                Ok(Large::Loose(file, size)) => {
                    return Ok(Box::new(Verifying::new(file, *kid, size)));
                }
                Ok(Large::Packed(blob)) if blob.kind() != Kind::Blob => {
                    let (expected, found) = (Kind::Blob, blob.kind());
                    return Err(StoreError::WrongKind { kid: *kid, expected, found });
                }
                Ok(Large::Packed(blob)) => {
                    let size = blob.size();
                    return Ok(Box::new(Verifying::new(*blob, *kid, size)));
                }
                Err(StoreError::Missing { kid }) => {
                    self.swept(&kid)?.ok_or(StoreError::Missing { kid })?
                }
                Err(error) => return Err(error),
            },
        };
        if small.kind != Kind::Blob {
            let (expected, found) = (Kind::Blob, small.kind);
            return Err(StoreError::WrongKind { kid: *kid, expected, found });
        }
        Ok(Box::new(Cursor::new(small.bytes)))
    }

    fn blob_size(&self, kid: &Kid) -> Result<u64, StoreError> {
        match self.log.find(kid)? {
            Some(Place { kind: Kind::Blob, len, .. }) => Ok(u64::from(len)),
            Some(Place { kind: found, .. }) => {
                Err(StoreError::WrongKind { kid: *kid, expected: Kind::Blob, found })
            }
            None => match self.large_size(kid)? {
                Some((Kind::Blob, size)) => Ok(size),
                Some((found, _)) => {
                    Err(StoreError::WrongKind { kid: *kid, expected: Kind::Blob, found })
                }
                None => Err(StoreError::Missing { kid: *kid }),
            },
        }
    }

    fn kind(&self, kid: &Kid) -> Result<Option<Kind>, StoreError> {
        match self.log.find(kid)? {
            Some(place) => Ok(Some(place.kind)),
            None => match self.large_size(kid) {
                Ok(found) => Ok(found.map(|(kind, _)| kind)),
                // What is not found elsewhere is as good as not here.
                Err(StoreError::Pack { .. }) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    fn put(&self, kind: Kind, bytes: &[u8]) -> Result<Kid, StoreError> {
        if kind == Kind::Blob {
            return Ok(self.put_blob(&mut &bytes[..])?.0);
        }
        self.check_writable()?;
        check_canonical(kind, bytes)?;
        self.splits.allow(&self.home, kind, bytes)?;
        self.put_small(kind, bytes)
    }

    fn put_blob(&self, from: &mut dyn Read) -> Result<(Kid, u64), StoreError> {
        self.check_writable()?;
        // Not under the lock: whoever is read from may look into this store.
        let mut held = self.pending().take_held();
        let put = self.put_held(&mut held, from);
        self.pending().give_held(held);
        put
    }

    fn put_changed(&self, file: &mut File, before: &Kid) -> Result<(Kid, u64), StoreError> {
        match self.put_difference(file, before)? {
            Some(put) => Ok(put),
            None => self.put_blob(file),
        }
    }

    fn rely_on(&self, kid: &Kid, size: u64) -> Result<bool, StoreError> {
        if size > INLINE_MAX as u64 {
            self.relies_on(kid, size)
        } else {
            self.relies_on_small(kid, size)
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.publish()?;
        self.log.sync_to(self.log.known_end())
    }

    fn retain(&self, kid: &Kid) -> Result<bool, StoreError> {
        match &self.access {
            Access::Full => self.retain_whole(kid),
            Access::ReadOnly(_) => Ok(self.kind(kid)?.is_some()),
        }
    }

    fn candidates(&self, prefix: &KidPrefix) -> Result<Vec<Kid>, StoreError> {
        // Look at what others have made durable, too.
        self.log.latest()?;
        let limit = MAX_CANDIDATES + 1;
        let mut found = Vec::new();
        self.log.candidates(prefix, &mut found, limit);
        self.packs.candidates(prefix, &mut found, limit)?;
        found.extend(self.pending().candidates().filter(|kid| prefix.matches(kid)));
        let (fan, rest) = prefix.digits().split_at(2);
        let dir = self.home.join("objects").join(fan);
        let list = fs::read_dir(&dir).map_err(io(format_args!("listing {}", dir.display())))?;
        let names = list.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let here = names.filter(|name| name.starts_with(rest));
        found.extend(here.filter_map(|name| format!("K-{fan}{name}").parse::<Kid>().ok()));
        found.sort_unstable();
        found.dedup();
        found.truncate(MAX_CANDIDATES);
        Ok(found)
    }
}

impl Master for FileStore {
    fn latest(&self) -> Result<Root, StoreError> {
        self.log.latest()
    }

    fn root(&self, seq: u64) -> Result<Option<Root>, StoreError> {
        if seq > self.log.latest()?.seq {
            return Ok(None);
        }
        Ok(self.log.root(seq))
    }

    fn advance(&self, plan: &mut Plan<'_>) -> Result<Root, CommitError> {
        self.check_writable()?;
        self.publish()?;
        let (root, end) = {
            let appender = self.log.appender()?;
            let latest = appender.latest();
            match plan(self, latest)? {
                None => (latest, self.log.known_end()),
                Some(Advance { objects, commit }) => {
                    self.splits.allow_all(&self.home, &objects)?;
                    let named: Vec<NewObject<'_>> = objects.iter().map(NewObject::from).collect();
                    let root = Root { seq: latest.seq + 1, commit };
                    (root, appender.append(&named, Some(root))?)
                }
            }
        };
        self.log.sync_to(end)?;
        Ok(root)
    }

    fn extend(&self, from: &Kid, commits: &[Kid]) -> Result<Root, CommitError> {
        self.extend_log(from, commits)
    }

    fn audit(&self, visit: &mut dyn FnMut(Audited)) -> Result<(), StoreError> {
        self.audit_with(None, visit)
    }

    fn bell(&self) -> &Path {
        self.log.head_path()
    }

    fn files(&self) -> Option<&FileStore> {
        Some(self)
    }

    fn shared(&self) -> Option<&FileStore> {
        Some(self)
    }
}
