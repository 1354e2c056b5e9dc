//! How far back each subtree reads: what collections have decided, on disk.
//!
//! `gc/history.json`: `{"floors": {"/": 12, "/machines": 480}, "cut": ["K-…"], "sum": "…"}`. A subtree is whole
//! in every version from its floor on, and is not kept in older ones; the longest path counts.
//! `cut` are commits that a kept commit value names as its parents and that are not kept.
//! `gc/history.copy` is the same, for when the first is damaged: nothing else says what was let go
//! of, and what is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    Kid, NamePath,
    store::{StoreError, durable::replace_file, io, summed},
};

/// How much of a directory is kept in a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    Whole,
    /// Some names in it are kept, others not.
    Partial,
    Gone,
}

/// What is kept of the past.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Floors {
    /// The oldest version in which each of these subtrees is kept.
    pub(crate) floors: BTreeMap<NamePath, u64>,
    /// Commits that were cut off their successors.
    pub(crate) cut: BTreeSet<Kid>,
}

const FILE: &str = "gc/history.json";
const COPY: &str = "gc/history.copy";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    floors: BTreeMap<String, u64>,
    cut: Vec<Kid>,
}

impl Floors {
    /// What the collections of a Keg have decided so far; everything is kept before the first.
    pub(crate) fn read(home: &Path) -> Result<Self, StoreError> {
        match Self::read_file(home, FILE) {
            Err(error @ StoreError::Log { .. }) => match Self::read_file(home, COPY) {
                Ok(Some(floors)) => Ok(floors),
                _ => Err(error),
            },
            read => Ok(read?.unwrap_or_default()),
        }
    }

    /// The damaged ones among the files, and what is wrong with them.
    pub(crate) fn damage(home: &Path) -> Vec<(&'static str, String)> {
        let damaged = |file| match Self::read_file(home, file) {
            Err(StoreError::Log { what, .. }) => Some((file, what)),
            _ => None,
        };
        [FILE, COPY].into_iter().filter_map(damaged).collect()
    }

    /// `None`: it is not there.
    fn read_file(home: &Path, file: &str) -> Result<Option<Self>, StoreError> {
        let path = home.join(file);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(format_args!("reading {}", path.display()))(error)),
        };
        let damaged = |what: String| StoreError::Log { place: file.to_owned(), what };
        let document: Document = summed::from_text(&text).map_err(damaged)?;
        let floors = document.floors.into_iter().map(|(path, floor)| {
            Ok((path.parse().map_err(|error| damaged(format!("{error}")))?, floor))
        });
        let floors = floors.collect::<Result<_, StoreError>>()?;
        Ok(Some(Self { floors, cut: document.cut.into_iter().collect() }))
    }

    /// Makes it durable.
    pub(crate) fn write(&self, home: &Path) -> Result<(), StoreError> {
        let document = Document {
            floors: self.floors.iter().map(|(path, floor)| (path.to_string(), *floor)).collect(),
            cut: self.cut.iter().copied().collect(),
        };
        let text = summed::to_text(&document).expect("paths and numbers are JSON");
        replace_file(&home.join(FILE), text.as_bytes())?;
        replace_file(&home.join(COPY), text.as_bytes())
    }

    /// The oldest version in which a path itself is kept.
    pub(crate) fn of(&self, path: &NamePath) -> u64 {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if let Some(floor) = self.floors.get(&path) {
                return *floor;
            }
            at = path.parent();
        }
        0
    }

    /// The oldest version in which a path and everything below it is kept.
    pub(crate) fn of_subtree(&self, path: &NamePath) -> u64 {
        let below = self.below(path).map(|(_, floor)| *floor);
        below.fold(self.of(path), u64::max)
    }

    /// The oldest version of which anything is kept.
    pub(crate) fn oldest(&self) -> u64 {
        self.floors.values().copied().fold(self.of(&NamePath::root()), u64::min)
    }

    /// How much of what is at `path` is kept in version `seq`.
    pub(crate) fn extent(&self, path: &NamePath, seq: u64) -> Extent {
        let own = self.of(path) <= seq;
        if self.below(path).any(|(_, floor)| (*floor <= seq) != own) {
            return Extent::Partial;
        }
        if own { Extent::Whole } else { Extent::Gone }
    }

    /// Sets floors; none goes down, and none is lost with its rule.
    pub(crate) fn raise(&mut self, raised: &BTreeMap<NamePath, u64>) {
        let old = self.clone();
        let wanted = Self { floors: raised.clone(), cut: BTreeSet::new() };
        let paths: BTreeSet<&NamePath> = raised.keys().chain(old.floors.keys()).collect();
        self.floors = paths
            .into_iter()
            .map(|path| (path.clone(), old.of(path).max(wanted.of(path))))
            .collect();
        let kept = self.clone();
        self.floors.retain(|path, floor| match path.parent() {
            Some(parent) => kept.of(&parent) != *floor,
            None => true,
        });
    }

    fn below(&self, path: &NamePath) -> impl Iterator<Item = (&NamePath, &u64)> {
        self.floors
            .range(path.clone()..)
            .filter(move |(other, _)| *other != path && other.starts_with(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> NamePath {
        text.parse().expect(text)
    }

    fn floors(list: &[(&str, u64)]) -> Floors {
        let floors = list.iter().map(|(text, floor)| (path(text), *floor)).collect();
        Floors { floors, cut: BTreeSet::new() }
    }

    #[test]
    fn extents() {
        let floors = floors(&[("/", 5), ("/a", 8), ("/a/b", 2), ("/ab", 3)]);
        use Extent::{Gone, Partial, Whole};
        for (at, seq, want) in [
            ("/", 8, Whole),
            ("/", 7, Partial),
            ("/", 2, Partial),
            ("/", 1, Gone),
            ("/a", 8, Whole),
            ("/a", 5, Partial),
            ("/a/b", 5, Whole),
            ("/a/b", 1, Gone),
            ("/a/c", 5, Gone),
            ("/ab/x", 3, Whole),
            ("/z", 4, Gone),
        ] {
            assert_eq!(floors.extent(&path(at), seq), want, "{at} in {seq}");
        }
        assert_eq!((floors.oldest(), floors.of_subtree(&path("/"))), (2, 8));
        assert_eq!(Floors::default().extent(&path("/"), 0), Whole);
    }

    #[test]
    fn floors_only_rise_and_outlive_their_rules() {
        let mut kept = floors(&[("/", 5), ("/a", 8)]);
        kept.raise(&floors(&[("/", 3), ("/b", 9)]).floors);
        assert_eq!(kept, floors(&[("/", 5), ("/a", 8), ("/b", 9)]));
        kept.raise(&floors(&[("/", 9)]).floors);
        assert_eq!(kept, floors(&[("/", 9)]));
    }
}
