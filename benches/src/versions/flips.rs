//! The live namespace: how long a flip takes, and whether anyone who reads meanwhile notices.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use keg::{
    Keg, NamePath, Txn,
    mount::{Live, Mounts},
};

use crate::{
    sample::Sample,
    table::{Table, Unit},
};

/// Names in the namespace.
const NAMES: usize = 10_000;
/// Names in one directory.
const TOGETHER: usize = 1000;
/// Changes that are shown.
const FLIPS: usize = 300;
/// Seconds for one to take the place of the other.
const GOAL: f64 = 0.25e-3;

/// One name after the other is changed while somebody looks all the time.
pub fn table(place: &Path) -> Table {
    eprintln!("  {FLIPS} flips of the live namespace");
    let keg = Keg::create(&place.join("live-keg")).expect("a Keg");
    for directory in 0..NAMES / TOGETHER {
        let names = (0..TOGETHER).map(|number| name(directory, number));
        let txn = names
            .fold(Txn::new("bench", "names"), |txn, name| txn.set_json(name, serde_json::json!(0)));
        keg.commit(txn).expect("named");
    }
    let target = place.join("live");
    fs::create_dir(&target).expect("a directory");
    let mut live = Live::new(&Mounts::new(&keg), &NamePath::root(), &target).expect("mounted");
    let over = AtomicBool::new(false);
    let [mut image, mut swap] = <[Sample; 2]>::default();
    let (looks, errors) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&target, &over));
        for flip in 1..=FLIPS {
            let txn = Txn::new("bench", "flip");
            let changed = name(flip * 7919 % (NAMES / TOGETHER), flip % TOGETHER);
            keg.commit(txn.set_json(changed, serde_json::json!(flip))).expect("changed");
            let done = live.refresh().expect("shown").expect("a change");
            image.push(done.image.as_secs_f64());
            swap.push(done.swap.as_secs_f64());
        }
        over.store(true, Ordering::Relaxed);
        reader.join().expect("because it does not panic")
    });
    let title = format!("A live mount of {NAMES} names, one changed at a time");
    let mut table = Table::new(&title, Unit::Seconds);
    table.keg("the new version in place of the old", Some(GOAL), swap);
    table.keg("its image made and mounted, before that", None, image);
    table.note(&format!("{looks} looks by another thread meanwhile, {errors} errors"));
    table
}

fn name(directory: usize, number: usize) -> NamePath {
    format!("/names/{directory:04}/{number:04}.json").parse().expect("a path")
}

/// Looks at a name until told to end: how often, and how often it failed.
fn read(dir: &Path, over: &AtomicBool) -> (u64, u64) {
    let (mut looks, mut errors) = (0, 0);
    let path = dir.join("names/0000/0000.json");
    while !over.load(Ordering::Relaxed) {
        looks += 1;
        errors += u64::from(fs::read(&path).is_err());
    }
    (looks, errors)
}
