//! People in the namespace: who gets a document, when, and which one is whose.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Barrier;

use keg::{
    CommitError, Keg, NamePath, Txn,
    object::Entry,
    users::{self, Author},
};
use serde_json::{Value as Json, json};

const ADA: &str = "Ada Byron <ada@example.org>";

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn change(author: &str, n: u32) -> Txn {
    Txn::new(author, "a change").set_json(path(&format!("/n/{n}.json")), json!(n))
}

fn user(keg: &Keg, name: &str) -> Option<Json> {
    keg.get_json(&path(&format!("/users/{name}.json"))).unwrap()
}

fn names(keg: &Keg) -> Vec<String> {
    keg.list(&path("/users")).unwrap().into_iter().map(|(name, _)| name).collect()
}

/// What the newest version says of its author: the text and the KID.
fn author(keg: &Keg) -> (String, Json) {
    let commit = keg.objects().commit(&keg.head().unwrap().commit).unwrap();
    (commit.author, commit.extra.get("user").cloned().unwrap_or_default())
}

#[test]
fn the_first_change_makes_the_document_and_the_next_ones_keep_it() {
    let keg = Keg::in_memory();
    let first = users::commit(&keg, change(ADA, 1), None).unwrap();
    assert_eq!(first.seq, 1);
    let document = json!({ "name": "ada", "author": ADA, "full_name": "Ada Byron",
                           "email": "ada@example.org" });
    assert_eq!(user(&keg, "ada"), Some(document.clone()));
    let kid = |keg: &Keg| json!(keg.get(&path("/users/ada.json")).unwrap().unwrap().kid());
    assert_eq!(author(&keg), (ADA.to_owned(), kid(&keg)));
    assert_eq!(users::commit(&keg, change(ADA, 2), None).unwrap().seq, 2);
    assert_eq!((names(&keg).len(), author(&keg).1), (1, kid(&keg)));

    // What people add stays, and a name told otherwise does not make another person.
    let mut more = document;
    more["keys"] = json!(["ssh-ed25519 AAAA"]);
    let edit = Txn::new(ADA, "keys").set_json(path("/users/ada.json"), more.clone());
    users::commit(&keg, edit, None).unwrap();
    let other = "A. Byron <Ada@example.org>";
    users::commit(&keg, change(other, 3), None).unwrap();
    assert_eq!((user(&keg, "ada"), names(&keg).len()), (Some(more), 1));
    assert_eq!(author(&keg), (other.to_owned(), kid(&keg)));
    let tree = keg.head().unwrap().tree;
    let found = users::find(keg.objects(), &tree, ADA).unwrap().unwrap();
    assert_eq!((found.0.as_str(), json!(found.1)), ("ada", kid(&keg)));
}

#[test]
fn an_account_is_called_what_its_document_says() {
    let keg = Keg::in_memory();
    users::commit(&keg, change("ada@laptop", 1), Some("Ada Byron")).unwrap();
    let mut document = user(&keg, "ada").unwrap();
    assert_eq!(
        document,
        json!({ "name": "ada", "author": "ada@laptop", "full_name": "Ada Byron",
                "accounts": ["ada@laptop"] })
    );
    document["author"] = ADA.into();
    document["accounts"] = json!(["ada@laptop", "ada@desk"]);
    keg.commit(Txn::new("t", "m").set_json(path("/users/ada.json"), document)).unwrap();
    for (n, account) in [(2, "ada@laptop"), (3, "ada@desk")] {
        users::commit(&keg, change(account, n), None).unwrap();
        assert_eq!(author(&keg).0, ADA);
    }
    assert_eq!(names(&keg), ["ada.json"]);
}

#[test]
fn two_with_one_name_are_two() {
    let keg = Keg::in_memory();
    let long = format!("{0}@x", "a".repeat(90));
    for (n, text) in
        [ADA, "ada@laptop", "Ada <ada@elsewhere.example>", &long, &format!("{long}y"), "7@x"]
            .into_iter()
            .enumerate()
    {
        users::commit(&keg, change(text, n as u32), None).unwrap();
        users::commit(&keg, change(text, 100 + n as u32), None).unwrap();
    }
    let (one, two) = (format!("{}.json", "a".repeat(40)), format!("{}-2.json", "a".repeat(38)));
    let mut want = ["ada-2.json", "ada-3.json", "ada.json", "u-7.json", &one, &two];
    want.sort_unstable();
    assert_eq!(names(&keg), want);
    assert_eq!(user(&keg, "ada-2").unwrap()["author"], "ada@laptop");
}

#[test]
fn who_is_nobody_and_what_is_nothing_make_no_document() {
    let keg = Keg::in_memory();
    let long = format!("{}@x", "a".repeat(users::MAX_AUTHOR));
    let texts = ["service/mayor", "service/a@b", "a push", "", "Ada <>", "a\u{1b}@x", &long];
    for (n, text) in texts.into_iter().enumerate() {
        users::commit(&keg, change(text, n as u32), None).unwrap();
        assert_eq!(author(&keg), (text.to_owned(), Json::Null));
    }
    let before = keg.head().unwrap();
    assert_eq!(users::commit(&keg, change(ADA, 0), None).unwrap(), before);
    assert_eq!(names(&keg), [""; 0]);
    // Whoever puts a document there first has said what it is.
    let own = Txn::new(ADA, "mine").set_json(path("/users/ada.json"), json!({ "author": ADA }));
    users::commit(&keg, own, None).unwrap();
    assert_eq!(user(&keg, "ada"), Some(json!({ "author": ADA })));
    // What is no document is nobody's.
    for value in [json!([1]), json!("x"), json!({ "author": [ADA], "email": 1, "accounts": 2 })] {
        keg.commit(Txn::new("t", "m").set_json(path("/users/ada.json"), value)).unwrap();
        users::commit(&keg, change(ADA, keg.head().unwrap().seq as u32), None).unwrap();
    }
    assert_eq!(names(&keg), ["ada-2.json", "ada.json"]);
    // Something else may be at /users, and changes go on.
    let txn = Txn::new("t", "m").remove(path("/users")).set(path("/users"), Entry::symlink("x"));
    keg.commit(txn).unwrap();
    users::commit(&keg, change(ADA, 77), None).unwrap();
    assert_eq!(author(&keg), (ADA.to_owned(), Json::Null));
}

#[test]
fn a_race_for_the_document_fails_nobodys_change() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    // Lost for certain.
    let late = Author::of(&keg, ADA, None).unwrap();
    users::commit(&keg, change(ADA, 1), None).unwrap();
    let lost = keg.commit(late.sign(change(ADA, 2)));
    assert!(matches!(lost, Err(CommitError::Conflict { .. })), "{lost:?}");

    let before = keg.head().unwrap().seq;
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let start = &start;
            let home = dir.path();
            scope.spawn(move || {
                let keg = Keg::open(home).unwrap();
                start.wait();
                users::commit(&keg, change("bob@laptop", 10 + n), None).unwrap();
            });
        }
    });
    assert_eq!(keg.head().unwrap().seq, before + 8);
    assert_eq!(names(&keg), ["ada.json", "bob.json"]);
    assert_eq!(keg.history(&path("/users/bob.json")).count(), 1);
    for seq in before + 1..=before + 8 {
        let version = keg.version(seq).unwrap();
        let kid = keg.get_at(&path("/users/bob.json"), &version).unwrap().unwrap().kid();
        let commit = keg.objects().commit(&version.commit).unwrap();
        assert_eq!(commit.extra.get("user"), Some(&json!(kid)), "version {seq}");
    }
    // What a change itself expects is told, and makes no document.
    let txn = change("eve@laptop", 5).expect(path("/n/1.json"), keg::Expected::Absent);
    let refused = users::commit(&keg, txn, None);
    assert!(
        matches!(&refused, Err(CommitError::Conflict { path: at, .. }) if *at == path("/n/1.json")),
        "{refused:?}"
    );
    assert_eq!(user(&keg, "eve"), None);
}
