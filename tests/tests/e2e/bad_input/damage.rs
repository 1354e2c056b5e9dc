//! A full disk and a corrupt object: said in words, and nothing else is lost.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use keg_tests::{Running, World, until};
use serde_json::json;

use super::fails;

/// Size of the small disk.
const DISK: u64 = 96 << 20;

/// A file system of its own at a Keg's home, gone with it.
struct Disk(PathBuf);

impl Disk {
    fn at(home: &Path, image: &Path) -> Self {
        File::create(image).and_then(|file| file.set_len(DISK)).expect("an image");
        fs::create_dir(home).expect("made");
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image));
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(home));
        fs::remove_dir(home.join("lost+found")).expect("empty");
        Self(home.to_owned())
    }

    /// Takes all the space that is left.
    fn fill(&self, name: &str) -> PathBuf {
        let path = self.0.join("tmp").join(name);
        let mut file = File::create(&path).expect("a file");
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Running::start(Command::new("umount").arg("-l").arg(&self.0)).wait();
    }
}

fn run(command: &mut Command) {
    Running::start(command).wait().ok();
}

#[test]
fn a_full_disk() {
    let mut world = World::down();
    let disk = Disk::at(&world.home(), &world.scratch().join("image"));
    world.lend_python();
    world.start();
    let repo = world.probe("blog");
    repo.push().ok();
    let process = world.ps("blog").remove(0);

    let ballast = disk.fill("ballast");
    repo.write("large.bin", &"0123456789abcdef".repeat(4096));
    edit(&repo, "two");
    let push = repo.push().refused(&["disk is full", "nothing was lost", "free some space"]);
    assert!(!push.said.contains("panicked"), "{}", push.said);
    // What ran goes on, and what is stored can be read.
    assert_eq!(world.get("blog", "/").body, "one");
    assert_eq!(world.ps("blog")[0]["process"], process["process"]);
    let host = world.front.to_string();
    let headers =
        [("Host", host.as_str()), ("Content-Type", "application/json"), ("If-None-Match", "*")];
    let large = json!({"env": {"X": "x".repeat(100_000)}}).to_string();
    let answer = keg_tests::http::ask(
        world.front,
        "PUT",
        "/apps/blog/config.json",
        &headers,
        large.as_bytes(),
    );
    assert!(answer.expect("an answer").status >= 500);
    let done = world.keg(&["rollback", "blog"]);
    assert_ne!(done.code, 0, "{done:?}");
    world.assert_clean();

    fs::remove_file(ballast).expect("removed");
    // Services that could not write start again by themselves.
    until("all to work again", || (repo.push().code == 0).then_some(()));
    assert_eq!(world.get("blog", "/").body, "two");
    world.assert_clean();

    // It can be stopped on a full disk, and says why it does not start on one.
    let mut ballast = vec![disk.fill("ballast")];
    world.stop();
    // What the app had written is gone.
    ballast.push(disk.fill("more"));
    let done = Running::start(&mut world.up_command()).wait();
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.err.contains("the disk is full") && done.err.contains("df -h"), "{done:?}");
    world.assert_clean();
    ballast.iter().for_each(|path| fs::remove_file(path).expect("removed"));
    world.start();
    until("the app to be back", || (world.get("blog", "/").body == "two").then_some(()));
    world.stop();
    drop(disk);
}

fn edit(repo: &keg_tests::Repo, word: &str) {
    let app = fs::read_to_string(repo.path().join("app.py")).expect("there");
    repo.write("app.py", &app.replace("WORD = \"one\"", &format!("WORD = \"{word}\"")));
    repo.commit(word);
}

/// Flips one bit in the middle of a file.
fn flip(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("there");
    let middle = file.metadata().expect("there").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).expect("readable");
    file.write_all_at(&[byte[0] ^ 1], middle).expect("writable");
}

#[test]
fn a_corrupt_object() {
    let world = World::with_python();
    let repo = world.probe("blog");
    repo.push().ok();
    let listed = world.json(&["ls", "/source/blog"]);
    let rows = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    let row = rows.iter().find(|row| row["name"] == "app.py").expect("a file");
    let kid = row["kid"].as_str().expect("a KID");
    let digits = kid.trim_start_matches("K-");
    let path = world.home().join("objects").join(&digits[..2]).join(&digits[2..]);
    flip(&path);

    for args in [&["cat", "/source/blog/app.py"][..], &["cat", kid], &["cat", kid, "--json"]] {
        let done = world.keg(args);
        assert_eq!(done.code, 4, "{args:?}: {done:?}");
        assert!(done.err.contains("is damaged") && done.err.contains("keg fsck"), "{done:?}");
        assert!(done.err.contains(&kid[..10]), "{done:?}");
    }
    let answer = world.page("/source/blog/app.py?json");
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(answer.body.contains("keg fsck"), "{answer:?}");

    // fsck names the value and what uses it.
    let done = world.keg(&["fsck"]);
    fails(&done, 4, &["1 damaged value", "push or import"]);
    for word in [kid, "/source/blog/app.py", "/oci-images/blog"] {
        assert!(done.out.contains(word), "{word:?} in\n{}", done.out);
    }
    let done = world.keg(&["fsck", "--json"]);
    assert_eq!(done.code, 4);
    let report: serde_json::Value = serde_json::from_str(&done.out).expect("one document");
    assert_eq!(report["damaged"][0]["kid"], json!(kid), "{report}");
    assert_eq!(report["damaged"].as_array().map(Vec::len), Some(1), "{report}");

    // The rest is whole: the app answers, other values are read, other pushes are deployed.
    assert_eq!(world.get("blog", "/").body, "one");
    world.keg(&["cat", "/source/blog/Procfile"]).ok();
    world.probe("other").push().ok();
    // The same bytes put there again mend it.
    flip(&path);
    world.assert_clean();
}

#[test]
fn a_corrupt_log() {
    let mut world = World::empty();
    world.stop();
    let log = world.home().join("log");
    let mut segments: Vec<PathBuf> = fs::read_dir(&log)
        .expect("there")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.metadata().is_ok_and(|meta| meta.len() > 1000))
        .collect();
    segments.sort();
    let segment = segments.first().expect("a segment");
    let before = fs::read(segment).expect("readable");
    flip(segment);
    let done = world.keg(&["fsck"]);
    fails(&done, 4, &["damaged value", "push or import those again"]);
    assert!(done.out.contains("damaged: "), "{done:?}");
    fs::write(segment, before).expect("written");
    world.assert_clean();
}
