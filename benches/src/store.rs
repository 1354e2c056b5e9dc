//! The store by itself: a tree taken in, checked, and names moved durably.

use std::{fs, path::Path, process::Command};

use keg::{
    Expected, Keg, NamePath, Txn,
    ingest::{IngestOptions, checkout, ingest},
    object::Entry,
};
use keg_tests::{Done, process::run};
use tempfile::TempDir;

use crate::{
    Bench, kegs,
    sample::{Sample, time},
    table::{Table, Unit},
};

/// Most runs of what takes seconds.
const FEW: usize = 5;
/// Names moved in one run.
const MOVES: usize = 100;
/// Bytes that the disk is given for one durable move.
const BLOCK: [u8; 4096] = [7; 4096];

/// Taking in, checking, moving.
pub fn measure(bench: &Bench) -> Vec<Table> {
    let dir = tempfile::tempdir_in(kegs::place()).expect("a directory");
    let tree = dir.path().join("tree");
    let template = Keg::open(&bench.template.home()).expect("because it was made");
    fs::create_dir(&tree).expect("made");
    checkout(template.objects(), &kegs::rootfs(&template), &tree).expect("checked out");
    rustix::fs::sync();
    vec![trees(bench, &tree), moves(bench)]
}

fn trees(bench: &Bench, tree: &Path) -> Table {
    let runs = bench.runs.min(FEW);
    let [mut cold, mut warm, mut check] = <[Sample; 3]>::default();
    let [mut git_cold, mut git_warm, mut git_check] = <[Sample; 3]>::default();
    let mut size = String::new();
    for _ in 0..runs {
        let home = tempfile::tempdir_in(kegs::place()).expect("a directory");
        let keg = Keg::create(&home.path().join("keg")).expect("a Keg");
        cold.push(time(|| take(&keg, tree)).1.as_secs_f64());
        warm.push(time(|| take(&keg, tree)).1.as_secs_f64());
        let report = keg::fsck::fsck(&keg, &mut |_| {}).expect("checked");
        assert!(report.is_clean(), "{report:?}");
        check.push(report.seconds);
        size = format!("{} objects, {:.0} MB", report.objects, report.bytes as f64 / 1e6);

        let git = Git::new(tree);
        let add = |git: &Git| {
            let added = git.run(&["add", "-A"]).took
                + git.run(&["commit", "-qm", "a", "--allow-empty"]).took;
            added.as_secs_f64()
        };
        git_cold.push(add(&git));
        // As a tree that was checked out elsewhere: git trusts its index otherwise.
        fs::remove_file(git.dir.path().join("index")).expect("removed");
        git_warm.push(add(&git));
        git_check.push(git.run(&["fsck", "--full", "--no-progress"]).took.as_secs_f64());
    }
    let mut table = Table::new(&format!("A directory tree into the store: {size}"), Unit::Seconds);
    table
        .keg("taken in, durable", None, cold)
        .peer("git add, git commit: compressed, objects not synced", git_cold);
    table
        .keg("taken in again: nothing is new", None, warm)
        .peer("git add without its index", git_warm);
    table.keg("fsck: every byte hashed", None, check).peer("git fsck", git_check);
    table
}

fn take(keg: &Keg, tree: &Path) {
    let entry = ingest(keg.objects(), tree, &IngestOptions::default()).expect("taken in");
    let path: NamePath = "/tree".parse().expect("a path");
    keg.commit(Txn::new("bench", "a tree").set(path, entry)).expect("durable");
}

/// A repository beside the directory it is of.
struct Git<'a> {
    dir: TempDir,
    tree: &'a Path,
}

impl<'a> Git<'a> {
    fn new(tree: &'a Path) -> Self {
        let dir = tempfile::tempdir_in(kegs::place()).expect("a directory");
        let git = Self { dir, tree };
        git.run(&["init", "-q"]);
        git
    }

    fn run(&self, args: &[&str]) -> Done {
        let mut git = Command::new("git");
        git.env("GIT_DIR", self.dir.path()).env("GIT_WORK_TREE", self.tree);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "a@b");
        }
        let done = run(git.current_dir(self.tree).args(args));
        assert_eq!(done.code, 0, "{done:?}");
        done
    }
}

/// One writer, each move waited for.
fn moves(bench: &Bench) -> Table {
    let home = tempfile::tempdir_in(kegs::place()).expect("a directory");
    let keg = Keg::create(&home.path().join("keg")).expect("a Keg");
    let path: NamePath = "/counter.json".parse().expect("a path");
    let mut found: Option<Entry> = None;
    let mut rate = |run: usize| {
        let took = time(|| {
            for n in 0..MOVES {
                let expected = match found.as_ref().and_then(Entry::kid) {
                    Some(kid) => Expected::Kid(kid),
                    None => Expected::Absent,
                };
                let entry = keg.objects().put_json(&serde_json::json!([run, n])).expect("stored");
                let txn = Txn::new("bench", "count").expect(path.clone(), expected);
                keg.commit(txn.set(path.clone(), entry.clone())).expect("moved");
                found = Some(entry);
            }
        });
        MOVES as f64 / took.1.as_secs_f64()
    };
    let ours: Sample = (0..bench.runs).map(&mut rate).collect();
    let mut table = Table::new("One name moved by compare-and-swap, each durable", Unit::PerSecond);
    table.keg("one writer", None, ours);
    let raw: Sample = (0..bench.runs).map(|_| appends(home.path())).collect();
    table.peer("this disk: 4 kB appended, fdatasync", raw);
    table
}

fn appends(dir: &Path) -> f64 {
    use std::io::Write as _;
    let mut file = tempfile::tempfile_in(dir).expect("a file");
    let took = time(|| {
        for _ in 0..MOVES {
            file.write_all(&BLOCK).and_then(|()| file.sync_data()).expect("written");
        }
    });
    MOVES as f64 / took.1.as_secs_f64()
}
