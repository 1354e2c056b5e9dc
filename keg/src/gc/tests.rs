//! Collections and mounts, as root.

use std::fs;

use super::{Holder, Options, Report, collect};
use crate::{
    Keg, Kid, Txn,
    mount::{
        Mounts,
        fixture::{Scratch, noise},
        unmount,
    },
    object::{EntryName, Tree},
    pack::{PackOptions, Which, pack},
    testing::at_once,
};

fn run(keg: &Keg, options: &Options) -> Report {
    collect(keg, options, &mut |_| {}).expect("a collection")
}

fn tree(keg: &Keg, seed: u64) -> Kid {
    let mut tree = Tree::default();
    for (name, size) in [("small", 10), ("large", 10_000)] {
        let entry = keg.objects().put_bytes(&noise(size, seed)).expect("a put");
        tree.entries.insert(EntryName::new(name).expect("a name"), entry);
    }
    keg.objects().put_tree(&tree).expect("a put").kid().expect("a tree")
}

#[test]
fn what_is_mounted_stays_and_goes_when_it_is_not() {
    let scratch = Scratch::new();
    let (keg, target) = (scratch.keg(), scratch.dir("target"));
    let mounted = tree(&keg, 1);
    let other = tree(&keg, 2);
    let mounts = Mounts::new(&keg);
    mounts.read_only(&mounted, &target).expect("a mount");
    mounts.read_only(&other, &scratch.dir("other")).expect("a mount");
    unmount(&scratch.dir("other")).expect("an unmount");
    std::thread::sleep(std::time::Duration::from_millis(5));
    let dry = run(&keg, &Options { dry_run: true, ..at_once() });
    let held = |kept: &super::Kept| matches!(&kept.holder, Holder::Mount { .. });
    assert!(dry.mounts == 1 && dry.kept.iter().any(held), "{dry:?}");
    for _ in 0..3 {
        let report = run(&keg, &at_once());
        assert_eq!(report.mounts, 1, "{report:?}");
        assert_eq!(fs::read(target.join("large")).expect("a read"), noise(10_000, 1));
        assert_eq!(fs::read(target.join("small")).expect("a read"), noise(10, 1));
    }
    let objects = keg.objects();
    assert_eq!(objects.kind(&other).expect("a look"), None);
    assert_eq!(objects.blob(&Kid::of_blob(&noise(10_000, 1))).expect("a blob").len(), 10_000);
    let image = |kid: &Kid| keg.home().join("img").join(format!("{}.erofs", kid.to_hex()));
    assert!(image(&mounted).exists() && !image(&other).exists());
    unmount(&target).expect("an unmount");
    let report = run(&keg, &at_once());
    assert!(report.mounts == 0 && report.swept.objects > 0, "{report:?}");
    assert!(!image(&mounted).exists());
}

#[test]
fn what_was_brought_back_for_a_mount_stays_while_packs_lose_it() {
    let scratch = Scratch::new();
    let (keg, target) = (scratch.keg(), scratch.dir("target"));
    let mounted = tree(&keg, 4);
    let keep = serde_json::json!({"keep": "1 version"});
    keg.commit(Txn::new("t", "m").set_json("/-/gc.json".parse().expect("a path"), keep))
        .expect("a commit");
    let name: crate::NamePath = "/tree".parse().expect("a path");
    let entry = keg.objects().tree_entry(&mounted).expect("a tree");
    keg.commit(Txn::new("t", "m").set(name.clone(), entry)).expect("a commit");
    let all = PackOptions { which: Which::All, level: 1, ..PackOptions::default() };
    assert_eq!(pack(&keg, &all, &mut |_| {}).expect("packed").removed, 1);
    Mounts::new(&keg).read_only(&mounted, &target).expect("a mount");
    let note = keg.home().join("img").join(format!("{}.loose", mounted.to_hex()));
    assert!(note.is_symlink());
    keg.commit(Txn::new("t", "m").remove(name)).expect("a commit");
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        run(&keg, &at_once());
        pack(&keg, &all, &mut |_| {}).expect("packed");
        assert_eq!(fs::read(target.join("large")).expect("a read"), noise(10_000, 4));
        assert!(note.is_symlink());
    }
    unmount(&target).expect("an unmount");
    let report = run(&keg, &at_once());
    assert!(report.packs.removed == 1 && !note.is_symlink(), "{report:?}");
    run(&keg, &at_once());
    let blob = Kid::of_blob(&noise(10_000, 4));
    assert_eq!(Keg::open(keg.home()).expect("open").objects().kind(&blob).expect("a look"), None);
}

#[test]
fn what_was_swept_is_mounted_whole() {
    let scratch = Scratch::new();
    let (keg, target) = (scratch.keg(), scratch.dir("target"));
    // Not what the other test mounts: a mount of the same tree counts, wherever it is from.
    let wanted = tree(&keg, 3);
    keg.objects().sync().expect("a sync");
    let kept = Options { trash_ms: Some(3_600_000), ..at_once() };
    let swept = run(&keg, &kept);
    assert!(swept.swept.objects >= 3, "{swept:?}");
    Mounts::new(&keg).read_only(&wanted, &target).expect("a mount");
    assert_eq!(fs::read(target.join("large")).expect("a read"), noise(10_000, 3));
    for _ in 0..2 {
        run(&keg, &at_once());
        assert_eq!(fs::read(target.join("large")).expect("a read"), noise(10_000, 3));
    }
}
