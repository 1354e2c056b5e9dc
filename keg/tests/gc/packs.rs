//! Collections and packs.

use keg::{
    object::{EntryName, Tree},
    pack::{PackOptions, Which, list, pack, packed},
};

use super::*;

fn pack_all(keg: &Keg) -> keg::pack::Report {
    let options = PackOptions { which: Which::All, level: 1, ..PackOptions::default() };
    pack(keg, &options, &mut |_| {}).unwrap()
}

/// A directory of files that are alike from version to version, or not.
fn directory(keg: &Keg, files: &[(&str, Vec<u8>)]) -> Entry {
    let mut tree = Tree::default();
    for (name, bytes) in files {
        let entry = keg.objects().put_bytes(bytes).unwrap();
        tree.entries.insert(EntryName::new(*name).unwrap(), entry);
    }
    keg.objects().put_tree(&tree).unwrap()
}

fn missing(keg: &Keg, kid: &Kid) -> bool {
    matches!(keg.objects().get(kid), Err(StoreError::Missing { .. }))
}

/// Nothing in the trash survives one more collection.
fn empty_trash(keg: &Keg) {
    run(keg, &at_once());
    run(keg, &at_once());
}

#[test]
fn what_nobody_needs_leaves_its_pack() {
    let (_dir, keg) = new_keg();
    policy(&keg, "1 version");
    let (stays, goes) = (noise(1, 9000), noise(2, 9000));
    let files = [("stays", stays.clone()), ("goes", goes.clone())];
    set(&keg, "/x/d", directory(&keg, &files));
    pack_all(&keg);
    set(&keg, "/x/d", directory(&keg, &files[..1]));
    let [stays_kid, goes_kid] = [&stays, &goes].map(|bytes| Kid::of_blob(bytes));
    let other = Keg::open(keg.home()).unwrap();
    assert_eq!(other.objects().blob(&goes_kid).unwrap(), goes);
    let report = run(&keg, &at_once());
    assert_eq!((report.packs.rewritten, report.packs.removed), (1, 0), "{report:?}");
    assert!(report.packs.bytes_after + 8000 < report.packs.bytes_before, "{report:?}");
    assert!(!packed(&keg).unwrap().contains(&goes_kid));
    check(&keg);
    // In the trash, and back from it with its pack when it is read.
    for keg in [&keg, &other, &Keg::open(keg.home()).unwrap()] {
        assert_eq!(keg.objects().blob(&goes_kid).unwrap(), goes);
        assert_eq!(keg.objects().blob(&stays_kid).unwrap(), stays);
        check(keg);
    }
    assert!(packed(&keg).unwrap().contains(&goes_kid));
    empty_trash(&keg);
    empty_trash(&keg);
    assert_eq!(list(&keg).unwrap().len(), 1);
    for keg in [&keg, &other, &Keg::open(keg.home()).unwrap()] {
        assert_eq!(keg.objects().blob(&stays_kid).unwrap(), stays);
        check(keg);
    }
    assert!(missing(&Keg::open(keg.home()).unwrap(), &goes_kid));
    // All of it.
    keg.commit(Txn::new("t", "m").remove(path("/x/d"))).unwrap();
    let report = run(&keg, &at_once());
    assert_eq!((report.packs.rewritten, report.packs.removed), (0, 1), "{report:?}");
    assert_eq!(list(&keg).unwrap().len(), 0);
    assert_eq!(keg.objects().blob(&stays_kid).unwrap(), stays, "from the trash");
    empty_trash(&keg);
    empty_trash(&keg);
    assert!(missing(&Keg::open(keg.home()).unwrap(), &stays_kid));
    check(&keg);
}

#[test]
fn who_relies_on_a_condemned_packed_object_gets_a_copy_of_it() {
    let (_dir, keg) = new_keg();
    policy(&keg, "1 version");
    let bytes: Vec<Vec<u8>> = (0..4).map(|n| noise(n, 9000)).collect();
    let all = directory(&keg, &[("put", bytes[0].clone()), ("never", bytes[3].clone())]);
    let named = directory(&keg, &[("named", bytes[1].clone())]);
    let leased = directory(&keg, &[("leased", bytes[2].clone())]);
    let txn = Txn::new("t", "m").set(path("/x/a"), all).set(path("/x/b"), named.clone());
    keg.commit(txn.set(path("/x/c"), leased.clone())).unwrap();
    pack_all(&keg);
    let gone = ["/x/a", "/x/b", "/x/c"].into_iter();
    keg.commit(gone.fold(Txn::new("t", "m"), |txn, name| txn.remove(path(name)))).unwrap();
    let wait = Options { grace_ms: Some(3_600_000), ..at_once() };
    let condemned = run(&keg, &wait);
    assert_eq!(condemned.swept.objects, 0, "{condemned:?}");
    let kids: Vec<Kid> = bytes.iter().map(|bytes| Kid::of_blob(bytes)).collect();
    // Another process, which has not seen the collection.
    let other = Keg::open(keg.home()).unwrap();
    let put = other.objects().put_bytes(&bytes[0]).unwrap();
    set(&other, "/x/put", put);
    set(&other, "/x/named", named);
    let _lease = Lease::hold(&other, "a test", &[leased.kid().unwrap()]).unwrap();
    other.objects().sync().unwrap();
    for kid in &kids[..3] {
        assert!(object_file(&keg, kid).exists(), "{kid} has a copy of its own");
    }
    assert!(!object_file(&keg, &kids[3]).exists());
    empty_trash(&keg);
    empty_trash(&keg);
    for keg in [&keg, &other, &Keg::open(keg.home()).unwrap()] {
        for (kid, bytes) in kids.iter().zip(&bytes).take(3) {
            assert_eq!(keg.objects().blob(kid).unwrap(), *bytes);
        }
        check(keg);
    }
    assert!(missing(&keg, &kids[3]));
}

#[test]
fn what_something_is_built_upon_stays_with_it() {
    let (_dir, keg) = new_keg();
    policy(&keg, "1 version");
    let mut bytes = noise(1, 60_000);
    let mut kids = Vec::new();
    for n in 0..4 {
        bytes[n] ^= 1;
        set(&keg, "/x/d", directory(&keg, &[("f", bytes.clone())]));
        kids.push(Kid::of_blob(&bytes));
    }
    let report = pack_all(&keg);
    assert!(report.counts.patched >= 3, "{report:?}");
    let report = run(&keg, &at_once());
    assert_eq!((report.packs.rewritten, report.packs.removed), (0, 0), "{report:?}");
    empty_trash(&keg);
    let keg = Keg::open(keg.home()).unwrap();
    assert_eq!(keg.objects().blob(&kids[3]).unwrap(), bytes);
    check(&keg);
    keg.commit(Txn::new("t", "m").remove(path("/x/d"))).unwrap();
    let report = run(&keg, &at_once());
    assert_eq!((report.packs.removed, list(&keg).unwrap().len()), (1, 0), "{report:?}");
}

#[test]
fn packs_wait_while_somebody_packs() {
    let (_dir, keg) = new_keg();
    policy(&keg, "1 version");
    set(&keg, "/x/d", directory(&keg, &[("f", noise(1, 9000))]));
    pack_all(&keg);
    keg.commit(Txn::new("t", "m").remove(path("/x/d"))).unwrap();
    let lock = fs::File::create(keg.home().join("tmp/packing")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let report = run(&keg, &at_once());
    assert!(report.packs_busy && list(&keg).unwrap().len() == 1, "{report:?}");
    drop(lock);
    let report = run(&keg, &at_once());
    assert!(!report.packs_busy && list(&keg).unwrap().is_empty(), "{report:?}");
}
