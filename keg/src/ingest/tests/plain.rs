//! Plain directories: options, bounds, checkout.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};

use super::{kid, take, whole};
use crate::ingest::{IngestError, IngestOptions, MAX_DEPTH, checkout, ingest, link_group};
use crate::mount::fixture::{Scratch, assert_same, describe, fill, fill_few, set_time};
use crate::object::{Attrs, Entry, EntryName, Tree, Value};
use crate::union::{Edit, edit};

#[test]
fn a_checkout_is_the_directory_again() {
    let scratch = Scratch::new();
    let (source, copy) = (scratch.dir("source"), scratch.dir("copies").join("copy"));
    fill(&source);
    let keg = scratch.keg();
    let entry = take(&keg, &source);
    checkout(keg.objects(), &kid(&entry), &copy).expect("checkout");
    assert_same(&describe(&source), &describe(&copy));
    assert_eq!(take(&keg, &copy).kid(), entry.kid());
    let blocks = |path: &Path| fs::metadata(path.join("sparse")).unwrap().blocks();
    assert!(blocks(&copy) * 512 < 1 << 20, "a hole stays a hole: {}", blocks(&copy));
}

#[test]
fn a_checkout_touches_nothing_else() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let file = keg.objects().put_bytes(b"from the tree").unwrap();
    let tree = edit(keg.objects(), &empty(&keg), [("a/b", Edit::Set(file))]).unwrap();
    let outside = scratch.dir("outside");
    let check = |name: &str, prepare: &dyn Fn(&Path)| {
        let dir = scratch.dir(name);
        prepare(&dir);
        let error = checkout(keg.objects(), &kid(&tree), &dir).expect_err(name);
        assert!(whole(&error).contains("File exists"), "{}", whole(&error));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
    };
    check("a link to a directory", &|dir| symlink(&outside, dir.join("a")).unwrap());
    check("a link to nothing", &|dir| symlink(outside.join("b"), dir.join("a")).unwrap());
    check("a directory", &|dir| fs::create_dir(dir.join("a")).unwrap());
    check("a file", &|dir| fs::write(dir.join("a"), "").unwrap());
}

#[test]
fn hostile_trees_are_refused() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let file = keg.objects().put_bytes(b"12 bytes long").unwrap();
    let check = |name: &str, value: Value, want: &str| {
        let entry = Entry { value, attrs: Attrs::with_mode(0o644) };
        let tree = edit(keg.objects(), &empty(&keg), [("dir/bad", Edit::Set(entry))]).unwrap();
        let error = checkout(keg.objects(), &kid(&tree), &scratch.dir(name)).expect_err(name);
        let text = whole(&error);
        assert!(text.contains(want) && text.contains("dir/bad"), "{text}");
    };
    let lying = file.kid().unwrap();
    check("longer", Value::File { kid: lying, size: 5 }, "keg fsck");
    check("shorter", Value::File { kid: lying, size: 1 << 40 }, "keg fsck");
    check("whiteout", Value::Device { block: false, major: 0, minor: 0 }, "0:0");
    let away = Some(crate::Kid::of_blob(b"away"));
    let pointer = Value::Pointer { source: "keg+x".into(), reference: "y".into(), kid: away };
    check("pointer", pointer, "not here");
    let mut deep = file;
    for _ in 0..MAX_DEPTH + 2 {
        let mut tree = Tree::default();
        tree.entries.insert(EntryName::new("d").unwrap(), deep);
        deep = keg.objects().put_tree(&tree).unwrap();
    }
    let error = checkout(keg.objects(), &kid(&deep), &scratch.dir("deep"));
    assert!(matches!(error, Err(IngestError::TooDeep { .. })));
}

fn empty(keg: &crate::Keg) -> crate::Kid {
    kid(&keg.objects().put_tree(&Tree::default()).unwrap())
}

#[test]
fn options_are_followed() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    fill_few(&source);
    set_time(&source.join("file-1"), 50, 5);
    let keg = scratch.keg();
    let options = IngestOptions {
        clamp_mtime: Some(100),
        owner: Some((7, 8)),
        exclude: Some(&|path| path == b"deep/er" || path.starts_with(b"hard")),
        known: None,
        before: None,
    };
    let entry = ingest(keg.objects(), &source, &options).unwrap();
    let tree = keg.objects().tree(&kid(&entry)).unwrap();
    assert_eq!((entry.attrs.uid, entry.attrs.gid, entry.attrs.mtime), (7, 8, 100));
    for (name, entry) in &tree.entries {
        assert_eq!((entry.attrs.uid, entry.attrs.gid), (7, 8), "{name:?}");
        let time = (entry.attrs.mtime, entry.attrs.mtime_nsec);
        let want = match name.as_bytes() {
            b"file-1" => (50, 5),
            _ => (100, 0),
        };
        assert_eq!(time, want, "{name:?}");
    }
    let there = |path: &str| keg.objects().walk(&kid(&entry), path).unwrap().is_some();
    assert!(there("deep/hard-b") && !there("deep/er") && !there("hard-a"));
    let left = keg.objects().walk(&kid(&entry), "deep/hard-b").unwrap().unwrap();
    assert_eq!(left.attrs.link_group, 0, "its other names are left out");
}

#[test]
fn link_groups_come_from_the_first_path() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    fill_few(&source);
    let keg = scratch.keg();
    let entry = take(&keg, &source);
    let group =
        |path: &str| keg.objects().walk(&kid(&entry), path).unwrap().expect(path).attrs.link_group;
    for (path, first) in
        [("deep/hard-b", "deep/hard-b"), ("hard-a", "deep/hard-b"), ("small-b", "small-a")]
    {
        assert_eq!(group(path), link_group(first.as_bytes()), "{path}");
    }
    assert_eq!(group("single"), 0);
    assert_eq!(group("file-1"), 0);
}

#[test]
fn what_cannot_be_read_says_why() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let check = |name: &str, prepare: &dyn Fn(&Path), want: &str| {
        let dir = scratch.dir(name);
        prepare(&dir);
        let error = ingest(keg.objects(), &dir, &IngestOptions::default()).expect_err(name);
        assert!(whole(&error).contains(want), "{}", whole(&error));
    };
    let whiteout = |dir: &Path| {
        let path = dir.join("mark");
        rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, 0).unwrap();
    };
    check("whiteout", &whiteout, "mark is the character device 0:0");
    let deep = |dir: &Path| {
        let mut dir = dir.to_owned();
        for _ in 0..=MAX_DEPTH {
            dir.push("d");
        }
        fs::create_dir_all(dir).unwrap();
    };
    check("deep", &deep, "more than 256 directories deep");
    let none = ingest(keg.objects(), Path::new("/no/such"), &IngestOptions::default());
    assert!(whole(&none.unwrap_err()).contains("cannot open the directory /no/such"));
}
