//! Mounted images of a process, kept for the next mount that has them among its layers.
//!
//! An image that is mounted twice is two file systems to the kernel, each with its own inodes in
//! memory. Overlays take a layer as a descriptor of a mount that need not be attached anywhere, so
//! keeping the descriptor of a base is enough for all mounts of its lineage to share it; they
//! outlive the process that made them, and it leaves nothing behind.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{MountError, cache::Layer, kernel};
use crate::Kid;
use crate::erofs::Base;

/// Most bases that a process keeps mounted.
const MAX_KEPT: usize = 16;

/// Which image: its tree, what it stands on, and its inode, since one that was found damaged is
/// made again. The number is not used again while it is mounted.
type Key = (Kid, Option<Base>, u64);

type Kept = VecDeque<(Key, Arc<OwnedFd>)>;

/// The kept ones, the last used in front.
#[derive(Clone, Default)]
pub struct Mounted {
    kept: Arc<Mutex<Kept>>,
}

impl Mounted {
    /// All images of a stack, mounted.
    pub fn all(&self, stack: &[Layer]) -> Result<Vec<Arc<OwnedFd>>, MountError> {
        let mount = |(depth, layer): (usize, &Layer)| {
            let key = key(layer)?;
            if let Some(mount) = self.kept(&key) {
                return Ok(mount);
            }
            let mount = Arc::new(kernel::image(layer)?);
            if depth > 0 || stack.len() == 1 {
                self.keep(key, &mount);
            }
            Ok(mount)
        };
        stack.iter().enumerate().map(mount).collect()
    }

    fn kept(&self, key: &Key) -> Option<Arc<OwnedFd>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(other, _)| other == key)?;
        let found = kept.remove(at)?;
        let mount = found.1.clone();
        kept.push_front(found);
        Some(mount)
    }

    fn keep(&self, key: Key, mount: &Arc<OwnedFd>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((key, mount.clone()));
        kept.truncate(MAX_KEPT);
    }
}

fn key(layer: &Layer) -> Result<Key, MountError> {
    let meta = layer.file.metadata().map_err(|source| MountError::Io {
        action: "read",
        path: layer.path.clone(),
        source,
    })?;
    Ok((layer.tree, layer.base, meta.ino()))
}
