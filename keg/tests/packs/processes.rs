//! Packing while others read, while the process is killed, on a full disk, under a mount.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use super::{disk::SmallDisk, *};

/// A child: packs. `once HOME` or `loop HOME`.
fn packs(what: &str) {
    let (job, home) = what.split_once(' ').unwrap();
    let keg = Keg::open(Path::new(home)).unwrap();
    let mut small = options(Which::All);
    small.max_pack = 1 << 20;
    match job {
        "once" => drop(pack(&keg, &small, &mut |_| {}).unwrap()),
        // Back and forth, for ever.
        _ => loop {
            pack(&keg, &small, &mut |_| {}).unwrap();
            rehydrate(&keg, &keg.head().unwrap().tree, &mut |_| {}).unwrap();
        },
    }
}

fn spawn(job: &str, home: &Path) -> Child {
    let door = "processes::killed_at_any_moment_every_object_is_somewhere";
    let mut command = child::command(door, &format!("{job} {}", home.display()));
    command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
}

#[test]
fn killed_at_any_moment_every_object_is_somewhere() {
    if let Some(what) = child::told() {
        return packs(&what);
    }
    let sample = Sample::new(3);
    let started = Instant::now();
    assert!(spawn("once", sample.home()).wait().unwrap().success());
    let whole = started.elapsed();
    for round in 0..15u64 {
        let mut child = spawn("loop", sample.home());
        // The seed is fixed, so that a failure comes again.
        let moment = u64::from_le_bytes(noise(round, 8).try_into().unwrap()) % 1000;
        std::thread::sleep(whole * 2 * moment as u32 / 1000);
        child.kill().unwrap();
        child.wait().unwrap();
        let keg = sample.reopened();
        let report = check(&keg);
        assert!(report.is_clean(), "round {round}: {report:?}");
        sample.check_reads(&keg, &format!("round {round}"));
        if round % 5 == 0 {
            // From the start, with loose files only.
            let kids: Vec<Kid> = sample.objects.keys().copied().collect();
            restore(&keg, &kids).unwrap();
            std::fs::remove_dir_all(sample.home().join("packs")).unwrap();
        }
    }
    let report = pack_all(&sample.reopened());
    assert_eq!((sample.loose(), report.damaged.len()), (0, 0), "{report:?}");
    let left = std::fs::read_dir(sample.home().join("packs")).unwrap().flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().contains("tmp-"));
    assert_eq!(left.count(), 0, "what the killed ones left is gone");
}

#[test]
fn readers_never_miss_what_moves_to_and_fro() {
    let sample = Sample::new(2);
    let mut child = spawn("loop", sample.home());
    let keg = sample.reopened();
    let until = Instant::now() + Duration::from_secs(3);
    // Counts how often loose files were removed.
    let epoch = || {
        let bytes = std::fs::read(sample.home().join("packs/epoch")).unwrap_or_default();
        bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    while Instant::now() < until || epoch() < 5 {
        sample.check_reads(&keg, "while it moves");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(check(&sample.reopened()).is_clean());
}

#[test]
fn two_at_once_are_told_apart() {
    let sample = Sample::new(1);
    let mut inner = None;
    let outer = pack(&sample.keg, &options(Which::All), &mut |told| {
        if told.phase == Phase::Packing && inner.is_none() {
            inner = Some(pack(&sample.reopened(), &options(Which::All), &mut |_| {}));
        }
    });
    let error = inner.unwrap().unwrap_err().to_string();
    assert!(error.contains("another process is packing"), "{error}");
    assert_eq!(outer.unwrap().objects, 7);
}

#[test]
fn a_full_disk_is_one_clear_error_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::mount(5 << 20) else {
        eprintln!("not root: no small disk can be made");
        return;
    };
    let keg = Keg::create(disk.path()).unwrap();
    let bytes = noise(1, 3 << 20);
    let entry = keg.objects().put_bytes(&bytes).unwrap();
    keg.commit(Txn::new("t", "m").set(path("/big"), entry)).unwrap();
    let error = pack(&keg, &options(Which::All), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("the disk is full"), "{error}");
    let again = Keg::open(disk.path()).unwrap();
    assert!(again.objects().blob(&Kid::of_blob(&bytes)).unwrap() == bytes);
    assert!(check(&again).is_clean());
}
