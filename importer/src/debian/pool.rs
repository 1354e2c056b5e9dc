//! The pool: every package that was ever needed, as a tree, at
//! `/packages/debian/<suite>/pool/<name>_<version>_<arch>`.
//!
//! What is there already is found by the hash of its `.deb`. What is not is fetched and unpacked
//! by worker processes (`keg work import packages`): the network's latency and the processors' work
//! overlap, and a package that crashes a decoder takes no service with it.

mod job;
#[cfg(test)]
mod tests;
mod worker;
mod workers;

use std::{rc::Rc, time::Instant};

use keg::{
    CommitError, Keg, Kid, NamePath, NamesError, Txn,
    object::{Entry, Tree},
    store::StoreError,
};

pub use job::{Job, JobError};
pub use worker::serve;
pub use workers::WorkersError;

use super::{
    apt::{Apt, AptError},
    deb::PackageDoc,
    index::Package,
    snapshot::{SnapshotDoc, plan, suite_path},
};
use crate::progress::{Progress, Report, counted, megabytes, seconds};

/// A kill loses at most this many finished packages.
const COMMIT_EVERY: usize = 16;

/// A package in the pool.
#[derive(Clone, Debug)]
pub struct Pooled {
    /// What the index says.
    pub package: Rc<Package>,
    /// What its own document says.
    pub doc: PackageDoc,
    /// Its whole tree.
    pub kid: Kid,
    /// Its files.
    pub files: Kid,
    /// The members of its `control.tar`.
    pub control: Kid,
    /// The list of its paths.
    pub list: Kid,
}

/// Why packages are not in the pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The machine's configuration.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// No source of the machine has the part of the suite that the package is from.
    #[error("{package} is from {suite}, which no source in apt's configuration has any more")]
    NoSource {
        /// The package.
        package: String,
        /// Such as `trixie-security`.
        suite: String,
    },
    /// A package that could not be fetched or unpacked.
    #[error("{package} could not be imported: {error}")]
    Package {
        /// Its file's stem.
        package: String,
        /// What went wrong.
        error: JobError,
    },
    /// The workers.
    #[error(transparent)]
    Workers(#[from] WorkersError),
    /// A package's tree in the Keg is none.
    #[error("{0} in the Keg is damaged: run `keg fsck`")]
    Damaged(String),
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

/// How packages are fetched.
pub struct Fetching<'a> {
    /// Where to.
    pub keg: &'a Keg,
    /// The suite they are kept under.
    pub suite: &'a str,
    /// The snapshot that promises them.
    pub snapshot: &'a SnapshotDoc,
    /// The machine's apt configuration, read when something must be fetched.
    pub apt: &'a dyn Fn() -> Result<Apt, AptError>,
    /// Most worker processes; none: this process does the work.
    pub workers: usize,
}

/// The packages of `wanted` in the pool, in the same order. `None` for what is not there.
///
/// # Errors
/// The Keg's, or a tree in the pool is damaged.
pub fn find(
    keg: &Keg,
    suite: &str,
    wanted: &[Rc<Package>],
) -> Result<Vec<Option<Pooled>>, PoolError> {
    let pool = keg.get(&pool_path(suite))?.and_then(|entry| entry.kid());
    let pool = pool.map(|kid| keg.objects().tree(&kid)).transpose()?.unwrap_or_default();
    let one = |package: &Rc<Package>| {
        let Some(kid) = pool.get(package.promise.file_stem().as_bytes()).and_then(Entry::kid)
        else {
            return Ok(None);
        };
        let pooled = read(keg, package, kid)?;
        Ok(Some(pooled).filter(|p| p.doc.promise.sha256 == package.promise.sha256))
    };
    wanted.iter().map(one).collect()
}

impl Fetching<'_> {
    /// All of `wanted`, fetched where they are not in the pool yet.
    ///
    /// # Errors
    /// One cannot be fetched, is not what was promised, or cannot be kept. What was done until then
    /// stays in the pool.
    pub fn all(
        &self,
        wanted: &[Rc<Package>],
        report: &mut Report<'_>,
    ) -> Result<Vec<Pooled>, PoolError> {
        let mut found = find(self.keg, self.suite, wanted)?;
        let missing: Vec<usize> = (0..wanted.len()).filter(|i| found[*i].is_none()).collect();
        if !missing.is_empty() {
            let apt = (self.apt)()?;
            let jobs = missing.iter().map(|i| self.job(&apt, &wanted[*i]));
            let jobs = jobs.collect::<Result<Vec<Job>, _>>()?;
            let kids = self.run(&apt, jobs, report)?;
            for (i, kid) in missing.into_iter().zip(kids) {
                found[i] = Some(read(self.keg, &wanted[i], kid)?);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn job(&self, apt: &Apt, package: &Package) -> Result<Job, PoolError> {
        let promise = package.promise.clone();
        let origin = self.snapshot.origins.get(usize::from(package.origin));
        let suite = origin.map_or("nothing", |origin| origin.suite.as_str());
        let planned = plan(&apt.sources, self.suite).into_iter().filter(|p| p.suite == suite);
        let urls: Vec<String> =
            planned.map(|p| format!("{}/{}", p.source.uri, package.filename)).collect();
        if urls.is_empty() {
            let (package, suite) = (promise.file_stem(), suite.to_owned());
            return Err(PoolError::NoSource { package, suite });
        }
        Ok(Job { promise, urls })
    }

    /// Does the jobs and names their results; the trees in the order of the jobs.
    fn run(
        &self,
        apt: &Apt,
        jobs: Vec<Job>,
        report: &mut Report<'_>,
    ) -> Result<Vec<Kid>, PoolError> {
        let total_bytes = jobs.iter().map(|job| job.promise.size).sum();
        let total = jobs.len() as u64;
        let size = megabytes(total_bytes);
        let began = Instant::now();
        report(Progress::Phase(format!("Fetching {}, {size}", counted(jobs.len(), "package"))));
        let mut naming =
            Naming { fetching: self, pending: Vec::new(), kids: vec![None; jobs.len()] };
        let (mut done, mut bytes) = (0, 0);
        let mut event = |event: workers::Event| -> Result<(), PoolError> {
            match event {
                workers::Event::Bytes(n) => bytes += n,
                workers::Event::Done(i, kid) => {
                    done += 1;
                    naming.done(i, &jobs[i], kid)?;
                }
            }
            report(Progress::Count { done, total, bytes: bytes.min(total_bytes), total_bytes });
            Ok(())
        };
        let result = match self.workers.min(jobs.len()) {
            0 | 1 => workers::here(self.keg, &apt.proxies, &jobs, &mut event),
            n => workers::run(self.keg, &apt.proxies, &jobs, n, &mut event),
        };
        naming.commit()?;
        result?;
        let (count, time) = (counted(jobs.len(), "package"), seconds(began.elapsed()));
        report(Progress::Detail(format!("{count} fetched in {time}")));
        Ok(naming.kids.into_iter().flatten().collect())
    }
}

/// Gives finished packages their names, some at a time.
struct Naming<'a> {
    fetching: &'a Fetching<'a>,
    pending: Vec<(NamePath, Entry)>,
    kids: Vec<Option<Kid>>,
}

impl Naming<'_> {
    fn done(&mut self, i: usize, job: &Job, kid: Kid) -> Result<(), PoolError> {
        let path = pool_path(self.fetching.suite).join(&job.promise.file_stem());
        let path = path.expect("because names and versions of packages are checked");
        self.pending.push((path, self.fetching.keg.objects().tree_entry(&kid)?));
        self.kids[i] = Some(kid);
        if self.pending.len() >= COMMIT_EVERY { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), PoolError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let message = format!("{} packages of {}", self.pending.len(), self.fetching.suite);
        let mut txn = Txn::new(crate::AUTHOR, &message);
        for (path, entry) in self.pending.drain(..) {
            txn = txn.set(path, entry);
        }
        self.fetching.keg.commit(txn)?;
        Ok(())
    }
}

fn pool_path(suite: &str) -> NamePath {
    suite_path(suite).join("pool").expect("because it is a path component")
}

fn read(keg: &Keg, package: &Rc<Package>, kid: Kid) -> Result<Pooled, PoolError> {
    let damaged = || PoolError::Damaged(package.promise.file_stem());
    let tree: Tree = keg.objects().tree(&kid)?;
    let part = |name: &str| tree.get(name.as_bytes()).and_then(Entry::kid).ok_or_else(damaged);
    let doc = keg.objects().blob(&part("package.json")?)?;
    Ok(Pooled {
        package: package.clone(),
        doc: serde_json::from_slice(&doc).map_err(|_| damaged())?,
        kid,
        files: part("files")?,
        control: part("control")?,
        list: part("list")?,
    })
}
