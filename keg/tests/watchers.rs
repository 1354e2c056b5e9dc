//! Ten thousand followers in one process: one descriptor, little memory, nothing missed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use keg::{Keg, NamePath, Txn, watch::WatchError};
use serde_json::json;

const WATCHERS: usize = 10_000;
/// What they may take together.
const MOST_BYTES: u64 = 100 << 20;

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn set(keg: &Keg, name: &str, value: u64) -> u64 {
    keg.commit(Txn::new("t", "m").set_json(path(name), json!(value))).unwrap().seq
}

/// Memory of this process that is its own, and how many descriptors it has open.
fn taken() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kib: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
    (kib << 10, std::fs::read_dir("/proc/self/fd").unwrap().count())
}

#[tokio::test]
async fn ten_thousand_idle_watchers_share_what_wakes_them() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    set(&keg, "/apps/a0/state", 0);
    let (bytes, files) = taken();
    let local = tokio::task::LocalSet::new();
    let woken: Vec<_> = (0..WATCHERS)
        .map(|n| {
            let mut watch = keg.watch(&path(&format!("/apps/a{n}")), None).unwrap();
            local.spawn_local(async move { watch.next().await.map(|changes| (n, changes)) })
        })
        .collect();
    let other = Keg::open(dir.path()).unwrap();
    local
        .run_until(async {
            // Once all have looked and sleep.
            for _ in 0..WATCHERS {
                tokio::task::yield_now().await;
            }
            let (now, open) = taken();
            assert!(now - bytes < MOST_BYTES, "{} bytes for the watchers", now - bytes);
            assert!(open - files < 16, "{} descriptors for the watchers", open - files);
            // Another process's changes reach those concerned, and only them.
            for n in [0, 77, WATCHERS - 1] {
                set(&other, &format!("/apps/a{n}/state"), 1);
            }
            for (n, task) in woken.into_iter().enumerate() {
                if ![0, 77, WATCHERS - 1].contains(&n) {
                    assert!(!task.is_finished(), "{n} has nothing to tell");
                    task.abort();
                    continue;
                }
                let (told, changes) = task.await.unwrap().unwrap();
                assert_eq!((told, changes.len()), (n, 1));
                let name = changes[0].path.to_string();
                assert!(name.starts_with(&format!("/apps/a{n}")), "{name}");
            }
        })
        .await;
}

#[test]
fn watches_of_one_keg_wait_one_after_the_other_and_miss_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (keg, other) = (Keg::create(dir.path()).unwrap(), || Keg::open(dir.path()).unwrap());
    let mut watches: Vec<_> = (0..3).map(|_| keg.watch(&NamePath::root(), None).unwrap()).collect();
    let other = other();
    for seq in 1..=3 {
        set(&other, "/n", seq);
        for watch in &mut watches {
            // The first one hears the bell for all.
            let changes = watch.wait(Duration::from_secs(60)).unwrap();
            assert_eq!(changes.iter().map(|change| change.seq).collect::<Vec<_>>(), [seq]);
        }
    }
}

#[test]
fn a_watch_gives_a_bounded_number_of_versions_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let mut watch = keg.watch(&path("/n"), None).unwrap();
    let txns: Vec<Txn> =
        (0..1000).map(|n| Txn::new("t", "m").set_json(path("/n"), json!(n))).collect();
    keg.commit_all(&txns).unwrap();
    let mut seqs = Vec::new();
    while seqs.len() < txns.len() {
        let changes = watch.try_next().unwrap();
        assert!((1..=256).contains(&changes.len()), "{} at once", changes.len());
        seqs.extend(changes.iter().map(|change| change.seq));
    }
    assert_eq!(seqs, (1..=1000).collect::<Vec<u64>>(), "in order, each once");
    assert!(watch.try_next().unwrap().is_empty());
    let resumed = keg.watch(&path("/n"), Some(500)).unwrap().try_next().unwrap();
    assert_eq!(resumed[0].seq, 501);
    match keg.watch(&path("/n"), Some(5000)) {
        Err(error @ WatchError::Compacted { .. }) => {
            assert!(error.to_string().contains("list again"), "{error}");
        }
        other => panic!("a version that never was: {:?}", other.err()),
    }
}
