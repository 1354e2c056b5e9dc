//! Taking in the trees and commits of a value, and finding out which of its blobs are missing.

use std::{collections::HashSet, time::Instant};

use super::{
    Limits, MAX_BLOBS, MAX_OBJECTS, SYNC_EVERY, SYNC_OBJECTS,
    error::{SyncError, protocol},
    message::Missing,
    partial::{Part, remove_old_parts},
    trees::{END, Held, Record, read_record},
    walk::{Ends, Listed, Met, Source, Walk},
    wire::Input,
};
use crate::{
    Keg, Kid, directory,
    object::{Commit, Entry, Kind, shards::Node},
    store::{Objects, StoreError},
};

/// How much of this Keg's own history is looked through to believe that a commit is here.
const MAX_HELD: usize = 1 << 22;

/// What the first round trip has brought.
pub(super) struct Received {
    /// The commits at which the walk ended.
    pub(super) ends: Ends,
    pub(super) missing: Missing,
    /// Trees and commits that have come.
    pub(super) objects: u64,
    /// Bytes of the missing blobs.
    pub(super) bytes: u64,
}

/// What may come, and what it is compared with.
pub(super) struct Expecting<'a> {
    pub(super) value: &'a Entry,
    pub(super) base: Option<(Kind, Kid)>,
    /// Values that are here whole: names lead to them.
    pub(super) haves: &'a [(Kind, Kid)],
    pub(super) limits: Limits,
    /// Is told how many objects have come and are durable.
    pub(super) durable: &'a mut dyn FnMut(u64) -> Result<(), SyncError>,
    /// Is told how many objects have come.
    pub(super) told: &'a mut dyn FnMut(u64),
}

/// Stores the records of a walk as they come, each checked against the KID that is expected next.
/// They stay when the connection breaks; no name leads to them yet.
pub(super) fn receive_trees(
    keg: &Keg,
    input: &mut Input<'_>,
    expecting: Expecting<'_>,
) -> Result<Received, SyncError> {
    remove_old_parts(keg);
    let objects = keg.objects();
    let mut walk = Walk::new(expecting.value, expecting.base, Ends::default());
    let mut held = Held::new(objects, MAX_HELD);
    let commits = expecting.haves.iter().chain(&expecting.base);
    commits.filter(|(kind, _)| *kind == Kind::Commit).for_each(|(_, kid)| held.add(kid));
    let limits = expecting.limits;
    let mut receiving = Receiving {
        keg,
        objects,
        input,
        held,
        came: 0,
        missing: Missing::default(),
        asked: HashSet::new(),
        bytes: 0,
        limits: Limits { objects: limits.objects.min(MAX_OBJECTS), ..limits },
    };
    let (mut durable, mut synced) = (0, Instant::now());
    let ended = loop {
        match walk.step(&mut receiving) {
            Ok(true) => {
                (expecting.told)(receiving.came);
                let since = receiving.came - durable;
                if since >= SYNC_OBJECTS || (since > 0 && synced.elapsed() >= SYNC_EVERY) {
                    objects.sync()?;
                    (durable, synced) = (receiving.came, Instant::now());
                    (expecting.durable)(durable)?;
                }
            }
            Ok(false) => break receiving.end(),
            Err(error) => break Err(error),
        }
    };
    if receiving.came > durable {
        objects.sync()?;
        (expecting.durable)(receiving.came)?;
    }
    ended?;
    let Receiving { missing, came, bytes, .. } = receiving;
    Ok(Received { ends: walk.into_ends(), missing, objects: came, bytes })
}

struct Receiving<'a, 'i> {
    keg: &'a Keg,
    objects: &'a dyn Objects,
    input: &'a mut Input<'i>,
    held: Held<'a>,
    came: u64,
    missing: Missing,
    /// Blobs that are missing and were named before.
    asked: HashSet<([u8; 16], u64)>,
    bytes: u64,
    limits: Limits,
}

impl Receiving<'_, '_> {
    fn end(&mut self) -> Result<(), SyncError> {
        if self.input.tag()? != END {
            return Err(protocol("an object that nobody asked for"));
        }
        let objects = self.input.number(MAX_OBJECTS, "trees and commits")?;
        let blobs = self.input.number(MAX_BLOBS, "blobs")?;
        if (objects, blobs) != (self.came, self.missing.bits.len()) {
            return Err(protocol("the two Kegs have not gone the same way through the trees"));
        }
        self.input.end()
    }

    /// The next record; an object is kept.
    fn record(&mut self, kind: Kind, kid: &Kid, base: Option<&Kid>) -> Result<Record, SyncError> {
        let record = read_record(self.input, self.objects, kind, kid, base)?;
        let Record::Object { bytes, had } = &record else { return Ok(record) };
        if self.came == self.limits.objects {
            let what = "trees and commits";
            return Err(SyncError::TooMuch { what, limit: self.limits.objects });
        }
        if !had {
            self.objects.put(kind, bytes).map_err(|error| match error {
                StoreError::Invalid { source, .. } => SyncError::Invalid { kid: *kid, source },
                other => other.into(),
            })?;
        }
        self.came += 1;
        Ok(record)
    }

    fn is_missing(&mut self, blob: &Listed) -> Result<bool, SyncError> {
        let wrong = |what: String| Err(SyncError::Wrong { kid: blob.kid, what: what.into() });
        match self.objects.blob_size(&blob.kid) {
            // Garbage collection may be about to remove it: then it is not, or has to come again.
            Ok(size) if size == blob.size => {
                if self.objects.retain(&blob.kid)? {
                    return Ok(false);
                }
                Ok(self.asked.insert((half_of(&blob.kid), blob.size)))
            }
            Ok(size) => wrong(format!("a tree says {} bytes, but it has {size}", blob.size)),
            Err(StoreError::WrongKind { found, .. }) => {
                wrong(format!("a tree says it is a file, but it is a {found}"))
            }
            Err(StoreError::Missing { .. }) => {
                Ok(self.asked.insert((half_of(&blob.kid), blob.size)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Source for Receiving<'_, '_> {
    fn commit(&mut self, kid: &Kid, base: Option<&Kid>) -> Result<Met, SyncError> {
        let bytes = match self.record(Kind::Commit, kid, base)? {
            Record::Object { bytes, .. } => bytes,
            Record::Gone => return Ok(Met::Gone),
            Record::Stop if self.held.holds(kid) => return Ok(Met::Had),
            Record::Stop => {
                return Err(protocol(format!("it takes {kid} to be here, but it is not")));
            }
        };
        let invalid = |source| SyncError::Invalid { kid: *kid, source };
        Ok(Met::New(Commit::decode(&bytes).map_err(invalid)?))
    }

    fn known_commit(&mut self, kid: &Kid) -> Result<Commit, SyncError> {
        Ok(self.objects.commit(kid)?)
    }

    fn node(&mut self, kid: &Kid, base: Option<&Kid>) -> Result<Node, SyncError> {
        let Record::Object { bytes, .. } = self.record(Kind::Tree, kid, base)? else {
            return Err(protocol("a walk that ends at a tree"));
        };
        Node::decode(&bytes).map_err(|source| SyncError::Invalid { kid: *kid, source })
    }

    fn known_node(&mut self, kid: &Kid) -> Result<Node, SyncError> {
        Ok(directory::node(self.objects, kid)?)
    }

    fn blob(&mut self, blob: Listed) -> Result<(), SyncError> {
        let index = self.missing.bits.len();
        if index == MAX_BLOBS {
            return Err(SyncError::TooMuch { what: "blobs", limit: MAX_BLOBS });
        }
        let missing = self.is_missing(&blob)?;
        self.missing.bits.push(missing);
        if missing {
            self.bytes = self.bytes.saturating_add(blob.size);
            if self.bytes > self.limits.bytes {
                let what = "bytes of files";
                return Err(SyncError::TooMuch { what, limit: self.limits.bytes });
            }
            let there = Part::there(self.keg, &blob.kid, blob.size);
            if there > 0 {
                self.missing.start_at(index, there);
            }
        }
        Ok(())
    }

    fn had_commit(&mut self, kid: &Kid) {
        self.held.add(kid);
    }
}

/// The first half of a KID: enough to tell blobs of one pull apart.
fn half_of(kid: &Kid) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&kid.as_bytes()[..16]);
    half
}
