//! Whether two mounted versions share the memory of the files they have in common.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use keg::{Keg, Kid, mount::Mounts};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::tree::{Random, Versions};
use crate::table::{Table, Unit};

/// Pages that are compared.
const PAGES: usize = 2000;
/// Of this processor.
const PAGE: u64 = 4096;
/// Files up to this size are in the image, not shared.
const INLINE: u64 = keg::store::INLINE_MAX as u64;
/// Bits of an entry of `/proc/self/pagemap` that are the number of the page's frame (the kernel's
/// `Documentation/admin-guide/mm/pagemap.rst`).
const FRAME: u64 = (1 << 55) - 1;

/// The same pages of the same files in both, by the numbers of their frames.
pub fn table(keg: &Keg, trees: [&Kid; 2], versions: &Versions, place: &Path) -> Table {
    let targets = ["pages-one", "pages-two"].map(|name| place.join(name));
    for (target, tree) in targets.iter().zip(trees) {
        fs::create_dir(target).expect("a directory");
        Mounts::new(keg).read_only(tree, target).expect("mounted");
    }
    let (mut same, mut compared) = (0, 0);
    let mut random = Random(1);
    let map = File::open("/proc/self/pagemap").expect("the table of pages");
    while compared < PAGES {
        let path = &versions.files[random.below(versions.files.len() as u64) as usize];
        let inside = path.strip_prefix(&versions.dir).expect("inside");
        let both = targets.each_ref().map(|target| target.join(inside));
        let Some(pages) = common(&both) else { continue };
        let page = random.below(pages);
        let [one, two] = both.map(|path| frame(&map, &path, page));
        assert!(one != 0 && two != 0, "frames are hidden: this needs root");
        same += usize::from(one == two);
        compared += 1;
    }
    targets.iter().for_each(|target| keg::mount::unmount(target).expect("unmounted"));
    let title = format!("Two versions mounted: {PAGES} pages of files that both have");
    let mut table = Table::new(&title, Unit::Share);
    let share = same as f64 / compared as f64;
    table.keg("in the same page frame", Some(1.0), [share].into_iter().collect());
    table.note("EROFS images with their data inside, two of them, share none (measured before).");
    table
}

/// Pages of a file that is the same in both and not in the image.
fn common(both: &[PathBuf; 2]) -> Option<u64> {
    let [one, two] = both.each_ref().map(|path| fs::read(path).expect("read"));
    (one == two && one.len() as u64 > INLINE).then_some((one.len() as u64).div_ceil(PAGE))
}

/// The number of the frame in which a page of a file is; 0: it is not told.
fn frame(map: &File, path: &Path, page: u64) -> u64 {
    let file = File::open(path).expect("a file");
    let (len, null) = (PAGE as usize, std::ptr::null_mut());
    // SAFETY: a new mapping of a file that nobody changes, of which one byte is read.
    let number = unsafe {
        let at = mmap(null, len, ProtFlags::READ, MapFlags::SHARED, &file, page * PAGE);
        let at = at.expect("mapped");
        std::ptr::read_volatile(at.cast::<u8>());
        let mut entry = [0; 8];
        map.read_exact_at(&mut entry, at as u64 / PAGE * 8).expect("an entry");
        munmap(at, len).expect("unmapped");
        u64::from_le_bytes(entry)
    };
    number & FRAME
}
