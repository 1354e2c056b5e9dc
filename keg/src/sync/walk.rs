//! The order in which both ends go through a value's trees, commits and blobs.
//!
//! It depends on nothing but the value, the base (a value that the receiver has whole) and the
//! commits at which to stop; so what is sent needs no names. In words, as `docs/sync.md`, "The
//! walk", has it: a directory first names its files, then each directory below it in turn, every
//! one compared with what the base has under the same name; of a commit's history the oldest tree
//! comes first, each compared with the one before it.

use std::collections::HashMap;

use super::{
    MAX_OBJECTS, MAX_STOPS,
    error::{SyncError, protocol},
    parts::Compared,
};
use crate::{
    Kid,
    directory::Part,
    object::{Commit, Entry, Kind, Sums, Tree, Value, shards::Node},
};

/// Most trees and commits that are known of but not looked at yet.
const MAX_PENDING: usize = 1 << 22;

/// A blob that a tree names and its base does not, under the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    pub(super) kid: Kid,
    pub(super) size: u64,
    /// The blob of that name in the base: the receiver has it by the time this one comes.
    pub(super) base: Option<Kid>,
}

/// Where the objects on the way are taken from, and told to.
pub(super) trait Source {
    /// A commit that is new to the walk.
    fn commit(&mut self, kid: &Kid, base: Option<&Kid>) -> Result<Met, SyncError>;
    /// A commit that was seen before, or is had.
    fn known_commit(&mut self, kid: &Kid) -> Result<Commit, SyncError>;
    /// A tree, or a node of one that is split, that is new to the walk.
    fn node(&mut self, kid: &Kid, base: Option<&Kid>) -> Result<Node, SyncError>;
    /// A tree or node that was seen before, or is had.
    fn known_node(&mut self, kid: &Kid) -> Result<Node, SyncError>;
    /// The next blob.
    fn blob(&mut self, blob: Listed) -> Result<(), SyncError>;
    /// The receiver has this commit and all before it.
    fn had_commit(&mut self, _kid: &Kid) {}
}

/// A commit on the way.
pub(super) enum Met {
    /// It is sent.
    New(Commit),
    /// The receiver has it and all before it.
    Had,
    /// The sender has let go of it and all before it.
    Gone,
}

/// What the receiver has of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing, and it will not get it.
    Gone,
    /// It was sent in this walk: it alone.
    Sent,
    /// It and everything it needs.
    Had,
}

/// The object to compare with.
#[derive(Clone, Copy)]
pub(super) struct Base {
    pub(super) kid: Kid,
    pub(super) had: bool,
}

pub(super) enum Job {
    Blob(Listed),
    Tree {
        kid: Kid,
        base: Option<Base>,
        sums: Option<Sums>,
    },
    /// A part of a directory that is split, and the directory compared with: see `parts.rs`.
    Part(Part, Option<Base>),
    /// All of an index node has been gone through: now it may be compared with.
    Done(Kid),
    Commit {
        kid: Kid,
        base: Option<Base>,
    },
    /// Commits that are looked up newest first, then gone through oldest first.
    Chain {
        pending: Vec<Kid>,
        found: Vec<Kid>,
        previous: Option<Kid>,
    },
}

/// A walk under way.
pub(super) struct Walk {
    pub(super) jobs: Vec<Job>,
    /// By half of the KID: 16 bytes are told apart by anybody's means.
    pub(super) known: HashMap<[u8; 16], Known>,
    ends: Ends,
}

/// The commits at which a walk ends.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ends {
    /// The receiver has them and all before them.
    pub(super) stops: Vec<Kid>,
    /// The sender has let go of them.
    pub(super) gone: Vec<Kid>,
}

impl Walk {
    /// A walk through `value`, compared with `base`, up to `ends`.
    pub(super) fn new(value: &Entry, base: Option<(Kind, Kid)>, ends: Ends) -> Self {
        let had = |kind: Kind| {
            let kid = base.filter(|(found, _)| *found == kind)?.1;
            Some(Base { kid, had: true })
        };
        let same = base.is_some_and(|(_, kid)| entry_kid(value) == Some(kid));
        let job = match &value.value {
            _ if same => None,
            Value::File { kid, size } => {
                let base = had(Kind::Blob).map(|base| base.kid);
                Some(Job::Blob(Listed { kid: *kid, size: *size, base }))
            }
            Value::Tree { kid, bytes, entries } => {
                let sums = Some(Sums { bytes: *bytes, entries: *entries });
                Some(Job::Tree { kid: *kid, base: had(Kind::Tree), sums })
            }
            Value::Commit { kid } => Some(Job::Commit { kid: *kid, base: had(Kind::Commit) }),
            _ => None,
        };
        let had = ends.stops.iter().map(|kid| (half(kid), Known::Had));
        let gone = ends.gone.iter().map(|kid| (half(kid), Known::Gone));
        Self { jobs: job.into_iter().collect(), known: had.chain(gone).collect(), ends }
    }

    /// The commits at which it has ended.
    pub(super) fn into_ends(self) -> Ends {
        self.ends
    }

    /// Goes on by at most one object; `false` at the end.
    pub(super) fn step(&mut self, source: &mut dyn Source) -> Result<bool, SyncError> {
        let Some(job) = self.jobs.pop() else { return Ok(false) };
        match job {
            Job::Blob(blob) => source.blob(blob)?,
            Job::Tree { kid, base, sums } => self.tree(source, kid, base, sums)?,
            Job::Part(part, base) => self.part(source, part, base)?,
            Job::Done(kid) => {
                self.known.insert(half(&kid), Known::Sent);
            }
            Job::Commit { kid, base } => {
                let previous = base.filter(|base| self.has(base)).map(|base| base.kid);
                if let Some(base) = base.filter(|base| base.had) {
                    self.known.insert(half(&base.kid), Known::Had);
                    source.had_commit(&base.kid);
                }
                self.jobs.push(Job::Chain { pending: vec![kid], found: Vec::new(), previous });
            }
            Job::Chain { pending, found, previous } => {
                self.chain(source, pending, found, previous)?;
            }
        }
        if self.known.len() as u64 > MAX_OBJECTS {
            let what = "trees and commits";
            return Err(SyncError::TooMuch { what, limit: MAX_OBJECTS });
        }
        Ok(true)
    }

    fn has(&self, base: &Base) -> bool {
        let known = self.known.get(&half(&base.kid));
        base.had || known.is_some_and(|known| *known != Known::Gone)
    }

    fn tree(
        &mut self,
        source: &mut dyn Source,
        kid: Kid,
        base: Option<Base>,
        sums: Option<Sums>,
    ) -> Result<(), SyncError> {
        if self.known.contains_key(&half(&kid)) {
            return Ok(());
        }
        let base = base.filter(|base| self.has(base));
        let node = source.node(&kid, base.as_ref().map(|base| &base.kid))?;
        let invalid = |source| SyncError::Invalid { kid, source };
        node.check_root().map_err(invalid)?;
        let found = node.extent().map_err(invalid)?.sums;
        if sums.is_some_and(|stated| stated != found) {
            let what = "the directory above it says other sums of what is below";
            return Err(SyncError::Wrong { kid, what: what.into() });
        }
        self.below(source, kid, &node, base, None)
    }

    pub(super) fn was_had(&self, base: &Base) -> bool {
        base.had || self.known.get(&half(&base.kid)) == Some(&Known::Had)
    }

    /// Lists the files that differ, and puts the trees and commits that do on the stack, in order.
    pub(super) fn compare(
        &mut self,
        source: &mut dyn Source,
        tree: &Tree,
        base: Option<Base>,
    ) -> Result<(), SyncError> {
        let start = self.jobs.len();
        let had = base.is_some_and(|base| self.was_had(&base));
        let mut old = Compared::open(source, base.map(|base| base.kid))?;
        for (name, entry) in &tree.entries {
            let before = old.get(source, name)?.map(|entry| entry.value);
            let same = before.as_ref() == Some(&entry.value);
            match &entry.value {
                Value::Tree { kid, .. } | Value::Commit { kid } if same && had => {
                    self.known.insert(half(kid), Known::Had);
                }
                _ if same => {}
                Value::File { kid, size } => {
                    let base = match before {
                        Some(Value::File { kid, .. }) => Some(kid),
                        _ => None,
                    };
                    source.blob(Listed { kid: *kid, size: *size, base })?;
                }
                Value::Tree { kid, bytes, entries } => {
                    let base = match before {
                        Some(Value::Tree { kid, .. }) => Some(Base { kid, had }),
                        _ => None,
                    };
                    let sums = Some(Sums { bytes: *bytes, entries: *entries });
                    self.jobs.push(Job::Tree { kid: *kid, base, sums });
                }
                Value::Commit { kid } => {
                    let base = match before {
                        Some(Value::Commit { kid }) => Some(Base { kid, had }),
                        _ => None,
                    };
                    self.jobs.push(Job::Commit { kid: *kid, base });
                }
                _ => {}
            }
        }
        self.jobs[start..].reverse();
        self.check_pending()
    }

    pub(super) fn check_pending(&self) -> Result<(), SyncError> {
        if self.jobs.len() > MAX_PENDING {
            let what = "directories that wait to be looked at";
            return Err(SyncError::TooMuch { what, limit: MAX_PENDING as u64 });
        }
        Ok(())
    }

    fn chain(
        &mut self,
        source: &mut dyn Source,
        mut pending: Vec<Kid>,
        mut found: Vec<Kid>,
        mut previous: Option<Kid>,
    ) -> Result<(), SyncError> {
        if let Some(kid) = pending.pop() {
            let known = self.known.contains_key(&half(&kid));
            if !known {
                match source.commit(&kid, previous.as_ref())? {
                    Met::New(commit) => {
                        self.known.insert(half(&kid), Known::Sent);
                        found.push(kid);
                        previous = Some(kid);
                        pending.extend(commit.parents.iter().rev());
                    }
                    Met::Gone if found.is_empty() => {
                        return Err(protocol(format!("{kid} itself is said to be gone")));
                    }
                    Met::Had => self.end_at(kid, Known::Had)?,
                    Met::Gone => self.end_at(kid, Known::Gone)?,
                }
            }
            if pending.len() > MAX_PENDING {
                let what = "commits that wait to be looked at";
                return Err(SyncError::TooMuch { what, limit: MAX_PENDING as u64 });
            }
            self.jobs.push(Job::Chain { pending, found, previous });
            return Ok(());
        }
        let Some(kid) = found.pop() else { return Ok(()) };
        let commit = source.known_commit(&kid)?;
        let base = match commit.parents.first() {
            Some(parent) => self.tree_of(source, parent)?,
            None => None,
        };
        self.jobs.push(Job::Chain { pending, found, previous });
        self.jobs.push(Job::Tree { kid: commit.tree, base, sums: None });
        Ok(())
    }

    fn end_at(&mut self, kid: Kid, known: Known) -> Result<(), SyncError> {
        let Ends { stops, gone } = &mut self.ends;
        let list = if known == Known::Had { stops } else { gone };
        if list.len() == MAX_STOPS {
            return Err(protocol("more commits at which to stop than a walk may have"));
        }
        self.known.insert(half(&kid), known);
        list.push(kid);
        Ok(())
    }

    /// The tree of a commit, as a base, if the receiver knows the commit.
    fn tree_of(
        &mut self,
        source: &mut dyn Source,
        commit: &Kid,
    ) -> Result<Option<Base>, SyncError> {
        let known = match self.known.get(&half(commit)) {
            None | Some(Known::Gone) => return Ok(None),
            Some(known) => *known,
        };
        let kid = source.known_commit(commit)?.tree;
        Ok(Some(Base { kid, had: known == Known::Had }))
    }
}

pub(super) fn half(kid: &Kid) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&kid.as_bytes()[..16]);
    half
}

/// The KID of a value that a walk goes through: not a pointer's, which is elsewhere.
pub(super) fn entry_kid(entry: &Entry) -> Option<Kid> {
    entry_named(entry).map(|(_, kid)| kid)
}

/// Kind and KID of a value that a walk goes through.
pub(super) fn entry_named(entry: &Entry) -> Option<(Kind, Kid)> {
    match entry.value {
        Value::File { kid, .. } => Some((Kind::Blob, kid)),
        Value::Tree { kid, .. } => Some((Kind::Tree, kid)),
        Value::Commit { kid } => Some((Kind::Commit, kid)),
        _ => None,
    }
}
