//! The writer against the kernel and against erofs-utils.

pub(crate) mod random;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use super::{ErofsError, Header, Image, Inode, InodeKind, compose, write};
use crate::ingest::{IngestOptions, ingest};
use crate::mount::fixture::{Scratch, fill};
use crate::object::{Entry, EntryName, Tree};
use crate::store::Objects;
use crate::{Keg, Kid};

fn image_of(objects: &dyn Objects, tree: &Kid) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    write(&compose(objects, tree).expect("compose"), &mut out).expect("write");
    out.into_inner()
}

/// Whether fsck.erofs finds the image good; true where it is not installed. It exits 0 even for
/// what it complains about, so its complaints decide.
fn passes_fsck(image: &[u8], dir: &Path) -> bool {
    let path = dir.join("image");
    fs::write(&path, image).unwrap();
    match Command::new("fsck.erofs").arg("--extract").arg(&path).output() {
        Ok(output) => {
            let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
            let good = output.status.success() && !complaints.contains("<E>");
            if !good {
                eprintln!("fsck.erofs: {complaints}");
            }
            good
        }
        Err(error) => {
            eprintln!("fsck.erofs did not run ({error}): not compared");
            true
        }
    }
}

#[test]
fn images_pass_fsck_and_are_determined_by_the_tree() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    fill(&source);
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let entry = ingest(objects, &source, &IngestOptions::default()).unwrap();
    let tree = entry.kid().unwrap();
    let image = image_of(objects, &tree);
    assert!(passes_fsck(&image, &scratch.dir("images")));
    assert!(image == image_of(objects, &tree), "the same bytes again");
    assert_eq!(image.len() % 4096, 0);
    let mut damaged = image.clone();
    damaged[1024 + 40] ^= 1;
    let installed = Command::new("fsck.erofs").arg("--version").output().is_ok();
    assert!(!installed || !passes_fsck(&damaged, &scratch.dir("images")), "fsck looks");
    let mut read = Cursor::new(&image);
    let header = Header::read(&mut read).unwrap().expect("a header");
    assert_eq!(header.bytes, image.len() as u64);
    assert!(header.matches(&mut read).unwrap());
}

#[test]
fn small_trees_make_small_images() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let mut tree = Tree::default();
    for name in ["a", "b"] {
        let entry = objects.put_bytes(name.as_bytes()).unwrap();
        tree.entries.insert(EntryName::new(name).unwrap(), entry);
    }
    let tree = objects.put_tree(&tree).unwrap().kid().unwrap();
    assert_eq!(image_of(objects, &tree).len(), 4096, "one block");
}

#[test]
fn commits_are_directories() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    let mut tree = Tree::default();
    tree.entries.insert(EntryName::new("file").unwrap(), objects.put_bytes(b"x").unwrap());
    let commit = crate::object::Commit {
        tree: objects.put_tree(&tree).unwrap().kid().unwrap(),
        parents: Vec::new(),
        author: "someone".into(),
        time_ms: 0,
        message: String::new(),
        extra: serde_json::Map::new(),
    };
    let entry = Entry::commit(objects.put_commit(&commit).unwrap());
    let root = crate::union::with_prefix(objects, entry, "source/app").unwrap();
    let image = compose(objects, &root.kid().unwrap()).unwrap();
    let InodeKind::Directory { entries, .. } = &image.inodes[2].kind else {
        panic!("{:?}", image.inodes[2]);
    };
    assert_eq!((entries.len(), image.inodes[2].mode), (1, 0o755));
}

#[test]
fn models_that_break_the_format_are_refused() {
    let root = Inode {
        kind: InodeKind::Directory { entries: Vec::new(), parent: 0 },
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nsec: 0,
        nlink: 2,
        xattrs: Vec::new(),
    };
    let check = |inodes: Vec<Inode>, want: &str| {
        let image = Image { inodes, uuid: [0; 16], lacks: false };
        let error = write(&image, &mut Cursor::new(Vec::new())).expect_err(want);
        assert!(matches!(error, ErofsError::Model { .. }), "{error:?}");
        assert!(error.to_string().contains(want), "{error}");
    };
    check(Vec::new(), "not a directory");
    check(vec![Inode { kind: InodeKind::Fifo, ..root.clone() }], "not a directory");
    let large = Inode { kind: InodeKind::Inline(vec![0; 2049]), ..root.clone() };
    check(vec![root.clone(), large], "too long");
    let xattr = |len: usize| (format!("user.{len}").into_bytes(), vec![7; len]);
    let many = Inode { xattrs: (65_530..65_535).map(xattr).collect(), ..root.clone() };
    check(vec![root, many], "do not fit");
}

/// Prints the figures of a real directory; asserts none of them.
#[test]
fn figures_of_images() {
    let keg = Keg::in_memory();
    let objects = keg.objects();
    for dir in ["/usr/share/doc"] {
        // One that changes while it is read is of no use as a figure.
        let Ok(entry) = ingest(objects, Path::new(dir), &IngestOptions::default()) else {
            continue;
        };
        let start = std::time::Instant::now();
        let image = compose(objects, &entry.kid().unwrap()).unwrap();
        let composed = start.elapsed();
        let mut out = Cursor::new(Vec::new());
        let written = write(&image, &mut out).unwrap();
        let data = |kind: &InodeKind| match kind {
            InodeKind::Inline(bytes) => bytes.len() as u64,
            _ => 0,
        };
        let inline: u64 = image.inodes.iter().map(|inode| data(&inode.kind)).sum();
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for inode in &image.inodes {
            let name = match inode.kind {
                InodeKind::Directory { .. } => "directories",
                InodeKind::Inline(_) => "inline files",
                InodeKind::Hole(_) => "files over objects",
                InodeKind::Symlink(_) => "links",
                InodeKind::Device { .. } | InodeKind::Fifo => "others",
            };
            *kinds.entry(name).or_default() += 1;
        }
        println!(
            "{dir}: {} bytes, {} inodes ({kinds:?}): {} bytes an inode, of which {} inline data; \
             composed in {composed:?}, written in {:?}",
            written.bytes,
            written.inodes,
            written.bytes / written.inodes,
            inline / written.inodes,
            start.elapsed() - composed,
        );
    }
}
