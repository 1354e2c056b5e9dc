//! Values that are larger, deeper or more crooked than they say, and memories that are wrong.

use super::*;
use crate::{
    Kid,
    object::{Kind, Sums, Value},
    sync::{memo::Memo, message::Resume},
};

/// Directories in one another, deeper than any stack of calls could follow.
const DEEP: usize = 4000;

fn limited(keg: &Keg, way: &mut Direct, limits: Limits) -> Result<Pulled, SyncError> {
    let mut options = Options { author: "t".into(), force: true, limits, progress: &mut |_| {} };
    pull(keg, way, &path("/x"), &path("/x"), &mut options)
}

#[test]
fn a_tree_deeper_than_any_stack_comes_whole() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    let mut below = there.objects().put_bytes(b"the bottom").unwrap();
    for _ in 0..DEEP {
        let mut tree = Tree::default();
        tree.entries.insert(name("d"), below);
        below = there.objects().put_tree(&tree).unwrap();
    }
    set(&there, "/x", below);
    let pulled = pull_same(&here, &mut Direct::to(&there), "/x").unwrap();
    assert_eq!(pulled.progress.objects, DEEP as u64);
    check_clean(&here);
}

#[test]
fn more_than_the_limits_is_refused_before_it_is_kept() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    let mut top = Tree::default();
    for n in 0..50 {
        let mut tree = Tree::default();
        let entry = there.objects().put_bytes(&noise(n, 4000)).unwrap();
        tree.entries.insert(name("f"), entry);
        let entry = there.objects().put_tree(&tree).unwrap();
        top.entries.insert(name(&format!("d{n}")), entry);
    }
    let entry = there.objects().put_tree(&top).unwrap();
    set(&there, "/x", entry);
    let few = Limits { objects: 20, ..Limits::default() };
    let error = limited(&here, &mut Direct::to(&there), few).unwrap_err();
    assert!(matches!(error, SyncError::TooMuch { limit: 20, .. }), "{error}");
    let small = Limits { bytes: 100_000, ..Limits::default() };
    let mut way = Direct::to(&there);
    let error = limited(&here, &mut way, small).unwrap_err();
    assert!(matches!(error, SyncError::TooMuch { limit: 100_000, .. }), "{error}");
    assert_eq!(way.verbs, [Verb::Trees], "no blob was asked for");
    assert_eq!(here.get(&path("/x")).unwrap(), None);
    check_clean(&here);
    limited(&here, &mut Direct::to(&there), Limits::default()).unwrap();
}

/// Sums that lie below the value itself: whoever serves such a tree has made it by hand.
#[test]
fn sums_that_lie_at_any_depth_are_refused() {
    for (bytes, entries) in [(1, 0), (0, 1), (1 << 60, 1 << 60)] {
        let ((_one, there), (_two, here)) = (new_keg(), new_keg());
        let mut below = there.objects().put_tree(&Tree::default()).unwrap();
        let empty = below.kid().unwrap();
        if let Value::Tree { kid, .. } = below.value {
            below = Entry::tree(kid, Sums { bytes, entries });
        }
        let mut top = Tree::default();
        top.entries.insert(name("liar"), below);
        let made = top.encode().unwrap();
        let kid = there.objects().put(Kind::Tree, &made).unwrap();
        assert_ne!(kid, empty);
        set(&there, "/x", Entry::tree(kid, top.sums().unwrap()));
        let error = pull_same(&here, &mut Direct::to(&there), "/x").unwrap_err();
        assert!(!error.is_connection(), "{error}");
        assert_eq!(here.get(&path("/x")).unwrap(), None);
        check_clean(&here);
    }
}

#[test]
fn a_memory_that_is_wrong_costs_bytes_and_nothing_else() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    set(&there, "/x", sample(&there, 1));
    let value = there.get(&path("/x")).unwrap().unwrap().kid().unwrap();
    for base in [None, Some(Kid::of_blob(b"none"))] {
        for objects in [1, 3, 1 << 23] {
            let mut memo = Memo::open(&here, "direct", "/x /x");
            memo.resume = Some(Resume { value, base, objects });
            memo.save().unwrap();
            pull_same(&here, &mut Direct::to(&there), "/x").unwrap();
            assert_eq!(here.get(&path("/x")).unwrap(), there.get(&path("/x")).unwrap());
            here.commit(Txn::new("t", "m").remove(path("/x"))).unwrap();
            let fresh = new_keg();
            let mut memo = Memo::open(&fresh.1, "direct", "/x /x");
            memo.resume = Some(Resume { value, base, objects });
            memo.save().unwrap();
            // What is remembered is not there (it was collected, say): it comes again.
            pull_same(&fresh.1, &mut Direct::to(&there), "/x").unwrap();
            check_clean(&fresh.1);
        }
    }
}
