//! Values arrive, whole, in two round trips, and cost what differs.

use super::*;
use crate::{Kid, object::Value, testing::commit_of};

#[test]
fn a_tree_arrives_whole_in_two_round_trips() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    set(&there, "/x/tree", sample(&there, 1));
    let mut way = Direct::to(&there);
    let pulled = pull_same(&here, &mut way, "/x/tree").unwrap();
    assert!(pulled.changed);
    assert_eq!(way.verbs, [Verb::Trees, Verb::Pack]);
    assert_eq!(here.get(&path("/x/tree")).unwrap(), there.get(&path("/x/tree")).unwrap());
    assert_eq!(pulled.progress.blobs, pulled.progress.blobs_total);
    assert_eq!(pulled.progress.bytes, pulled.progress.bytes_total);
    check_clean(&here);

    let again = pull_same(&here, &mut way, "/x/tree").unwrap();
    assert!(!again.changed);
    assert_eq!(way.verbs.len(), 3, "nothing is missing: one round trip");
    assert_eq!(here.head().unwrap().seq, 1, "no version without a change");
}

#[test]
fn every_kind_of_value_can_be_pulled() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    let tree = sample(&there, 1).kid().unwrap();
    let commit = there.objects().put_commit(&commit_of(tree, vec![], "m")).unwrap();
    let large = there.objects().put_bytes(&noise(3, 3 << 20)).unwrap();
    let pointer = Value::Pointer {
        source: "git+https://example.org/x".into(),
        reference: "main".into(),
        kid: Some(Kid::of_blob(b"elsewhere")),
    };
    let mut pointing = Entry::symlink("x");
    pointing.value = pointer;
    let small = there.objects().put_bytes(b"small").unwrap();
    for entry in [Entry::commit(commit), large, small, Entry::symlink("to"), pointing] {
        forced(|options| {
            set(&there, "/v", entry.clone());
            let mut way = Direct::to(&there);
            let pulled = pull(&here, &mut way, &path("/v"), &path("/w"), options).unwrap();
            assert_eq!(pulled.value, entry);
            assert_eq!(here.get(&path("/w")).unwrap(), Some(entry));
        });
    }
    check_clean(&here);
    let error = pull_same(&here, &mut Direct::to(&there), "/none").unwrap_err();
    assert!(error.to_string().contains("nothing at /none"), "{error}");
}

#[test]
fn a_small_change_costs_a_few_bytes() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    let objects = there.objects();
    let text: String = (0..2000).map(|n| format!("line {n} of a source file\n")).collect();
    let mut dir = Tree::default();
    for n in 0..300 {
        let entry = objects.put_bytes(&noise(n, 500)).unwrap();
        dir.entries.insert(name(&format!("file-{n}")), entry);
    }
    let mut big = noise(9, 20 << 20);
    let mut trees = Vec::new();
    for change in 0..2 {
        let edited = text.replace("line 700 of", &format!("line {change} of"));
        dir.entries.insert(name("source.c"), objects.put_bytes(edited.as_bytes()).unwrap());
        big[5_000_000] ^= 1;
        dir.entries.insert(name("big"), objects.put_bytes(&big).unwrap());
        let mut top = Tree::default();
        top.entries.insert(name("src"), objects.put_tree(&dir).unwrap());
        trees.push(objects.put_tree(&top).unwrap().kid().unwrap());
    }
    let first = objects.put_commit(&commit_of(trees[0], vec![], "one")).unwrap();
    let second = objects.put_commit(&commit_of(trees[1], vec![first], "two")).unwrap();
    set(&there, "/app", Entry::commit(first));
    let mut way = Direct::to(&there);
    pull_same(&here, &mut way, "/app").unwrap();
    set(&there, "/app", Entry::commit(second));
    let mut way = Direct::to(&there);
    let pulled = pull_same(&here, &mut way, "/app").unwrap();
    assert_eq!((pulled.progress.blobs, way.verbs.len()), (2, 2));
    // 20 groups of 32 bytes, five KIDs, the rest is framing.
    assert!(way.up + way.down < 2000, "{} up, {} down", way.up, way.down);
    check_clean(&here);

    // And back: what is pushed is what differs.
    dir.entries.insert(name("source.c"), here.objects().put_bytes(b"all new").unwrap());
    let src = here.objects().put_tree(&dir).unwrap();
    let mut top = Tree::default();
    top.entries.insert(name("src"), src);
    let top = here.objects().put_tree(&top).unwrap().kid().unwrap();
    let third = here.objects().put_commit(&commit_of(top, vec![second], "three")).unwrap();
    set(&here, "/app", Entry::commit(third));
    let mut way = Direct::to(&there);
    let pushed = push_same(&here, &mut way, "/app").unwrap();
    assert_eq!(pushed.blobs, 1);
    assert_eq!(way.verbs, [Verb::OfferTrees, Verb::OfferPack], "it was pulled from there");
    assert!(way.up + way.down < 1200, "{} up, {} down", way.up, way.down);
    assert_eq!(there.get(&path("/app")).unwrap(), Some(Entry::commit(third)));
    check_clean(&there);
    // Going back to an earlier one is a change like any other, if nobody has moved it meanwhile.
    set(&here, "/app", Entry::commit(second));
    push_same(&here, &mut Direct::to(&there), "/app").unwrap();
    assert_eq!(there.get(&path("/app")).unwrap(), Some(Entry::commit(second)));
    set(&there, "/app", Entry::commit(third));
    set(&here, "/app", Entry::commit(first));
    let error = push_same(&here, &mut Direct::to(&there), "/app").unwrap_err().to_string();
    assert!(error.contains(&first.to_string()) && error.contains(&third.to_string()), "{error}");
}

#[test]
fn known_values_are_pushed_in_two_round_trips() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    set(&here, "/t", sample(&here, 1));
    let mut way = Direct::to(&there);
    push_same(&here, &mut way, "/t").unwrap();
    assert_eq!(way.verbs.len(), 3);
    set(&here, "/t", sample(&here, 2));
    let mut way = Direct::to(&there);
    push_same(&here, &mut way, "/t").unwrap();
    assert_eq!(way.verbs, [Verb::OfferTrees, Verb::OfferPack]);
    assert_eq!(here.get(&path("/t")).unwrap(), there.get(&path("/t")).unwrap());
    check_clean(&there);
    let seq = there.head().unwrap().seq;
    assert_eq!(push_same(&here, &mut way, "/t").unwrap().seq, None);
    assert_eq!(there.head().unwrap().seq, seq);

    // Somebody else moves it: neither side's value is lost.
    put(&there, "/t", b"theirs");
    set(&here, "/t", sample(&here, 3));
    let error = push_same(&here, &mut Direct::to(&there), "/t").unwrap_err();
    let theirs = there.get(&path("/t")).unwrap().unwrap().kid();
    let ours = here.get(&path("/t")).unwrap().unwrap().kid();
    let SyncError::Conflict { here: a, there: b, .. } = &error else { panic!("{error}") };
    assert_eq!((*a, *b), (ours, theirs));
    let error = pull_same(&here, &mut Direct::to(&there), "/t").unwrap_err();
    assert!(matches!(error, SyncError::Conflict { .. }), "{error}");
    let mut way = Direct::to(&there);
    forced(|options| push(&here, &mut way, &path("/t"), &path("/t"), options)).unwrap();
    assert_eq!(here.get(&path("/t")).unwrap(), there.get(&path("/t")).unwrap());
    check_clean(&there);
}

#[test]
fn a_keg_that_moved_is_known_again() {
    let ((_one, there), (_two, here), (_three, other)) = (new_keg(), new_keg(), new_keg());
    put(&there, "/x", b"first");
    pull_same(&here, &mut Direct::to(&there), "/x").unwrap();
    put(&there, "/x", b"second");
    let moved = |keg: &Keg| Direct { at: "another address".into(), ..Direct::to(keg) };
    let pulled = pull_same(&here, &mut moved(&there), "/x").unwrap();
    assert!(pulled.changed, "nobody has changed it here");
    // Changed here, and pushed to yet another address.
    put(&here, "/x", b"third");
    let mut again = Direct { at: "and another".into(), ..Direct::to(&there) };
    push_same(&here, &mut again, "/x").unwrap();
    assert_eq!(again.verbs.len(), 3, "it had to ask first");
    // Another Keg at such an address has never had what is here.
    put(&other, "/x", b"something else");
    let mut stranger = Direct { at: "a fourth".into(), ..Direct::to(&other) };
    let error = pull_same(&here, &mut stranger, "/x").unwrap_err();
    assert!(matches!(error, SyncError::Conflict { .. }), "{error}");
    put(&here, "/x", b"fourth");
    put(&there, "/x", b"fifth");
    let mut away = Direct { at: "a fifth".into(), ..Direct::to(&there) };
    let error = pull_same(&here, &mut away, "/x").unwrap_err();
    assert!(matches!(error, SyncError::Conflict { .. }), "{error}");
}

#[test]
fn a_clone_is_the_whole_keg_and_follows_it() {
    let (_one, there) = new_keg();
    for n in 0..30u64 {
        put(&there, &format!("/d{}/f{n}", n % 3), &noise(n, 100 * n as usize));
        if n % 7 == 0 {
            set(&there, "/trees/t", sample(&there, n));
        }
    }
    let tree = sample(&there, 1).kid().unwrap();
    let mut parents = Vec::new();
    for n in 0..4 {
        let made = commit_of(tree, parents.clone(), &format!("{n}"));
        parents = vec![there.objects().put_commit(&made).unwrap()];
        set(&there, "/source/blog", Entry::commit(parents[0]));
    }
    let two = tempfile::tempdir().unwrap();
    let dir = two.path().join("backup");
    let mut way = Direct::to(&there);
    let (here, _) = usually(|options| clone(&dir, &mut way, options)).unwrap();
    assert_eq!(way.verbs, [Verb::Trees, Verb::Pack]);
    let same = || {
        assert_eq!(here.head().unwrap(), there.head().unwrap());
        for seq in 0..=there.head().unwrap().seq {
            assert_eq!(here.version(seq).unwrap(), there.version(seq).unwrap());
        }
        check_clean(&here);
    };
    same();

    put(&there, "/d0/new", b"new");
    put(&there, "/d0/newer", b"newer");
    let mut way = Direct::to(&there);
    pull_same(&here, &mut way, "/").unwrap();
    assert!(way.up + way.down < 1700, "{} up, {} down", way.up, way.down);
    same();
    // A backup that is ahead gives back.
    put(&here, "/d0/newest", b"newest");
    push_same(&here, &mut Direct::to(&there), "/").unwrap();
    assert_eq!(here.head().unwrap(), there.head().unwrap());
    check_clean(&there);

    put(&here, "/mine", b"mine");
    put(&there, "/theirs", b"theirs");
    for error in [
        pull_same(&here, &mut Direct::to(&there), "/").err().unwrap(),
        push_same(&here, &mut Direct::to(&there), "/").err().unwrap(),
    ] {
        assert!(matches!(error, SyncError::Conflict { .. }), "{error}");
    }
    check_clean(&here);
}

#[test]
fn what_is_there_already_is_not_sent() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    set(&there, "/a", sample(&there, 1));
    set(&here, "/elsewhere", sample(&here, 1));
    let mut way = Direct::to(&there);
    let pulled = pull_same(&here, &mut way, "/a").unwrap();
    assert_eq!((pulled.progress.blobs, way.verbs.len()), (0, 1));
    assert!(way.down < 3000, "{}", way.down);
    check_clean(&here);
}

#[test]
fn values_are_fetched_without_a_name() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    let entry = sample(&there, 1);
    let want = Want::Value(crate::object::Kind::Tree, entry.kid().unwrap());
    let mut way = Direct::to(&there);
    let fetched = fetch(&here, &mut way, &want, &[], Limits::default(), &mut |_| {}).unwrap();
    assert_eq!(fetched.value, entry);
    assert_eq!(here.head().unwrap().seq, 0);
    set(&here, "/peer/x", fetched.value);
    check_clean(&here);
}

#[test]
fn history_that_was_let_go_of_is_not_asked_for() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    let gone = Kid::of_blob(b"a commit that was collected");
    let mut parents = vec![gone];
    for n in 0..3 {
        let tree = sample(&there, n).kid().unwrap();
        let made = commit_of(tree, parents, &format!("{n}"));
        parents = vec![there.objects().put_commit(&made).unwrap()];
    }
    set(&there, "/app", Entry::commit(parents[0]));
    let mut way = Direct::to(&there);
    let pulled = pull_same(&here, &mut way, "/app").unwrap();
    assert_eq!((way.verbs.len(), pulled.progress.objects), (2, 3 + 3 * 4));
    let (mut kid, mut count) = (parents[0], 0);
    while kid != gone {
        kid = here.objects().commit(&kid).unwrap().parents[0];
        count += 1;
    }
    assert_eq!(count, 3);
}
