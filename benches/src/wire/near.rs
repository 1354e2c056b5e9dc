//! On one machine: a backup by `keg clone` beside rsync, cp and git of the same.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keg::testing::noise;
use keg_tests::{World, process::run};

use super::{plain, put, seconds, text};
use crate::{
    Bench, kegs, machine,
    sample::{Sample, time},
    table::{Table, Unit},
};

/// Most runs: each writes a gigabyte or more.
const FEW: usize = 3;
/// The files of the tree: those of this machine.
const SOURCE: &str = "/usr/share";
/// One large file beside them.
const LARGE: usize = 100 << 20;
/// A file by itself.
const SINGLE: u64 = 400 << 20;

pub fn measure(bench: &Bench) -> Vec<Table> {
    let runs = bench.runs.min(FEW);
    let mut world = World::down();
    world.start();
    let tree = world.scratch().join("tree");
    run(Command::new("cp").args(["-a", SOURCE]).arg(&tree)).ok();
    fs::write(tree.join("large"), noise(1, LARGE)).expect("written");
    put(&world, "/tree", &tree);
    let git = git(&world, &tree);
    rustix::fs::sync();
    let mut tables = vec![backup(&world, &git, runs)];
    fs::remove_dir_all(&tree).expect("removed");
    fs::remove_dir_all(&git).expect("removed");
    tables.push(single(&world, runs));
    world.stop().ok();
    tables
}

fn git(world: &World, tree: &Path) -> PathBuf {
    let dir = world.scratch().join("tree.git");
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.args(["-c", "user.name=bench", "-c", "user.email=bench@localhost"]);
        command.arg("--git-dir").arg(&dir).arg("--work-tree").arg(tree).args(args);
        run(&mut command).ok();
    };
    run(Command::new("git").args(["init", "-q", "--bare"]).arg(&dir)).ok();
    git(&["add", "-A"]);
    git(&["commit", "-qm", "a"]);
    dir
}

/// What a program takes that writes so many bytes, with the sync of all that it wrote.
fn durable(command: &mut Command, into: &Path, bytes: u64) -> f64 {
    machine::touch(bytes);
    let (done, took) = time(|| {
        let done = run(command);
        if done.code == 0 {
            run(Command::new("sync").arg("-f").arg(into)).ok();
        }
        done
    });
    done.ok();
    took.as_secs_f64()
}

fn backup(world: &World, git: &Path, runs: usize) -> Table {
    let [mut keg, mut again, mut rsync, mut copy, mut cloned, mut disk] = <[Sample; 6]>::default();
    let (mut received, bytes) = (0, size(&world.home()));
    for _ in 0..runs {
        let dir = tempfile::tempdir_in(kegs::place()).expect("a directory");
        let to = |name: &str| dir.path().join(name);
        let clone = || world.keg(&["clone", &world.url, &text(&to("keg")), "--json"]);
        machine::touch(bytes);
        let (took, document) = seconds(clone());
        keg.push(took);
        received = document["received"].as_u64().expect("bytes");
        machine::touch(bytes);
        again.push(seconds(clone()).0);
        let home = format!("{}/", text(&world.home()));
        let mut command = Command::new("rsync");
        rsync.push(durable(command.args(["-a", &home]).arg(to("rsync")), dir.path(), bytes));
        let mut command = Command::new("cp");
        copy.push(durable(command.args(["-a", &home]).arg(to("copy")), dir.path(), bytes));
        let mut command = Command::new("git");
        command.args(["clone", "-q", "--bare", "--no-local"]).arg(git).arg(to("git"));
        cloned.push(durable(&mut command, dir.path(), bytes));
        disk.push(written(&to("zeros"), size(&to("keg"))));
    }
    let total = &world.json(&["du", "/tree"])["total"];
    let (files, apparent) = (&total["files"], &total["apparent"]);
    let title = format!("A backup on one machine: {} MB received", received / 1_000_000);
    let mut table = Table::new(&title, Unit::Seconds);
    table
        .keg("clone over loopback, verified, durable", None, keg)
        .peer("rsync -a of the Keg's directory, sync", rsync)
        .peer("cp -a of the Keg's directory, sync", copy)
        .peer("git clone --bare of the same tree, sync", cloned)
        .machine("as many bytes to one file, and sync", disk)
        .keg("clone again: nothing is new", None, again);
    table.note(&format!(
        "the tree is {SOURCE} and a file of {LARGE} bytes: {files} files, {apparent} bytes together"
    ));
    table
}

/// Bytes of all files of a directory.
fn size(dir: &Path) -> u64 {
    let told = run(Command::new("du").args(["-sb"]).arg(dir)).ok();
    told.split('\t').next().and_then(|bytes| bytes.parse().ok()).expect("bytes")
}

/// As many bytes as a file, made durable.
fn written(path: &Path, bytes: u64) -> f64 {
    machine::touch(bytes);
    let mut command = Command::new("dd");
    command.arg("if=/dev/zero").arg(format!("of={}", path.display()));
    command.args(["bs=1M", "conv=fdatasync", "status=none"]);
    command.arg(format!("count={}", bytes >> 20));
    run(&mut command).took.as_secs_f64()
}

fn single(world: &World, runs: usize) -> Table {
    let [mut keg, mut rsync, mut copy, mut tcp, mut disk] = <[Sample; 5]>::default();
    let file = world.scratch().join("single");
    fs::write(&file, noise(2, SINGLE as usize)).expect("written");
    put(world, "/single", &file);
    rustix::fs::sync();
    let namespace = keg_tests::netns::Namespace::of(world.pid());
    for _ in 0..runs {
        let dir = tempfile::tempdir_in(kegs::place()).expect("a directory");
        let to = |name: &str| dir.path().join(name);
        let here = World::down();
        keg::Keg::create(&here.home()).expect("a Keg");
        machine::touch(SINGLE);
        keg.push(seconds(here.keg(&["pull", &world.url, "/single", "--json"])).0);
        let mut command = Command::new("rsync");
        rsync.push(durable(command.arg("-a").arg(&file).arg(to("rsync")), dir.path(), SINGLE));
        let mut command = Command::new("cp");
        let command = command.args(["-a", "--reflink=never"]).arg(&file).arg(to("copy"));
        copy.push(durable(command, dir.path(), SINGLE));
        machine::touch(SINGLE);
        let took = plain::transfer(&namespace, "127.0.0.1", &namespace, SINGLE);
        tcp.push(took.as_secs_f64());
        disk.push(written(&to("zeros"), SINGLE));
    }
    let title = format!("A file of {} MB that cannot be compressed", SINGLE / 1_000_000);
    let mut table = Table::new(&title, Unit::Seconds);
    table
        .keg("pull over loopback, verified, durable", None, keg)
        .peer("rsync -a, sync", rsync)
        .peer("cp, sync", copy)
        .machine("as many bytes over loopback, kept nowhere", tcp)
        .machine("as many bytes to one file, and sync", disk);
    table
}
