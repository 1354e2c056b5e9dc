//! Any history under any policy: every kept version reads whole, and all else goes in the end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use keg::{
    Keg, NamePath, Txn,
    fsck::fsck,
    gc::{Options, collect},
    testing::{at_once, noise},
};
use proptest::prelude::*;
use serde_json::json;

/// Names whose directories have rules of their own, and some that do not.
const NAMES: [&str; 6] = ["/a/x", "/a/y", "/a/deep/er/z", "/b/x", "/b/c/y", "/plain"];
/// What names hold: the seed and size of a blob. Few, so that values come again.
const SIZES: [usize; 3] = [10, 900, 4000];

#[derive(Clone, Debug)]
enum Op {
    Set(usize, u64, usize),
    Remove(usize),
    /// An object without a name.
    Orphan(u64, usize),
    Collect,
    /// By a process that knows nothing of what came before.
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let name = 0..NAMES.len();
    let value = (0..5u64, 0..SIZES.len());
    let op = prop_oneof![
        6 => (name.clone(), value.clone()).prop_map(|(at, (seed, size))| Op::Set(at, seed, size)),
        2 => name.prop_map(Op::Remove),
        2 => value.prop_map(|(seed, size)| Op::Orphan(seed, size)),
        2 => Just(Op::Collect),
        1 => Just(Op::Reopen),
    ];
    proptest::collection::vec(op, 1..40)
}

fn rule() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("1 version"),
        Just("2 versions"),
        Just("5 versions"),
        Just("3 versions or 1 hour"),
        Just("all"),
    ]
}

/// What each name held in each version.
type Model = Vec<BTreeMap<&'static str, (u64, usize)>>;

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn blob((seed, size): (u64, usize)) -> Vec<u8> {
    noise(seed, SIZES[size])
}

/// Everything from its floor on reads as it was; older versions never read wrongly.
fn compare(keg: &Keg, model: &Model) {
    let newest = model.len() - 1;
    assert_eq!(keg.head().unwrap().seq, newest as u64);
    for (seq, held) in model.iter().enumerate() {
        for name in NAMES {
            let kept = seq as u64 >= keg.oldest(&path(name)).unwrap();
            let version = match keg.version(seq as u64) {
                Ok(version) => version,
                Err(error) => {
                    assert!(!kept, "{name} in {seq}: {error}");
                    continue;
                }
            };
            let entry = match keg.get_at(&path(name), &version) {
                Ok(entry) => entry,
                Err(error) => {
                    assert!(!kept, "{name} in {seq}: {error}");
                    continue;
                }
            };
            let bytes = entry.map(|entry| keg.objects().blob(&entry.kid().unwrap()));
            match bytes {
                Some(Err(error)) => assert!(!kept, "{name} in {seq}: {error}"),
                Some(Ok(bytes)) => assert_eq!(Some(bytes), held.get(name).map(|v| blob(*v))),
                None => assert_eq!(held.get(name), None, "{name} in {seq}"),
            }
        }
    }
}

fn apply(keg: &mut Keg, model: &mut Model, op: &Op) {
    let mut held = model.last().unwrap().clone();
    let txn = Txn::new("t", "m");
    let made = match *op {
        Op::Set(name, seed, size) => {
            held.insert(NAMES[name], (seed, size));
            let entry = keg.objects().put_bytes(&blob((seed, size))).unwrap();
            keg.commit(txn.set(path(NAMES[name]), entry)).unwrap()
        }
        Op::Remove(name) => {
            held.remove(NAMES[name]);
            keg.commit(txn.remove(path(NAMES[name]))).unwrap()
        }
        Op::Orphan(seed, size) => {
            keg.objects().put_bytes(&noise(seed + 100, SIZES[size])).unwrap();
            return;
        }
        Op::Collect => {
            collect(keg, &at_once(), &mut |_| {}).unwrap();
            return;
        }
        Op::Reopen => {
            *keg = Keg::open(keg.home()).unwrap();
            return;
        }
    };
    if made.seq as usize == model.len() {
        model.push(held);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn kept_versions_read_whole_and_all_else_goes(
        ops in ops(), all in rule(), a in rule(), deep in rule(), b in rule()
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut keg = Keg::create(dir.path()).unwrap();
        let paths = json!({"/a": a, "/a/deep/er": deep, "/b": b});
        let document = json!({"keep": all, "paths": paths});
        let txn = Txn::new("t", "m").set_json(path("/-/gc.json"), document);
        keg.commit(txn).unwrap();
        let mut model: Model = vec![BTreeMap::new(); 2];
        for op in &ops {
            apply(&mut keg, &mut model, op);
            if matches!(op, Op::Collect) {
                compare(&keg, &model);
            }
        }
        keg.objects().sync().unwrap();
        for _ in 0..3 {
            collect(&keg, &at_once(), &mut |_| {}).unwrap();
        }
        let fresh = Keg::open(dir.path()).unwrap();
        compare(&keg, &model);
        compare(&fresh, &model);
        let report = fsck(&fresh, &mut |_| {}).unwrap();
        prop_assert!(report.is_clean(), "{:?}", report);
        // Only the tail of the log may hold what nobody needs.
        let last = collect(&keg, &at_once(), &mut |_| {}).unwrap();
        prop_assert_eq!(last.garbage.objects, 0);
        prop_assert_eq!(last.trash.objects, 0);
        let dry = Options { dry_run: true, ..Options::default() };
        let held = collect(&keg, &dry, &mut |_| {}).unwrap();
        prop_assert_eq!(held.garbage.objects, 0);
    }
}
