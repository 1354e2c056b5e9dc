//! Who is putting things that nothing names yet: for a collection that changes nothing, which says
//! so. What is put stays for the grace period in any case, and beside a lease for as long as that.
//!
//! A process that puts has a directory in `tmp/`, locked while it lives (`store/pending.rs`); one
//! that may take long has a lease, too. Whose a lock is says `/proc/locks`.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{major, minor};
use serde::{Deserialize, Serialize};

use super::lease;

/// What the names of directories of those who put begin with.
const PUT: &str = "put-";
/// Most such directories and leases that are looked at, and most files of each.
const MOST: usize = 10_000;
/// Most bytes that are read of the list of locks.
const MAX_LOCKS: u64 = 16 << 20;
/// Most bytes that are read of a command.
const MAX_COMMAND: u64 = 4096;

/// Work under way that may name what nothing names yet.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Ingest {
    /// The process; `None`: it is in another container, or the system does not tell.
    pub pid: Option<u32>,
    /// What it does: as its lease says, or the first words of its command.
    pub what: Option<String>,
    /// When it began to put, or took its lease, in milliseconds since 1970.
    pub since_ms: u64,
    /// Files in `tmp/` that it has not yet given their names in `objects/`.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// All there are, but this process.
pub(super) struct Ingests {
    /// With when each last put something, in milliseconds since 1970.
    putting: Vec<(Ingest, u64)>,
    leases: Vec<Ingest>,
}

impl Ingests {
    pub(super) fn find(home: &Path) -> Self {
        let locks = locks();
        let is_other = |ingest: &Ingest| ingest.pid != Some(std::process::id());
        let mut leases: Vec<Ingest> = files(&home.join("leases"))
            .filter_map(|(file, meta)| lease_of(&file, owner(&locks, &meta)))
            .filter(is_other)
            .collect();
        leases.sort_unstable_by_key(|lease| lease.since_ms);
        let listed = fs::read_dir(home.join("tmp")).into_iter().flatten().flatten();
        let dirs = listed
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PUT)));
        let mut putting: Vec<(Ingest, u64)> = dirs
            .take(MOST)
            .filter_map(|dir| putting(&dir.path(), &locks))
            .filter(|(ingest, _)| is_other(ingest))
            .collect();
        for (ingest, _) in &mut putting {
            if let Some(lease) = leases.iter().find(|lease| lease.pid == ingest.pid) {
                ingest.what.clone_from(&lease.what);
            }
        }
        // Of several that may have put something, the last that began is named.
        putting.sort_unstable_by_key(|(ingest, _)| std::cmp::Reverse(ingest.since_ms));
        Self { putting, leases }
    }

    /// Who may be about to name an object: written at `written_ms`, if it is a file of its own, and
    /// condemned at `condemned_ms`, or now.
    pub(super) fn of(&self, written_ms: Option<u64>, condemned_ms: u64) -> Option<&Ingest> {
        let put = |(ingest, until): &&(Ingest, u64)| {
            written_ms.is_some_and(|at| (ingest.since_ms..=*until).contains(&at))
        };
        if let Some((ingest, _)) = self.putting.iter().find(put) {
            return Some(ingest);
        }
        let lease = self.leases.iter().find(|lease| lease.since_ms <= condemned_ms)?;
        let same = |(ingest, _): &&(Ingest, u64)| ingest.pid.is_some() && ingest.pid == lease.pid;
        Some(self.putting.iter().find(same).map_or(lease, |(ingest, _)| ingest))
    }

    /// Each of them, those that put first.
    pub(super) fn into_all(self) -> Vec<Ingest> {
        let putting = self.putting.into_iter().map(|(ingest, _)| ingest);
        let mut all: Vec<Ingest> = putting.collect();
        let known: Vec<Option<u32>> = all.iter().map(|ingest| ingest.pid).collect();
        let has = |lease: &Ingest| lease.pid.is_some() && known.contains(&lease.pid);
        all.extend(self.leases.into_iter().filter(|lease| !has(lease)));
        all
    }
}

/// A process that puts, and when it last did; `None`: it is dead.
fn putting(dir: &Path, locks: &Locks) -> Option<(Ingest, u64)> {
    let file = File::open(dir).ok()?;
    let meta = file.metadata().ok()?;
    if !lease::is_locked(&file) {
        return None;
    }
    let last = ms(meta.modified().ok()?);
    let (mut files, mut bytes) = (0, 0);
    for (_, meta) in self::files(dir) {
        files += 1;
        bytes += meta.len();
    }
    let pid = owner(locks, &meta);
    // A file system that knows no births says at least when it was last written to.
    let since_ms = meta.created().map_or(last, ms).min(last);
    Some((Ingest { pid, what: pid.and_then(command), since_ms, files, bytes }, last))
}

/// A lease that lasts as long as its owner, who is alive.
fn lease_of(file: &File, pid: Option<u32>) -> Option<Ingest> {
    let info = lease::read(file)?;
    let open = info.until.is_none() && lease::is_locked(file);
    let (what, since_ms) = (Some(info.what), info.since);
    open.then_some(Ingest { pid, what, since_ms, files: 0, bytes: 0 })
}

/// The files of a directory that have names.
fn files(dir: &Path) -> impl Iterator<Item = (File, Metadata)> {
    let list = fs::read_dir(dir).into_iter().flatten().flatten().take(MOST);
    list.filter_map(|entry| {
        let file = File::open(entry.path()).ok()?;
        let meta = file.metadata().ok()?;
        meta.is_file().then_some((file, meta))
    })
}

/// The first words of a command that are no arguments: `keg commit`.
fn command(pid: u32) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(MAX_COMMAND).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut words = text.split('\0');
    let program = words.next()?.rsplit('/').next()?.to_owned();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    Some(words.next().filter(is_word).map_or(program.clone(), |word| format!("{program} {word}")))
}

fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whose locks are on which files, by device and inode.
type Locks = HashMap<(u32, u32, u64), u32>;

fn locks() -> Locks {
    let mut text = String::new();
    if let Ok(file) = File::open("/proc/locks") {
        // What cannot be read is not told.
        let _ = file.take(MAX_LOCKS).read_to_string(&mut text);
    }
    text.lines().filter_map(lock_of).collect()
}

/// A line of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF`, `proc_locks(5)`.
fn lock_of(line: &str) -> Option<((u32, u32, u64), u32)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    if fields.next()? != "FLOCK" {
        return None;
    }
    let pid = fields.nth(2)?.parse().ok()?;
    let mut place = fields.next()?.split(':');
    let mut number = || u32::from_str_radix(place.next()?, 16).ok();
    let device = (number()?, number()?);
    Some(((device.0, device.1, place.next()?.parse().ok()?), pid))
}

fn owner(locks: &Locks, meta: &Metadata) -> Option<u32> {
    locks.get(&(major(meta.dev()), minor(meta.dev()), meta.ino())).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_read_as_the_kernel_writes_them() {
        let line = "12: FLOCK  ADVISORY  WRITE 4711 fe:0a:131073 0 EOF";
        assert_eq!(lock_of(line), Some(((0xfe, 0x0a, 131_073), 4711)));
        for other in [
            "12: POSIX  ADVISORY  WRITE 4711 fe:0a:131073 0 EOF",
            "12: -> FLOCK  ADVISORY  WRITE 4711 fe:0a:131073 0 EOF",
            "12: FLOCK  ADVISORY  WRITE -1 fe:0a:131073 0 EOF",
            "12: FLOCK  ADVISORY  WRITE 4711 fe:0a",
            "12: FLOCK",
            "",
        ] {
            assert_eq!(lock_of(other), None, "{other}");
        }
    }
}
