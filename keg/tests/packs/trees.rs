//! Cold trees in packs.

use keg::{
    gc::{GcError, Options, collect},
    object::Value,
};
use serde_json::json;

use super::*;

/// A directory with many names in it.
fn wide(keg: &Keg, changed: u64) -> Entry {
    let mut tree = Tree::default();
    for n in 0..400u64 {
        let text = format!("{n} {}", if n == changed % 400 { changed } else { 0 });
        let entry = keg.objects().put_bytes(text.as_bytes()).unwrap();
        tree.entries.insert(EntryName::new(format!("name-{n}")).unwrap(), entry);
    }
    keg.objects().put_tree(&tree).unwrap()
}

pub fn log_bytes(keg: &Keg) -> u64 {
    let list = std::fs::read_dir(keg.home().join("log")).unwrap().flatten();
    list.filter(|entry| entry.path().extension().is_some_and(|it| it == "seg"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum()
}

fn read(keg: &Keg, kid: &Kid, what: &str) {
    let tree = keg.objects().tree(kid).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(tree.entries.len(), 400, "{what}");
    assert_eq!(keg.objects().kind(kid).unwrap(), Some(Kind::Tree), "{what}");
    let error = keg.objects().open_blob(kid).err().expect("a tree is no blob");
    assert!(matches!(error, StoreError::WrongKind { .. }), "{what}: {error}");
    assert!(matches!(keg.objects().blob_size(kid), Err(StoreError::WrongKind { .. })), "{what}");
    assert_eq!(keg.objects().candidates(&kid.short().parse().unwrap()).unwrap(), [*kid]);
}

#[test]
fn a_tree_does_not_repeat_the_kids_that_its_pack_has() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    // Enough names that its log has something to seal.
    let mut files: BTreeMap<String, Vec<u8>> =
        (0..3900).map(|n| (format!("small-{n}"), b"small".to_vec())).collect();
    let large = |n: u64| format!("large-{n:02}");
    files.extend((0..100).map(|n| (large(n), noise(n, 3000))));
    let (mut trees, mut reports) = (Vec::new(), Vec::new());
    for version in 0..8u8 {
        for n in 0..100 {
            files.get_mut(&large(n)).unwrap()[1500] = version;
        }
        let entry = put_tree(&keg, &files);
        trees.push((entry.kid().unwrap(), version));
        keg.commit(Txn::new("t", "m").set(path("/app"), entry)).unwrap();
        if version % 2 == 1 {
            reports.push(pack_all(&keg));
        }
    }
    // Each object has its KID, half of them that of a base elsewhere, and some 45 bytes more.
    for report in &reports[1..] {
        assert_eq!((report.counts.trees, report.counts.patched), (2, 202), "{report:?}");
        assert!(report.packed_bytes < 20_000, "{report:?}");
    }
    assert_eq!(reports[3].joined.packs, 4, "{reports:?}");
    let fresh = Keg::open(dir.path()).unwrap();
    for (kid, version) in &trees {
        let tree = fresh.objects().tree(kid).unwrap();
        assert_eq!(tree.entries.len(), 4000);
        for n in 0..100 {
            let entry = &tree.entries[&EntryName::new(large(n)).unwrap()];
            assert_eq!(fresh.objects().blob(&entry.kid().unwrap()).unwrap()[1500], *version);
        }
    }
    assert!(check(&fresh).is_clean());
}

#[test]
fn cold_trees_leave_the_log_as_differences() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let (before, mut trees) = (Keg::open(dir.path()).unwrap(), Vec::new());
    for n in 1..40 {
        let entry = wide(&keg, n);
        trees.push(entry.kid().unwrap());
        keg.commit(Txn::new("t", "m").set(path("/wide"), entry)).unwrap();
    }
    read(&before, &trees[7], "before");
    let whole = log_bytes(&keg);
    let report = pack(&keg, &PackOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(report.counts.trees, 38, "all but the current one: {report:?}");
    assert!(report.counts.patched >= 33, "{report:?}");
    assert!(report.counts.tree_bytes > 600_000 && report.packed_bytes < 40_000, "{report:?}");
    assert!(log_bytes(&keg) + 600_000 < whole, "{} of {whole}", log_bytes(&keg));
    let format = std::fs::read_to_string(dir.path().join("format.json")).unwrap();
    assert!(format.contains("packed-trees"), "{format}");
    let fresh = Keg::open(dir.path()).unwrap();
    for (keg, what) in [(&keg, "packing"), (&before, "opened before"), (&fresh, "after")] {
        trees.iter().for_each(|kid| read(keg, kid, what));
        let report = check(keg);
        assert!(report.is_clean() && report.unreferenced == 0, "{what}: {report:?}");
    }
    // What is there is not written again.
    let now = log_bytes(&keg);
    let bytes = keg.objects().get(&trees[3]).unwrap().bytes;
    fresh.objects().put(Kind::Tree, &bytes).unwrap();
    assert_eq!(log_bytes(&keg), now);
    let again = pack(&keg, &PackOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((again.objects, again.packs.len()), (0, 0), "{again:?}");
}

#[test]
fn trees_in_packs_are_collected_and_come_back_for_those_who_rely_on_them() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let keep = json!({"keep": "1 version"});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), keep)).unwrap();
    let mut trees = Vec::new();
    for n in 1..30 {
        let entry = wide(&keg, n);
        trees.push(entry.clone());
        keg.commit(Txn::new("t", "m").set(path("/wide"), entry)).unwrap();
    }
    pack(&keg, &options(Which::All), &mut |_| {}).unwrap();
    let kids: Vec<Kid> = trees.iter().map(|entry| entry.kid().unwrap()).collect();
    assert!(kids.iter().all(|kid| packed(&keg).unwrap().contains(kid)));
    let at_once = Options {
        grace_ms: Some(0),
        trash_ms: Some(0),
        seal_from: 0,
        waste_percent: 0,
        ..Options::default()
    };
    let run = |options: &Options| {
        // A child that another test is just starting has this test's locks, too, for a moment.
        let busy = |tried: &Result<_, GcError>| matches!(tried, Err(GcError::Busy));
        let tries = std::iter::repeat_with(|| collect(&keg, options, &mut |_| {}));
        tries.take(1_000_000).find(|tried| !busy(tried)).unwrap().unwrap()
    };
    let waiting = run(&Options { grace_ms: Some(3_600_000), ..at_once.clone() });
    assert!(waiting.garbage.objects > 28 && waiting.swept.objects == 0, "{waiting:?}");
    // Named again by a process that has not seen the collection: with all that is below it.
    let other = Keg::open(dir.path()).unwrap();
    other.commit(Txn::new("t", "m").set(path("/back"), trees[4].clone())).unwrap();
    for _ in 0..3 {
        run(&at_once);
    }
    for keg in [&keg, &other, &Keg::open(dir.path()).unwrap()] {
        read(keg, &kids[4], "named again");
        read(keg, kids.last().unwrap(), "the current one");
        for entry in keg.objects().tree(&kids[4]).unwrap().entries.values() {
            let Value::File { kid, .. } = entry.value else { panic!("a file") };
            keg.objects().blob(&kid).unwrap();
        }
        assert!(check(keg).is_clean());
    }
    let fresh = Keg::open(dir.path()).unwrap();
    let gone = kids.iter().filter(|kid| fresh.objects().kind(kid).unwrap().is_none()).count();
    assert!(gone >= 18, "{gone}: only what the two are built upon is left");
}

#[test]
fn copies_under_names_of_their_own_are_differences_too() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    for n in 1..30 {
        let mut tree = Tree::default();
        tree.entries.insert(EntryName::new("inner").unwrap(), wide(&keg, n));
        let entry = keg.objects().put_tree(&tree).unwrap();
        keg.commit(Txn::new("t", "m").set(path(&format!("/copies/{n:02}")), entry)).unwrap();
    }
    let report = pack(&keg, &options(Which::All), &mut |_| {}).unwrap();
    assert!(report.counts.patched >= 24, "{report:?}");
    assert!(report.counts.tree_bytes > 450_000 && report.packed_bytes < 60_000, "{report:?}");
    assert!(check(&Keg::open(dir.path()).unwrap()).is_clean());
}
