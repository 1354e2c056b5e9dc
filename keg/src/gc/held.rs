//! Why the largest things stay.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde::{Deserialize, Serialize};

use super::Ingest;
use crate::Kid;

/// What keeps an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Holder {
    /// A name of the current version.
    Name,
    /// A name of an older version that the policy keeps.
    Version {
        /// Its number.
        seq: u64,
    },
    /// A pointer, of a version that is kept.
    Pointer,
    /// A lease.
    Lease {
        /// What it says it is for.
        what: String,
    },
    /// A mount.
    Mount {
        /// Where.
        target: String,
    },
    /// An image made within the grace period, as if it was about to be mounted.
    Image,
    /// A sealed stream.
    Stream {
        /// Its name.
        id: String,
    },
    /// Nothing, until its grace period is over; but somebody may have just put it, to name it.
    Ingest(Ingest),
}

/// A large object that stays, and why.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Its size in bytes.
    pub bytes: u64,
    /// Which.
    pub kid: Kid,
    /// What keeps it: the first reason there is, in the order of [`Holder`].
    pub holder: Holder,
    /// By which path below what keeps it.
    pub path: String,
}

/// Gathers the largest objects while they are marked.
pub(crate) struct Held {
    most: usize,
    pub(crate) holder: Holder,
    /// What is met now is below a pointer.
    pub(crate) lent: bool,
    largest: BinaryHeap<Reverse<Kept>>,
}

impl Held {
    /// Gathers at most `most` objects.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, holder: Holder::Name, lent: false, largest: BinaryHeap::new() }
    }

    pub(crate) fn note(&mut self, kid: Kid, bytes: u64, path: impl FnOnce() -> String) {
        let full = self.largest.len() >= self.most;
        let smallest = self.largest.peek().map(|Reverse(kept)| kept.bytes);
        if self.most == 0 || (full && smallest.is_some_and(|smallest| smallest >= bytes)) {
            return;
        }
        if full {
            self.largest.pop();
        }
        let holder = if self.lent { Holder::Pointer } else { self.holder.clone() };
        let kept = Kept { bytes, kid, holder, path: path() };
        self.largest.push(Reverse(kept));
    }

    /// The largest of these and others, the largest first.
    pub(super) fn into_sorted_with(self, others: Vec<Kept>) -> Vec<Kept> {
        let mut all = others;
        all.extend(self.largest.into_iter().map(|Reverse(kept)| kept));
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.truncate(self.most);
        all
    }
}
