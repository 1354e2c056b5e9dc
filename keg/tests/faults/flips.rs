//! A bit flips in any file of a Keg: it is named, or what it was is made again; nothing wrong is
//! ever served, and nothing goes that should stay.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use keg::{
    Keg, Kid, NamePath, NamesError, Txn,
    fsck::fsck,
    gc::{self, Lease},
    object::Value,
    pack::{PackOptions, pack},
    testing::noise,
};
use serde_json::json;

use super::{
    jobs::{collect_at_once, flip, path},
    place::Place,
};

/// Places of each file in which a bit flips, besides the first bytes.
const PLACES: u64 = 5;
/// The first bytes of a file, of which every sixth is tried.
const FIRST: u64 = 48;

/// A Keg that has files of every kind: loose and packed objects, sealed segments with indexes,
/// what collections decided, leases, a stream.
fn used(root: &Path) {
    let keg = Keg::create(&root.join("keg")).unwrap();
    let document = json!({"keep": "6 versions"});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), document)).unwrap();
    for n in 0..9u64 {
        let large = keg.objects().put_bytes(&noise(n, 4000)).unwrap();
        let small = keg.objects().put_bytes(format!("small {n}").as_bytes()).unwrap();
        let txn = Txn::new("t", "m").set(path("/large"), large).set(path("/small"), small);
        keg.commit(txn).unwrap();
    }
    let mut stream = keg.streams().create("log").unwrap();
    stream.line("a line").unwrap();
    let log = keg.streams().seal("log").unwrap();
    keg.commit(Txn::new("t", "m").set(path("/log"), log)).unwrap();
    pack(&keg, &PackOptions::default(), &mut |_| {}).unwrap();
    let leased = keg.objects().put_bytes(&leased()).unwrap().kid().unwrap();
    keg.objects().sync().unwrap();
    Lease::until(&keg, "a test", u64::MAX / 2, &[leased]).unwrap();
    for _ in 0..2 {
        collect(&keg).unwrap();
    }
    keg.objects().put_bytes(b"condemned next time").unwrap();
    keg.commit(Txn::new("t", "m").set_json(path("/last"), json!(1))).unwrap();
}

fn leased() -> Vec<u8> {
    noise(77, 3000)
}

fn collect(keg: &Keg) -> Result<gc::Report, gc::GcError> {
    collect_at_once(keg)
}

/// Whatever can be read of a Keg: the bytes of each name in each version, or why there are none.
type Seen = BTreeMap<(u64, String), Result<Vec<u8>, String>>;

fn see(keg: &Keg) -> Result<Seen, NamesError> {
    let mut seen = Seen::new();
    for seq in 0..=keg.head()?.seq {
        let version = match keg.version(seq) {
            Ok(version) => version,
            Err(error) => {
                seen.insert((seq, String::new()), Err(error.to_string()));
                continue;
            }
        };
        for name in ["/large", "/small", "/log", "/last"] {
            let name: NamePath = path(name);
            let read = keg.get_at(&name, &version).map_err(|error| error.to_string());
            let read = match read {
                Ok(None) => continue,
                Ok(Some(entry)) => match entry.value {
                    Value::File { kid, .. } => {
                        keg.objects().blob(&kid).map_err(|error| error.to_string())
                    }
                    other => panic!("{other:?}"),
                },
                Err(error) => Err(error),
            };
            seen.insert((seq, name.to_string()), read);
        }
    }
    Ok(seen)
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.metadata().unwrap().len() > 0 {
            found.push(path);
        }
    }
}

/// What a person or program sees of a Keg in which a bit has flipped.
fn check(home: &Path, want: &Seen, what: &str) {
    let keg = match Keg::open(home) {
        Ok(keg) => keg,
        // Named, and nothing is served.
        Err(error) => return assert!(!error.to_string().is_empty(), "{what}"),
    };
    let seen = see(&keg);
    let sound = match &seen {
        Err(_) => false,
        Ok(seen) => {
            for (name, read) in seen {
                // What was compacted may be told differently, and nothing else is there.
                let Ok(bytes) = read else { continue };
                assert_eq!(Some(bytes), want[name].as_ref().ok(), "{what}: {name:?} is wrong");
            }
            let lost = |(name, read): &(&(u64, String), &Result<Vec<u8>, String>)| {
                read.is_ok() && !matches!(seen.get(*name), Some(Ok(_)))
            };
            !want.iter().any(|one| lost(&one))
        }
    };
    let named = match fsck(&keg, &mut |_| {}) {
        Ok(report) => !report.is_clean(),
        Err(error) => !error.to_string().is_empty(),
    };
    assert!(sound || named, "{what}: something is lost, and nobody says so: {seen:?}");
    // Whatever it was in, a collection takes nothing that is needed, nor what a lease keeps.
    for _ in 0..2 {
        if let Err(error) = collect(&keg) {
            assert!(named, "{what}: {error}");
            return;
        }
    }
    let kept = Keg::open(home).and_then(|keg| keg.objects().blob(&Kid::of_blob(&leased())));
    assert!(kept.is_ok() || named, "{what}: the lease was lost");
    if sound {
        let still = see(&keg).unwrap();
        let newest = keg.head().unwrap().seq;
        let gone = |(name, read): &(&(u64, String), &Result<Vec<u8>, String>)| {
            name.0 == newest && read.is_ok() && !matches!(still.get(*name), Some(Ok(_)))
        };
        assert!(
            !want.iter().any(|one| gone(&one)) || named,
            "{what}: a collection took what is needed"
        );
    }
}

#[test]
fn any_flipped_bit_is_named_or_does_not_matter() {
    let job = super::jobs::Job { name: "flips", prepare: used, run: |_, _| Ok(()), done: |_| () };
    let place = Place::prepare(job, true);
    let base = place.root("base").join("keg");
    // Looking changes what is derived; the copies are made after that.
    let want = see(&Keg::open(&base).unwrap()).unwrap();
    assert!(want.values().filter(|read| read.is_ok()).count() > 10);
    let mut found = Vec::new();
    files(&base, &mut found);
    let kinds = ["seg", "idx", "pack", "json", "copy", "sealed"];
    for kind in kinds {
        let any = found.iter().any(|file| file.extension().is_some_and(|it| it == kind));
        assert!(any, "there is a file of the kind {kind}");
    }
    let mut flipped = 0;
    for file in &found {
        let below = file.strip_prefix(&base).unwrap();
        let len = file.metadata().unwrap().len();
        let first = (0..FIRST.min(len)).step_by(6);
        let stride = (len / PLACES).max(1);
        let spread = (FIRST.min(len)..len).step_by(stride as usize);
        for at in first.chain(spread) {
            let home = place.fresh();
            flip(&home.join(below), at, 1 << (at % 8));
            check(&home, &want, &format!("byte {at} of {}", below.display()));
            flipped += 1;
        }
    }
    assert!(flipped > 100, "{flipped} bits of {} files", found.len());
}
