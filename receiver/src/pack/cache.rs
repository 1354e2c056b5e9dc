//! Contents of objects kept for reuse, up to a number of bytes.

use std::collections::{HashMap, VecDeque};

use gix_object::Kind;

use super::{Buffer, CACHE_BYTES};

/// An object: its kind and bytes.
#[derive(Clone)]
pub(crate) struct Object {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its bytes.
    pub(crate) bytes: Buffer,
}

/// Where an object is: the number of its pack in a [`super::PackSet`], and the offset there.
pub(crate) type PackKey = (usize, u64);

/// Objects by place, the oldest dropped first when there are more than [`CACHE_BYTES`].
#[derive(Default)]
pub(crate) struct Cache {
    objects: HashMap<PackKey, Object>,
    order: VecDeque<PackKey>,
    bytes: usize,
}

/// What an entry costs besides its bytes.
const OVERHEAD: usize = 128;

impl Cache {
    /// The object at `key`, if it was kept.
    pub(crate) fn get(&self, key: PackKey) -> Option<Object> {
        self.objects.get(&key).cloned()
    }

    /// Keeps an object if there is room without dropping another: what came first is the newest
    /// in a pack made by git, and is wanted first.
    pub(crate) fn keep(&mut self, key: PackKey, object: &Object) {
        if self.bytes + object.bytes.len() + OVERHEAD <= CACHE_BYTES {
            self.insert(key, object);
        }
    }

    /// Keeps an object, dropping the oldest if there is no room.
    pub(crate) fn insert(&mut self, key: PackKey, object: &Object) {
        let cost = object.bytes.len() + OVERHEAD;
        if cost > CACHE_BYTES / 4 || self.objects.contains_key(&key) {
            return;
        }
        while self.bytes + cost > CACHE_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(object) = self.objects.remove(&oldest) {
                self.bytes -= object.bytes.len() + OVERHEAD;
            }
        }
        self.bytes += cost;
        self.order.push_back(key);
        self.objects.insert(key, object.clone());
    }
}
