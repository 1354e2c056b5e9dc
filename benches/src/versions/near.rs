//! Many near-copies of a tree, mounted at once: disk, time and kernel memory of each.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use keg::{
    Keg, Kid, Txn,
    mount::{Mounts, unmount},
    pack::{PackOptions, Which, pack},
    union::{Edit, edit},
};

use super::{disk, tree::Versions};
use crate::{
    sample::{Sample, time},
    table::{Table, Unit},
};

/// Copies.
const COUNT: usize = 1000;
/// Bytes of all their images.
const DISK_GOAL: f64 = 10e6;
/// Seconds for one mount.
const MOUNT_GOAL: f64 = 0.2e-3;
/// Bytes of kernel memory of one.
const MEMORY_GOAL: f64 = 20e3;
/// What the copies are picked with: a prime, so that files far from each other change.
const STRIDE: usize = 7919;

/// Copies of which each has one other file.
pub fn tables(keg: &Keg, base: &Kid, versions: &Versions, place: &Path) -> Vec<Table> {
    eprintln!("  {COUNT} near-copies");
    pack_others(keg, base);
    let before_all = stored(keg.home());
    let near = Near::make(keg, base, versions, place);
    let (home, mounts) = (keg.home(), Mounts::new(keg));
    let target = place.join("near-base");
    fs::create_dir(&target).expect("a directory");
    mounts.read_only(base, &target).expect("mounted");
    let mounts = mounts.like(base);
    let images = || disk::blocks(&home.join("img"));
    let full = images();
    let made = near.each(|tree, to| mounts.read_only(tree, to).expect("mounted"));
    let images = images() - full;
    near.each(|_, to| unmount(to).expect("unmounted"));
    let before = kernel_memory();
    let mounted = near.each(|tree, to| mounts.read_only(tree, to).expect("mounted"));
    let idle = kernel_memory().saturating_sub(before);
    let plain = near.plain_overlays(&versions.dir);
    near.each(|_, to| unmount(to).expect("unmounted"));
    unmount(&target).expect("unmounted");
    pack_others(keg, base);
    let packed = stored(keg.home()).saturating_sub(before_all);

    let title = format!("{COUNT} near-copies of it, one file changed in each: bytes");
    let mut bytes = Table::new(&title, Unit::Bytes);
    let all = one((images + packed) as f64);
    bytes.keg("disk over the base, all of it, once packed", Some(DISK_GOAL), all);
    bytes.part("their images", one(images as f64));
    bytes.part("directories and files: log, objects, packs", one(packed as f64));
    bytes.peer("a full image each, as composefs makes them", one((full * COUNT as u64) as f64));
    bytes.keg("before packing: changed directories and files, in the log", None, one(near.log));
    let each = one(idle as f64 / COUNT as f64);
    bytes.keg("kernel memory of each, mounted and idle", Some(MEMORY_GOAL), each);
    bytes.note("Full images are Keg's own of the base, which hold files up to 2048 bytes, too.");
    bytes.note("composefs' own of such a tree took 5.03 MB each, when the goals were set.");
    let mut times = Table::new("…and how long each takes", Unit::Seconds);
    times.keg("mounted, its image there", Some(MOUNT_GOAL), mounted);
    times.peer("a plain overlayfs of two directories", plain);
    times.keg("mounted for the first time: its image made", None, made);
    vec![bytes, times]
}

struct Near {
    copies: Vec<Kid>,
    targets: Vec<PathBuf>,
    /// Bytes that they added to the log; their files are small.
    log: f64,
}

impl Near {
    fn make(keg: &Keg, base: &Kid, versions: &Versions, place: &Path) -> Self {
        let objects = keg.objects();
        let home = keg.home();
        let log = || disk::blocks(&home.join("log")) as f64;
        let inside = |path: &PathBuf| Some(path.strip_prefix(&versions.dir).ok()?.to_str()?.into());
        let single = |path: &&PathBuf| fs::metadata(path).is_ok_and(|meta| meta.nlink() == 1);
        let files: Vec<String> = versions.files.iter().filter(single).filter_map(inside).collect();
        let before = log();
        let (mut copies, mut targets) = (Vec::new(), Vec::new());
        let mut named = Txn::new("bench", "copies");
        for number in 0..COUNT {
            let path = &files[number * STRIDE % files.len()];
            let changed = format!("the change of copy {number}\n");
            let changed = objects.put_bytes(changed.as_bytes()).expect("stored");
            let copy = edit(objects, base, [(path.as_str(), Edit::Set(changed))]).expect("stored");
            copies.push(copy.kid().expect("a tree"));
            named = named.set(format!("/near/{number}").parse().expect("a path"), copy);
            targets.push(place.join(format!("near/{number}")));
        }
        keg.commit(named).expect("a version");
        targets.iter().for_each(|dir| fs::create_dir_all(dir).expect("a directory"));
        Self { copies, targets, log: log() - before }
    }

    fn each(&self, f: impl Fn(&Kid, &Path)) -> Sample {
        let all = self.copies.iter().zip(&self.targets);
        all.map(|(tree, target)| time(|| f(tree, target)).1.as_secs_f64()).collect()
    }

    /// As many overlays of plain directories, over the copies' mounts.
    fn plain_overlays(&self, tree: &Path) -> Sample {
        let (empty, upper) = (tree.with_file_name("empty"), tree.display());
        fs::create_dir_all(&empty).expect("a directory");
        let options = format!("lowerdir={}:{upper}", empty.display());
        let options = std::ffi::CString::new(options).expect("because paths have no zero bytes");
        self.each(|_, to| {
            let flags = rustix::mount::MountFlags::RDONLY;
            rustix::mount::mount("overlay", to, "overlay", flags, options.as_c_str())
                .expect("mounted");
            let flags = rustix::mount::UnmountFlags::empty();
            rustix::mount::unmount(to, flags).expect("unmounted");
        })
    }
}

/// Packs everything but the base, of current names, too.
fn pack_others(keg: &Keg, base: &Kid) {
    let options = PackOptions { which: Which::All, keep: vec![*base], ..PackOptions::default() };
    pack(keg, &options, &mut |_| {}).expect("packed");
}

/// Bytes on the disk of everything that is stored.
fn stored(home: &Path) -> u64 {
    ["log", "objects", "packs"].map(|name| disk::blocks(&home.join(name))).iter().sum()
}

fn one(value: f64) -> Sample {
    [value].into_iter().collect()
}

/// Bytes of kernel memory: slabs, page tables, per-processor areas, stacks, `vmalloc`.
fn kernel_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("because /proc is mounted");
    let fields = ["Slab:", "Percpu:", "KernelStack:", "PageTables:", "VmallocUsed:"];
    let value = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let kilobytes: u64 = rest.trim().trim_end_matches(" kB").parse().ok()?;
        fields.contains(&name).then_some(kilobytes * 1024)
    };
    text.lines().filter_map(value).sum()
}
