//! What the machine itself takes for the steps that nobody can leave out.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Bench, kegs,
    peers::Hook,
    sample::{Sample, time},
    table::{Table, Unit},
};

/// Times of steps below a millisecond for each run.
const OFTEN: usize = 20;
/// Bytes that are made durable.
const BLOCK: [u8; 4096] = [7; 4096];

/// The disk, a process, Python, the app.
pub fn measure(bench: &Bench) -> Vec<Table> {
    let title = "What the machine takes for steps that nobody can leave out";
    let mut table = Table::new(title, Unit::Seconds);
    let mut file = tempfile::tempfile_in(kegs::place()).expect("a file");
    let sync = Sample::of(bench.runs * OFTEN, |_| {
        let written = || file.write_all(&BLOCK).and_then(|()| file.sync_data());
        let (done, took) = time(written);
        done.expect("written");
        took
    });
    table.machine("4 kB made durable: write, fdatasync", sync);
    let process = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        Sample::of(bench.runs * OFTEN, |_| time(|| command.status().expect("run")).1)
    };
    table.machine("a process started and waited for: true", process("true", &[]));
    table.machine("git asks another git for its refs: ls-remote", {
        let peer = Hook::reload(bench);
        peer.push_edited("Alone");
        let url = peer.repo.git(&["remote", "get-url", "peer"]).ok();
        process("git", &["ls-remote", url.trim()])
    });
    table.machine("an interpreter: python3 -c pass", process("python3", &["-c", "pass"]));
    let peer = Hook::reload(bench);
    peer.push_edited("Alone");
    table.machine(
        "the example alone: gunicorn until it answers",
        Sample::of(bench.runs, |_| alone(&peer)),
    );
    vec![table]
}

/// From the start of gunicorn, without Keg and without a hook, to an answer.
fn alone(peer: &Hook) -> Duration {
    let (mut gunicorn, place) = peer.alone();
    let begun = Instant::now();
    let mut running = gunicorn.spawn().expect("because its venv is there");
    while !place.says("Alone") {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = begun.elapsed();
    running.kill().and_then(|()| running.wait()).expect("ended");
    took
}
