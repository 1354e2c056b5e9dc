use keg::{
    Keg, Txn,
    object::Entry,
    store::{Fault, FaultyStore, MemoryStore},
};
use serde_json::json;

use super::{
    config::ConfigError,
    import::{PypiDone, PypiError, import_from},
    index::path,
    testing::{Style, TestIndex},
    wheel::testing::{WheelMaker, member},
};
use crate::{error::chain, import::Anew, request::PypiWant};

fn want(requirements: &str) -> PypiWant {
    PypiWant {
        requirements: requirements.to_owned(),
        python: "3.13".into(),
        suite: "trixie".into(),
    }
}

fn import(keg: &Keg, index: &TestIndex, requirements: &str) -> Result<PypiDone, PypiError> {
    import_from(
        keg,
        &want(requirements),
        "0123456789abcdef",
        &|| Ok(index.config()),
        Anew::No,
        &mut |_| {},
    )
}

/// The same with nothing to fetch from.
fn offline(keg: &Keg, requirements: &str) -> Result<PypiDone, PypiError> {
    let none = || Err(ConfigError::NoPip);
    import_from(keg, &want(requirements), "0123456789abcdef", &none, Anew::No, &mut |_| {})
}

fn refused(index: &TestIndex, requirements: &str, wants: &[&str]) -> PypiError {
    let error = import(&Keg::in_memory(), index, requirements).expect_err(requirements);
    let text = format!("{} ({})", chain(&error), error.hint());
    for want in wants {
        assert!(text.contains(want), "{requirements}: {text}");
    }
    error
}

fn text(keg: &Keg, done: &PypiDone, file: &str) -> Option<String> {
    let tree = done.lock["tree"].as_str().expect("text").parse().expect("a KID");
    let entry = keg.objects().walk(&tree, file).expect("read")?;
    let bytes = keg.objects().blob(&entry.kid().expect("a file")).expect("read");
    Some(String::from_utf8(bytes).expect("text"))
}

/// `app` needs `lib`; both in two versions.
fn index(style: Style) -> TestIndex {
    let index = TestIndex::new(style);
    for version in ["1.0", "2.0"] {
        let mut app = WheelMaker::new("app", version);
        app.metadata = "Requires-Dist: lib\nRequires-Dist: win ; os_name == 'nt'\n".into();
        app.entry_points = Some("[console_scripts]\napp = app:main\n".into());
        index.publish("app", &app, |_| {});
        let mut lib = WheelMaker::new("lib", version);
        lib.members = vec![member("lib.py", version)];
        index.publish("lib", &lib, |_| {});
    }
    index
}

const MODULES: &str = "usr/local/lib/python3.13/dist-packages";

#[test]
fn packages_become_one_tree_with_every_kind_of_index() {
    let mut trees = Vec::new();
    for style in [Style::Json, Style::Bare, Style::Html] {
        let (index, keg) = (index(style), Keg::in_memory());
        let done = import(&keg, &index, "app\n").expect("imported");
        assert_eq!(text(&keg, &done, &format!("{MODULES}/lib.py")).as_deref(), Some("2.0"));
        let program = text(&keg, &done, "usr/local/bin/app").expect("made");
        assert!(program.starts_with("#!/usr/bin/python3\n"), "{program}");
        let packages = done.lock["packages"].as_array().expect("a list");
        assert_eq!(packages.len(), 2);
        assert_eq!(packages[1]["name"], "lib");
        assert_eq!(packages[1]["version"], "2.0");
        let kept = keg.get(&path("wheels", "lib-2.0-py3-none-any.whl")).expect("read");
        let kid = kept.as_ref().and_then(Entry::kid).expect("kept");
        assert_eq!(packages[1]["kid"], kid.to_string());
        assert_eq!(done.names[0].1.kid().map(|k| json!(k)), Some(done.lock["tree"].clone()));
        assert_eq!(index.count("/simple/app/"), 1);
        assert_eq!(index.count("app-2.0-py3-none-any.whl"), 1);
        assert_eq!(index.count(".metadata"), if style == Style::Json { 2 } else { 0 });
        assert_eq!(index.count("1.0-py3-none-any.whl"), 0);
        trees.push(done.lock["tree"].clone());
    }
    trees.dedup();
    assert_eq!(trees.len(), 1, "the tree does not depend on the index's style");
}

#[test]
fn what_is_there_needs_no_network_and_does_not_change() {
    let (index, keg) = (index(Style::Json), Keg::in_memory());
    let first = import(&keg, &index, "app\nlib==1.0").expect("imported");
    // Newer versions appear; the same requirements stay what they were.
    index.publish("app", &WheelMaker::new("app", "3.0"), |_| {});
    let again = offline(&keg, "# order\nlib == 1.0\n\napp").expect("all is there");
    assert_eq!(first.lock, again.lock);
    // Other requirements about the same packages resolve from young pages.
    offline(&keg, "lib==1.0").expect("the page and the wheel are there");
    let old = json!({"name": "lib", "as_of": "", "as_of_ms": 0, "wheels": [], "sources": []});
    let txn = Txn::new("test", "time passes").set_json(path("projects", "lib.json"), old);
    keg.commit(txn).expect("set");
    let error = offline(&keg, "lib>=1").expect_err("an old page is fetched again");
    assert!(error.hint().contains("python3-pip"), "{}", error.hint());
    import(&keg, &index, "lib>=1").expect("with the network");
}

#[test]
fn the_same_wheel_serves_both_suites() {
    let (index, keg) = (index(Style::Json), Keg::in_memory());
    import(&keg, &index, "lib").expect("imported");
    let old = PypiWant { python: "3.11".into(), suite: "bookworm".into(), ..want("lib") };
    let config = || Ok(index.config());
    let done =
        import_from(&keg, &old, "fedcba9876543210", &config, Anew::No, &mut |_| {}).expect("good");
    assert!(text(&keg, &done, "usr/local/lib/python3.11/dist-packages/lib.py").is_some());
    assert_eq!(index.count("lib-2.0-py3-none-any.whl"), 1, "fetched once");
}

#[test]
fn an_index_that_is_down_leaves_what_was_learnt() {
    let (index, keg) = (index(Style::Json), Keg::in_memory());
    import(&keg, &index, "app").expect("imported");
    let page = keg.get_json(&path("projects", "lib.json")).expect("read").expect("kept");
    let mut old = page.clone();
    old["as_of_ms"] = 0.into();
    let txn = Txn::new("test", "time passes").set_json(path("projects", "lib.json"), old);
    keg.commit(txn).expect("set");
    let down = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("bound");
        Ok(super::config::PipConfig { index: format!("http://{at}/simple"), proxy: None })
    };
    let mut told = Vec::new();
    let done = import_from(&keg, &want("lib"), "k", &down, Anew::No, &mut |news| {
        told.push(format!("{news:?}"))
    });
    done.expect("as it was");
    assert!(told.iter().any(|line| line.contains("cannot be reached")), "{told:?}");
}

#[test]
fn a_refresh_asks_the_index_again() {
    let (index, keg) = (index(Style::Json), Keg::in_memory());
    let refresh = |requirements: &str| {
        let config = || Ok(index.config());
        import_from(&keg, &want(requirements), "k", &config, Anew::Yes { kept: true }, &mut |_| {})
    };
    for (requirements, version) in [("lib", "3.0"), ("lib==1.0", "1.0")] {
        let before = import(&keg, &index, requirements).expect("imported");
        index.publish("lib", &WheelMaker::new("lib", "3.0"), |_| {});
        let known = import(&keg, &index, requirements).expect("known");
        assert_eq!(known.lock, before.lock);
        let asked = index.count("lib/");
        let done = refresh(requirements).expect("refreshed");
        assert_eq!(done.lock["packages"][0]["version"], version);
        assert_eq!(index.count("lib/"), asked + 1, "even what is young or pinned");
    }
    let after = offline(&keg, "lib").expect("known");
    assert_eq!(after.lock["packages"][0]["version"], "3.0", "the new resolution stays");
    let none = || Err(ConfigError::NoPip);
    let yes = Anew::Yes { kept: true };
    import_from(&keg, &want("lib"), "k", &none, yes, &mut |_| {}).expect_err("nothing to ask");
}

/// Spoils a row of the index's page.
type Spoil = fn(&mut serde_json::Value);

#[test]
fn what_the_index_promised_is_checked() {
    let spoil: [(Spoil, &str); 5] = [
        (|row| row["hashes"]["sha256"] = "0".repeat(64).into(), "another SHA-256"),
        (|row| row["size"] = 5.into(), "larger than"),
        (|row| row["size"] = 50_000.into(), "bytes"),
        (|row| row["core-metadata"]["sha256"] = "0".repeat(64).into(), "the metadata of lib-3.0"),
        (|row| row["hashes"] = json!({}), "no SHA-256"),
    ];
    for (spoil, want) in spoil {
        let index = index(Style::Json);
        index.publish("lib", &WheelMaker::new("lib", "3.0"), spoil);
        refused(&index, "lib==3.0", &[want]);
    }
    // A metadata file that is not the wheel's own.
    let index = index(Style::Json);
    let lie = b"Name: lib\nVersion: 3.0\n".to_vec();
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&lie));
    index.publish("lib", &WheelMaker::new("lib", "3.0"), |row| {
        row["core-metadata"]["sha256"] = digest.into();
    });
    index.put("/files/lib-3.0-py3-none-any.whl.metadata", lie);
    refused(&index, "lib", &["metadata file beside it differ"]);
}

#[test]
fn mistakes_are_told_in_plain_words() {
    let index = index(Style::Json);
    for (requirements, wants) in [
        ("app\nflaskk\n", ["line 2", "flaskk", "did you mean flask?"]),
        ("asyncio", ["asyncio", "part of Python", "remove the line"]),
        ("app\nl ib", ["line 2", "\"l ib\"", "correct that line"]),
        ("lib>5", ["line 1", "the newest are 2.0, 1.0", "another version"]),
        ("lib==1.0\nlib==2.0", ["cannot all be met", "line 1 asks for lib==1.0", "line 2"]),
    ] {
        refused(&index, requirements, &wants);
    }
    let sid = PypiWant { suite: "sid".into(), ..want("app") };
    let error =
        import_from(&Keg::in_memory(), &sid, "k", &|| Ok(index.config()), Anew::No, &mut |_| {})
            .expect_err("no such suite");
    assert!(chain(&error).contains("trixie"), "{error}");
    index.put("/simple/odd/", b"hello".to_vec());
    refused(&index, "odd", &["neither JSON"]);
}

#[test]
fn withdrawn_versions_are_taken_only_when_pinned_and_noted() {
    let (index, keg) = (index(Style::Json), Keg::in_memory());
    index.publish("lib", &WheelMaker::new("lib", "3.0"), |row| row["yanked"] = "bad".into());
    let done = import(&keg, &index, "lib").expect("imported");
    assert_eq!(done.lock["packages"][0]["version"], "2.0");
    let done = import(&keg, &index, "lib==3.0").expect("imported");
    assert_eq!(done.lock["packages"][0]["yanked"], "bad");
}

#[test]
fn files_of_two_packages_agree_or_the_import_fails() {
    let index = TestIndex::new(Style::Json);
    for (project, text) in [("one", "same"), ("two", "same"), ("three", "other")] {
        let mut maker = WheelMaker::new(project, "1");
        maker.members.push(member("shared/__init__.py", text));
        index.publish(project, &maker, |_| {});
    }
    import(&Keg::in_memory(), &index, "one\ntwo").expect("the same file twice is fine");
    let path = format!("/{MODULES}/shared/__init__.py");
    refused(&index, "one\ntwo\nthree", &["one 1", "three 1", &path, "leave out"]);
}

#[test]
fn passwords_stay_out_of_everything() {
    let (index, keg) = (index(Style::Json), Keg::in_memory());
    let config = || Ok(index.config_as("me:s3cret@"));
    let done =
        import_from(&keg, &want("app"), "k", &config, Anew::No, &mut |_| {}).expect("imported");
    let asked = index.asked.lock().expect("asked").clone();
    assert!(asked.iter().all(|(_, secret)| secret.as_deref() == Some("Basic bWU6czNjcmV0")));
    assert!(!done.lock.to_string().contains("s3cret"));
    let page = keg.get_json(&path("projects", "app.json")).expect("read").expect("kept");
    assert!(!page.to_string().contains("s3cret"), "{page}");
    let broken = || {
        let mut config = index.config_as("me:s3cret@");
        config.index = config.index.replace("/simple", ":0/simple");
        Ok(config)
    };
    for requirements in ["lib>=1", "nothing"] {
        let error = import_from(
            &Keg::in_memory(),
            &want(requirements),
            "k",
            &broken,
            Anew::No,
            &mut |_| {},
        );
        let text = chain(&error.expect_err("no such port"));
        assert!(!text.contains("s3cret"), "{text}");
    }
    let closed = || {
        Ok(super::config::PipConfig {
            index: "http://me:s3cret@127.0.0.1:1/simple".into(),
            proxy: None,
        })
    };
    let error = import_from(&Keg::in_memory(), &want("lib"), "k", &closed, Anew::No, &mut |_| {});
    let text = chain(&error.expect_err("nobody listens"));
    assert!(text.contains("cannot be reached") && !text.contains("s3cret"), "{text}");
}

#[test]
fn a_full_disk_leaves_nothing_half_made() {
    let index = index(Style::Bare);
    let mut failures = 0;
    for healthy in (0..120).step_by(5) {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["streams", "run", "tmp", "img"] {
            std::fs::create_dir(dir.path().join(name)).expect("made");
        }
        let store = FaultyStore::new(MemoryStore::new(""), Fault::DiskFull, healthy);
        let keg = Keg::with_store(dir.path(), Box::new(store));
        match import(&keg, &index, "app") {
            Ok(done) => assert_eq!(done.lock["packages"][0]["version"], "2.0"),
            Err(error) => {
                failures += 1;
                assert!(chain(&error).contains("disk is full"), "{}", chain(&error));
                for (file, tree) in
                    keg.list(&path("wheels", "x").parent().expect("wheels")).expect("read")
                {
                    let kid = tree.kid().expect("a tree");
                    assert!(keg.objects().tree(&kid).is_ok(), "{file} is whole");
                }
            }
        }
    }
    assert!(failures > 3, "{failures}");
}

#[test]
fn lock_files_give_exactly_what_they_list() {
    let (index, keg) = (index(Style::Json), Keg::in_memory());
    let digest =
        |maker: &WheelMaker| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(maker.build()));
    let mut lib = WheelMaker::new("lib", "1.0");
    lib.members = vec![member("lib.py", "1.0")];
    let good = digest(&lib);
    let lock = |hash: &str| {
        format!(
            "[[package]]\nname = \"lib\"\nversion = \"1.0\"\ngroups = [\"main\"]\nfiles = \
             [{{ file = \"lib-1.0-py3-none-any.whl\", hash = \"sha256:{hash}\" }}]\n\
             [metadata]\nlock-version = \"2.1\"\n"
        )
    };
    let done = import(&keg, &index, &lock(&good)).expect("imported");
    assert_eq!(done.lock["packages"][0]["sha256"], good);
    refused(&index, &lock(&"0".repeat(64)), &["line 1", "listed hashes"]);
    refused(&index, "[project]\ndynamic = [\"dependencies\"]", &["dynamic", "requirements.txt"]);
}
