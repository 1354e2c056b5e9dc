//! A root file system of what is in the Keg already: without network, scripts, and names.
//!
//! This is the path that a second request for known packages takes, and what is timed where the
//! speed of resolving and merging matters.

use std::time::{Duration, Instant};

use keg::{Keg, object::Entry};

use super::{
    import::{DebianError, choose},
    index::Index,
    pool::{Pooled, find},
    rootfs::Rootfs,
    snapshot,
};
use crate::request::DebianWant;

/// Packages put together.
#[derive(Debug)]
pub struct Together {
    /// All of the closure, by name.
    pub packages: Vec<Pooled>,
    /// Their union with dpkg's database, every package in state *unpacked*; its KID is that of an
    /// import with `base: none` of the same packages.
    pub root: Entry,
    /// What each step took.
    pub times: Times,
}

/// What the steps of [`together`] took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Opening the stored index.
    pub open: Duration,
    /// Resolving.
    pub resolve: Duration,
    /// Finding the packages' trees.
    pub find: Duration,
    /// Merging them and writing dpkg's database, down to the KID.
    pub union: Duration,
}

impl Times {
    /// All steps.
    pub fn total(&self) -> Duration {
        self.open + self.resolve + self.find + self.union
    }
}

/// Resolves `want` in the stored index of its suite and puts the packages' trees together. The
/// result is in the Keg, but nothing is named and, until the next commit, nothing is durable.
///
/// # Errors
/// [`DebianError::NotHere`] if the suite or a package is not in the Keg; and as an import.
pub fn together(keg: &Keg, want: &DebianWant) -> Result<Together, DebianError> {
    let began = Instant::now();
    let suite = &want.suite;
    let not_here = |what: String| DebianError::NotHere { what, suite: suite.clone() };
    let snapshot = snapshot::stored(keg, suite)?.ok_or_else(|| not_here("its index".into()))?;
    let index = Index::open(keg.objects(), &snapshot.index)?;
    let opened = Instant::now();
    let all = choose(&index, want)?.all();
    let resolved = Instant::now();
    let found = find(keg, suite, &all)?.into_iter().zip(&all);
    let found =
        found.map(|(pooled, package)| pooled.ok_or_else(|| not_here(package.promise.file_stem())));
    let packages = found.collect::<Result<Vec<Pooled>, _>>()?;
    let there = Instant::now();
    let root = Rootfs { keg, suite }.unpacked(&packages)?;
    let times = Times {
        open: opened - began,
        resolve: resolved - opened,
        find: there - resolved,
        union: there.elapsed(),
    };
    Ok(Together { packages, root, times })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Base,
        debian::{
            apt::Apt,
            import::Machine,
            testing::{DebMaker, TestMirror, file},
        },
        import::Anew,
    };

    #[test]
    fn what_is_in_the_keg_is_put_together_and_the_rest_named() {
        let mirror = TestMirror::new();
        let mut app = DebMaker::new("app", "1", vec![file("./usr/bin/app", "app")]);
        app.fields = "Depends: lib\n".into();
        let lib = DebMaker::new("lib", "1", vec![file("./usr/lib/lib.so", "lib")]);
        let other = DebMaker::new("other", "1", vec![file("./usr/bin/other", "other")]);
        mirror.publish("demo", &[app, lib, other]);
        let want = |name: &str| DebianWant {
            suite: "demo".into(),
            packages: vec![name.into()],
            base: Base::None,
        };
        let keg = Keg::in_memory();
        let missing = |name: &str, text: &str| {
            let error = together(&keg, &want(name)).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        };
        missing("app", "its index");
        let sources: Apt = mirror.apt(&["demo"]);
        let apt = || Ok(sources.clone());
        let machine = Machine { keg: &keg, arch: "amd64", apt: &apt, workers: 0 };
        let done =
            machine.import(&want("app"), "0123456789abcdef", Anew::No, &mut |_| {}).expect("good");
        let got = together(&keg, &want("app")).expect("all is here");
        assert_eq!(got.packages.len(), 2);
        let kid = got.root.kid().expect("a tree");
        assert_eq!(done.lock["rootfs"], kid.to_string().as_str(), "as an import makes it");
        missing("other", "other_1_");
    }
}
