//! A delta image over its base must show what the full image shows.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::fixture::{Scratch, assert_same, describe, noise};
use super::{Detached, MountOptions, Mounts, attributes, kernel, open_directory, unmount};
use crate::erofs::tests::random::{Plan, attrs, leaf, name, plan, store};
use crate::erofs::{Base, Most};
use crate::object::{Attrs, Entry, EntryName, Tree};
use crate::{Keg, Kid, erofs};

const CASES: u32 = 64;
const ANY: Most = Most { inodes: usize::MAX, compared: usize::MAX };

/// A change of a random tree, at the path that the number picks.
#[derive(Clone, Debug)]
enum Change {
    Remove(usize),
    Replace(usize, Plan),
    Insert(usize, Vec<u8>, Plan),
    Attributes(usize, Attrs),
    /// Gives a file that is picked another name beside another.
    Link(usize, usize, Vec<u8>),
    Copy(usize, usize, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<usize>();
    prop_oneof![
        2 => at().prop_map(Change::Remove),
        1 => (at(), leaf()).prop_map(|(at, plan)| Change::Replace(at, plan)),
        1 => (at(), plan()).prop_map(|(at, plan)| Change::Replace(at, plan)),
        2 => (at(), name(), plan()).prop_map(|(at, name, plan)| Change::Insert(at, name, plan)),
        2 => (at(), attrs()).prop_map(|(at, attrs)| Change::Attributes(at, attrs)),
        4 => (at(), at(), name()).prop_map(|(at, to, name)| Change::Link(at, to, name)),
        1 => (at(), at(), name()).prop_map(|(at, to, name)| Change::Copy(at, to, name)),
    ]
}

type Directory = BTreeMap<Vec<u8>, Plan>;

/// All names of a tree, as the names that lead there.
fn paths(directory: &Directory, base: &[Vec<u8>], found: &mut Vec<Vec<Vec<u8>>>) {
    for (name, plan) in directory {
        let path = [base, std::slice::from_ref(name)].concat();
        if let Plan::Directory(below, _) = plan {
            paths(below, &path, found);
        }
        found.push(path);
    }
}

fn parent<'a>(root: &'a mut Directory, path: &[Vec<u8>]) -> &'a mut Directory {
    let mut at = root;
    for name in &path[..path.len() - 1] {
        let Some(Plan::Directory(below, _)) = at.get_mut(name) else { panic!("no directory") };
        at = below;
    }
    at
}

fn attrs_of(plan: &mut Plan) -> &mut Attrs {
    match plan {
        Plan::File(_, attrs) | Plan::Other(_, attrs) | Plan::Directory(_, attrs) => attrs,
    }
}

fn apply(root: &mut Directory, change: Change, number: u64) {
    let mut all = Vec::new();
    paths(root, &[], &mut all);
    if all.is_empty() {
        return;
    }
    let pick = |at: usize| &all[at % all.len()];
    let at = |path: &[Vec<u8>]| path[path.len() - 1].clone();
    match change {
        Change::Remove(path) => {
            parent(root, pick(path)).remove(&at(pick(path)));
        }
        Change::Replace(path, plan) => {
            parent(root, pick(path)).insert(at(pick(path)), plan);
        }
        Change::Insert(path, name, plan) => {
            parent(root, pick(path)).insert(name, plan);
        }
        Change::Attributes(path, new) => {
            let plan = parent(root, pick(path)).get_mut(&at(pick(path))).expect("picked");
            if !matches!(plan, Plan::Other(..)) {
                // A hard link with attributes of its own is one no more.
                *attrs_of(plan) = new;
            }
        }
        Change::Link(path, to, name) => {
            let plan = parent(root, pick(path)).get_mut(&at(pick(path))).expect("picked");
            if matches!(plan, Plan::Directory(..)) {
                return;
            }
            let group = &mut attrs_of(plan).link_group;
            *group = if *group == 0 { number } else { *group };
            let plan = plan.clone();
            parent(root, pick(to)).insert(name, plan);
        }
        Change::Copy(path, to, name) => {
            let plan = parent(root, pick(path))[&at(pick(path))].clone();
            parent(root, pick(to)).insert(name, plan);
        }
    }
}

/// Mounts images over each other, the top one first.
fn mount(keg: &Keg, images: &[(&erofs::Image, Option<Base>)], target: &Path) {
    let dir = keg.home().join("tmp");
    let layers = images.iter().map(|(image, base)| {
        let mut file = tempfile::NamedTempFile::new_in(&dir).unwrap();
        match base {
            Some(base) => erofs::write_delta(image, base, &mut file).unwrap(),
            None => erofs::write(image, &mut file).unwrap(),
        };
        let (file, path) = file.into_parts();
        let layer = super::cache::Layer {
            tree: Kid::of_blob(b""),
            base: *base,
            path: path.to_path_buf(),
            file: file.into(),
            bytes: 0,
        };
        kernel::image(&layer).unwrap()
    });
    let layers: Vec<_> = layers.collect();
    let objects = open_directory(&keg.home().join("objects")).unwrap();
    let overlay = kernel::Overlay {
        label: "keg:test",
        images: layers.iter().map(|layer| layer.as_fd()).collect(),
        objects: objects.as_fd(),
        upper: None,
        volatile: false,
        attributes: attributes(MountOptions::default(), false),
    };
    let fd = kernel::overlay(&overlay, &dir).expect("an overlay");
    Detached { fd }.attach(target).unwrap();
}

/// What can be seen, and how many names each file has.
fn seen(dir: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut seen = describe(dir);
    for (path, line) in &mut seen {
        let meta = dir.join(std::ffi::OsStr::from_bytes(path)).symlink_metadata().unwrap();
        if !meta.is_dir() {
            line.push_str(&format!(" {} names", meta.nlink()));
        }
    }
    seen
}

fn tree(keg: &Keg, root: &Directory) -> Kid {
    let plan = Plan::Directory(root.clone(), Attrs::with_mode(0o755));
    let entry = store(keg.objects(), &plan);
    keg.objects().sync().unwrap();
    entry.kid().unwrap()
}

/// Whether the root has names like those of the objects' directories: such trees get no deltas, see
/// `names_of_object_directories`.
fn like_objects(keg: &Keg, tree: &Kid) -> bool {
    let tree = keg.objects().tree(tree).unwrap();
    let like =
        |name: &[u8]| name.len() == 2 && name.iter().all(|b| b"0123456789abcdef".contains(b));
    tree.entries.keys().any(|name| like(name.as_bytes()))
}

/// A chain of trees, each as deltas over the first's image, and alone.
fn check(keg: &Keg, scratch: &Scratch, trees: &[Kid]) {
    let objects = keg.objects();
    let full: Vec<_> = trees.iter().map(|tree| erofs::compose(objects, tree).unwrap()).collect();
    let delta = |pair: &[Kid]| {
        erofs::compose_delta(objects, &pair[0], &pair[1], ANY).unwrap().expect("a delta").image
    };
    let deltas: Vec<_> = trees.windows(2).map(delta).collect();
    let (one, two) = (scratch.dir("one"), scratch.dir("two"));
    for last in 1..trees.len() {
        let mut images = vec![(&full[0], None)];
        for (delta, base) in deltas[..last].iter().zip(trees) {
            images.insert(0, (delta, Some(Base { tree: *base, compared: 0 })));
        }
        mount(keg, &images, &one);
        mount(keg, &[(&full[last], None)], &two);
        assert_same(&seen(&one), &seen(&two));
        unmount(&one).unwrap();
        unmount(&two).unwrap();
    }
}

#[test]
fn random_pairs_of_trees() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let config =
        ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let roots = proptest::collection::btree_map(name(), plan(), 1..5);
    let changes = || proptest::collection::vec(change(), 1..8);
    let mut runner = TestRunner::new(config);
    let result = runner.run(&(roots, changes(), changes()), |(mut root, first, second)| {
        let mut number = 1;
        // Some hard links before the first tree.
        for _ in 0..2 {
            apply(&mut root, Change::Link(number as usize * 7, 3, vec![number as u8]), number);
            number += 1;
        }
        let mut trees = vec![tree(&keg, &root)];
        for changes in [first, second] {
            for change in changes {
                apply(&mut root, change, number);
                number += 1;
            }
            trees.push(tree(&keg, &root));
        }
        if !trees.iter().any(|tree| like_objects(&keg, tree)) {
            check(&keg, &scratch, &trees);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn file(keg: &Keg, len: usize, seed: u64, group: u64) -> Entry {
    let mut entry = keg.objects().put_bytes(&noise(len, seed)).unwrap();
    entry.attrs.link_group = group;
    entry
}

fn directory(keg: &Keg, entries: &[(&str, Entry)]) -> Entry {
    let entries =
        entries.iter().map(|(name, entry)| (EntryName::new(*name).unwrap(), entry.clone()));
    keg.objects().put_tree(&Tree { entries: entries.collect() }).unwrap()
}

/// The kernel would take their files for objects.
#[test]
fn names_of_object_directories() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let made = |name: &str, seed| {
        let entry = directory(&keg, &[(name, file(&keg, 9, seed, 0))]);
        entry.kid().unwrap()
    };
    for (name, delta) in [("ab", false), ("a0", false), ("ag", true), ("abc", true), ("AB", true)] {
        let (base, tree) = (made(name, 1), made(name, 2));
        assert_eq!(like_objects(&keg, &base), !delta, "{name}");
        let found = erofs::compose_delta(keg.objects(), &base, &tree, ANY).unwrap();
        assert_eq!(found.is_some(), delta, "{name}");
    }
}

/// Cases that random trees seldom are.
#[test]
fn named_pairs_of_trees() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let big = |group| file(&keg, 9000, 1, group);
    let dir = |entries: &[(&str, Entry)]| directory(&keg, entries);
    let kept = dir(&[("x", big(5)), ("y", file(&keg, 3, 3, 0))]);
    let escaped = |value: &[u8]| {
        let mut entry = big(0);
        entry.attrs.xattrs = [&b"trusted.overlay.metacopy"[..], b"trusted.overlay.redirect"]
            .map(|name| (name.to_vec(), value.to_vec()))
            .to_vec();
        entry
    };
    let opaque = |entries: &[(&str, Entry)], value: &[u8]| {
        let mut entry = dir(entries);
        entry.attrs.xattrs = vec![(b"trusted.overlay.opaque".to_vec(), value.to_vec())];
        entry
    };
    let mut hole = keg.objects().put_bytes(&vec![0; 1 << 20]).unwrap();
    hole.attrs.mode = 0o600;
    type Names<'a> = Vec<(&'a str, Entry)>;
    let cases: &[(&str, Names<'_>, Names<'_>)] = &[
        ("nothing", vec![("a", big(0))], vec![("a", big(0))]),
        ("all gone", vec![("a", big(0)), ("kept", kept.clone())], vec![]),
        ("from nothing", vec![], vec![("a", big(0)), ("kept", kept.clone())]),
        (
            "a link more, the other in a directory that is the same",
            vec![("kept", kept.clone()), ("z", file(&keg, 1, 1, 0))],
            vec![("kept", kept.clone()), ("z", big(5))],
        ),
        (
            "a link less",
            vec![("kept", kept.clone()), ("w", big(5)), ("z", big(5))],
            vec![("kept", kept.clone()), ("w", big(5))],
        ),
        (
            "a directory with links twice",
            vec![("kept", kept.clone())],
            vec![("also", kept.clone()), ("kept", kept.clone())],
        ),
        (
            "a link in a directory that goes",
            vec![("gone", kept.clone()), ("w", big(5)), ("z", big(5))],
            vec![("w", big(5)), ("z", big(5))],
        ),
        ("a file for a directory", vec![("a", kept.clone())], vec![("a", big(0))]),
        ("a directory for a file", vec![("a", big(0))], vec![("a", kept.clone())]),
        (
            "nothing in common",
            vec![("a", dir(&[("1", big(0)), ("2", kept.clone())]))],
            vec![("a", dir(&[("3", big(0))]))],
        ),
        (
            "attributes as data",
            vec![("a", escaped(b"")), ("b", big(0))],
            vec![("a", escaped(b"/x"))],
        ),
        (
            "opaque as data",
            vec![("a", opaque(&[("1", big(0)), ("2", big(0))], b"x"))],
            vec![("a", opaque(&[("1", big(0)), ("2", file(&keg, 4, 4, 0))], b"y"))],
        ),
        ("a hole", vec![("a", big(0))], vec![("a", hole.clone()), ("empty", file(&keg, 0, 0, 0))]),
    ];
    for (name, before, after) in cases {
        println!("{name}");
        let trees = [before, after].map(|entries| dir(entries).kid().unwrap());
        keg.objects().sync().unwrap();
        check(&keg, &scratch, &trees);
        check(&keg, &scratch, &[trees[1], trees[0], trees[1]]);
    }
}

/// A tree can have the path of an object in it. The kernel would take that for the data.
#[test]
fn trees_that_look_like_objects_get_no_delta() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let big = file(&keg, 9000, 1, 0);
    let path = erofs::compose::object_path(&big.kid().unwrap());
    let (first, rest) = path[1..].split_once('/').unwrap();
    let trap = directory(&keg, &[(rest, file(&keg, 9000, 2, 0))]);
    let before = directory(&keg, &[(first, trap.clone())]).kid().unwrap();
    let after = directory(&keg, &[(first, trap), ("z", big)]).kid().unwrap();
    let delta = erofs::compose_delta(keg.objects(), &before, &after, ANY).unwrap();
    assert!(delta.is_none());
    let target = scratch.dir("target");
    Mounts::new(&keg).like(&before).read_only(&after, &target).unwrap();
    assert_eq!(fs::read(target.join("z")).unwrap(), noise(9000, 1));
}

/// A delta of a split directory has what differs, and looks at no more than its parts.
#[test]
fn split_directories_get_small_deltas() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let links = (0..5000).map(|n| (format!("n-{n:05}"), Entry::symlink("x")));
    let mut entries: BTreeMap<String, Entry> = links.collect();
    entries.insert("file".to_owned(), file(&keg, 9000, 1, 0));
    let tree = |entries: &BTreeMap<String, Entry>| {
        let list: Vec<_> = entries.iter().map(|(name, e)| (name.as_str(), e.clone())).collect();
        directory(&keg, &[("big", directory(&keg, &list))]).kid().unwrap()
    };
    let before = tree(&entries);
    entries.insert("n-02500".to_owned(), file(&keg, 9000, 2, 0));
    entries.remove("n-00001");
    let after = tree(&entries);
    keg.objects().sync().unwrap();
    let delta = erofs::compose_delta(keg.objects(), &before, &after, ANY).unwrap().unwrap();
    assert!(delta.compared < 4096, "{} entries were compared", delta.compared);
    assert!(delta.image.inodes.len() < 8, "{} inodes", delta.image.inodes.len());
    check(&keg, &scratch, &[before, after, before]);
    // Hard links of which one goes take the others along, wherever they are.
    for name in ["a-linked", "z-linked"] {
        entries.insert(name.to_owned(), file(&keg, 9000, 3, 9));
    }
    let linked = tree(&entries);
    entries.remove("a-linked");
    let one = tree(&entries);
    keg.objects().sync().unwrap();
    check(&keg, &scratch, &[linked, one, linked]);
}
