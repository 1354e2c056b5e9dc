//! A bit flips in an image that mounts are made of: a check names it, and the next mount, like the
//! first one after a restart of the machine, shows what was there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use keg::{
    Keg, Kid,
    fsck::fsck,
    mount::{Mounts, unmount},
    object::{EntryName, Tree},
    testing::noise,
};
use rustix::fs::{XattrFlags, setxattr};

use super::{jobs::flip, races::Scratch};

/// In which boot an image was found whole.
const BOOT: &str = "user.keg.boot";
/// A bit flips at so many places of an image that are not zeros, evenly spread.
const PLACES: usize = 8;
/// What of an image's header is not used.
const UNUSED: std::ops::Range<usize> = 88..1024;

/// A tree of small files, which are in its image, and of some that are not.
fn tree(keg: &Keg, changed: u64) -> Kid {
    let mut tree = Tree::default();
    for n in 0..600 {
        let size = if n % 40 == 0 { 3000 } else { 20 };
        let seed = if n == changed { 1000 + n } else { n };
        let entry = keg.objects().put_bytes(&noise(seed, size)).unwrap();
        tree.entries.insert(EntryName::new(format!("f{n}")).unwrap(), entry);
    }
    keg.objects().put_tree(&tree).unwrap().kid().unwrap()
}

/// The names and bytes of a directory.
fn read(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_flipped_bit_of_an_image_is_named_and_the_next_mount_is_right() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can mount");
        return;
    }
    // The kernel wants images on a real file system.
    let scratch = Scratch(tempfile::tempdir_in("/tmp").unwrap());
    let (keg, target) = (Keg::create(&scratch.dir("keg")).unwrap(), scratch.dir("target"));
    let image = |tree: &Kid| keg.home().join("img").join(format!("{}.erofs", tree.to_hex()));
    let (base, top) = (tree(&keg, u64::MAX), tree(&keg, 7));
    let show = |mounts: &Mounts, tree: &Kid| {
        mounts.read_only(tree, &target).unwrap();
        let seen = read(&target);
        unmount(&target).unwrap();
        seen
    };
    let want = [&base, &top].map(|tree| show(&Mounts::new(&keg), tree));
    assert!(fsck(&keg, &mut |_| {}).unwrap().is_clean());
    let mut flips = 0;
    for (tree, above) in [(&base, &top), (&top, &top)] {
        let image = image(tree);
        let whole = fs::read(&image).unwrap();
        let used = |at: &usize| whole[*at] != 0 && !UNUSED.contains(at);
        let places: Vec<usize> = (0..whole.len()).filter(used).collect();
        let stride = places.len() / PLACES;
        assert!(stride > 8, "{} bytes", whole.len());
        // In the magic and the digest, too.
        let places: Vec<usize> =
            [0, 20].into_iter().chain(places.into_iter().step_by(stride)).collect();
        for (number, at) in places.into_iter().enumerate() {
            let what = format!("byte {at} of {}", image.display());
            // As they were: what stands on a damaged image is made anew without it.
            fs::remove_dir_all(keg.home().join("img")).unwrap();
            fs::create_dir(keg.home().join("img")).unwrap();
            // A process that goes on, and has kept what it mounted. It has read nothing: the
            // kernel remembers what it was.
            let old = Mounts::new(&keg);
            for tree in [&base, &top] {
                old.read_only(tree, &target).unwrap();
                unmount(&target).unwrap();
            }
            assert!(fs::read(&image).unwrap() == whole, "{what}");
            flip(&image, at as u64, 1 << (at % 8));
            if number % 2 == 0 {
                let report = fsck(&keg, &mut |_| {}).unwrap();
                let named: Vec<_> = report.damaged.iter().flat_map(|it| &it.place).collect();
                let name = image.file_name().unwrap().to_str().unwrap();
                assert_eq!(named, [&format!("img/{name}")], "{what}");
            } else {
                setxattr(&image, BOOT, b"an earlier one", XattrFlags::empty()).unwrap();
            }
            assert!(show(&old, above) == want[1], "{what}");
            assert!(show(&Mounts::new(&keg), above) == want[1], "{what}, to another process");
            assert!(show(&old, &base) == want[0], "{what}, the one below");
            assert!(fsck(&keg, &mut |_| {}).unwrap().is_clean(), "{what}: it was made again");
            flips += 1;
        }
    }
    assert!(flips > 2 * PLACES, "{flips}");
}
