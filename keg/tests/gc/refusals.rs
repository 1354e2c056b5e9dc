//! When nothing is collected.

use keg::store::{Fault, FaultyStore, FileStore};

use super::*;

#[test]
fn what_cannot_be_read_stops_the_collection() {
    for fault in [Fault::Missing, Fault::ReadError, Fault::BitFlip] {
        for healthy in [0, 1, 3, 6] {
            let (dir, keg) = new_keg();
            set_number(&keg, "/a/b/c", 1);
            set_number(&keg, "/a/d", 2);
            let (_, orphan) = large(&keg, 1);
            keg.objects().sync().unwrap();
            drop(keg);
            let store = FileStore::open(dir.path()).unwrap();
            let faulty = FaultyStore::new(store, fault, healthy);
            let keg = Keg::with_store(dir.path(), Box::new(faulty));
            let error = collect(&keg, &at_once(), &mut |_| {}).unwrap_err();
            let text = error.to_string();
            assert!(!text.is_empty(), "{fault:?} after {healthy}");
            let keg = Keg::open(dir.path()).unwrap();
            assert!(object_file(&keg, &orphan).exists(), "{fault:?} after {healthy}: {text}");
            check(&keg);
        }
    }
}

#[test]
fn one_collection_at_a_time_and_not_without_a_policy_that_is_understood() {
    let (_dir, keg) = new_keg();
    run(&keg, &Options::default());
    let lock = fs::File::open(keg.home().join("gc/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = collect(&keg, &Options::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, GcError::Busy), "{error}");
    drop(lock);
    policy(&keg, "some");
    let error = collect(&keg, &Options::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("/-/gc.json"), "{error}");
    let error = collect(&Keg::in_memory(), &Options::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, GcError::NoFiles), "{error}");
}
