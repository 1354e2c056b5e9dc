//! Real mounts, as root.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::fixture::{Scratch, assert_same, describe, fill, xattrs};
use super::{Mounts, unmount};
use crate::ingest::{IngestOptions, ingest};
use crate::{Keg, Kid};

fn take(keg: &Keg, dir: &Path) -> Kid {
    let entry = ingest(keg.objects(), dir, &IngestOptions::default()).expect("ingest");
    entry.kid().expect("a tree")
}

#[test]
fn a_directory_round_trips_through_ingest_and_mount() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.dir("source"), scratch.dir("target"));
    fill(&source);
    let keg = scratch.keg();
    let tree = take(&keg, &source);
    let mounts = Mounts::new(&keg);
    mounts.read_only(&tree, &target).expect("mount");
    assert_same(&describe(&source), &describe(&target));
    let capable = xattrs(&target.join("capable"));
    assert_eq!(capable.keys().collect::<Vec<_>>(), ["security.capability", "user.note"]);
    assert!(xattrs(&target.join("file-1")).contains_key("trusted.overlay.opaque"));
    assert_eq!(take(&keg, &target), tree, "the mount is the same tree");
    unmount(&target).expect("unmount");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}
