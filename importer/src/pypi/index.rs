//! The index with a memory: projects, metadata and wheels that the Keg has are not fetched again.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use keg::{CommitError, Keg, Kid, NamePath, NamesError, Txn, object::Entry, store::StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    config::PipConfig,
    fetch::{FetchError, Fetcher},
    metadata::{MAX_METADATA, Metadata, MetadataError},
    name::PackageName,
    project::{Project, WheelFile},
    requirements::Requirements,
    resolve::Source,
    tags::WheelName,
    version::Version,
    wheel::{self, RECIPE, WheelError},
};
use crate::{
    AUTHOR,
    import::Anew,
    progress::{Progress, Report},
};

/// A project's page younger than this is not fetched again.
const FRESH_MS: i64 = 10 * 60 * 1000;
/// A wheel of more bytes that is fetched to resolve is told of while it comes.
const LARGE: u64 = 8_000_000;

/// Why the index, or what it gave, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Fetching.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A wheel's metadata.
    #[error("{file} cannot be used")]
    Metadata {
        /// The wheel.
        file: String,
        /// Why.
        #[source]
        source: MetadataError,
    },
    /// A wheel.
    #[error("{file} cannot be used")]
    Wheel {
        /// The wheel.
        file: String,
        /// Why.
        #[source]
        source: WheelError,
    },
    /// The wheel says something else than the metadata file beside it.
    #[error("{file} and the metadata file beside it differ")]
    Differs {
        /// The wheel.
        file: String,
    },
    /// The Keg's.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The Keg's.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The Keg's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known of a wheel that was unpacked: `/packages/pypi/files/<sha256>.json`.
#[derive(Serialize, Deserialize)]
struct Known {
    file: String,
    tree: Kid,
    recipe: u32,
}

/// The index, as one import sees it.
pub struct Index<'a, 'r> {
    keg: &'a Keg,
    /// How to reach it; asked for only when something has to be fetched.
    configure: &'a dyn Fn() -> Result<PipConfig, super::config::ConfigError>,
    fetcher: RefCell<Option<Rc<Fetcher>>>,
    pins: BTreeMap<PackageName, Version>,
    /// Whether the Keg's pages of projects count.
    anew: Anew,
    projects: RefCell<HashMap<PackageName, Option<Rc<Project>>>>,
    metadata: RefCell<HashMap<String, Rc<Metadata>>>,
    /// Names to set with the next commit.
    news: RefCell<Vec<(NamePath, Entry)>>,
    /// Bytes of wheels fetched so far.
    fetched: Cell<u64>,
    /// Wheels, and their bytes, fetched for what their metadata says.
    for_metadata: Cell<(usize, u64)>,
    report: RefCell<&'a mut Report<'r>>,
}

impl<'a, 'r> Index<'a, 'r> {
    /// The index for these requirements; nothing is asked of it yet.
    pub fn new(
        keg: &'a Keg,
        configure: &'a dyn Fn() -> Result<PipConfig, super::config::ConfigError>,
        requirements: &Requirements,
        anew: Anew,
        report: &'a mut Report<'r>,
    ) -> Self {
        let pins = requirements.lines.iter().filter_map(|line| {
            let version = line.requirement.specifiers.pinned()?;
            Some((line.requirement.name.clone(), version.clone()))
        });
        Self {
            keg,
            configure,
            fetcher: RefCell::default(),
            pins: pins.collect(),
            anew,
            projects: RefCell::default(),
            metadata: RefCell::default(),
            news: RefCell::default(),
            fetched: Cell::new(0),
            for_metadata: Cell::default(),
            report: RefCell::new(report),
        }
    }

    /// Tells the one who waits.
    pub fn tell(&self, news: Progress) {
        (self.report.borrow_mut())(news);
    }

    /// Whether a wheel is in the Keg as a tree.
    ///
    /// # Errors
    /// The Keg's.
    pub fn known_tree(&self, wheel: &WheelFile) -> Result<Option<Entry>, IndexError> {
        let Some(sha256) = &wheel.sha256 else { return Ok(None) };
        let known: Option<Known> = self.keg.read_json(&path("files", &format!("{sha256}.json")))?;
        let Some(known) = known.filter(|known| known.recipe == RECIPE) else { return Ok(None) };
        if self.keg.objects().kind(&known.tree)?.is_none() {
            return Ok(None);
        }
        Ok(Some(self.keg.objects().tree_entry(&known.tree)?))
    }

    /// A wheel as a tree, fetched if it is not there. `total` is for the report: wheels fetched,
    /// of how many (0: nothing is told), and the bytes of all (0: unknown).
    ///
    /// # Errors
    /// It cannot be fetched or is refused.
    pub fn tree(&self, wheel: &WheelFile, total: (u64, u64, u64)) -> Result<Entry, IndexError> {
        if let Some(tree) = self.pending_tree(wheel).or(self.known_tree(wheel)?) {
            return Ok(tree);
        }
        let fetcher = self.fetcher()?;
        let (file, size) = fetcher.wheel(wheel, &mut |bytes| {
            self.fetched.set(self.fetched.get() + bytes);
            let (done, total, total_bytes) = total;
            let bytes = self.fetched.get();
            if total > 0 {
                let total_bytes = total_bytes.max(bytes);
                self.tell(Progress::Count { done, total, bytes, total_bytes });
            }
        })?;
        let fail = |source| IndexError::Wheel { file: wheel.file.clone(), source };
        let name = WheelName::parse(&wheel.file)
            .ok_or_else(|| fail(WheelError::Format("its name is not a wheel's".into())))?;
        let unpacked = wheel::unpack(self.keg.objects(), &name, file, size).map_err(fail)?;
        self.keep(wheel, &unpacked)?;
        Ok(unpacked.tree)
    }

    /// Makes everything found so far durable under its names.
    ///
    /// # Errors
    /// The Keg's.
    pub fn commit(&self, message: &str) -> Result<(), IndexError> {
        let news = self.news.take();
        if news.is_empty() {
            return Ok(());
        }
        let txn = Txn::new(AUTHOR, message);
        self.keg.commit(news.into_iter().fold(txn, |txn, (path, entry)| txn.set(path, entry)))?;
        Ok(())
    }

    /// When the oldest page that was used was fetched.
    pub fn as_of(&self) -> String {
        let projects = self.projects.borrow();
        let oldest = projects.values().flatten().map(|project| project.as_of_ms).min();
        keg::time::rfc3339(oldest.unwrap_or_else(keg::time::now_ms))
    }

    /// Names something with the next commit.
    pub fn note(&self, path: NamePath, entry: Entry) {
        self.news.borrow_mut().push((path, entry));
    }

    /// Whether a wheel need not be fetched.
    ///
    /// # Errors
    /// The Keg's.
    pub fn has(&self, wheel: &WheelFile) -> Result<bool, IndexError> {
        Ok(self.pending_tree(wheel).is_some() || self.known_tree(wheel)?.is_some())
    }

    /// Counts fetched bytes from here.
    pub fn begin_count(&self) {
        self.fetched.set(0);
    }

    /// Bytes of wheels fetched since [`Index::begin_count`].
    pub fn counted(&self) -> u64 {
        self.fetched.get()
    }

    /// Wheels, and their bytes, that were fetched to resolve, as nothing else has their metadata.
    pub fn fetched_to_resolve(&self) -> (usize, u64) {
        self.for_metadata.get()
    }

    fn pending_tree(&self, wheel: &WheelFile) -> Option<Entry> {
        let path = path("wheels", &wheel.file);
        let news = self.news.borrow();
        news.iter().find(|(name, _)| *name == path).map(|(_, entry)| entry.clone())
    }

    fn keep(&self, wheel: &WheelFile, unpacked: &wheel::Unpacked) -> Result<(), IndexError> {
        let (Some(sha256), Some(tree)) = (&wheel.sha256, unpacked.tree.kid()) else {
            return Ok(());
        };
        let metadata = self.keg.objects().put_bytes(&unpacked.metadata)?;
        let beside = self.keg.get(&path("metadata", sha256))?;
        if beside.is_some_and(|entry| entry.kid() != metadata.kid()) {
            return Err(IndexError::Differs { file: wheel.file.clone() });
        }
        let known = json!({
            "file": wheel.file, "sha256": sha256, "tree": tree, "recipe": RECIPE,
            "uploaded": wheel.uploaded, "url": wheel.url,
        });
        let known = self.keg.objects().put_json(&known)?;
        self.news.borrow_mut().extend([
            (path("metadata", sha256), metadata),
            (path("files", &format!("{sha256}.json")), known),
            (path("wheels", &wheel.file), unpacked.tree.clone()),
        ]);
        Ok(())
    }

    fn fetcher(&self) -> Result<Rc<Fetcher>, IndexError> {
        if let Some(fetcher) = &*self.fetcher.borrow() {
            return Ok(fetcher.clone());
        }
        let config = (self.configure)().map_err(FetchError::from)?;
        let fetcher = Rc::new(Fetcher::new(&config, self.keg.home().join("tmp"))?);
        *self.fetcher.borrow_mut() = Some(fetcher.clone());
        Ok(fetcher)
    }

    /// The page the Keg has, if it will do: it is young, or has the version that is pinned.
    fn stored_project(&self, name: &PackageName) -> Result<(Option<Project>, bool), IndexError> {
        let stored: Option<Project> =
            self.keg.read_json(&path("projects", &format!("{name}.json")))?;
        let Some(project) = stored.filter(|_| self.anew == Anew::No) else {
            return Ok((None, false));
        };
        let age = keg::time::now_ms() - project.as_of_ms;
        let pinned = self.pins.get(name).is_some_and(|pin| {
            let versions = project.wheels.iter().filter_map(|w| WheelName::parse(&w.file));
            versions.into_iter().any(|wheel| wheel.version == *pin)
        });
        Ok((Some(project), pinned || (0..FRESH_MS).contains(&age)))
    }

    fn fetch_project(&self, name: &PackageName) -> Result<Option<Project>, IndexError> {
        let (stored, fresh) = self.stored_project(name)?;
        if fresh {
            return Ok(stored);
        }
        let fetched = self.fetcher().and_then(|fetcher| Ok(fetcher.project(name)?));
        match (fetched, stored) {
            (Ok(Some(project)), _) => {
                let value =
                    serde_json::to_value(&project).expect("because a project is plain data");
                let entry = self.keg.objects().put_json(&value)?;
                let at = path("projects", &format!("{name}.json"));
                self.news.borrow_mut().push((at, entry));
                Ok(Some(project))
            }
            (Ok(None), _) => Ok(None),
            (Err(IndexError::Fetch(error)), Some(stored)) if error.is_unreachable() => {
                self.tell(Progress::Detail(format!(
                    "the index cannot be reached; {name} is taken as it was on {}",
                    stored.as_of
                )));
                Ok(Some(stored))
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl Source for Index<'_, '_> {
    fn project(&self, name: &PackageName) -> Result<Option<Rc<Project>>, IndexError> {
        if let Some(known) = self.projects.borrow().get(name) {
            return Ok(known.clone());
        }
        let project = self.fetch_project(name)?.map(Rc::new);
        self.projects.borrow_mut().insert(name.clone(), project.clone());
        Ok(project)
    }

    fn metadata(&self, wheel: &WheelFile) -> Result<Rc<Metadata>, IndexError> {
        let sha256 = wheel.sha256.clone().unwrap_or_default();
        if let Some(known) = self.metadata.borrow().get(&sha256) {
            return Ok(known.clone());
        }
        let stored = match self.keg.get(&path("metadata", &sha256))?.and_then(|e| e.kid()) {
            Some(kid) => Some(self.keg.objects().blob(&kid)?),
            None => None,
        };
        let bytes = match stored {
            Some(bytes) => bytes,
            None => match self.fetcher()?.metadata(wheel, MAX_METADATA)? {
                Some(bytes) => {
                    let entry = self.keg.objects().put_bytes(&bytes)?;
                    self.news.borrow_mut().push((path("metadata", &sha256), entry));
                    bytes
                }
                // The newest wheel that fits is most likely the one to install.
                None => self.metadata_of_wheel(wheel)?,
            },
        };
        let fail = |source| IndexError::Metadata { file: wheel.file.clone(), source };
        let metadata = Rc::new(Metadata::parse(&bytes).map_err(fail)?);
        self.metadata.borrow_mut().insert(sha256, metadata.clone());
        Ok(metadata)
    }
}

impl Index<'_, '_> {
    /// The metadata of a wheel that has none beside it: the wheel is fetched whole.
    fn metadata_of_wheel(&self, wheel: &WheelFile) -> Result<Vec<u8>, IndexError> {
        self.begin_count();
        let size = wheel.size.unwrap_or(0);
        self.tree(wheel, (0, u64::from(size > LARGE), size))?;
        let (wheels, bytes) = self.for_metadata.get();
        self.for_metadata.set((wheels + 1, bytes + self.counted()));
        let at = path("metadata", wheel.sha256.as_deref().unwrap_or_default());
        let news = self.news.borrow();
        let entry = news.iter().find(|(name, _)| *name == at).map(|(_, entry)| entry.clone());
        drop(news);
        let entry = match entry {
            Some(entry) => Some(entry),
            None => self.keg.get(&at)?,
        };
        match entry.and_then(|entry| entry.kid()) {
            Some(kid) => Ok(self.keg.objects().blob(&kid)?),
            None => Err(IndexError::Wheel {
                file: wheel.file.clone(),
                source: WheelError::Missing("METADATA".into()),
            }),
        }
    }
}

/// `/packages/pypi/<kind>/<name>`.
///
/// # Panics
/// Never: kinds and names are checked project names, digests and wheel names.
pub fn path(kind: &str, name: &str) -> NamePath {
    format!("/packages/pypi/{kind}/{name}")
        .parse()
        .expect("because project names, digests and wheels' names are path components")
}
