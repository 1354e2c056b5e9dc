//! Which images are full and which are deltas.

use std::fs;

use super::cache::{Images, MAX_LAYERS, Wanted};
use super::fixture::{Scratch, noise};
use super::{Mounts, unmount};
use crate::object::{Entry, EntryName, Tree};
use crate::union::{Edit, edit};
use crate::{Keg, Kid};

/// A tree of directories with small files.
fn wide(keg: &Keg, directories: u64, files: u64) -> Kid {
    let mut tree = Tree::default();
    for directory in 0..directories {
        let mut below = Tree::default();
        for number in 0..files {
            let bytes = noise(200, directory * 1000 + number);
            let entry = keg.objects().put_bytes(&bytes).unwrap();
            below.entries.insert(EntryName::new(format!("{number}")).unwrap(), entry);
        }
        let entry = keg.objects().put_tree(&below).unwrap();
        tree.entries.insert(EntryName::new(format!("dir-{directory}")).unwrap(), entry);
    }
    keg.objects().put_tree(&tree).unwrap().kid().unwrap()
}

fn with(keg: &Keg, tree: &Kid, files: std::ops::Range<u64>, seed: u64) -> Kid {
    let file = |number| keg.objects().put_bytes(&noise(300, seed + number)).unwrap();
    let edits: Vec<(String, Edit)> =
        files.map(|n| (format!("dir-{}/{}", n / 100, n % 100), Edit::Set(file(n)))).collect();
    let entry: Entry = edit(keg.objects(), tree, edits).unwrap();
    entry.kid().unwrap()
}

/// The trees of the images of a tree.
fn stack(images: &Images, keg: &Keg, tree: &Kid, like: Option<&Kid>) -> Vec<Kid> {
    let wanted = Wanted { tree, like, passing: false };
    let stack = images.stack_of(keg.objects(), wanted).unwrap();
    let full = stack.last().expect("an image").bytes;
    assert!(stack[..stack.len() - 1].iter().all(|layer| layer.bytes <= full / 4));
    stack.iter().map(|layer| layer.tree).collect()
}

#[test]
fn what_is_like_another_is_a_delta_with_and_without_a_hint() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let images = Images::new(keg.home());
    let base = wide(&keg, 20, 100);
    assert_eq!(stack(&images, &keg, &base, None), [base]);
    for (number, like) in [(1, None), (2, Some(&base)), (3, None)] {
        let near = with(&keg, &base, number..number + 1, 1_000_000);
        assert_eq!(stack(&images, &keg, &near, like), [near, base]);
        assert_eq!(stack(&images, &keg, &near, None), [near, base], "it is there");
        let next = with(&keg, &near, 5..6, 2_000_000);
        assert_eq!(stack(&images, &keg, &next, Some(&near)), [next, base], "small ones bear none");
    }
    let other = with(&keg, &base, 0..1000, 1_000_000);
    assert_eq!(stack(&images, &keg, &other, Some(&base)), [other], "too much differs");
    let small = wide(&keg, 1, 10);
    let near = with(&keg, &small, 0..1, 1_000_000);
    assert_eq!(stack(&images, &keg, &small, None), [small]);
    assert_eq!(stack(&images, &keg, &near, Some(&small)), [near], "not worth it");
}

#[test]
fn chains_are_bounded_and_large_differences_are_not_repeated() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let images = Images::new(keg.home());
    let mut tree = wide(&keg, 60, 100);
    stack(&images, &keg, &tree, None);
    let mut deepest = 0;
    let target = scratch.dir("target");
    for round in 0..40 {
        let before = tree;
        tree = with(&keg, &tree, round * 60..round * 60 + 60, 5_000_000 * (round + 1));
        let layers = stack(&images, &keg, &tree, Some(&before));
        assert!(layers.len() <= MAX_LAYERS, "{layers:?}");
        deepest = deepest.max(layers.len());
        Mounts::new(&keg).read_only(&tree, &target).unwrap();
        let file = target.join(format!("dir-{}/{}", round * 60 / 100, round * 60 % 100));
        assert_eq!(fs::read(file).unwrap(), noise(300, 5_000_000 * (round + 1) + round * 60));
        unmount(&target).unwrap();
    }
    assert!(deepest > 2, "large deltas are bases, too");
}

#[test]
fn an_image_whose_base_is_gone_or_torn_is_made_again() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let images = Images::new(keg.home());
    let base = wide(&keg, 20, 100);
    let near = with(&keg, &base, 7..8, 1_000_000);
    let target = scratch.dir("target");
    let path = keg.home().join("img").join(format!("{}.erofs", base.to_hex()));
    type Harm = fn(&std::path::Path);
    let harms: [Harm; 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "torn").unwrap(),
        |path| fs::write(path.with_file_name("bases"), "nonsense\n").unwrap(),
    ];
    for harm in harms {
        stack(&images, &keg, &base, None);
        let before = stack(&images, &keg, &near, Some(&base));
        assert_eq!(before, [near, base]);
        harm(&path);
        Mounts::new(&keg).read_only(&near, &target).expect("mount");
        assert_eq!(fs::read(target.join("dir-0/7")).unwrap(), noise(300, 1_000_007));
        assert_eq!(fs::read(target.join("dir-19/99")).unwrap(), noise(200, 19_099));
        unmount(&target).unwrap();
        fs::remove_file(keg.home().join("img").join(format!("{}.erofs", near.to_hex()))).unwrap();
    }
}

#[test]
fn what_killed_processes_left_in_the_making_goes() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let tmp = keg.home().join("tmp");
    let names = ["image-old", "image-new", "mount-old", "other-old"];
    for name in names {
        let path = tmp.join(name);
        match name.starts_with("mount") {
            true => fs::create_dir(&path).unwrap(),
            false => fs::write(&path, "half").unwrap(),
        }
        if name.ends_with("old") {
            super::fixture::set_time(&path, 1_000_000, 0);
        }
    }
    super::sweep(&keg).unwrap();
    let left: Vec<_> = names.into_iter().filter(|name| tmp.join(name).exists()).collect();
    assert_eq!(left, ["image-new", "other-old"]);
}
