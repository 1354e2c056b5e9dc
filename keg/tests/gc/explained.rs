//! What a dry run says.

use std::{io::BufRead, process::Stdio};

use keg::object::Value;

use super::*;

#[test]
fn a_dry_run_changes_nothing_and_explains() {
    let (_dir, keg) = new_keg();
    policy(&keg, "2 versions");
    let (named, named_kid) = large(&keg, 1);
    let (older, older_kid) = large(&keg, 2);
    let (_, leased) = large(&keg, 3);
    let (_, orphan) = large(&keg, 4);
    set(&keg, "/x/f", older);
    set(&keg, "/x/f", named);
    let _lease = Lease::hold(&keg, "a build", &[leased]).unwrap();
    let before = fs::read(keg.home().join("format.json")).unwrap();
    let report = run(&keg, &Options { dry_run: true, ..Options::default() });
    assert!(report.garbage.bytes >= 5000 && report.dry_run, "{report:?}");
    assert!(!keg.home().join("gc").exists() && object_file(&keg, &orphan).exists());
    assert_eq!(fs::read(keg.home().join("format.json")).unwrap(), before);
    let why = |kid: Kid| report.kept.iter().find(|kept| kept.kid == kid).unwrap().clone();
    assert_eq!((why(named_kid).holder, why(named_kid).path), (Holder::Name, "/x/f".to_owned()));
    let seq = keg.head().unwrap().seq - 1;
    assert_eq!(why(older_kid).holder, Holder::Version { seq });
    assert_eq!(why(leased).holder, Holder::Lease { what: "a build".to_owned() });
    assert!(report.kept.iter().all(|kept| kept.kid != orphan));
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn a_dry_run_says_what_goes_and_what_it_was() {
    let (_dir, keg) = new_keg();
    policy(&keg, "1 version");
    let (was, was_kid) = large(&keg, 1);
    let seq = set(&keg, "/x/f", was).seq;
    set_number(&keg, "/x/f", 2);
    let (_, orphan) = large(&keg, 3);
    keg.objects().sync().unwrap();
    let report = run(&keg, &Options { dry_run: true, ..Options::default() });
    let going = |kid: &Kid| report.going.iter().find(|going| going.kid == *kid).unwrap();
    let one = going(&was_kid);
    assert_eq!((one.path.as_deref(), one.seq, one.bytes), (Some("/x/f"), Some(seq), 5000));
    assert!(one.at_ms.is_some(), "{one:?}");
    assert_eq!((&going(&orphan).path, going(&orphan).seq), (&None, None));
    // Trees and commits in the unsealed end of the log, too.
    let root = keg.version(seq).unwrap();
    assert_eq!(going(&root.tree).path.as_deref(), Some("/"));
    assert!(report.going.iter().any(|going| going.kid == root.commit), "{report:?}");
    let bytes: u64 = report.going.iter().map(|going| going.bytes).sum();
    assert_eq!((report.going.len() as u64, bytes), (report.garbage.objects, report.garbage.bytes));
    let now = run(&keg, &Options { dry_run: true, ..at_once() });
    assert!(now.going.iter().all(|going| going.at_ms.is_none()), "{now:?}");
}

#[test]
fn what_a_pointer_leads_to_stays_and_that_is_said() {
    let (_dir, keg) = new_keg();
    let (entry, file) = large(&keg, 1);
    let mut tree = keg::object::Tree::default();
    tree.entries.insert(keg::object::EntryName::new("f").unwrap(), entry);
    let kid = keg.objects().put_tree(&tree).unwrap().kid();
    let value = Value::Pointer { source: "keg+http://there".into(), reference: "/x".into(), kid };
    set(&keg, "/lib", Entry { value, ..Entry::file(file, 0) });
    let report = run(&keg, &Options { dry_run: true, ..Options::default() });
    let kept = report.kept.iter().find(|kept| kept.kid == file).unwrap();
    assert_eq!((&kept.holder, kept.path.as_str()), (&Holder::Pointer, "/lib/f"));
    for _ in 0..2 {
        run(&keg, &at_once());
    }
    assert!(object_file(&keg, &file).exists());
}

/// Another process puts a blob that is durable, one that is not yet, and a small one; says so;
/// and waits. It takes a lease if that is asked for: `lease HOME`.
#[test]
fn another_process_puts() {
    let Some(told) = child::told() else { return };
    let (lease, home) = told.split_once(' ').unwrap();
    let keg = Keg::open(home.as_ref()).unwrap();
    let _lease = (lease == "lease").then(|| Lease::hold(&keg, "a long job", &[]).unwrap());
    large(&keg, 1);
    keg.objects().sync().unwrap();
    large(&keg, 2);
    println!("\nput");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn who_puts_what_nothing_names_is_named() {
    let (_dir, keg) = new_keg();
    policy(&keg, "1 version");
    let kid = Kid::of_blob(&noise(1, 5000));
    let (_, old) = large(&keg, 3);
    keg.objects().sync().unwrap();
    // Before the other one began, whatever the clock of the disk is.
    let file = fs::File::open(object_file(&keg, &old)).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    for (told, what) in [("no", None), ("lease", Some("a long job"))] {
        let mut command = child::command(
            "explained::another_process_puts",
            &format!("{told} {}", keg.home().display()),
        );
        let mut other = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = std::io::BufReader::new(other.stdout.take().unwrap()).lines();
        said.find(|line| line.as_ref().unwrap() == "put").unwrap().unwrap();
        let report = run(&keg, &Options { dry_run: true, ..Options::default() });
        let [ingest] = &report.ingests[..] else { panic!("{report:?}") };
        assert_eq!((ingest.pid, ingest.files, ingest.bytes), (Some(other.id()), 1, 5000));
        match what {
            None => assert!(ingest.what.as_ref().unwrap().starts_with("gc-"), "{ingest:?}"),
            what => assert_eq!(ingest.what.as_deref(), what),
        }
        let now = u64::try_from(keg::time::now_ms()).unwrap();
        assert!((now - 600_000..=now).contains(&ingest.since_ms), "{ingest:?}");
        let kept = report.kept.iter().find(|kept| kept.kid == kid).unwrap();
        assert_eq!(kept.holder, Holder::Ingest(ingest.clone()));
        assert!(report.going.iter().all(|going| going.kid != kid), "{report:?}");
        // What was there before goes, if no lease keeps everything.
        let goes = report.going.iter().any(|going| going.kid == old);
        assert_eq!(goes, what.is_none(), "{report:?}");
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        drop(other.stdin.take());
        said.for_each(drop);
        assert!(other.wait().unwrap().success());
        // It is over, and has named nothing.
        let report = run(&keg, &Options { dry_run: true, ..Options::default() });
        assert!(report.ingests.is_empty(), "{report:?}");
        assert!(report.going.iter().any(|going| going.kid == kid), "{report:?}");
    }
}
