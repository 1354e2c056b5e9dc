//! An open Keg: objects, names, streams and directories in one value.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::{
    Kid,
    commit::Commits,
    gc::floors::Floors,
    inotify::Bell,
    kid::KidPrefix,
    names::{self, History, NamesError, Version},
    object::{Commit, Entry},
    path::NamePath,
    store::{FileStore, MAX_CANDIDATES, Master, MemoryStore, Objects, Root, StoreError},
    stream::Streams,
    watch::{Rings, Watch, WatchError},
};

/// An open Keg. Cloning is cheap and shares everything; any number of processes may have the same
/// one open.
#[derive(Clone)]
pub struct Keg {
    inner: Arc<Inner>,
}

struct Inner {
    home: PathBuf,
    store: Box<dyn Master>,
    commits: Commits,
    bell: Mutex<Weak<Bell>>,
    /// A Keg in memory has its directory only as long as it lives.
    _temporary: Option<tempfile::TempDir>,
}

impl Keg {
    /// Makes a new Keg in a directory that is empty or not there.
    ///
    /// # Errors
    /// As [`FileStore::create`].
    pub fn create(home: &Path) -> Result<Self, StoreError> {
        FileStore::create(home).map(Self::on_files)
    }

    /// Opens the Keg in a directory.
    ///
    /// # Errors
    /// As [`FileStore::open`].
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        FileStore::open(home).map(Self::on_files)
    }

    /// Opens the Keg in a directory, or makes a new one there.
    ///
    /// # Errors
    /// As [`FileStore::open_or_create`].
    pub fn open_or_create(home: &Path) -> Result<Self, StoreError> {
        FileStore::open_or_create(home).map(Self::on_files)
    }

    /// A Keg whose objects and names are in memory; streams and `run/` are in a temporary
    /// directory. For tests.
    ///
    /// # Panics
    /// If no temporary directory can be made.
    pub fn in_memory() -> Self {
        let home = tempfile::tempdir().expect("the temporary directory is writable");
        for name in ["streams", "run", "tmp", "img"] {
            std::fs::create_dir(home.path().join(name)).expect("a new directory is writable");
        }
        let bell = home.path().join("HEAD");
        std::fs::write(&bell, [0; 8]).expect("a new directory is writable");
        let store = Box::new(MemoryStore::new(bell));
        Self::new(home.path().to_owned(), store, Some(home))
    }

    /// A Keg on any store; `home` holds streams and per-process state.
    pub fn with_store(home: &Path, store: Box<dyn Master>) -> Self {
        Self::new(home.to_owned(), store, None)
    }

    fn new(home: PathBuf, store: Box<dyn Master>, _temporary: Option<tempfile::TempDir>) -> Self {
        let inner =
            Inner { home, store, commits: Commits::default(), bell: Mutex::default(), _temporary };
        Self { inner: Arc::new(inner) }
    }

    fn on_files(store: FileStore) -> Self {
        Self::new(store.home().to_owned(), Box::new(store), None)
    }

    /// The Keg's directory: `objects/`, `log/`, `streams/`, `tmp/`, `run/`, `img/`.
    pub fn home(&self) -> &Path {
        &self.inner.home
    }

    /// Sockets, mount points, per-process state: nothing that must survive.
    pub fn run_dir(&self) -> PathBuf {
        self.home().join("run")
    }

    /// The objects.
    pub fn objects(&self) -> &dyn Objects {
        self.master()
    }

    pub(crate) fn master(&self) -> &dyn Master {
        self.inner.store.as_ref()
    }

    pub(crate) fn commits(&self) -> &Commits {
        &self.inner.commits
    }

    /// What rings when the root has moved; all who watch share it.
    pub(crate) fn bell(&self) -> io::Result<Arc<Bell>> {
        let mut shared = self.inner.bell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = shared.upgrade() {
            return Ok(bell);
        }
        let bell = Arc::new(Bell::on(self.master().bell())?);
        *shared = Arc::downgrade(&bell);
        Ok(bell)
    }

    /// The open logs.
    pub fn streams(&self) -> Streams {
        Streams::new(self.clone())
    }

    /// The current version.
    ///
    /// # Errors
    /// The store's.
    pub fn head(&self) -> Result<Version, NamesError> {
        self.version_of(self.master().latest()?)
    }

    /// Version number `seq`.
    ///
    /// # Errors
    /// [`NamesError::NoVersion`], [`NamesError::Compacted`], or the store's.
    pub fn version(&self, seq: u64) -> Result<Version, NamesError> {
        let version = match self.master().root(seq)? {
            Some(root) => self.version_of(root),
            None => Err(NamesError::NoVersion { seq }),
        };
        version.or_else(|error| self.compacted(&NamePath::root(), seq, error))
    }

    /// The number of a version by its commit; `None`: it is none of this Keg's, or not any more.
    ///
    /// # Errors
    /// The store's.
    pub fn number_of(&self, commit: &Kid) -> Result<Option<u64>, NamesError> {
        let newest = self.master().latest()?.seq;
        for seq in (0..=newest).rev() {
            match self.master().root(seq)? {
                Some(root) if root.commit == *commit => return Ok(Some(seq)),
                Some(_) => {}
                None => break,
            }
        }
        Ok(None)
    }

    /// The oldest version in which a path, as far as it was there, can still be read.
    ///
    /// # Errors
    /// The store's.
    pub fn oldest(&self, path: &NamePath) -> Result<u64, NamesError> {
        Ok(Floors::read(self.home())?.of(path))
    }

    /// A commit that another names as its parent; `None`: the policy for history has let go of it.
    ///
    /// # Errors
    /// The store's.
    pub fn parent(&self, parent: &Kid) -> Result<Option<Commit>, NamesError> {
        // Let go of, it may be in the log for a while, without what came before it.
        if Floors::read(self.home())?.cut.contains(parent) {
            return Ok(None);
        }
        Ok(Some(self.objects().commit(parent)?))
    }

    /// Tells what is not kept any more from what is not there.
    pub(crate) fn compacted<T>(
        &self,
        path: &NamePath,
        seq: u64,
        error: NamesError,
    ) -> Result<T, NamesError> {
        let (missing, any) = match &error {
            NamesError::NoVersion { .. } => (true, true),
            NamesError::Store(StoreError::Missing { .. }) => (true, false),
            _ => (false, false),
        };
        if missing {
            let floors = Floors::read(self.home())?;
            let whole = if any { floors.oldest() } else { floors.of_subtree(path) };
            if seq < whole {
                return Err(NamesError::Compacted { seq, oldest: whole });
            }
        }
        Err(error)
    }

    fn version_of(&self, root: Root) -> Result<Version, NamesError> {
        let tree = self.objects().commit(&root.commit)?.tree;
        Ok(Version { seq: root.seq, commit: root.commit, tree })
    }

    /// What a path stands for now, through trees and commits; symbolic links are not followed.
    ///
    /// # Errors
    /// The store's.
    pub fn get(&self, path: &NamePath) -> Result<Option<Entry>, NamesError> {
        self.get_at(path, &self.head()?)
    }

    /// What a path stood for in a version.
    ///
    /// # Errors
    /// The store's.
    pub fn get_at(&self, path: &NamePath, at: &Version) -> Result<Option<Entry>, NamesError> {
        let found = self.objects().walk(&at.tree, path.as_str()).map_err(NamesError::from);
        found.or_else(|error| self.compacted(path, at.seq, error))
    }

    /// The JSON document at a path; `None`: nothing is there.
    ///
    /// # Errors
    /// [`NamesError::NotADocument`], [`NamesError::Json`], or the store's.
    pub fn get_json(&self, path: &NamePath) -> Result<Option<Json>, NamesError> {
        self.read_json(path)
    }

    /// The JSON document at a path, as a type; `None`: nothing is there.
    ///
    /// # Errors
    /// [`NamesError::NotADocument`], [`NamesError::Json`], or the store's.
    pub fn read_json<T: DeserializeOwned>(&self, path: &NamePath) -> Result<Option<T>, NamesError> {
        let Some(entry) = self.get(path)? else { return Ok(None) };
        let crate::object::Value::File { kid, .. } = entry.value else {
            let found = names::noun(&entry);
            return Err(NamesError::NotADocument { path: path.clone(), found });
        };
        let bytes = self.objects().blob(&kid)?;
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|source| NamesError::Json { path: path.clone(), source })
    }

    /// The names in a directory (or in a commit's tree), sorted; none if there is no directory.
    /// Names that are not UTF-8 are left out: no path can say them.
    ///
    /// # Errors
    /// The store's.
    pub fn list(&self, path: &NamePath) -> Result<Vec<(String, Entry)>, NamesError> {
        self.list_at(path, &self.head()?)
    }

    /// The names in a directory as it was in a version.
    ///
    /// # Errors
    /// The store's.
    pub fn list_at(
        &self,
        path: &NamePath,
        at: &Version,
    ) -> Result<Vec<(String, Entry)>, NamesError> {
        let Some(entry) = self.get_at(path, at)? else { return Ok(Vec::new()) };
        let read = || match self.objects().directory_of(&entry)? {
            Some(tree) => Ok(self.objects().tree(&tree)?.entries),
            None => Ok(BTreeMap::new()),
        };
        let entries = read().map_err(|error: StoreError| error.into());
        let entries = entries.or_else(|error| self.compacted(path, at.seq, error))?.into_iter();
        let named = entries.filter_map(|(name, entry)| {
            Some((std::str::from_utf8(name.as_bytes()).ok()?.to_owned(), entry))
        });
        Ok(named.collect())
    }

    /// The versions in which a path changed, newest first. An error of the store ends it.
    pub fn history(&self, path: &NamePath) -> History {
        History::new(self.clone(), path.clone())
    }

    /// The KID that a prefix stands for.
    ///
    /// # Errors
    /// [`NamesError::Unknown`], [`NamesError::Ambiguous`], or the store's.
    pub fn resolve(&self, prefix: &KidPrefix) -> Result<Kid, NamesError> {
        let mut candidates = self.objects().candidates(prefix)?;
        match candidates.as_slice() {
            [] => Err(NamesError::Unknown { prefix: prefix.clone() }),
            [kid] => Ok(*kid),
            _ => {
                candidates.truncate(MAX_CANDIDATES);
                Err(NamesError::Ambiguous { prefix: prefix.clone(), candidates })
            }
        }
    }

    /// What tells that there is a new version.
    ///
    /// # Errors
    /// The system's notification cannot be used.
    pub fn rings(&self) -> Result<Rings, WatchError> {
        Rings::new(self)
    }

    /// Follows a path and everything below it, from version `since` (`None`: from now) on.
    ///
    /// # Errors
    /// [`WatchError::Compacted`] if `since` is not a version of this Keg, or the store's.
    pub fn watch(&self, path: &NamePath, since: Option<u64>) -> Result<Watch, WatchError> {
        Watch::new(self.clone(), path.clone(), since)
    }
}
