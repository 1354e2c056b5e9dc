//! Noting that a Keg has directories which are split, before it has the first.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    Object, StoreError,
    format::{SHARDS, require},
};
use crate::object::{Kind, shards::is_index};

/// Whether `format.json` says already that directories are split.
#[derive(Default)]
pub(super) struct Splits(AtomicBool);

impl Splits {
    /// As [`Splits::allow`], for each object.
    pub(super) fn allow_all(&self, home: &Path, objects: &[Object]) -> Result<(), StoreError> {
        objects.iter().try_for_each(|object| self.allow(home, object.kind, &object.bytes))
    }

    /// Before an object is stored: if it is an index node, older programs are kept out from now
    /// on, durably.
    pub(super) fn allow(&self, home: &Path, kind: Kind, bytes: &[u8]) -> Result<(), StoreError> {
        let needed = kind == Kind::Tree && is_index(bytes);
        if needed && !self.0.load(Ordering::Relaxed) {
            require(home, SHARDS)?;
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
