//! Reading all of `objects/` with a second process, which takes turns with this one.
//!
//! The 256 directories are numbers in a pipe, one byte each, and whoever is free reads the next:
//! so the work is shared evenly whatever lies where. The helper (`keg work check`) has the pipe as
//! its standard input, and writes what it finds to a file without a name:
//!
//! ```text
//! object HEX BYTES            it is what its name says
//! damaged HEX BYTES WHY       it is not
//! stray NAME                  it is no object
//! done NUMBER                 that was all of this directory
//! ```
//! What a helper did not get done, because it was killed or could not be started, is read here.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{
    Audited, StoreError,
    audit::{audit_directory, stray},
};
use crate::{Kid, object::Kind};

/// Longest line of a helper, bytes.
const MAX_LINE: usize = 8192;
/// Longest text of one that says why an object is damaged, characters.
const MAX_REASON: usize = 1000;

/// Reads every file of `objects/`, with a helper that does the same work.
pub(super) fn audit_shared(
    home: &Path,
    helper: &mut Command,
    visit: &mut dyn FnMut(Audited),
) -> Result<(), StoreError> {
    let mut left: BTreeSet<u8> = (0..=255).collect();
    if let Ok((mut turns, child, mut found)) = start(helper) {
        let child = Waited(child);
        while let Some(number) = next(&mut turns) {
            audit_directory(home, number, visit)?;
            left.remove(&number);
        }
        drop(child);
        // A file that cannot be read back has nothing done in it.
        let _ = found.rewind();
        collect(found, &mut left, visit);
    }
    left.into_iter().try_for_each(|number| audit_directory(home, number, visit))
}

/// The helper's side: reads directories by number until there are no more.
///
/// # Errors
/// A directory cannot be read, or what was found cannot be told.
pub fn work_check(
    home: &Path,
    turns: &mut dyn Read,
    told: &mut dyn Write,
) -> Result<(), StoreError> {
    let mut out = BufWriter::new(told);
    while let Some(number) = next(turns) {
        let mut failed = None;
        audit_directory(home, number, &mut |audited| {
            failed = tell(&mut out, &audited).err().or(failed.take());
        })?;
        let ended = failed.map_or(Ok(()), Err).and_then(|()| writeln!(out, "done {number}"));
        ended.and_then(|()| out.flush()).map_err(super::io("telling what was checked"))?;
    }
    Ok(())
}

fn start(helper: &mut Command) -> io::Result<(File, Child, File)> {
    let (read, write) = io::pipe()?;
    // 256 bytes fit into any pipe.
    File::from(std::os::fd::OwnedFd::from(write)).write_all(&(0..=255).collect::<Vec<u8>>())?;
    let turns = File::from(std::os::fd::OwnedFd::from(read));
    let found = tempfile::tempfile()?;
    helper.stdin(turns.try_clone()?).stdout(found.try_clone()?).stderr(Stdio::inherit());
    Ok((turns, helper.spawn()?, found))
}

/// A process that is waited for, also when this one gives up; then its work has ended, too, as
/// nobody has the pipe's other end.
struct Waited(Child);

impl Drop for Waited {
    fn drop(&mut self) {
        // How it ended shows in what it got done.
        let _ = self.0.wait();
    }
}

fn next(turns: &mut (impl Read + ?Sized)) -> Option<u8> {
    let mut byte = [0];
    turns.read_exact(&mut byte).ok().map(|()| byte[0])
}

fn tell(out: &mut impl Write, audited: &Audited) -> io::Result<()> {
    match audited {
        Audited::Object { kid, bytes, damage: None, .. } => {
            writeln!(out, "object {} {bytes}", kid.to_hex())
        }
        Audited::Object { kid, bytes, damage: Some(why), .. } => {
            let why: String = why.replace('\n', " ").chars().take(MAX_REASON).collect();
            writeln!(out, "damaged {} {bytes} {why}", kid.to_hex())
        }
        Audited::Damage { place, .. } => writeln!(out, "stray {}", place.replace('\n', "?")),
    }
}

/// Visits what a helper found in the directories that it got done.
fn collect(found: File, left: &mut BTreeSet<u8>, visit: &mut dyn FnMut(Audited)) {
    let mut waiting = Vec::new();
    let mut lines = BufReader::new(found);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines).take(MAX_LINE as u64).read_until(b'\n', &mut line) {
            Ok(1..) if line.ends_with(b"\n") => line.pop(),
            _ => return,
        };
        let Ok(text) = std::str::from_utf8(&line) else { return };
        match parse(text) {
            Some(Told::Found(audited)) => waiting.push(audited),
            Some(Told::Done(number)) if left.remove(&number) => {
                waiting.drain(..).for_each(&mut *visit);
            }
            _ => return,
        }
    }
}

enum Told {
    Found(Audited),
    Done(u8),
}

fn parse(line: &str) -> Option<Told> {
    let (word, rest) = line.split_once(' ')?;
    let object = |kid: &str, bytes: &str, damage| {
        let (kid, bytes): (Kid, u64) = (format!("K-{kid}").parse().ok()?, bytes.parse().ok()?);
        Some(Told::Found(Audited::Object { kid, kind: Kind::Blob, bytes, damage }))
    };
    match word {
        "done" => rest.parse().ok().map(Told::Done),
        "stray" => Some(Told::Found(stray(rest.to_owned()))),
        "object" => rest.split_once(' ').and_then(|(kid, bytes)| object(kid, bytes, None)),
        "damaged" => {
            let mut parts = rest.splitn(3, ' ');
            let (kid, bytes, why) = (parts.next()?, parts.next()?, parts.next()?);
            object(kid, bytes, Some(why.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FileStore, Objects};

    /// A Keg with objects, one of them damaged, and a file that is none.
    fn damaged() -> (tempfile::TempDir, FileStore, Kid) {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::create(&dir.path().join("keg")).unwrap();
        let kids: Vec<Kid> =
            (0..20u8).map(|n| store.put(Kind::Blob, &[n; 4000]).unwrap()).collect();
        store.sync().unwrap();
        let path = crate::store::pending::object_path(store.home(), &kids[7]);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, [9; 3000]).unwrap();
        std::fs::write(store.home().join("objects/ab/other"), "x").unwrap();
        (dir, store, kids[7])
    }

    fn audited(f: impl FnOnce(&mut dyn FnMut(Audited))) -> Vec<String> {
        let mut found = Vec::new();
        f(&mut |audited| found.push(format!("{audited:?}")));
        found.sort();
        found
    }

    #[test]
    fn what_a_helper_tells_is_what_it_found() {
        let (_dir, store, bad) = damaged();
        let home = store.home();
        let alone = audited(|visit| {
            (0..=255).for_each(|number| audit_directory(home, number, visit).unwrap());
        });
        assert_eq!(alone.len(), 21);
        assert!(alone.iter().any(|text| text.contains(&bad.to_hex()) && text.contains("hash")));
        let turns: Vec<u8> = (0..=255).collect();
        let mut told = tempfile::tempfile().unwrap();
        work_check(home, &mut &turns[..], &mut told).unwrap();
        told.rewind().unwrap();
        let mut left: BTreeSet<u8> = (0..=255).collect();
        assert_eq!(audited(|visit| collect(told, &mut left, visit)), alone);
        assert!(left.is_empty());
    }

    #[test]
    fn what_a_helper_does_not_get_done_is_read_here() {
        let (_dir, store, _) = damaged();
        let alone = audited(|visit| {
            (0..=255).for_each(|number| audit_directory(store.home(), number, visit).unwrap());
        });
        let shell = |script: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            shell
        };
        for mut helper in [
            Command::new("/nowhere/keg"),
            // Takes some turns and dies.
            shell("head -c 40 >/dev/null"),
            // Says what is not so, and what is nothing.
            shell("head -c 1 >/dev/null; echo done 999"),
            shell("head -c 9 >/dev/null; echo object x y; echo done 3; kill -9 $$"),
            shell("head -c 300 >/dev/null; head -c 9999 /dev/zero; echo done 3"),
        ] {
            let shared = audited(|visit| audit_shared(store.home(), &mut helper, visit).unwrap());
            assert_eq!(shared, alone, "{helper:?}");
        }
    }
}
