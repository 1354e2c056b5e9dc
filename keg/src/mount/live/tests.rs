//! The live namespace, as root, with real mounts.

use super::*;
use crate::Txn;
use crate::mount::fixture::{Scratch, noise};
use crate::mount::unmount_all_below;

fn set(keg: &Keg, path: &str, bytes: &[u8]) {
    let entry = keg.objects().put_bytes(bytes).expect("put");
    let path: NamePath = path.parse().expect("a path");
    keg.commit(Txn::new("test", "set").set(path, entry)).expect("commit");
}

#[test]
fn each_name_is_its_current_value() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let target = scratch.dir("live");
    set(&keg, "/a/one", b"1");
    let mounts = Mounts::new(&keg);
    let mut live = Live::new(&mounts, &NamePath::root(), &target).expect("mount");
    assert!(live.refresh().unwrap().is_none(), "nothing changed");
    let open = File::open(target.join("a/one")).unwrap();
    for round in 0..40_u64 {
        set(&keg, "/a/one", &noise(3000, round));
        set(&keg, &format!("/b/{round}"), b"new");
        assert!(live.wait(Duration::from_secs(5)).unwrap(), "the bell rings");
        let flip = live.refresh().unwrap().expect("a flip");
        assert_eq!(flip.tree, keg.head().unwrap().tree);
        assert_eq!(fs::read(target.join("a/one")).unwrap(), noise(3000, round));
        assert_eq!(fs::read_dir(target.join("b")).unwrap().count() as u64, round + 1);
    }
    assert_eq!(io::read_to_string(open).unwrap(), "1", "what is open stays");
    let images = fs::read_dir(keg.home().join("img")).unwrap().count();
    assert!(images < 8, "{images} images are left");
    drop(live);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    assert_eq!(unmount_all_below(keg.home()).unwrap(), 0);
    assert_eq!(records(&keg).unwrap().len(), 0);
}

#[test]
fn what_was_packed_comes_back_before_it_shows() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let target = scratch.dir("live");
    for round in 0..3 {
        set(&keg, "/a/one", &noise(300_000, round));
    }
    let options = crate::pack::PackOptions::default();
    crate::pack::pack(&keg, &options, &mut |_| {}).expect("packed");
    let mut live = Live::new(&Mounts::new(&keg), &NamePath::root(), &target).expect("mount");
    assert_eq!(fs::read(target.join("a/one")).unwrap(), noise(300_000, 2));
    let old = keg.version(1).unwrap();
    let path: NamePath = "/a/one".parse().unwrap();
    let entry = keg.get_at(&path, &old).unwrap().expect("it was there");
    let dir = keg.get_at(&"/a".parse().unwrap(), &keg.version(2).unwrap()).unwrap().unwrap();
    let object = crate::erofs::compose::object_path(&entry.kid().unwrap());
    assert!(!keg.home().join("objects").join(&object[1..]).exists(), "it is packed");
    let txn = Txn::new("test", "revert").set(path, entry);
    keg.commit(txn.set("/b".parse().unwrap(), dir)).unwrap();
    live.refresh().unwrap().expect("a flip");
    assert_eq!(fs::read(target.join("a/one")).unwrap(), noise(300_000, 0));
    assert_eq!(fs::read(target.join("b/one")).unwrap(), noise(300_000, 1));
}

#[test]
fn a_directory_may_come_and_go_and_be_a_file() {
    let scratch = Scratch::new();
    let keg = scratch.keg();
    let target = scratch.dir("live");
    let path: NamePath = "/a".parse().unwrap();
    let mut live = Live::new(&Mounts::new(&keg), &path, &target).expect("mount");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    set(&keg, "/a/x", b"1");
    live.refresh().unwrap().expect("a flip");
    keg.commit(Txn::new("test", "rm").remove(path.clone())).unwrap();
    set(&keg, "/a", b"a file");
    let error = live.refresh().expect_err("a file");
    assert!(matches!(error, LiveError::NotADirectory { .. }), "{error:?}");
    assert!(target.join("x").exists(), "it shows what it was");
    keg.commit(Txn::new("test", "rm").remove(path)).unwrap();
    live.refresh().unwrap().expect("a flip");
    assert!(!target.join("x").exists());
    unmount(&target).unwrap();
    set(&keg, "/a/x", b"1");
    let error = live.refresh().expect_err("taken away");
    assert!(matches!(error, LiveError::Mount(MountError::NotMounted { .. })), "{error:?}");
}
