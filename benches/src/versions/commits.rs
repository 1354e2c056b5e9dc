//! Two versions taken in by each tool, the second over the first.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    disk,
    tools::{KEG, PEERS, Store, Tool},
    tree::Versions,
};
use crate::{
    machine,
    sample::Sample,
    table::{Table, Unit},
};

/// Seconds for a durable commit into a store that has nothing of it…
const COLD_GOAL: f64 = 3.0;
/// …or this part of what borg takes.
const COLD_PART: f64 = 0.5;
/// Seconds for the second version.
const AGAIN_GOAL: f64 = 0.4;
/// Bytes that the disk is given at once.
const PIECE: usize = 1 << 20;

/// What one tool took.
pub struct Taken {
    /// Which.
    pub tool: Tool,
    /// The first version, seconds.
    pub first: Sample,
    /// The second, over the first, seconds.
    pub second: Sample,
    /// Bytes in its files after the first.
    pub size: Sample,
    /// Bytes more after the second.
    pub growth: Sample,
    /// Reading and checking everything, seconds.
    pub check: Sample,
    /// Bytes in its files once both are as small as they get.
    pub least: Sample,
    /// Making them so, seconds.
    pub shrunk: Sample,
}

/// All tools, in turns; Keg is the first.
///
/// Stores stay until all of it has been measured: after many files were removed, ext4 looks long
/// for inodes that were not used lately, at the cost of whoever is next.
pub fn all(versions: &Versions, place: &Path, runs: usize) -> Vec<Taken> {
    let mut all: Vec<Taken> = [KEG].into_iter().chain(PEERS).map(Taken::new).collect();
    // In the page cache for each of them.
    versions.files.iter().for_each(|path| drop(std::fs::read(path).expect("read")));
    for run in 0..runs {
        for taken in all.iter_mut().filter(|taken| run < taken.tool.runs) {
            eprintln!("  {} ({} of {})", taken.tool.name, run + 1, runs.min(taken.tool.runs));
            taken.run(versions, place, run);
        }
    }
    all
}

impl Taken {
    fn new(tool: Tool) -> Self {
        let [first, second, size, growth, check, least, shrunk] = <[Sample; 7]>::default();
        Self { tool, first, second, size, growth, check, least, shrunk }
    }

    fn run(&mut self, versions: &Versions, place: &Path, run: usize) {
        let name = format!("{}-{run}", self.tool.name);
        let store = Store::new(self.tool, place, &name, &versions.dir);
        versions.put(&versions.dir, 0);
        machine::touch(versions.bytes);
        self.first.push(store.commit("one").as_secs_f64());
        let before = disk::bytes(&store.path);
        versions.put(&versions.dir, 1);
        machine::touch(versions.bytes);
        self.second.push(store.commit("two").as_secs_f64());
        let after = disk::bytes(&store.path);
        self.size.push(before as f64);
        self.growth.push(after as f64 - before as f64);
        if run > 0 && self.tool.name != KEG.name {
            return;
        }
        if !self.tool.check.is_empty() {
            self.check.push(store.run(self.tool.check, "check").as_secs_f64());
        }
        if !self.tool.shrink.is_empty() {
            self.shrunk.push(store.run(self.tool.shrink, "shrink").as_secs_f64());
        }
        self.least.push(disk::bytes(&store.path) as f64);
    }

    fn named(&self) -> String {
        format!("{} ({})", self.tool.name, self.tool.how)
    }
}

/// The times.
pub fn tables(all: &[Taken], versions: &Versions, place: &Path) -> Vec<Table> {
    let megabytes = versions.bytes as f64 / 1e6;
    let size = format!("{} files, {megabytes:.0} MB", versions.files.len());
    let title = format!("A tree taken in, durable, by a store that has nothing of it: {size}");
    let mut cold = Table::new(&title, Unit::Seconds);
    let borg = all.iter().find(|taken| taken.tool.name == "borg");
    let borg = borg.and_then(|taken| taken.first.median()).unwrap_or_default();
    let (bytes, files) = versions.changed();
    let title = format!("Its second version over the first: {bytes} bytes in {files} files");
    let mut again = Table::new(&title, Unit::Seconds);
    for taken in all {
        let (first, second) = (taken.first.clone(), taken.second.clone());
        if taken.tool.name == KEG.name {
            let goal = COLD_GOAL.max(COLD_PART * borg);
            cold.keg("keg commit, one syncfs", Some(goal), first);
            again.keg("keg commit with its stat cache", Some(AGAIN_GOAL), second);
        } else {
            cold.peer(&taken.named(), first);
            again.peer(&taken.named(), second);
        }
    }
    let runs = all[0].first.len();
    cold.machine("as many bytes in one file, one syncfs", floor(place, versions.bytes, runs));
    cold.machine("cp -a, one syncfs", copies(place, versions, runs));
    cold.note("The goal is 3.0 s, or half of what borg takes. Sources are in the page cache.");
    again.note("Each has its own cache of what files were; the directory is the same, in place.");
    vec![cold, again]
}

fn floor(place: &Path, bytes: u64, runs: usize) -> Sample {
    let piece = vec![7; PIECE];
    Sample::of(runs, |run| {
        let path = place.join(format!("floor-{run}"));
        rustix::fs::sync();
        machine::touch(bytes);
        let begun = Instant::now();
        let mut file = File::create(&path).expect("a file");
        let mut left = bytes as usize;
        while left > 0 {
            let len = left.min(PIECE);
            file.write_all(&piece[..len]).expect("written");
            left -= len;
        }
        rustix::fs::syncfs(&file).expect("synced");
        let took = begun.elapsed();
        std::fs::remove_file(path).expect("removed");
        took
    })
}

fn copies(place: &Path, versions: &Versions, runs: usize) -> Sample {
    Sample::of(runs, |run| {
        let to = place.join(format!("copy-{run}"));
        rustix::fs::sync();
        machine::touch(versions.bytes);
        let begun = Instant::now();
        let status = Command::new("cp").arg("-a").arg(&versions.dir).arg(&to).status();
        assert!(status.expect("cp").success(), "cp failed");
        rustix::fs::syncfs(File::open(&to).expect("a directory")).expect("synced");
        let took: Duration = begun.elapsed();
        took
    })
}
