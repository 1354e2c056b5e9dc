//! Which objects must stay loose files: what is mounted, and what is about to be.
//!
//! Whoever mounts a tree takes `objects/lock` shared, makes sure that the tree's large blobs are
//! loose, and keeps the lock until the mount shows in the mount table. Whoever removes loose
//! objects takes it exclusively, reads the mount table, and raises `packs/epoch` before the first
//! is gone. So a tree that was found loose at an epoch is loose as long as the epoch is the same.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
};

use crate::{
    Keg, Kid, NamePath,
    kid::KidPrefix,
    object::{Entry, Kind, Value},
    store::{
        INLINE_MAX, Objects, StoreError,
        durable::{lock_file, lock_shared},
        io,
        packs::{epoch, objects_lock},
    },
};

/// What the source of a mounted tree begins with, in the mount table.
const LABEL: &str = "keg:";
/// Most processes whose mount tables are read.
const MAX_PROCESSES: usize = 1 << 20;

/// The trees that are mounted somewhere on this machine, by what the mount tables call them.
///
/// # Errors
/// There is no `/proc`.
pub(super) fn mounted() -> Result<BTreeSet<String>, StoreError> {
    let (mut labels, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir("/proc").map_err(io("listing /proc"))?.take(MAX_PROCESSES) {
        let Ok(entry) = entry else { continue };
        if entry.file_name().to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
            continue;
        }
        // A process that ended meanwhile uses nothing any more.
        let Ok(namespace) = fs::read_link(entry.path().join("ns/mnt")) else { continue };
        if namespaces.insert(namespace)
            && let Ok(table) = fs::read(entry.path().join("mountinfo"))
        {
            labels.extend(labels_in(&String::from_utf8_lossy(&table)));
        }
    }
    Ok(labels)
}

/// The sources of overlays that are mounted trees: `… - overlay keg:K-0123abcd …`.
fn labels_in(table: &str) -> Vec<String> {
    let source = |line: &str| {
        let (_, after) = line.split_once(" - overlay ")?;
        let source = after.split(' ').next()?;
        source.strip_prefix(LABEL).map(str::to_owned)
    };
    table.lines().filter_map(source).collect()
}

/// The trees that labels may stand for. One that names no tree is of another Keg.
///
/// # Errors
/// The store's.
pub(super) fn trees_of(
    objects: &dyn Objects,
    labels: &BTreeSet<String>,
) -> Result<Vec<Kid>, StoreError> {
    let mut trees = Vec::new();
    for label in labels {
        let Ok(prefix) = label.parse::<KidPrefix>() else { continue };
        for kid in objects.candidates(&prefix)? {
            if objects.kind(&kid)? == Some(Kind::Tree) {
                trees.push(kid);
            }
        }
    }
    Ok(trees)
}

/// Keeps loose objects from being removed while it lives.
pub(crate) struct Loose {
    _lock: File,
}

/// Makes the large blobs of a tree loose files, and keeps them so until the guard is dropped: by
/// then the tree has to show in the mount table. That it is done is noted beside the tree's image,
/// so that the next time costs nothing. `near` may name a tree that is much the same: if that is
/// noted, only what differs is looked at.
///
/// # Errors
/// A blob is missing or damaged, or the disk's.
pub(crate) fn keep_loose(
    keg: &Keg,
    tree: &Kid,
    near: impl FnOnce() -> Option<Kid>,
) -> Result<Loose, StoreError> {
    let home = keg.home();
    let (guard, epoch) = guard(home)?;
    if epoch == 0 {
        return Ok(guard);
    }
    let note = |tree: &Kid| home.join("img").join(format!("{}.loose", tree.to_hex()));
    let now = epoch.to_string();
    let is_noted =
        |tree: &Kid| fs::read_link(note(tree)).is_ok_and(|then| then.as_os_str() == &*now);
    if is_noted(tree) {
        return Ok(guard);
    }
    match near().filter(is_noted) {
        Some(before) => differing(keg, &before, tree)?,
        None => drop(super::rehydrate::tree(keg, tree, &mut |_| {})?),
    }
    // A link takes no block of the disk. Without it, all is looked at again the next time.
    let _ = fs::remove_file(note(tree));
    let _ = symlink(&now, note(tree));
    Ok(guard)
}

/// As [`keep_loose`] for a tree that takes the place of another, mounted one: in time proportional
/// to what differs.
pub(crate) fn keep_loose_after(keg: &Keg, before: &Kid, tree: &Kid) -> Result<Loose, StoreError> {
    let (guard, epoch) = guard(keg.home())?;
    if epoch > 0 {
        differing(keg, before, tree)?;
    }
    Ok(guard)
}

/// Makes loose what a tree has and another, whose blobs are all loose, has not.
fn differing(keg: &Keg, before: &Kid, tree: &Kid) -> Result<(), StoreError> {
    let objects = keg.objects();
    let (old, new) = (objects.tree_entry(before)?, objects.tree_entry(tree)?);
    let mut wanted = Vec::new();
    for (_, _, new) in crate::names::diff(objects, &NamePath::root(), Some(old), Some(new))? {
        let new = new.as_ref().map(|entry| crate::pointer::seen(objects, entry)).transpose()?;
        match new.map(Cow::into_owned) {
            Some(Entry { value: Value::File { kid, size }, .. }) if size > INLINE_MAX as u64 => {
                wanted.push((kid, Some(size)));
            }
            Some(entry) => {
                if let Some(kid) = objects.directory_of(&entry)? {
                    super::rehydrate::tree(keg, &kid, &mut |_| {})?;
                }
            }
            None => {}
        }
    }
    if !wanted.is_empty() {
        objects.sync()?;
        super::rehydrate::blobs(keg.home(), &wanted, &mut |_| {})?;
    }
    Ok(())
}

/// The guard, and how often something was packed.
fn guard(home: &Path) -> Result<(Loose, u64), StoreError> {
    // A Keg in memory has no loose objects, and nothing to mount them from.
    let lock = if home.join("objects").exists() {
        lock_file(&objects_lock(home))?
    } else {
        File::open(home).map_err(io("opening the Keg's directory"))?
    };
    Ok((Loose { _lock: lock_shared(lock)? }, epoch(home)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_trees_are_found_in_the_mount_table() {
        let table = "\
            36 35 98:0 / /mnt rw,noatime shared:1 - ext4 /dev/vda rw\n\
            50 36 0:45 / /m rw - overlay keg:K-0123abcd ro,lowerdir+=x\n\
            51 36 0:46 / /n rw - overlay overlay rw\n\
            52 36 0:47 / /o rw shared:7 master:3 - overlay keg:K-fedcba98 rw\n\
            nonsense\n";
        assert_eq!(labels_in(table), ["K-0123abcd", "K-fedcba98"]);
    }
}
