//! Whoever has known the Keg for long: what went meanwhile is not taken to be there still.

use std::panic::{AssertUnwindSafe, catch_unwind};

use keg::{
    gc::Phase,
    object::{EntryName, Tree},
    pack::{PackOptions, Which, list, pack, packed},
};

use super::*;

fn pack_all(keg: &Keg) {
    let options = PackOptions { which: Which::All, level: 1, ..PackOptions::default() };
    pack(keg, &options, &mut |_| {}).unwrap();
}

/// A collection by another process that ends at the first step of a phase.
fn stopped(home: &std::path::Path, phase: Phase) {
    let other = Keg::open(home).unwrap();
    let stop = |now: keg::gc::Progress| assert!(now.phase != phase, "stopped");
    let done = catch_unwind(AssertUnwindSafe(|| collect(&other, &at_once(), &mut { stop })));
    assert!(done.is_err(), "{phase:?} was not reached: {done:?}");
}

/// Collections by other processes until nothing is left of what nobody needs.
fn gone(home: &std::path::Path) {
    for _ in 0..3 {
        run(&Keg::open(home).unwrap(), &at_once());
    }
}

/// What is put and named now is there for everybody, and after all further collections.
fn put_again(keg: &Keg, name: &str, bytes: &[u8]) {
    let entry = keg.objects().put_bytes(bytes).unwrap();
    set(keg, name, entry.clone());
    for _ in 0..2 {
        let fresh = Keg::open(keg.home()).unwrap();
        check(&fresh);
        assert_eq!(fresh.objects().blob(&entry.kid().unwrap()).unwrap(), bytes);
        run(&fresh, &at_once());
    }
}

#[test]
fn what_left_the_log_in_a_collection_that_died_is_put_again() {
    let (_dir, keg) = new_keg();
    policy(&keg, "1 version");
    let entry = keg.objects().put_bytes(b"comes and goes").unwrap();
    set(&keg, "/x/f", entry.clone());
    keg.commit(Txn::new("t", "m").remove(path("/x/f"))).unwrap();
    run(&Keg::open(keg.home()).unwrap(), &Options { grace_ms: Some(3_600_000), ..at_once() });
    let long = Keg::open(keg.home()).unwrap();
    assert_eq!(long.objects().blob(&entry.kid().unwrap()).unwrap(), b"comes and goes");
    // It leaves the log; the next collection does not know of it any more, and rewrites nothing.
    stopped(keg.home(), Phase::Rewrite);
    stopped(keg.home(), Phase::Condemn);
    stopped(keg.home(), Phase::Condemn);
    put_again(&long, "/x/f", b"comes and goes");
}

#[test]
fn what_left_the_packs_is_put_again() {
    let (_dir, keg) = new_keg();
    policy(&keg, "1 version");
    let (entry, kid) = large(&keg, 1);
    set(&keg, "/x/f", entry.clone());
    pack_all(&keg);
    let [long, other] = [(), ()].map(|()| Keg::open(keg.home()).unwrap());
    for keg in [&long, &other] {
        assert_eq!(keg.objects().blob(&kid).unwrap(), noise(1, 5000));
    }
    keg.commit(Txn::new("t", "m").remove(path("/x/f"))).unwrap();
    gone(keg.home());
    assert!(list(&keg).unwrap().is_empty());
    // A name for what is not here any more.
    let refused = other.commit(Txn::new("t", "m").set(path("/x/g"), entry));
    assert!(refused.is_err(), "{refused:?}");
    put_again(&long, "/x/f", &noise(1, 5000));
}

#[test]
fn small_objects_that_left_the_packs_are_put_again() {
    let (_dir, keg) = new_keg();
    policy(&keg, "2 versions");
    let mut tree = Tree::default();
    for n in 0..100 {
        let entry = keg.objects().put_bytes(&noise(n % 5, 100)).unwrap();
        let name = format!("{}-{n}", "a long name ".repeat(10));
        tree.entries.insert(EntryName::new(name).unwrap(), entry);
    }
    let entry = keg.objects().put_tree(&tree).unwrap();
    set(&keg, "/x/d", entry.clone());
    // Trees are packed once they are in a sealed segment.
    run(&keg, &at_once());
    let other = Keg::open(keg.home()).unwrap();
    pack_all(&other);
    assert_eq!(list(&keg).unwrap().len(), 1);
    let long = Keg::open(keg.home()).unwrap();
    assert_eq!(long.objects().tree(&entry.kid().unwrap()).unwrap(), tree);
    keg.commit(Txn::new("t", "m").remove(path("/x/d"))).unwrap();
    set_number(&keg, "/x/n", 1);
    set_number(&keg, "/x/n", 2);
    gone(keg.home());
    // What is left is the policy, which is small and in use.
    let left = packed(&keg).unwrap();
    let texts = (0..5).map(|n| noise(n, 100));
    let kids: Vec<Kid> = texts.clone().map(|text| Kid::of_blob(&text)).collect();
    assert!(!left.contains(&entry.kid().unwrap()) && kids.iter().all(|kid| !left.contains(kid)));
    assert_eq!(long.objects().put_tree(&tree).unwrap(), entry);
    for text in texts.clone() {
        long.objects().put_bytes(&text).unwrap();
    }
    long.objects().sync().unwrap();
    let fresh = Keg::open(keg.home()).unwrap();
    assert_eq!(fresh.objects().tree(&entry.kid().unwrap()).unwrap(), tree);
    for (kid, text) in kids.iter().zip(texts) {
        assert_eq!(fresh.objects().blob(kid).unwrap(), text);
    }
}

#[test]
fn a_pack_that_is_written_anew_as_one_that_is_there_stays() {
    // Which of two packs has what both have depends on their names: some of these come either way.
    for seed in 0..6u64 {
        let (_dir, keg) = new_keg();
        policy(&keg, "1 version");
        let (stays, stays_kid) = large(&keg, 10 + seed);
        let (goes, goes_kid) = large(&keg, 50 + seed);
        let both = Txn::new("t", "m").set(path("/x/s"), stays).set(path("/x/g"), goes);
        keg.commit(both).unwrap();
        pack_all(&keg);
        keg.commit(Txn::new("t", "m").remove(path("/x/g"))).unwrap();
        let kept = Options { trash_ms: Some(3_600_000), ..at_once() };
        let report = run(&keg, &kept);
        assert_eq!(report.packs.rewritten, 1, "{report:?}");
        // Who reads what went brings the old pack back.
        let fresh = Keg::open(keg.home()).unwrap();
        assert_eq!(fresh.objects().blob(&goes_kid).unwrap(), noise(50 + seed, 5000));
        assert_eq!(list(&keg).unwrap().len(), 2);
        run(&keg, &kept);
        let fresh = Keg::open(keg.home()).unwrap();
        check(&fresh);
        assert_eq!(fresh.objects().blob(&stays_kid).unwrap(), noise(10 + seed, 5000));
    }
}
