//! Removing loose files whose objects are in packs: only what was read back, and is not mounted.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
};

use super::{
    below::large_below,
    hot::{mounted, trees_of},
    report::{Phase, Progress},
};
use crate::{
    Kid,
    store::{
        Objects, StoreError,
        condemned::Condemned,
        io,
        packs::{self, PackSet, PackedBlob, Prefer, Removing},
        pending::object_path,
    },
};

/// So many files are removed while nobody can mount.
const AT_ONCE: usize = 4096;

/// Removes loose files.
pub(super) struct Remover<'a> {
    home: &'a Path,
    objects: &'a dyn Objects,
    /// What the mount tables said last, and the large blobs of these trees.
    labels: BTreeSet<String>,
    mounted: HashMap<Kid, u64>,
    condemned: Condemned,
}

impl<'a> Remover<'a> {
    pub(super) fn new(home: &'a Path, objects: &'a dyn Objects) -> Result<Self, StoreError> {
        let (labels, mounted) = (BTreeSet::new(), HashMap::new());
        let condemned = Condemned::new(home);
        let mut remover = Self { home, objects, labels, mounted, condemned };
        remover.look()?;
        Ok(remover)
    }

    /// Reads the mount tables.
    fn look(&mut self) -> Result<(), StoreError> {
        let labels = mounted()?;
        let new = labels.difference(&self.labels).cloned().collect();
        let trees = trees_of(self.objects, &new)?;
        self.mounted.extend(large_below(self.objects, &trees)?);
        self.labels.extend(labels);
        Ok(())
    }

    /// Whether a mounted tree has it.
    pub(super) fn is_mounted(&self, kid: &Kid) -> bool {
        self.mounted.contains_key(kid)
    }

    /// Reads packed objects back from the disk, not from what is in memory of them; returns those
    /// that are whole, and those that are not.
    pub(super) fn check(
        &self,
        kids: &[Kid],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Vec<Kid>, Vec<Kid>), StoreError> {
        let set = PackSet::new(self.home);
        let (mut whole, mut damaged) = (Vec::with_capacity(kids.len()), Vec::new());
        let of_objects = kids.len() as u64;
        let mut told = Progress { phase: Phase::Checking, of_objects, ..Progress::default() };
        for kid in kids {
            let hash = set.find(kid)?.and_then(|found| {
                // From packs alone: the loose files are about to go.
                let mut blob = PackedBlob::new(&set, *kid, found, Prefer::Packed);
                told.bytes += blob.size();
                blob.hash().ok()
            });
            if hash == Some(*kid) {
                whole.push(*kid)
            } else {
                damaged.push(*kid)
            }
            told.objects += 1;
            progress(told);
        }
        Ok((whole, damaged))
    }

    /// Removes the loose files of objects that are not mounted; returns how many, and their
    /// bytes. After a crash of the machine some may be back, which does no harm.
    pub(super) fn remove(
        &mut self,
        kids: &[Kid],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(u64, u64), StoreError> {
        if !kids.is_empty() {
            packs::settle(self.home)?;
        }
        let of_objects = kids.len() as u64;
        let mut told = Progress { phase: Phase::Removing, of_objects, ..Progress::default() };
        for some in kids.chunks(AT_ONCE) {
            let _nobody_mounts = Removing::begin(self.home)?;
            self.look()?;
            // A collection may take these out of their packs: the loose file is what stays.
            let table = self.condemned.current()?;
            let stays = |kid: &Kid| self.mounted.contains_key(kid) || table.since(kid).is_some();
            for kid in some.iter().filter(|kid| !stays(kid)) {
                let path = object_path(self.home, kid);
                let what = || format!("removing {}", path.display());
                let size = match fs::metadata(&path) {
                    Ok(meta) => meta.len(),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(io(what())(error)),
                };
                fs::remove_file(&path).map_err(io(what()))?;
                told.objects += 1;
                told.bytes += size;
            }
            progress(told);
        }
        Ok((told.objects, told.bytes))
    }
}
