//! The first round trip: trees and commits that differ, in the order of the walk.

use std::collections::{HashSet, VecDeque};

use super::{
    MAX_BASE, MAX_DOCUMENT, MAX_FRAME,
    codec::{compress, decompress},
    error::{SyncError, protocol},
    walk::{Ends, Listed, Met, Source, Walk},
    wire::Input,
};
use crate::{
    Kid, directory,
    object::{
        Commit, Entry, Kind,
        shards::Node,
        wire::{put_bytes, put_varint},
    },
    store::{Objects, StoreError},
};

/// The tags of records.
pub(super) const END: u8 = 0;
const STORED: u8 = 1;
const COMPRESSED: u8 = 2;
const PATCHED: u8 = 3;
const HAD: u8 = 4;
const STOP: u8 = 5;
const GONE: u8 = 6;

/// How far back the history of what the receiver has is looked through, in commits.
const MAX_HELD: usize = 1 << 12;
/// Records are gathered to chunks of about this many bytes.
const CHUNK: usize = 64 << 10;

/// Sends the trees and commits of a value, chunk by chunk.
pub(super) struct TreeSender<'a> {
    walk: Walk,
    source: Sending<'a>,
    ended: bool,
}

struct Sending<'a> {
    objects: &'a dyn Objects,
    out: Vec<u8>,
    /// How many objects the receiver has from the last time.
    skip: u64,
    sent: u64,
    blobs: u64,
    held: Held<'a>,
}

impl<'a> TreeSender<'a> {
    /// What differs between `value` and `base`; the receiver also has the commits in `haves`, and
    /// the first `skip` objects.
    pub(super) fn new(
        objects: &'a dyn Objects,
        value: &Entry,
        base: Option<(Kind, Kid)>,
        haves: &[(Kind, Kid)],
        skip: u64,
    ) -> Self {
        let mut held = Held::new(objects, MAX_HELD);
        let commits = haves.iter().filter(|(kind, _)| *kind == Kind::Commit);
        commits.for_each(|(_, kid)| held.add(kid));
        let source = Sending { objects, out: Vec::new(), skip, sent: 0, blobs: 0, held };
        Self { walk: Walk::new(value, base, Ends::default()), source, ended: false }
    }

    /// The next bytes; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, SyncError> {
        while !self.ended && self.source.out.len() < CHUNK {
            if !self.walk.step(&mut self.source)? {
                let out = &mut self.source.out;
                out.push(END);
                put_varint(out, self.source.sent);
                put_varint(out, self.source.blobs);
                self.ended = true;
            }
        }
        let out = std::mem::take(&mut self.source.out);
        Ok(if out.is_empty() { None } else { Some(out) })
    }

    /// The commits at which the walk has ended.
    pub(super) fn into_ends(self) -> Ends {
        self.walk.into_ends()
    }
}

impl Sending<'_> {
    fn send(&mut self, bytes: &[u8], base: Option<Vec<u8>>) -> Result<(), SyncError> {
        self.sent += 1;
        if self.sent <= self.skip {
            self.out.push(HAD);
            return Ok(());
        }
        let fits = |base: &Vec<u8>| base.len() <= MAX_BASE && bytes.len() <= MAX_FRAME;
        let base = base.filter(fits);
        let packed = compress(bytes, base.as_deref())?;
        if packed.len() >= bytes.len() {
            self.out.push(STORED);
            put_bytes(&mut self.out, bytes);
            return Ok(());
        }
        self.out.push(if base.is_some() { PATCHED } else { COMPRESSED });
        put_varint(&mut self.out, bytes.len() as u64);
        put_bytes(&mut self.out, &packed);
        Ok(())
    }

    fn base(&self, kid: Option<&Kid>) -> Result<Option<Vec<u8>>, SyncError> {
        Ok(match kid {
            Some(kid) if self.sent >= self.skip => Some(self.objects.get(kid)?.bytes),
            _ => None,
        })
    }
}

/// The bytes of an object that must be of this kind.
fn document(objects: &dyn Objects, kid: &Kid, expected: Kind) -> Result<Vec<u8>, SyncError> {
    let object = objects.get(kid)?;
    if object.kind != expected {
        let found = object.kind;
        return Err(StoreError::WrongKind { kid: *kid, expected, found }.into());
    }
    Ok(object.bytes)
}

impl Source for Sending<'_> {
    fn commit(&mut self, kid: &Kid, base: Option<&Kid>) -> Result<Met, SyncError> {
        if self.held.holds(kid) {
            self.out.push(STOP);
            return Ok(Met::Had);
        }
        if self.objects.kind(kid)?.is_none() {
            // History that garbage collection has let go of; what a name needs is never gone.
            self.out.push(GONE);
            return Ok(Met::Gone);
        }
        let bytes = document(self.objects, kid, Kind::Commit)?;
        let base = self.base(base)?;
        self.send(&bytes, base)?;
        let invalid = |source| StoreError::Invalid { kind: Kind::Commit, source };
        Ok(Met::New(Commit::decode(&bytes).map_err(invalid)?))
    }

    fn known_commit(&mut self, kid: &Kid) -> Result<Commit, SyncError> {
        Ok(self.objects.commit(kid)?)
    }

    fn node(&mut self, kid: &Kid, base: Option<&Kid>) -> Result<Node, SyncError> {
        let bytes = document(self.objects, kid, Kind::Tree)?;
        let base = self.base(base)?;
        self.send(&bytes, base)?;
        let invalid = |source| StoreError::Invalid { kind: Kind::Tree, source };
        Ok(Node::decode(&bytes).map_err(invalid)?)
    }

    fn known_node(&mut self, kid: &Kid) -> Result<Node, SyncError> {
        Ok(directory::node(self.objects, kid)?)
    }

    fn blob(&mut self, _: Listed) -> Result<(), SyncError> {
        self.blobs += 1;
        Ok(())
    }

    fn had_commit(&mut self, kid: &Kid) {
        self.held.add(kid);
    }
}

/// Commits that the receiver has, with all before them: looked through as far as is needed.
pub(super) struct Held<'a> {
    objects: &'a dyn Objects,
    seen: HashSet<Kid>,
    /// Breadth first, so that the newest are looked at first.
    next: VecDeque<Kid>,
    limit: usize,
}

impl<'a> Held<'a> {
    /// None yet; it looks at no more than `limit` commits.
    pub(super) fn new(objects: &'a dyn Objects, limit: usize) -> Self {
        Self { objects, seen: HashSet::new(), next: VecDeque::new(), limit }
    }

    pub(super) fn add(&mut self, kid: &Kid) {
        if self.seen.len() < self.limit && self.seen.insert(*kid) {
            self.next.push_back(*kid);
        }
    }

    /// Whether a commit is among them, as far as can be told.
    pub(super) fn holds(&mut self, kid: &Kid) -> bool {
        while !self.seen.contains(kid) {
            let Some(next) = self.next.pop_front() else { return false };
            if let Ok(commit) = self.objects.commit(&next) {
                commit.parents.iter().for_each(|parent| self.add(parent));
            }
        }
        // A name for something that is not here proves nothing.
        matches!(self.objects.kind(kid), Ok(Some(Kind::Commit)))
    }
}

/// Reads one record: the object with this KID, or that the walk ends at it.
pub(super) fn read_record(
    input: &mut Input<'_>,
    objects: &dyn Objects,
    kind: Kind,
    kid: &Kid,
    base: Option<&Kid>,
) -> Result<Record, SyncError> {
    let bytes = match input.tag()? {
        STORED => input.bytes(MAX_DOCUMENT, "a tree or commit")?,
        tag @ (COMPRESSED | PATCHED) => {
            let len = input.length(MAX_DOCUMENT, "a tree or commit")?;
            let packed = input.bytes(len, "its compressed form")?;
            let base = match (tag, base) {
                (PATCHED, Some(base)) => Some(objects.get(base)?.bytes),
                (PATCHED, None) => return Err(protocol("a difference to nothing")),
                _ => None,
            };
            if base.as_ref().is_some_and(|base| base.len() > MAX_BASE || len > MAX_FRAME) {
                return Err(protocol("a difference that is too large"));
            }
            decompress(&packed, base.as_deref(), len)?
        }
        HAD => {
            let bytes = document(objects, kid, kind)?;
            return Ok(Record::Object { bytes, had: true });
        }
        STOP if kind == Kind::Commit => return Ok(Record::Stop),
        GONE if kind == Kind::Commit => return Ok(Record::Gone),
        END => return Err(protocol(format!("the records end before {kid}"))),
        other => return Err(protocol(format!("a record of kind {other}"))),
    };
    if kind.kid_of(&bytes) != *kid {
        return Err(SyncError::Wrong { kid: *kid, what: "the bytes have another KID".into() });
    }
    Ok(Record::Object { bytes, had: false })
}

/// What has come.
pub(super) enum Record {
    /// An object.
    Object {
        bytes: Vec<u8>,
        /// It was here already.
        had: bool,
    },
    /// This commit and all before it are here.
    Stop,
    /// The sender has let go of this commit and all before it.
    Gone,
}
