//! Sets of KIDs: their bytes are hashes already, so the first eight are hash enough.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

use crate::Kid;

/// Takes the first eight bytes of what it is fed.
#[derive(Default)]
pub(crate) struct First8(u64);

impl Hasher for First8 {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(crate) type KidSet = HashSet<Kid, BuildHasherDefault<First8>>;
pub(crate) type KidMap<V> = HashMap<Kid, V, BuildHasherDefault<First8>>;
