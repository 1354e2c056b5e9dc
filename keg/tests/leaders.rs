//! Processes that commit for each other: whoever dies at whatever step, what was acknowledged is
//! there, nothing was made twice, and the others go on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/child.rs"]
mod child;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Lines, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ChildStdout, Stdio},
    rc::Rc,
};

use keg::{CommitError, Expected, Keg, Kid, NamePath, Txn, fsck::fsck};
use serde_json::json;

/// Where a child dies: the step, and how often it was reached.
const DIE_AT: &str = "KEG_DIE_AT";
/// Every step of a commit by one process for others, in their order.
const STEPS: [&str; 8] =
    ["queued", "lead", "taken", "noted", "torn", "appended", "made", "answered"];
/// How far the survivors of a round have to come.
const ENOUGH: u64 = 20;
/// Most commits of a child: one that should have died and did not ends by itself.
const MOST: u64 = 20_000;

fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

fn kid_at(keg: &Keg, name: &NamePath) -> Option<Kid> {
    keg.get(name).unwrap().and_then(|entry| entry.kid())
}

/// A child: counts at its name, by compare-and-swap. `NAME HOME`.
fn count(what: &str) {
    let (name, home) = what.split_once(' ').unwrap();
    let keg = Keg::open(Path::new(home)).unwrap();
    let (name, hot) = (path(name), name == "/hot");
    let mut told = std::io::stdout().lock();
    let mut made = 0;
    while made < MOST {
        let before = kid_at(&keg, &name);
        let n = keg.get_json(&name).unwrap().map_or(0, |value| value["n"].as_u64().unwrap());
        if kid_at(&keg, &name) != before {
            continue;
        }
        let expected = before.map_or(Expected::Absent, Expected::Kid);
        let txn = Txn::new("child", "n").expect(name.clone(), expected);
        let txn = txn.set_json(name.clone(), json!({ "n": n + 1, "by": std::process::id() }));
        match keg.commit(txn) {
            Ok(version) => {
                let tree = keg.version(version.seq).unwrap().tree;
                assert_eq!(tree, version.tree, "the version it was told is the one there is");
                made += 1;
                writeln!(told, "{}", n + 1).unwrap();
                told.flush().unwrap();
            }
            Err(error @ CommitError::Conflict { .. }) if hot => both_shown(&error, expected),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A conflict says what was expected and what is there.
fn both_shown(error: &CommitError, wanted: Expected) {
    let CommitError::Conflict { expected, found, .. } = error else { panic!("{error}") };
    assert_eq!(*expected, wanted);
    let found = found.as_ref().and_then(|entry| entry.kid()).expect("something is there");
    assert_ne!(Expected::Kid(found), wanted);
    let text = error.to_string();
    assert!(text.contains(&wanted.to_string()) && text.contains(&found.to_string()), "{text}");
}

struct Counting {
    child: Child,
    told: Lines<BufReader<ChildStdout>>,
    last: u64,
}

impl Counting {
    fn start(home: &Path, name: &str, die_at: Option<String>) -> Self {
        let door = "whoever_dies_at_any_step_takes_nothing_along";
        let mut command = child::command(door, &format!("{name} {}", home.display()));
        command.stdout(Stdio::piped());
        if let Some(step) = die_at {
            command.env(DIE_AT, step);
        }
        let mut child = command.spawn().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, told, last: 0 }
    }

    /// Reads what it tells until it is at `n`; whether it comes there.
    fn reaches(&mut self, n: u64) -> bool {
        while self.last < n {
            let Some(Ok(line)) = self.told.next() else { return false };
            // The first one stands behind the name of the test.
            let number = line.rsplit(' ').next().and_then(|word| word.parse().ok());
            self.last = number.unwrap_or(self.last);
        }
        true
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.reaches(u64::MAX);
        self.child.wait().unwrap();
    }
}

/// What a name counts in each version: never back, never two at once, up to what was told or one
/// more.
fn check(keg: &Keg, name: &str, told: u64) {
    let (name, mut last) = (path(name), 0);
    let mut versions: Vec<_> = keg.history(&name).map(Result::unwrap).collect();
    versions.reverse();
    for change in versions {
        let bytes = keg.objects().blob(&change.new.unwrap().kid().unwrap()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["n"], last + 1, "version {} of {name}", change.seq);
        last += 1;
    }
    assert!(last == told || last == told + 1, "{name}: told {told}, is {last}");
}

fn sound(keg: &Keg) {
    let report = fsck(keg, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn whoever_dies_at_any_step_takes_nothing_along() {
    if let Some(what) = child::told() {
        return count(&what);
    }
    for step in STEPS {
        let dir = tempfile::tempdir().unwrap();
        let keg = Keg::create(dir.path()).unwrap();
        let mut doomed: Vec<Counting> = (0..2)
            .map(|n| {
                let die_at = format!("{step}:{}", 3 + 4 * n);
                Counting::start(dir.path(), &format!("/doomed/{n}"), Some(die_at))
            })
            .collect();
        let mut others: Vec<Counting> =
            (0..3).map(|n| Counting::start(dir.path(), &format!("/others/{n}"), None)).collect();
        for one in &mut doomed {
            assert!(!one.reaches(u64::MAX));
            let status = one.child.wait().unwrap();
            assert_eq!(status.signal(), Some(9), "{step}: it came to its end: {status}");
        }
        // From here on nobody dies, and all must come further.
        for one in &mut others {
            let enough = one.last + ENOUGH;
            assert!(one.reaches(enough), "{step}: {:?}", one.child.wait());
        }
        others.iter_mut().for_each(Counting::kill);
        for (kind, counting) in [("doomed", &doomed), ("others", &others)] {
            for (n, one) in counting.iter().enumerate() {
                check(&keg, &format!("/{kind}/{n}"), one.last);
            }
        }
        sound(&keg);
        // What is left in the queue keeps nobody from committing.
        keg.commit(Txn::new("t", "m").set_json(path("/after"), json!(step))).unwrap();
    }
}

#[test]
fn writers_of_one_name_each_win_once_and_see_both_values_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let mut writers: Vec<Counting> =
        (0..4).map(|_| Counting::start(dir.path(), "/hot", None)).collect();
    for writer in &mut writers {
        assert!(writer.reaches(ENOUGH), "{:?}", writer.child.wait());
    }
    writers.iter_mut().for_each(Counting::kill);
    let told = writers.iter().map(|writer| writer.last).max().unwrap();
    // The last of each of them may have been made without being told.
    let count = keg.get_json(&path("/hot")).unwrap().unwrap()["n"].as_u64().unwrap();
    assert!((told..=told + writers.len() as u64).contains(&count), "told {told}, is {count}");
    check(&keg, "/hot", count);
    sound(&keg);
}

/// The most moves of others between two of the same writer, or after its last one.
fn longest_wait(winners: &[u64]) -> usize {
    let mut last: BTreeMap<u64, usize> = BTreeMap::new();
    let waits = winners.iter().enumerate().filter_map(|(at, winner)| {
        let before = last.insert(*winner, at)?;
        Some(at - before - 1)
    });
    let longest = waits.max().unwrap_or(0);
    last.values().map(|at| winners.len() - at - 1).fold(longest, usize::max)
}

#[test]
fn processes_that_want_one_name_take_turns() {
    const WRITERS: usize = 24;
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let mut writers: Vec<Counting> =
        (0..WRITERS).map(|_| Counting::start(dir.path(), "/hot", None)).collect();
    for writer in &mut writers {
        assert!(writer.reaches(1), "{:?}", writer.child.wait());
    }
    let from = keg.head().unwrap().seq;
    let enough = from + 800;
    assert!(writers[0].reaches(enough), "{:?}", writers[0].child.wait());
    let to = keg.head().unwrap().seq;
    writers.iter_mut().for_each(Counting::kill);
    let by = |seq: u64| {
        let tree = keg.version(seq).unwrap().tree;
        let entry = keg.objects().walk(&tree, "/hot").unwrap().unwrap();
        let bytes = keg.objects().blob(&entry.kid().unwrap()).unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["by"].as_u64().unwrap()
    };
    let winners: Vec<u64> = (from + 1..=to).map(by).collect();
    assert_eq!(winners.iter().collect::<BTreeSet<_>>().len(), WRITERS, "{winners:?}");
    // Whoever has met conflicts for 128 turns is waited for; a leader's term may end meanwhile.
    assert!(longest_wait(&winners) <= 3 * 128, "{winners:?}");
}

#[tokio::test]
async fn tasks_that_want_one_name_take_turns() {
    const TASKS: usize = 80;
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let winners = Rc::new(RefCell::new(Vec::new()));
    let tasks = tokio::task::LocalSet::new();
    for n in 0..TASKS as u64 {
        let (keg, winners) = (keg.clone(), winners.clone());
        tasks.spawn_local(async move {
            let mut known = None;
            while winners.borrow().len() < 5 * TASKS {
                let value = json!([n, winners.borrow().len()]);
                let kid = Kid::of_blob(value.to_string().as_bytes());
                let expected = known.map_or(Expected::Absent, Expected::Kid);
                let txn = Txn::new("t", "m").expect(path("/hot"), expected);
                match keg.commit_soon(txn.set_json(path("/hot"), value)).await {
                    Ok(_) => {
                        winners.borrow_mut().push(n);
                        known = Some(kid);
                    }
                    Err(CommitError::Conflict { found, .. }) => {
                        known = found.and_then(|found| found.kid());
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    tasks.await;
    let winners = winners.take();
    assert!(longest_wait(&winners) < TASKS, "{winners:?}");
    assert_eq!(winners.iter().collect::<BTreeSet<_>>().len(), TASKS, "{winners:?}");
    sound(&keg);
}

#[test]
fn a_leader_that_is_stopped_keeps_nobody_waiting_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    keg.commit(Txn::new("t", "m").set_json(path("/first"), json!(1))).unwrap();
    let queue = std::fs::File::open(dir.path().join("log/queue")).unwrap();
    rustix::fs::flock(&queue, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let version = keg.commit(Txn::new("t", "m").set_json(path("/n"), json!(1))).unwrap();
    assert_eq!(keg.head().unwrap(), version);
}

#[test]
fn many_at_once_are_as_many_versions_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    for keg in [Keg::create(dir.path()).unwrap(), Keg::in_memory()] {
        let name = path("/n");
        let set =
            |n: u64| Txn::new(&format!("a{n}"), &format!("m{n}")).set_json(name.clone(), json!(n));
        let old = Kid::of_blob(b"1");
        let txns = [
            set(1).expect(name.clone(), Expected::Absent),
            set(2).expect(name.clone(), Expected::Kid(old)),
            set(3).expect(name.clone(), Expected::Kid(old)),
            set(4).set_json(path("/n/below"), json!(0)),
            set(2),
            set(5),
        ];
        let made = keg.commit_all(&txns).unwrap();
        let seqs: Vec<Option<u64>> =
            made.iter().map(|made| made.as_ref().ok().map(|version| version.seq)).collect();
        assert_eq!(seqs, [Some(1), Some(2), None, None, Some(2), Some(3)]);
        assert!(matches!(made[3], Err(CommitError::NotADirectory { .. })), "{:?}", made[3]);
        let error = made.into_iter().nth(2).unwrap().unwrap_err();
        both_shown(&error, Expected::Kid(old));
        let commit = keg.objects().commit(&keg.version(2).unwrap().commit).unwrap();
        assert_eq!((commit.author.as_str(), commit.message.as_str()), ("a2", "m2"));
        assert_eq!(keg.head().unwrap().seq, 3);
        sound(&keg);
    }
}

#[tokio::test]
async fn tasks_that_commit_at_the_same_time_share_an_append() {
    const TASKS: u64 = 64;
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let set = |n: u64| Txn::new("t", "m").set_json(path(&format!("/n/{n}")), json!(n));
    let tasks = tokio::task::LocalSet::new();
    let made: Vec<_> = (0..TASKS)
        .map(|n| {
            let (keg, txn) = (keg.clone(), set(n));
            tasks.spawn_local(async move {
                let made = keg.commit_soon(txn).await.unwrap();
                (made.seq, keg.head().unwrap().seq)
            })
        })
        .collect();
    tasks.await;
    for (n, made) in made.into_iter().enumerate() {
        // Each has a version of its own, and whoever is answered first sees all of them.
        assert_eq!(made.await.unwrap(), (n as u64 + 1, TASKS));
    }
    let refused = keg.commit_soon(set(7).expect(path("/n/7"), Expected::Absent)).await;
    both_shown(&refused.unwrap_err(), Expected::Absent);
    sound(&keg);
}
