//! A disk below the store, simulated: what a job asked of it is recorded, and every state is built
//! that a power cut may leave.
//!
//! The rules are those of the abstract persistence model of ALICE (Pillai et al., "All File Systems
//! Are Not Created Equal", OSDI 2014, section 3.2) and of what CrashMonkey checks (Mohan et al.,
//! "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018), with what
//! POSIX promises and ext4, xfs and btrfs all keep, and no more:
//!
//! - What was written to a file before an `fsync`, `fdatasync` of it, or a `syncfs`, is there. Of
//!   the rest any part may be missing, also in the middle, cut at sectors of 512 bytes; where a
//!   file has grown and the bytes have not come, there are zeros (delayed allocation, ext4's
//!   `data=ordered` or `writeback`).
//! - A name that was made, moved or removed is durable after an `fsync` of its directory, or a
//!   `syncfs`. An `fsync` of the file does not do it (on ext4 it does; POSIX does not say so).
//!   Before, each may have happened or not, in any order, except those on one name: a later one
//!   implies the earlier.
//! - A rename happens or does not, also between directories: never both names, never none. It may
//!   be durable before the bytes of the file are.
//! - A write of at most one sector's bytes within a sector comes whole or not at all.
//! - After an `fsync` that failed, the bytes that it should have made durable are dropped: another
//!   one that succeeds says nothing about them (Rebello et al., "Can Applications Recover from
//!   fsync Failures?", USENIX ATC 2020). Names are not: a journal that cannot be written stops
//!   the file system.

mod record;
mod states;

use std::collections::BTreeMap;

pub use record::{Recorder, Strike};
pub use states::{Cut, State, cuts};

/// A file or directory.
pub type Node = usize;

/// Bytes that come whole or not at all.
pub const SECTOR: usize = 512;

/// What a job asked of the disk, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// A name is given to a file or directory, which may be new.
    Name { dir: Node, name: String, node: Node },
    /// A name is taken away.
    Remove { dir: Node, name: String },
    /// A name becomes another.
    Rename { from: (Node, String), to: (Node, String), node: Node },
    /// Bytes of a file.
    Write { node: Node, at: u64, bytes: Vec<u8> },
    /// A file gets this length.
    Length { node: Node, len: u64 },
    /// A file, or the names of a directory, are durable.
    Sync { node: Node },
    /// All of it is.
    SyncAll,
    /// Bytes that were to be made durable are not, and never will be; `None`: those of all files.
    SyncFailed { node: Option<Node> },
    /// The job was told that something is durable.
    Told(String),
}

/// What is on a disk.
#[derive(Clone, Default)]
pub struct Disk {
    pub files: BTreeMap<Node, Vec<u8>>,
    pub dirs: BTreeMap<Node, BTreeMap<String, Node>>,
}

/// The Keg's own directory.
pub const HOME: Node = 0;

impl Disk {
    /// Writes it out as a directory.
    pub fn write_out(&self, home: &std::path::Path) {
        self.write_dir(HOME, home);
    }

    fn write_dir(&self, dir: Node, to: &std::path::Path) {
        std::fs::create_dir(to).unwrap();
        for (name, node) in &self.dirs[&dir] {
            let to = to.join(name);
            if self.dirs.contains_key(node) {
                self.write_dir(*node, &to);
            } else {
                // One of which only the name came is empty.
                std::fs::write(to, self.files.get(node).map_or(&[][..], Vec::as_slice)).unwrap();
            }
        }
    }

    /// Does one of what was asked, as far as it may still be done.
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Name { dir, name, node } => {
                self.dirs.entry(*dir).or_default().insert(name.clone(), *node);
            }
            Op::Remove { dir, name } => {
                self.dirs.entry(*dir).or_default().remove(name);
            }
            Op::Rename { from, to, node } => {
                let names = self.dirs.entry(from.0).or_default();
                if names.get(&from.1) == Some(node) {
                    names.remove(&from.1);
                }
                self.dirs.entry(to.0).or_default().insert(to.1.clone(), *node);
            }
            Op::Write { node, at, bytes } => self.write(*node, *at as usize, bytes),
            Op::Length { node, len } => {
                self.files.entry(*node).or_default().resize(*len as usize, 0);
            }
            Op::Sync { .. } | Op::SyncAll | Op::SyncFailed { .. } | Op::Told(_) => {}
        }
    }

    fn write(&mut self, node: Node, at: usize, bytes: &[u8]) {
        let file = self.files.entry(node).or_default();
        if file.len() < at + bytes.len() {
            file.resize(at + bytes.len(), 0);
        }
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
