//! Files that have not changed are not read again; those that have are.

use std::{fs, path::Path, time::Duration};

use crate::Keg;
use crate::ingest::{IngestOptions, KnownFiles, ingest};
use crate::mount::fixture::noise;
use crate::object::Entry;

/// Longer than the grain of the change time.
const WHILE: Duration = Duration::from_millis(40);

fn commit(keg: &Keg, dir: &Path, cache: &Path) -> (Entry, usize) {
    let known = KnownFiles::load(cache);
    let options = IngestOptions { known: Some(&known), ..IngestOptions::default() };
    let entry = ingest(keg.objects(), dir, &options).expect("read");
    known.save(cache).expect("written");
    (entry, known.reused())
}

#[test]
fn what_changed_is_read_again_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let (files, cache) = (dir.path().join("files"), dir.path().join("cache/stat"));
    fs::create_dir_all(files.join("below")).expect("made");
    for number in 0..20 {
        fs::write(files.join(format!("below/{number}")), noise(3000 + number, 7)).expect("written");
    }
    let keg = Keg::create(&dir.path().join("keg")).expect("a Keg");
    std::thread::sleep(WHILE);
    let (first, reused) = commit(&keg, &files, &cache);
    assert_eq!(reused, 0);
    assert_eq!(commit(&keg, &files, &cache), (first.clone(), 20));

    // The same size and modification time: only the change time tells.
    let path = files.join("below/3");
    let modified = fs::metadata(&path).and_then(|meta| meta.modified()).expect("a time");
    let mut bytes = fs::read(&path).expect("read");
    bytes[100] ^= 1;
    fs::write(&path, &bytes).expect("written");
    fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|f| f.set_modified(modified))
        .expect("set");
    fs::remove_file(files.join("below/4")).expect("removed");
    std::thread::sleep(WHILE);
    let (second, reused) = commit(&keg, &files, &cache);
    assert_eq!(reused, 18);
    let plain = ingest(keg.objects(), &files, &IngestOptions::default()).expect("read");
    assert_eq!(second, plain);
    assert_ne!(second, first);

    // A cache that is damaged, and one of another Keg, only cost time.
    let mut damaged = fs::read(&cache).expect("read");
    damaged[50] ^= 1;
    fs::write(&cache, &damaged).expect("written");
    assert_eq!(commit(&keg, &files, &cache), (second.clone(), 0));
    let other = Keg::create(&dir.path().join("other")).expect("a Keg");
    assert_eq!(commit(&other, &files, &cache).0, second);
    let kid = second.kid().expect("a tree");
    let path = other.objects().walk(&kid, "below/5").expect("walks").expect("there");
    let held = other.objects().blob(&path.kid().expect("a file")).expect("it was put");
    assert_eq!(held, fs::read(files.join("below/5")).expect("read"));
}

#[test]
fn extended_attributes_of_what_is_not_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (files, cache) = (dir.path().join("files"), dir.path().join("stat"));
    fs::create_dir(&files).expect("made");
    let path = files.join("file");
    fs::write(&path, noise(3000, 1)).expect("written");
    let keg = Keg::create(&dir.path().join("keg")).expect("a Keg");
    let flags = rustix::fs::XattrFlags::empty();
    let set = |value: &[u8]| rustix::fs::lsetxattr(&path, "user.kind", value, flags).expect("set");
    let same = |what: &str| {
        let plain = ingest(keg.objects(), &files, &IngestOptions::default()).expect("read");
        // The second time from the cache.
        for reused in 0..2 {
            std::thread::sleep(WHILE);
            assert_eq!(commit(&keg, &files, &cache), (plain.clone(), reused), "{what}");
        }
        plain
    };
    let none = same("none");
    set(b"one");
    let one = same("one");
    set(b"two");
    assert_ne!(same("two"), one);
    rustix::fs::lremovexattr(&path, "user.kind").expect("removed");
    assert_eq!(same("none again"), none);
}

#[test]
fn a_file_just_written_is_not_remembered() {
    let dir = tempfile::tempdir().expect("a directory");
    let (files, cache) = (dir.path().join("files"), dir.path().join("stat"));
    fs::create_dir(&files).expect("made");
    let keg = Keg::create(&dir.path().join("keg")).expect("a Keg");
    let mut last = None;
    for round in 0..50u32 {
        fs::write(files.join("file"), round.to_le_bytes().repeat(1000)).expect("written");
        let (entry, _) = commit(&keg, &files, &cache);
        assert_ne!(Some(entry.kid()), last, "round {round} was missed");
        last = Some(entry.kid());
    }
}
