//! How much history is kept.

use super::*;

#[test]
fn old_versions_are_compacted_and_say_so() {
    let (_dir, keg) = new_keg();
    policy(&keg, "3 versions");
    for n in 0..10 {
        set_number(&keg, "/n", n);
    }
    let slow = keg.watch(&path("/n"), Some(4)).unwrap();
    let old = keg.version(2).unwrap();
    let newest = keg.head().unwrap().seq;
    let report = run(&keg, &at_once());
    run(&keg, &at_once());
    assert_eq!((report.newest, report.oldest), (newest, newest - 2), "{report:?}");
    let other = Keg::open(keg.home()).unwrap();
    for keg in [&keg, &other] {
        let error = keg.version(2).unwrap_err();
        assert!(matches!(error, NamesError::Compacted { seq: 2, oldest } if oldest == newest - 2));
        let error = keg.get_at(&path("/n"), &old).unwrap_err();
        assert!(matches!(error, NamesError::Compacted { .. }), "{error}");
        let error = keg.list_at(&path("/"), &old).unwrap_err();
        assert!(matches!(error, NamesError::Compacted { .. }), "{error}");
        let mut history = keg.history(&path("/n"));
        let seqs: Vec<u64> = history.by_ref().map(|change| change.unwrap().seq).collect();
        assert_eq!(seqs, [newest, newest - 1]);
        assert_eq!(history.compacted(), Some(newest - 2));
        match keg.watch(&path("/n"), Some(3)) {
            Err(WatchError::Compacted { since: 3, oldest, .. }) => assert_eq!(oldest, newest - 2),
            other => panic!("{:?}", other.err()),
        }
        assert!(keg.watch(&path("/n"), Some(newest - 2)).is_ok());
        assert!(matches!(keg.version(99).unwrap_err(), NamesError::NoVersion { .. }));
        for seq in newest - 2..=newest {
            assert_eq!(keg.version(seq).unwrap().seq, seq);
        }
        check(keg);
    }
    let mut slow = slow;
    let error = slow.try_next().unwrap_err();
    assert!(matches!(error, WatchError::Compacted { since: 4, .. }), "{error}");
}

#[test]
fn subtrees_keep_as_much_as_their_rules_say() {
    let (_dir, keg) = new_keg();
    let document = json!({"keep": "2 versions", "paths": {"/long": "all", "/short/long": "all"}});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), document)).unwrap();
    let mut versions = Vec::new();
    for n in 0..6 {
        let txn = Txn::new("t", "m").set_json(path("/long/n"), json!(n));
        let txn = txn.set_json(path("/short/n"), json!(n + 100));
        versions.push(keg.commit(txn.set_json(path("/short/long/n"), json!(n + 200))).unwrap());
    }
    run(&keg, &at_once());
    let report = run(&keg, &at_once());
    assert_eq!(report.garbage.objects, 0, "{report:?}");
    let keg = Keg::open(keg.home()).unwrap();
    for (n, version) in versions.iter().enumerate() {
        for (name, want) in [("/long/n", n), ("/short/long/n", n + 200)] {
            let entry = keg.get_at(&path(name), version).unwrap().unwrap();
            let bytes = keg.objects().blob(&entry.kid().unwrap()).unwrap();
            assert_eq!(bytes, want.to_string().as_bytes());
        }
        let short = keg.get_at(&path("/short/n"), version);
        if n >= 4 {
            let kid = short.unwrap().unwrap().kid().unwrap();
            assert_eq!(keg.objects().blob(&kid).unwrap(), (n + 100).to_string().as_bytes());
        } else if let Ok(Some(entry)) = short {
            // The directory is kept for what else is in it, the file is not.
            let error = keg.objects().blob(&entry.kid().unwrap()).unwrap_err();
            assert!(matches!(error, StoreError::Missing { .. }), "{error}");
        }
    }
    assert_eq!(keg.history(&path("/long/n")).count(), 6);
    let all = keg.watch(&NamePath::root(), Some(versions[2].seq));
    assert!(matches!(all.err(), Some(WatchError::Compacted { .. })));
    assert!(keg.watch(&path("/long"), Some(versions[2].seq)).is_ok());
    check(&keg);
    // Another rule does not bring back what is gone, and fsck does not miss it.
    policy(&keg, "all");
    run(&keg, &at_once());
    check(&keg);
}

#[test]
fn a_value_s_history_is_cut_where_the_rule_says() {
    let (_dir, keg) = new_keg();
    policy(&keg, "3 versions");
    let (mut parents, mut commits) = (vec![], vec![]);
    for n in 0..8 {
        let (entry, _) = large(&keg, n);
        let tree = keg::object::Tree {
            entries: [(keg::object::EntryName::new("f").unwrap(), entry)].into(),
        };
        let tree = keg.objects().put_tree(&tree).unwrap().kid().unwrap();
        let commit = keg.objects().put_commit(&commit_of(tree, parents, "m")).unwrap();
        set(&keg, "/x/app", Entry::commit(commit));
        parents = vec![commit];
        commits.push(commit);
    }
    run(&keg, &at_once());
    run(&keg, &at_once());
    let keg = Keg::open(keg.home()).unwrap();
    check(&keg);
    for (n, kid) in commits.iter().enumerate() {
        assert_eq!(keg.objects().kind(kid).unwrap().is_some(), n >= 5, "commit {n}");
    }
    assert!(keg.parent(&commits[6]).unwrap().is_some());
    assert!(keg.parent(&commits[4]).unwrap().is_none());
    keg.parent(&Kid::of_blob(b"never")).unwrap_err();
}

#[test]
fn a_rule_with_a_star_counts_for_each_name() {
    let (_dir, keg) = new_keg();
    let document = json!({"keep": "all", "paths": {"/apps/*": "2 versions", "/apps/a": "all"}});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), document)).unwrap();
    let mut versions = Vec::new();
    for n in 0..5u64 {
        for app in ["a", "b", "gone"] {
            let value = json!({"app": app, "n": n});
            let name = path(&format!("/apps/{app}/state.json"));
            versions.push(keg.commit(Txn::new("t", "m").set_json(name, value)).unwrap());
        }
    }
    keg.commit(Txn::new("t", "m").remove(path("/apps/gone"))).unwrap();
    run(&keg, &at_once());
    let report = run(&keg, &at_once());
    let floors: Vec<&str> = report.floors.keys().map(String::as_str).collect();
    assert_eq!(floors, ["/", "/apps/b", "/apps/gone"], "{report:?}");
    let here = |app: &str, version: &Version| {
        let name = path(&format!("/apps/{app}/state.json"));
        let read = keg.get_at(&name, version).ok().flatten();
        read.is_some_and(|entry| keg.objects().blob(&entry.kid().unwrap()).is_ok())
    };
    let oldest = &versions[2];
    assert!(here("a", oldest) && !here("b", oldest) && !here("gone", oldest));
    // Of the one that is gone: that it is gone, and what it was last.
    assert!(
        here("b", &versions[12]) && here("gone", &versions[14]) && !here("gone", &versions[11])
    );
    check(&keg);
}
