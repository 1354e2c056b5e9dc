//! The tree that every tool takes in, and its second version.
//!
//! A Debian root with a toolchain, made by Keg's importer from the registry that apt is configured
//! for, and one large file that compresses to a quarter. It is kept between runs; what is measured is a copy. Versions
//! are numbered from 0; each changes the same places to other bytes.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use keg::{Keg, ingest::checkout};
use keg_tests::World;

use crate::kegs;

/// The suite.
const SUITE: &str = "bookworm";
/// What is in the root besides the essential packages, and what they need.
const PACKAGES: [&str; 7] =
    ["build-essential", "git", "python3-dev", "python3-pip", "cmake", "gdb", "libssl-dev"];
/// Changes with what is in the tree, so that an older one is not taken for it.
const RECIPE: &str = "bookworm-toolchain-1";
/// The large file.
const LARGE: &str = "large.bin";
/// Its bytes.
const LARGE_BYTES: u64 = 100 << 20;
/// A quarter of it is noise, at the start of each so many bytes.
const PAGE: usize = 4 << 10;
/// One file of so many changes.
const ONE_OF: usize = 100;
/// Bytes that change in each.
const CHANGE: usize = 12;
/// Bytes that change in the large one.
const LARGE_CHANGE: usize = 8;
/// Of the generator: the same tree each time.
const SEED: u64 = 0x006b_6567;

/// A directory that is at version 0, and can be put at others.
pub struct Versions {
    /// The directory.
    pub dir: PathBuf,
    /// Its regular files.
    pub files: Vec<PathBuf>,
    /// Bytes of them.
    pub bytes: u64,
    edits: Vec<Edit>,
}

/// Bytes at a place: what is there in version 0, and what makes others of them.
struct Edit {
    path: PathBuf,
    at: u64,
    first: Vec<u8>,
    noise: Vec<u8>,
}

impl Edit {
    /// What is there in a version, never what is there in another one.
    fn bytes(&self, version: u8) -> Vec<u8> {
        let change = |noise: u8| match version {
            0 => 0,
            _ => 1 + ((u16::from(noise) + u16::from(version)) % 255) as u8,
        };
        self.first.iter().zip(&self.noise).map(|(first, noise)| first ^ change(*noise)).collect()
    }
}

impl Versions {
    /// A copy in `place` of a tree, which is made first if none is given and none was kept.
    ///
    /// # Panics
    /// When the packages cannot be had, or the disk is full.
    pub fn make(given: Option<&Path>, place: &Path) -> Self {
        let kept = kegs::cache().join(RECIPE);
        if given.is_none() && !kept.exists() {
            make(&kept);
        }
        let dir = place.join("tree");
        kegs::copy(given.unwrap_or(&kept), &dir);
        large(&dir.join(LARGE));
        let mut files = Vec::new();
        list(&dir, &mut files);
        files.sort_unstable();
        let bytes = files.iter().map(|path| size(path)).sum();
        let edits = edits(&dir, &files);
        Self { dir, files, bytes, edits }
    }

    /// Bytes that a version changes, and in how many files.
    pub fn changed(&self) -> (usize, usize) {
        (self.edits.iter().map(|edit| edit.first.len()).sum(), self.edits.len())
    }

    /// Puts the directory, or another place where it shows, at a version. It is on disk on return,
    /// so that nobody else is charged for it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn put(&self, dir: &Path, version: u8) {
        for edit in &self.edits {
            let inside = edit.path.strip_prefix(&self.dir).expect("because it is in the tree");
            let file = OpenOptions::new().write(true).open(dir.join(inside)).expect("a file");
            file.write_all_at(&edit.bytes(version), edit.at).expect("written");
        }
        rustix::fs::sync();
    }
}

/// Imports the packages into a Keg of its own and writes them out as files.
fn make(kept: &Path) {
    eprintln!("making the tree: {SUITE} with {}", PACKAGES.join(" "));
    let mut world = World::empty();
    world.keg(&[&["import", "debian", SUITE][..], &PACKAGES].concat()).ok();
    world.stop().ok();
    let keg = Keg::open(&world.home()).expect("because it was made");
    let draft = kept.with_extension("part");
    let _ = fs::remove_dir_all(&draft);
    fs::create_dir_all(&draft).expect("a directory");
    checkout(keg.objects(), &kegs::rootfs(&keg), &draft).expect("checked out");
    fs::rename(&draft, kept).expect("renamed");
}

fn large(path: &Path) {
    let mut file = File::create(path).expect("a file");
    let mut random = Random(SEED);
    let mut block = vec![0; 1 << 20];
    for _ in 0..LARGE_BYTES >> 20 {
        for page in block.chunks_mut(PAGE) {
            let noise = page[..PAGE / 4].chunks_mut(8);
            noise.for_each(|word| word.copy_from_slice(&random.next().to_le_bytes()));
        }
        file.write_all(&block).expect("written");
    }
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            list(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}

fn size(path: &Path) -> u64 {
    fs::symlink_metadata(path).expect("a file").len()
}

fn edits(dir: &Path, files: &[PathBuf]) -> Vec<Edit> {
    let large = dir.join(LARGE);
    let mut random = Random(SEED);
    let mut edits = vec![edit(&large, LARGE_BYTES / 2, LARGE_CHANGE, &mut random)];
    let fit = |path: &&PathBuf| {
        let meta = fs::symlink_metadata(path).expect("a file");
        meta.nlink() == 1 && meta.len() >= 2 * CHANGE as u64 && **path != large
    };
    let mut left: Vec<&PathBuf> = files.iter().filter(fit).collect();
    for _ in 0..files.len() / ONE_OF {
        let path = left.swap_remove(random.below(left.len() as u64) as usize);
        let at = random.below(size(path) - CHANGE as u64);
        edits.push(edit(path, at, CHANGE, &mut random));
    }
    edits
}

fn edit(path: &Path, at: u64, len: usize, random: &mut Random) -> Edit {
    let mut first = vec![0; len];
    File::open(path).and_then(|file| file.read_exact_at(&mut first, at)).expect("read");
    let noise = first.iter().map(|_| random.next() as u8).collect();
    Edit { path: path.to_owned(), at, first, noise }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}
