//! Real mounts, as root.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::StatVfsMountFlags;

use super::fixture::{Scratch, assert_same, describe, fill, noise, xattrs};
use super::{
    Detached, MountError, MountOptions, Mounts, attributes, kernel, open_directory, unmount,
    unmount_all_below,
};
use crate::ingest::{IngestOptions, ingest};
use crate::object::{Entry, EntryName, Tree};
use crate::{Keg, Kid};

fn take(keg: &Keg, dir: &Path) -> Kid {
    let entry = ingest(keg.objects(), dir, &IngestOptions::default()).expect("ingest");
    entry.kid().expect("a tree")
}

/// A tree with a small and a large file.
fn two_files(keg: &Keg) -> Kid {
    let objects = keg.objects();
    let mut tree = Tree::default();
    for (name, len) in [("small", 10), ("large", 10_000)] {
        let entry = objects.put_bytes(&noise(len, 1)).unwrap();
        tree.entries.insert(EntryName::new(name).unwrap(), entry);
    }
    objects.put_tree(&tree).unwrap().kid().unwrap()
}

fn image_path(keg: &Keg, tree: &Kid) -> PathBuf {
    keg.home().join("img").join(format!("{}.erofs", tree.to_hex()))
}

fn wanted(tree: &Kid) -> super::cache::Wanted<'_> {
    super::cache::Wanted { tree, like: None, passing: false }
}

fn image_of(images: &super::cache::Images, keg: &Keg, tree: &Kid) -> PathBuf {
    images.stack_of(keg.objects(), wanted(tree)).unwrap().remove(0).path
}

/// The error with its causes, as people see it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(&format!(": {error}"));
        next = error.source();
    }
    text
}

#[test]
fn a_directory_round_trips_through_ingest_and_mount() {
    let scratch = Scratch::new();
    let (source, target) = (scratch.dir("source"), scratch.dir("target"));
    fill(&source);
    let keg = scratch.keg();
    let tree = take(&keg, &source);
    Mounts::new(&keg).read_only(&tree, &target).expect("mount");
    assert_same(&describe(&source), &describe(&target));
    let capable = xattrs(&target.join("capable"));
    assert_eq!(capable.keys().collect::<Vec<_>>(), ["security.capability", "user.note"]);
    assert!(xattrs(&target.join("file-1")).contains_key("trusted.overlay.opaque"));
    assert_eq!(take(&keg, &target), tree, "the mount is the same tree");
    assert!(fs::write(target.join("new"), "").is_err(), "it is read-only");
    unmount(&target).expect("unmount");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

#[test]
fn versions_share_the_page_cache_because_they_share_the_file() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let tree = two_files(&keg);
    let other = crate::union::remove_paths(keg.objects(), &tree, ["small"]).unwrap();
    let (one, two) = (scratch.dir("one"), scratch.dir("two"));
    let mounts = Mounts::new(&keg);
    mounts.read_only(&tree, &one).unwrap();
    mounts.read_only(&other.kid().unwrap(), &two).unwrap();
    let object = keg.objects().walk(&tree, "large").unwrap().and_then(|e| e.kid()).unwrap();
    let path = keg.home().join("objects").join(&crate::erofs::compose::object_path(&object)[1..]);
    // The kernel maps the object itself under both names: what changes there shows here.
    assert_eq!(fs::read(one.join("large")).unwrap(), noise(10_000, 1));
    fs::write(&path, noise(10_000, 2)).unwrap();
    for root in [&one, &two] {
        assert_eq!(fs::read(root.join("large")).unwrap(), noise(10_000, 2), "{root:?}");
    }
}

#[test]
fn options_reach_the_mount() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let tree = two_files(&keg);
    let check = |name: &str, options: MountOptions, writable: bool, want: StatVfsMountFlags| {
        let target = scratch.dir(name);
        let mounts = Mounts::new(&keg);
        match writable {
            true => mounts.writable_with(&tree, &scratch.dir("up"), &target, options),
            false => mounts.read_only_with(&tree, &target, options),
        }
        .unwrap();
        let all = StatVfsMountFlags::RDONLY
            | StatVfsMountFlags::NOSUID
            | StatVfsMountFlags::NODEV
            | StatVfsMountFlags::NOEXEC;
        assert_eq!(rustix::fs::statvfs(&target).unwrap().f_flag & all, want, "{name}");
    };
    let default = MountOptions::default();
    check("plain", default, false, StatVfsMountFlags::RDONLY);
    check("writable", default, true, StatVfsMountFlags::empty());
    let strict = MountOptions { nosuid: true, nodev: true, noexec: true, volatile: true };
    let flags = StatVfsMountFlags::NOSUID | StatVfsMountFlags::NODEV | StatVfsMountFlags::NOEXEC;
    check("strict", strict, false, flags | StatVfsMountFlags::RDONLY);
    check("strict-writable", strict, true, flags);
}

#[test]
fn older_kernels_way_gives_the_same_mount() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let tree = two_files(&keg);
    let mounts = Mounts::new(&keg);
    let stack = mounts.images.stack_of(keg.objects(), wanted(&tree)).unwrap();
    let images = mounts.mounted.all(&stack).unwrap();
    let objects = open_directory(&keg.home().join("objects")).unwrap();
    let (upper, work) = super::upper_directories(&scratch.dir("up")).unwrap();
    let overlay = kernel::Overlay {
        label: "keg:test",
        images: images.iter().map(|image| image.as_fd()).collect(),
        objects: objects.as_fd(),
        upper: Some((upper.as_fd(), work.as_fd())),
        volatile: false,
        attributes: attributes(MountOptions::default(), true),
    };
    let target = scratch.dir("target");
    let fd = overlay.make_by_path(&keg.home().join("tmp")).expect("mount by paths");
    Detached { fd }.attach(&target).unwrap();
    assert_eq!(fs::read(target.join("large")).unwrap(), noise(10_000, 1));
    fs::write(target.join("new"), "new").unwrap();
    let temporary = fs::read_dir(keg.home().join("tmp")).unwrap().map(|e| e.unwrap().file_name());
    let left = temporary.filter(|name| name.to_string_lossy().starts_with("mount-")).count();
    assert_eq!(left, 0, "no directory is left");
    assert_eq!(unmount_all_below(keg.home()).unwrap(), 0, "nothing is left mounted");
}

#[test]
fn unmounting_leaves_nothing_and_says_when_there_is_nothing() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let tree = two_files(&keg);
    let mounts = Mounts::new(&keg);
    let odd = scratch.dir("run/with space\tand\\more\n");
    mounts.read_only(&tree, &odd).unwrap();
    mounts.read_only(&tree, &odd).unwrap();
    mounts.writable(&tree, &scratch.dir("up"), &scratch.dir("run/rw")).unwrap();
    fs::create_dir(scratch.dir("run/rw").join("below")).unwrap();
    mounts.read_only(&tree, &scratch.dir("run/rw/below")).unwrap();
    let beside = scratch.dir("running");
    mounts.read_only(&tree, &beside).unwrap();
    let open = fs::File::open(odd.join("large")).unwrap();
    assert_eq!(unmount_all_below(&scratch.dir("run")).unwrap(), 4);
    assert_eq!(unmount_all_below(&scratch.dir("run")).unwrap(), 0);
    drop(open);
    let busy = fs::File::open(beside.join("large")).unwrap();
    unmount(&beside).expect("an open file does not keep it");
    drop(busy);
    assert!(matches!(unmount(&beside), Err(MountError::NotMounted { .. })));
    assert!(matches!(unmount(Path::new("/no/such")), Err(MountError::NotMounted { .. })));
}

#[test]
fn torn_images_are_made_again_and_old_ones_deleted() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let tree = two_files(&keg);
    let path = image_path(&keg, &tree);
    let target = scratch.dir("target");
    let images = super::cache::Images::new(keg.home());
    let whole = fs::read(image_of(&images, &keg, &tree)).unwrap();
    let mut flipped = whole.clone();
    flipped[3000] ^= 1;
    for torn in [Vec::new(), whole[..2000].to_vec(), flipped, vec![0; whole.len()]] {
        fs::write(&path, &torn).unwrap();
        // As after a restart of the machine.
        rustix::fs::removexattr(&path, "user.keg.boot").unwrap();
        Mounts::new(&keg).read_only(&tree, &target).expect("mount");
        assert_eq!(fs::read(&path).unwrap(), whole, "{} bytes", torn.len());
        unmount(&target).unwrap();
    }
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(&path);
    rustix::fs::removexattr(&path, "user.keg.boot").unwrap();
    Mounts::new(&keg).read_only(&tree, &target).expect("mount");
    assert_eq!(inode(&path), before, "a whole image of an earlier boot is kept");
    let other = crate::union::remove_paths(keg.objects(), &tree, ["small"]).unwrap();
    let other = image_of(&images, &keg, &other.kid().unwrap());
    images.trim(&[&other], 0).unwrap();
    assert!(!path.exists() && other.exists());
    assert_eq!(fs::read(target.join("small")).unwrap(), noise(10, 1), "mounted, so still there");
}

#[test]
fn what_cannot_be_mounted_says_why() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let target = scratch.dir("target");
    let check = |entry: Entry, want: &str| {
        let mut tree = Tree::default();
        tree.entries.insert(EntryName::new("bad").unwrap(), entry);
        let dir = keg.objects().put_tree(&tree).unwrap();
        let root = crate::union::with_prefix(keg.objects(), dir, "a/b").unwrap();
        let error = Mounts::new(&keg).read_only(&root.kid().unwrap(), &target).expect_err(want);
        let text = whole(&error);
        assert!(text.contains(want) && text.contains("/a/b/bad"), "{text}");
    };
    let absent = Kid::of_blob(b"never stored");
    check(Entry::file(absent, 12), "is not in this Keg");
    let there = keg.objects().put_bytes(b"there").unwrap().kid().unwrap();
    check(Entry::file(there, 12), "should have 12 bytes");
    check(Entry::file(absent, 1 << 50), "too large");
    let mut entry = Entry::symlink("x");
    entry.attrs.xattrs.push((b"system.nfs4_acl".to_vec(), b"x".to_vec()));
    check(entry, "extended attribute outside");
    let missing = Mounts::new(&keg).read_only(&two_files(&keg), Path::new("/no/such/target"));
    assert!(whole(&missing.unwrap_err()).contains("cannot mount at /no/such/target"));
}

#[test]
fn a_home_on_an_unsuitable_file_system_gets_a_hint() {
    let scratch = Scratch::new();
    let tmpfs = scratch.dir("tmpfs");
    let none = Some(c"size=64m,mode=0755");
    rustix::mount::mount("test", &tmpfs, "tmpfs", rustix::mount::MountFlags::empty(), none)
        .expect("a tmpfs");
    let outer = scratch.keg();
    let empty = outer.objects().put_tree(&Tree::default()).unwrap().kid().unwrap();
    let overlay = scratch.dir("overlay");
    Mounts::new(&outer).writable(&empty, &scratch.dir("up"), &overlay).unwrap();
    for (dir, fs) in [(&tmpfs, "tmpfs"), (&overlay, "overlayfs")] {
        let keg = Keg::open_or_create(&dir.join("home")).unwrap();
        let tree = two_files(&keg);
        let error = Mounts::new(&keg).read_only(&tree, &scratch.dir("target")).expect_err(fs);
        let text = whole(&error);
        assert!(text.contains(fs) && text.contains("a volume"), "{text}");
    }
    let mounts = Mounts::new(&outer);
    let error = mounts.writable(&empty, &overlay.join("up"), &scratch.dir("target"));
    assert!(whole(&error.unwrap_err()).contains("overlayfs"), "an upper directory on overlayfs");
}

/// Prints the figures; asserts none of them.
#[test]
fn figures_of_mounts() {
    const TIMES: usize = 200;
    let scratch = Scratch::new();
    let (source, target) = (scratch.dir("source"), scratch.dir("target"));
    fill(&source);
    let keg = scratch.keg();
    let tree = take(&keg, &source);
    let mounts = Mounts::new(&keg);
    let start = Instant::now();
    mounts.images.stack_of(keg.objects(), wanted(&tree)).unwrap();
    println!("image of {} entries: {:?}", describe(&source).len(), start.elapsed());
    let middle = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let time = |mount: &dyn Fn()| {
        let mut mounted = Vec::new();
        let mut unmounted = Vec::new();
        for _ in 0..TIMES {
            let start = Instant::now();
            mount();
            mounted.push(start.elapsed());
            let start = Instant::now();
            unmount(&target).unwrap();
            unmounted.push(start.elapsed());
        }
        (middle(mounted), middle(unmounted))
    };
    let (up, down) = time(&|| mounts.read_only(&tree, &target).unwrap());
    println!("read-only: mount p50 {up:?}, unmount p50 {down:?}");
    let upper = scratch.dir("up");
    let (up, down) = time(&|| mounts.writable(&tree, &upper, &target).unwrap());
    println!("writable:  mount p50 {up:?}, unmount p50 {down:?}");
}
