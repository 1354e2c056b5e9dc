use keg::{Keg, kid::Kid, path::AppName};
use serde_json::{Value as Json, json};

use super::*;

/// A Keg with a source of the app `blog`, and what waits for its builds.
fn keg_with_source() -> (tempfile::TempDir, Keg, AppName, Kid) {
    let dir = tempfile::tempdir().expect("a directory");
    let keg = Keg::create(dir.path()).expect("a Keg");
    let source = set_source(&keg, "one");
    (dir, keg, "blog".parse().expect("a name"), source)
}

fn set_source(keg: &Keg, message: &str) -> Kid {
    let tree = keg.objects().put_tree(&Default::default()).expect("stored");
    let commit = keg::object::Commit {
        tree: tree.kid().expect("a tree"),
        parents: Vec::new(),
        author: "A <a@example.org>".to_owned(),
        time_ms: 1_700_000_000_000,
        message: message.to_owned(),
        extra: Default::default(),
    };
    let kid = keg.objects().put_commit(&commit).expect("stored");
    let entry = keg::object::Entry::commit(kid);
    keg.commit(Txn::new("test", "source").set(name("/source/blog"), entry)).expect("committed");
    kid
}

fn set_lock(keg: &Keg, key: &str, lock: Json) {
    let path = name(&format!("/packages/locks/{key}.json"));
    keg.commit(Txn::new("test", "lock").set_json(path, lock)).expect("committed");
}

/// Runs `obtain` while another process, here a thread, plays the importer.
fn with_importer(
    keg: &Keg,
    app: &AppName,
    source: Kid,
    importer: impl FnOnce(&Keg, &str) + Send + 'static,
) -> (Result<Vec<Lock>, Halt>, String) {
    let request = Request::debian("trixie", &["python3".to_owned()]);
    let (other, key) = (keg.clone(), request.key());
    #[allow(clippy::disallowed_methods)]
    let playing = std::thread::spawn(move || {
        let mut watch = other.watch(&name("/packages/requests"), Some(0)).expect("a watch");
        while watch.wait(Duration::from_secs(10)).expect("changes").is_empty() {}
        importer(&other, &key);
    });
    let mut log = Log::new(Vec::new());
    let mut wanted = Wanted::new(keg, app, source);
    let got = obtain(keg, "build blog", &[request.clone(), request], &mut wanted, &mut log);
    playing.join().expect("it played its part");
    (got, String::from_utf8_lossy(log.sink()).into_owned())
}

#[test]
fn a_request_has_the_key_that_its_document_has_for_the_importer() {
    let packages = ["python3".to_owned(), "ca-certificates".to_owned(), "python3".to_owned()];
    let request = Request::debian("trixie", &packages);
    let want = concat!(
        r#"{"debian":{"base":"essential","packages":["ca-certificates","python3"],"#,
        r#""suite":"trixie"}}"#
    );
    assert_eq!(request.key(), Kid::of_blob(want.as_bytes()).to_hex()[..16]);
    let request = Request::pypi("flask\n", "3.13", "trixie");
    let want = r#"{"pypi":{"python":"3.13","requirements":"flask\n","suite":"trixie"}}"#;
    assert_eq!(request.key(), Kid::of_blob(want.as_bytes()).to_hex()[..16]);
}

#[test]
fn the_import_is_followed_to_its_lock() {
    let (_dir, keg, app, source) = keg_with_source();
    let rootfs = Kid::of_blob(b"a root");
    let (got, log) = with_importer(&keg, &app, source, move |keg, key| {
        let mut stream = keg.streams().create("import-x").expect("a stream");
        set_lock(keg, key, json!({"state": "running", "request": key, "stream": "import-x"}));
        for line in ["12 packages, 3.4 MB", "| Setting up tini (1) ...", "  fetched in 1 s"] {
            stream.line(line).expect("written");
        }
        let debian = json!({"suite": "trixie", "rootfs": rootfs, "packages": []});
        let done = json!({"state": "done", "stream": "import-x", "debian": debian});
        set_lock(keg, key, done);
    });
    let locks = got.expect("locks");
    assert_eq!(locks.len(), 2);
    assert_eq!(locks[0].debian.as_ref().expect("Debian").rootfs, rootfs);
    assert!(log.contains("-----> Importing python3 of Debian trixie"), "{log}");
    // What packages' scripts print stays in the import's own log.
    assert!(log.contains("\n       12 packages, 3.4 MB\n         fetched in 1 s\n"), "{log}");
    // Done already: not a word.
    let mut log = Log::new(Vec::new());
    let request = Request::debian("trixie", &["python3".to_owned()]);
    let mut wanted = Wanted::new(&keg, &app, source);
    obtain(&keg, "again", &[request], &mut wanted, &mut log).expect("locks");
    assert!(log.sink().is_empty());
}

#[test]
fn a_failed_import_is_told_and_asked_again() {
    let (_dir, keg, app, source) = keg_with_source();
    for round in ["first", "second"] {
        let (got, _) = with_importer(&keg, &app, source, move |keg, key| {
            // The failure of the round before must not be taken for an answer.
            std::thread::sleep(TICK * 3);
            let error =
                json!({"message": format!("no such package ({round})"), "hint": "spell it"});
            set_lock(keg, key, json!({"state": "failed", "error": error}));
        });
        let Err(Halt::Failed(failure)) = got else { panic!("it failed") };
        assert_eq!(failure.step, Step::Import);
        assert!(failure.message.contains(&format!("no such package ({round})")), "{failure}");
        assert_eq!(failure.hint, "spell it");
    }
}

#[test]
fn a_newer_source_ends_the_wait() {
    let (_dir, keg, app, source) = keg_with_source();
    let (got, _) = with_importer(&keg, &app, source, |keg, _| {
        set_source(keg, "two");
    });
    assert!(matches!(got, Err(Halt::Superseded)));
}
