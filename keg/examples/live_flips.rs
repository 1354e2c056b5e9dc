//! Measures the live namespace: how long a flip takes, and whether anyone notices.
//!
//! `cargo run --release -p keg --example live_flips -- WORK-DIR [NAMES [FLIPS]]`, as root. While
//! one name after the other is changed, another process looks at and reads names all the time; it
//! must never fail, and never see a name go back. It works in a mount namespace of its own.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use keg::{
    Keg, NamePath, Txn,
    mount::{Live, Mounts},
};
use rustix::{
    mount::{MountPropagationFlags, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Names in one directory.
const TOGETHER: usize = 1000;
/// Name that counts the flips.
const COUNTER: &str = "counter.json";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["read", dir] => read(Path::new(dir)),
        [work] => measure(Path::new(work), 10_000, 1000),
        [work, names] => measure(Path::new(work), names.parse()?, 1000),
        [work, names, flips] => measure(Path::new(work), names.parse()?, flips.parse()?),
        _ => Err("usage: live_flips WORK-DIR [NAMES [FLIPS]]".into()),
    }
}

fn measure(work: &Path, names: usize, flips: usize) -> Result<()> {
    // SAFETY: this process has one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let keg = Keg::open_or_create(&work.join("home"))?;
    for directory in 0..names.div_ceil(TOGETHER) {
        let mut txn = Txn::new("bench", "names");
        for number in 0..TOGETHER.min(names - directory * TOGETHER) {
            txn = txn.set_json(name(directory, number)?, serde_json::json!({ "n": number }));
        }
        keg.commit(txn)?;
    }
    set_counter(&keg, 0)?;
    let target = work.join("live");
    fs::create_dir_all(&target)?;
    let begun = Instant::now();
    let mut live = Live::new(&Mounts::new(&keg), &NamePath::root(), &target)?;
    println!("{names} names: first image made and mounted in {:?}", begun.elapsed());

    let mut reader = Command::new(std::env::current_exe()?);
    let mut reader = reader.arg("read").arg(&target).stdout(Stdio::piped()).spawn()?;
    let (mut images, mut swaps, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for flip in 1..=flips {
        let directory = flip * 7919 % names.div_ceil(TOGETHER);
        let txn = Txn::new("bench", "change")
            .set_json(name(directory, 0)?, serde_json::json!({ "flip": flip }));
        keg.commit(txn.set_json(format!("/{COUNTER}").parse()?, serde_json::json!(flip)))?;
        let begun = Instant::now();
        let done = live.refresh()?.ok_or("nothing changed")?;
        all.push(begun.elapsed());
        images.push(done.image);
        swaps.push(done.swap);
    }
    // Tells the reader to end.
    fs::write(work.join("end"), "")?;
    reader.wait()?;
    let mut said = String::new();
    if let Some(mut out) = reader.stdout.take() {
        std::io::Read::read_to_string(&mut out, &mut said)?;
    }
    println!("image making, {}", percentiles(images));
    println!("swap, {}", percentiles(swaps));
    println!("both, {}", percentiles(all));
    println!("reader: {}", said.trim());
    Ok(())
}

fn name(directory: usize, number: usize) -> Result<NamePath> {
    Ok(format!("/names/{directory:04}/{number:04}.json").parse()?)
}

fn set_counter(keg: &Keg, value: usize) -> Result<()> {
    let path: NamePath = format!("/{COUNTER}").parse()?;
    keg.commit(Txn::new("bench", "counter").set_json(path, serde_json::json!(value)))?;
    Ok(())
}

/// Looks and reads until told to end; says how often, and what went wrong.
fn read(dir: &Path) -> Result<()> {
    let end = dir.with_file_name("end");
    let (mut looked, mut errors, mut last, mut seen) = (0, 0, 0, 0);
    let counter = dir.join(COUNTER);
    while !end.exists() {
        for _ in 0..100 {
            looked += 2;
            errors += u64::from(fs::metadata(dir.join("names/0000/0000.json")).is_err());
            let Ok(text) = fs::read_to_string(&counter) else {
                errors += 1;
                continue;
            };
            let now: u64 = text.trim().parse()?;
            errors += u64::from(now < last);
            seen += u64::from(now != last);
            last = now;
        }
    }
    println!("{looked} looks, {errors} errors, {seen} versions seen");
    Ok(())
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    format!("p50 {:?}, p99 {:?}", at(50), at(99))
}
