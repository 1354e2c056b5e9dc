//! One request for Debian packages, from names to a root file system.

use std::rc::Rc;

use keg::{CommitError, Keg, NamePath, NamesError, object::Entry, store::StoreError};
use serde_json::{Value as Json, json};

use super::{
    apt::{Apt, AptError},
    index::{Index, IndexError, Package},
    native_arch,
    pool::{Fetching, JobError, PoolError, Pooled, find},
    resolve::{ResolveError, resolve},
    rootfs::{RECIPE, Rootfs, RootfsError},
    snapshot::{self, Snapshot, SnapshotError, suite_path},
};
use crate::{
    import::Anew,
    lockfile::{Lockfile, LockfileError},
    progress::{Progress, Report, counted},
    request::{Base, DebianWant},
};

/// A snapshot older than this is fetched anew before anything else is fetched.
const STALE_MS: i64 = 24 * 3600 * 1000;
/// A snapshot younger than this is not fetched anew for a name that it lacks.
const FRESH_MS: i64 = 10 * 60 * 1000;
/// Worker processes for one processor: one waits for the network while another unpacks.
const WORKERS_PER_CPU: usize = 2;
/// Most worker processes.
const MAX_WORKERS: usize = 8;

/// Why Debian packages could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// The machine's apt configuration.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The suite.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The packages do not go together, or do not exist.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A package could not be fetched or unpacked.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The root file system could not be made.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// Something that must be there is not.
    #[error("{what} is not in this Keg: import it from the suite {suite} first")]
    NotHere {
        /// What.
        what: String,
        /// From where.
        suite: String,
    },
    /// Another import.
    #[error(transparent)]
    Lockfile(#[from] LockfileError),
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

/// How a machine imports.
pub struct Machine<'a> {
    /// Where to.
    pub keg: &'a Keg,
    /// Such as `amd64`.
    pub arch: &'static str,
    /// Reads the apt configuration.
    pub apt: &'a dyn Fn() -> Result<Apt, AptError>,
    /// Most worker processes; none: this process does the work.
    pub workers: usize,
}

/// What came of a request.
pub struct Done {
    /// The `debian` object of the lock.
    pub lock: Json,
    /// Names to set together with the lock.
    pub names: Vec<(NamePath, Entry)>,
}

/// What was chosen, by name.
pub struct Chosen {
    /// Essential packages, those of priority `required`, and what they need.
    pub base: Vec<Rc<Package>>,
    /// What was asked for besides, and what that needs.
    pub extra: Vec<Rc<Package>>,
}

impl Chosen {
    /// All of them, by name.
    pub fn all(&self) -> Vec<Rc<Package>> {
        let mut all: Vec<_> = self.base.iter().chain(&self.extra).cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }
}

impl<'a> Machine<'a> {
    /// This machine, with its own apt configuration.
    pub fn new(keg: &'a Keg) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = (cpus * WORKERS_PER_CPU).min(MAX_WORKERS);
        Self { keg, arch: native_arch(), apt: &|| Apt::of_machine(native_arch()), workers }
    }

    /// Imports one request. The suite is fetched when it is not in the Keg, when it lacks a name,
    /// when packages must be fetched and it is old, or in any case to import anew.
    ///
    /// # Errors
    /// See [`DebianError`].
    pub fn import(
        &self,
        want: &DebianWant,
        key: &str,
        anew: Anew,
        report: &mut Report<'_>,
    ) -> Result<Done, DebianError> {
        let stored = snapshot::stored(self.keg, &want.suite)?;
        let (mut snapshot, mut fresh) = match stored.filter(|_| anew == Anew::No) {
            Some(snapshot) => (snapshot, self.age(&want.suite)? < FRESH_MS),
            None => (self.refresh(&want.suite, anew, report)?, true),
        };
        loop {
            match self.attempt(want, &snapshot, fresh, key, report) {
                Err(error) if !fresh && may_be_cured(&error) => {
                    snapshot = self.refresh(&want.suite, anew, report)?;
                    fresh = true;
                }
                done => return done,
            }
        }
    }

    fn attempt(
        &self,
        want: &DebianWant,
        snapshot: &Snapshot,
        fresh: bool,
        key: &str,
        report: &mut Report<'_>,
    ) -> Result<Done, DebianError> {
        let index = Index::open(self.keg.objects(), &snapshot.index)?;
        let chosen = choose(&index, want)?;
        let all = chosen.all();
        let missing = find(self.keg, &want.suite, &all)?.iter().filter(|p| p.is_none()).count();
        if missing > 0 && !fresh && self.age(&want.suite)? > STALE_MS {
            // The mirror may have dropped what it listed then.
            return Err(
                PoolError::Package { package: want.suite.clone(), error: JobError::Gone }.into()
            );
        }
        let fetching = Fetching {
            keg: self.keg,
            suite: &want.suite,
            snapshot: &snapshot.doc,
            apt: self.apt,
            workers: self.workers,
        };
        let pooled = fetching.all(&all, report)?;
        if missing == 0 {
            let count = counted(all.len(), "package");
            report(Progress::Phase(format!("{count} of {}, all in the Keg", want.suite)));
        }
        let rootfs = self.rootfs(want, &chosen, &pooled, report)?;
        let path = suite_path(&want.suite).join("rootfs").and_then(|p| p.join(key));
        let path = path.expect("because keys are path components");
        let lock = lock(want, snapshot, &rootfs, &pooled);
        Ok(Done { lock, names: vec![(path, rootfs)] })
    }

    fn rootfs(
        &self,
        want: &DebianWant,
        chosen: &Chosen,
        pooled: &[Pooled],
        report: &mut Report<'_>,
    ) -> Result<Entry, DebianError> {
        let maker = Rootfs { keg: self.keg, suite: &want.suite };
        match want.base {
            Base::None => Ok(maker.unpacked(pooled)?),
            Base::Essential => {
                let in_base = |p: &&Pooled| chosen.base.iter().any(|b| b.id == p.package.id);
                let (base, extra): (Vec<_>, Vec<_>) = pooled.iter().partition(in_base);
                let owned = |list: Vec<&Pooled>| list.into_iter().cloned().collect::<Vec<_>>();
                Ok(maker.configured(&owned(base), &owned(extra), report)?)
            }
        }
    }

    /// Fetches the suite anew; one process at a time.
    fn refresh(
        &self,
        suite: &str,
        anew: Anew,
        report: &mut Report<'_>,
    ) -> Result<Snapshot, DebianError> {
        let _lock = Lockfile::wait(self.keg, &format!("suite-{suite}"))?;
        // Another process may have done it meanwhile.
        let stored = snapshot::stored(self.keg, suite)?.filter(|_| anew == Anew::No);
        if let Some(snapshot) = stored.filter(|_| self.age(suite).is_ok_and(|age| age < FRESH_MS)) {
            return Ok(snapshot);
        }
        Ok(snapshot::take(self.keg, &(self.apt)()?, suite, self.arch, report)?)
    }

    /// Milliseconds since the mirror was last asked for the suite.
    fn age(&self, suite: &str) -> Result<i64, DebianError> {
        let path = suite_path(suite).join("checked.json");
        let path = path.expect("because it is a path component");
        let checked = self.keg.get_json(&path)?;
        let at = checked.as_ref().and_then(|c| c["checked_ms"].as_i64());
        Ok(at.map_or(i64::MAX, |at| keg::time::now_ms().saturating_sub(at)))
    }
}

/// Whether a newer snapshot may help.
fn may_be_cured(error: &DebianError) -> bool {
    match error {
        DebianError::Resolve(ResolveError::NoPackage { .. } | ResolveError::Unmet { .. }) => true,
        DebianError::Pool(PoolError::Package { error, .. }) => {
            matches!(error, JobError::Gone | JobError::Mismatch { .. })
        }
        DebianError::Pool(PoolError::NoSource { .. }) => true,
        _ => false,
    }
}

/// Resolves a request: the base by itself, as a system is first made, and the rest on top of it.
///
/// # Errors
/// See [`ResolveError`].
pub fn choose(index: &Index<'_>, want: &DebianWant) -> Result<Chosen, ResolveError> {
    let base = match want.base {
        Base::None => Vec::new(),
        Base::Essential => {
            let ids = index.base();
            let names = ids.into_iter().map(|id| Ok(index.package(id)?.name().to_owned()));
            let names = names.collect::<Result<Vec<_>, IndexError>>()?;
            resolve(index, &want.suite, &names, &[])?
        }
    };
    let extra = resolve(index, &want.suite, &want.packages, &base)?;
    Ok(Chosen { base, extra })
}

fn lock(want: &DebianWant, snapshot: &Snapshot, rootfs: &Entry, pooled: &[Pooled]) -> Json {
    let package = |p: &Pooled| {
        let promise = &p.package.promise;
        json!({
            "name": promise.name,
            "version": promise.version,
            "arch": promise.arch,
            "kid": p.kid,
            "sha256": promise.sha256,
            "size": promise.size,
        })
    };
    json!({
        "suite": want.suite,
        "snapshot": snapshot.kid,
        "rootfs": rootfs.kid(),
        "recipe": RECIPE,
        "packages": pooled.iter().map(package).collect::<Vec<_>>(),
    })
}
