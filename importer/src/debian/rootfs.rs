//! From packages to a root file system: union, configure in a sandbox, capture, scrub.
//!
//! Packages never run anything while they are merged: the union is pure. What their maintainer
//! scripts would do (users, alternatives, caches) is done once in a container without network, on
//! a writable overlay; what that changed becomes a tree. The Essential packages are configured
//! first and kept, the others on top of them.
//!
//! Configured trees are kept at `/packages/debian/<suite>/configured/<memo>`; a memo is the hash of
//! the packages' trees, of what they stand on, and of [`RECIPE`].

mod configure;
mod database;
mod merge;
mod scrub;
#[cfg(test)]
mod tests;

use std::time::Instant;

use keg::{
    CommitError, Keg, Kid, NamePath, NamesError, Txn,
    object::Entry,
    store::StoreError,
    union::{Edit, UnionError, edit},
};

pub use configure::ConfigureError;
pub use merge::MergeError;

use super::{pool::Pooled, snapshot::suite_path};
use crate::{
    lockfile::{Lockfile, LockfileError},
    progress::{Progress, Report, counted, seconds},
};

/// Version of everything here that shapes a root file system: unpacking, merging, configuring,
/// scrubbing. A change of any of them needs another number.
pub const RECIPE: u32 = 1;

/// Why there is no root file system.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// Packages that do not go together.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Scripts of packages that fail.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// Another import.
    #[error(transparent)]
    Lockfile(#[from] LockfileError),
    /// The Keg's.
    #[error(transparent)]
    Union(#[from] UnionError),
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

/// Makes root file systems of one suite.
pub struct Rootfs<'a> {
    /// The Keg.
    pub keg: &'a Keg,
    /// The suite, for the names of what is kept.
    pub suite: &'a str,
}

impl Rootfs<'_> {
    /// The packages merged, and nothing run: files, the merged `/usr`, and dpkg's database in state
    /// *unpacked*.
    ///
    /// # Errors
    /// Packages have the same path, or the Keg's.
    pub fn unpacked(&self, packages: &[Pooled]) -> Result<Entry, RootfsError> {
        let objects = self.keg.objects();
        let merged = merge::merge(objects, packages, None)?;
        let database = database::edits(objects, None, packages, &merged.lost)?;
        Ok(edit(objects, &kid_of(&merged.root), database)?)
    }

    /// The packages merged and configured: `base` first, then `extra` on top of it.
    ///
    /// # Errors
    /// As [`Rootfs::unpacked`], and a script fails.
    pub fn configured(
        &self,
        base: &[Pooled],
        extra: &[Pooled],
        report: &mut Report<'_>,
    ) -> Result<Entry, RootfsError> {
        let base_memo = memo(None, base);
        let memo_of_all = memo(Some(&base_memo), extra);
        let kept = if extra.is_empty() { None } else { self.kept(&memo_of_all)? };
        if let Some(entry) = kept {
            return Ok(entry);
        }
        let configured = self.base(&base_memo, base, report)?;
        if extra.is_empty() {
            return Ok(configured);
        }
        report(Progress::Phase(format!("Configuring {}", counted(extra.len(), "package"))));
        let objects = self.keg.objects();
        let merged = merge::merge(objects, extra, Some((&configured, base)))?;
        let database = database::edits(objects, Some(&configured), extra, &merged.lost)?;
        let unpacked = edit(objects, &kid_of(&merged.root), database)?;
        let all: Vec<Pooled> = base.iter().chain(extra).cloned().collect();
        let configured = self.configure(&unpacked, extra, &all, report)?;
        self.keep(&memo_of_all, &configured)?;
        Ok(configured)
    }

    /// The base, configured; by one process at a time, as many imports begin with it.
    fn base(
        &self,
        memo: &str,
        packages: &[Pooled],
        report: &mut Report<'_>,
    ) -> Result<Entry, RootfsError> {
        if let Some(entry) = self.kept(memo)? {
            return Ok(entry);
        }
        let _held = Lockfile::wait(self.keg, &format!("configured-{memo}"))?;
        if let Some(entry) = self.kept(memo)? {
            return Ok(entry);
        }
        report(Progress::Phase(format!(
            "Configuring {}",
            counted(packages.len(), "essential package")
        )));
        let unpacked = self.unpacked(packages)?;
        let configured = self.configure(&unpacked, packages, packages, report)?;
        self.keep(memo, &configured)?;
        Ok(configured)
    }

    /// Runs the scripts of `packages`; `all` are what the root file system holds.
    fn configure(
        &self,
        unpacked: &Entry,
        packages: &[Pooled],
        all: &[Pooled],
        report: &mut Report<'_>,
    ) -> Result<Entry, RootfsError> {
        let began = Instant::now();
        let epoch = all.iter().map(|p| p.doc.newest).max().unwrap_or(0);
        let objects = self.keg.objects();
        let mut policy = objects.put_bytes(configure::POLICY)?;
        policy.attrs.mode = 0o755;
        let mut set = vec![(configure::POLICY_PATH, Edit::Set(policy))];
        for (package, path, text) in configure::ANSWERS {
            if packages.iter().any(|p| p.package.name() == package) {
                set.push((path, Edit::Set(objects.put_bytes(text.as_bytes())?)));
            }
        }
        let unpacked = edit(objects, &kid_of(unpacked), set)?;
        let changed = configure::run(self.keg, &kid_of(&unpacked), packages, epoch, report)?;
        let clean = scrub::scrub(objects, &kid_of(&changed))?;
        let (count, time) = (counted(packages.len(), "package"), seconds(began.elapsed()));
        report(Progress::Detail(format!("{count} configured in {time}")));
        Ok(clean)
    }

    fn kept(&self, memo: &str) -> Result<Option<Entry>, RootfsError> {
        Ok(self.keg.get(&self.memo_path(memo))?)
    }

    fn keep(&self, memo: &str, entry: &Entry) -> Result<(), RootfsError> {
        let message = format!("configured packages of {}", self.suite);
        let txn = Txn::new(crate::AUTHOR, &message).set(self.memo_path(memo), entry.clone());
        self.keg.commit(txn)?;
        Ok(())
    }

    fn memo_path(&self, memo: &str) -> NamePath {
        let path = suite_path(self.suite).join("configured").and_then(|p| p.join(memo));
        path.expect("because both are path components")
    }
}

/// The memo of packages configured on top of what has another memo.
fn memo(below: Option<&str>, packages: &[Pooled]) -> String {
    let mut text = format!("recipe {RECIPE} on {}\n", below.unwrap_or("nothing"));
    let mut kids: Vec<String> = packages.iter().map(|p| p.kid.to_string()).collect();
    kids.sort();
    text += &kids.join("\n");
    Kid::of_blob(text.as_bytes()).to_hex()[..crate::request::KEY_DIGITS * 2].to_owned()
}

fn kid_of(entry: &Entry) -> Kid {
    entry.kid().expect("because trees have KIDs")
}
