//! Connections that break anywhere, disks that fail: what has come stays, the next pull ends it.

use super::*;
use crate::store::{Fault, FaultyStore, FileStore};

/// Numbers that look random and are the same each time.
fn seeded(seed: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |n: u64| u64::from_le_bytes(noise(seed ^ n << 32, 8).try_into().expect("8")))
}

#[test]
fn a_pull_that_breaks_anywhere_goes_on_from_there() {
    let (_one, there) = new_keg();
    set(&there, "/t", sample(&there, 1));
    let whole = {
        let (_two, here) = new_keg();
        let mut way = Direct::to(&there);
        pull_same(&here, &mut way, "/t").unwrap();
        way.down
    };
    for cut in seeded(1).take(6).map(|n| n % whole) {
        let (_two, here) = new_keg();
        let mut way = Direct::to(&there);
        let trees = {
            // The length of the first answer tells where the cut is.
            let mut probe = Direct::to(&there);
            probe.cut_answer = Some(0);
            assert!(pull_same(&here, &mut probe, "/t").unwrap_err().is_connection());
            probe.down
        };
        let mut broken = Cut { way: Direct::to(&there), first: trees, at: cut };
        let error = usually(|o| pull(&here, &mut broken, &path("/t"), &path("/t"), o)).unwrap_err();
        assert!(error.is_connection(), "cut at {cut}: {error}");
        assert_eq!(here.get(&path("/t")).unwrap(), None, "no name before it is whole");
        check_clean(&here);
        // Another process goes on.
        let here = Keg::open(here.home()).unwrap();
        let pulled = pull_same(&here, &mut way, "/t").unwrap();
        assert!(pulled.changed);
        assert_eq!(here.get(&path("/t")).unwrap(), there.get(&path("/t")).unwrap());
        let again = cut + way.down;
        assert!(again < whole + (5 << 20), "cut at {cut}: {again} of {whole} bytes in all");
        assert!(
            std::fs::read_dir(here.home().join("tmp"))
                .unwrap()
                .flatten()
                .all(|entry| { !entry.file_name().to_string_lossy().starts_with("sync-") })
        );
        check_clean(&here);
    }
}

/// Breaks after `at` bytes of both answers together.
struct Cut {
    way: Direct,
    first: u64,
    at: u64,
}

impl Transport for Cut {
    fn name(&self) -> &str {
        "direct"
    }

    fn exchange<'a>(&'a mut self, verb: Verb, body: Body<'_>) -> io::Result<Box<dyn Read + 'a>> {
        self.way.cut_answer = match verb {
            Verb::Trees if self.at >= self.first => None,
            Verb::Trees => Some(self.at.max(1)),
            _ => Some((self.at - self.first).max(1)),
        };
        self.way.exchange(verb, body)
    }
}

#[test]
fn a_large_blob_goes_on_from_its_last_whole_group() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    put(&there, "/big", &noise(1, 20 << 20));
    for cut in [1 << 20, 9 << 20, 15 << 20] {
        let first = {
            let mut probe = Direct::to(&there);
            probe.cut_answer = Some(0);
            pull_same(&here, &mut probe, "/big").unwrap_err();
            probe.down
        };
        let mut broken = Cut { way: Direct::to(&there), first, at: cut };
        let pulled = usually(|o| pull(&here, &mut broken, &path("/big"), &path("/big"), o));
        if cut < 15 << 20 {
            assert!(pulled.unwrap_err().is_connection());
        } else {
            pulled.expect("20 MiB less 1 and 9 that were there");
        }
    }
    assert_eq!(here.get(&path("/big")).unwrap(), there.get(&path("/big")).unwrap());
    check_clean(&here);
}

#[test]
fn a_part_that_rotted_is_noticed_and_fetched_again() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    put(&there, "/big", &noise(1, 12 << 20));
    let kid = there.get(&path("/big")).unwrap().unwrap().kid().unwrap();
    let part = here.home().join("tmp").join(format!("sync-{kid}.part"));
    std::fs::write(&part, noise(2, 5 << 20)).unwrap();
    let error = pull_same(&here, &mut Direct::to(&there), "/big").unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert!(!part.exists());
    pull_same(&here, &mut Direct::to(&there), "/big").unwrap();
    check_clean(&here);
}

#[test]
fn parts_that_nobody_comes_back_for_go_after_a_week() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    put(&there, "/x", b"small");
    let days = |count: u64| std::time::Duration::from_secs(count * 24 * 3600);
    let parts = [6, 8].map(|age| {
        let kid = crate::Kid::of_blob(&[age as u8]);
        let path = here.home().join("tmp").join(format!("sync-{kid}.part"));
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - days(age)).unwrap();
        path
    });
    check_clean(&here);
    pull_same(&here, &mut Direct::to(&there), "/x").unwrap();
    assert_eq!(parts.map(|path| path.exists()), [true, false]);
}

#[test]
fn a_large_file_with_holes_is_written_once() {
    use std::os::unix::fs::MetadataExt as _;
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    let mut bytes = noise(1, 12 << 20);
    bytes[2 << 20..7 << 20].fill(0);
    bytes[11 << 20..].fill(0);
    put(&there, "/sparse", &bytes);
    pull_same(&here, &mut Direct::to(&there), "/sparse").unwrap();
    let kid = here.get(&path("/sparse")).unwrap().unwrap().kid().unwrap();
    assert_eq!(here.objects().blob(&kid).unwrap(), bytes);
    let hex = kid.to_hex();
    let file = here.home().join("objects").join(&hex[..2]).join(&hex[2..]);
    let meta = std::fs::metadata(file).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o444);
    assert!(meta.blocks() * 512 < 8 << 20, "{} blocks", meta.blocks());
    check_clean(&here);
}

#[test]
fn a_push_that_breaks_anywhere_moves_nothing_and_can_be_pushed_again() {
    let (_two, here) = new_keg();
    set(&here, "/t", sample(&here, 1));
    for cut in seeded(2).take(4).map(|n| n % (6 << 20)) {
        let (_one, there) = new_keg();
        put(&there, "/t", b"before");
        let before = there.head().unwrap();
        let mut broken = CutRequest(Direct::to(&there), cut);
        forced(|o| push(&here, &mut broken, &path("/t"), &path("/t"), o)).unwrap_err();
        assert_eq!(there.head().unwrap(), before, "cut at {cut}");
        check_clean(&there);
        let mut way = Direct::to(&there);
        forced(|o| push(&here, &mut way, &path("/t"), &path("/t"), o)).unwrap();
        assert_eq!(here.get(&path("/t")).unwrap(), there.get(&path("/t")).unwrap());
        check_clean(&there);
    }
}

/// Cuts off the request with the pack.
struct CutRequest(Direct, u64);

impl Transport for CutRequest {
    fn name(&self) -> &str {
        "direct"
    }

    fn exchange<'a>(&'a mut self, verb: Verb, body: Body<'_>) -> io::Result<Box<dyn Read + 'a>> {
        self.0.cut_request = (verb == Verb::OfferPack).then_some(self.1);
        self.0.exchange(verb, body)
    }
}

#[test]
fn failing_stores_are_told_and_leave_nothing_half() {
    let (_one, there) = new_keg();
    set(&there, "/t", sample(&there, 1));
    for fault in [Fault::DiskFull, Fault::WriteError, Fault::ReadError] {
        for healthy in [0, 8, 17] {
            let dir = tempfile::tempdir().unwrap();
            let store = FaultyStore::new(FileStore::create(dir.path()).unwrap(), fault, healthy);
            let here = Keg::with_store(dir.path(), Box::new(store));
            let pulled = pull_same(&here, &mut Direct::to(&there), "/t");
            drop(here);
            let here = Keg::open(dir.path()).unwrap();
            let done = here.get(&path("/t")).unwrap().is_some();
            assert!(!done || pulled.is_ok(), "{fault:?} after {healthy}");
            check_clean(&here);
            pull_same(&here, &mut Direct::to(&there), "/t").unwrap();
            assert_eq!(here.get(&path("/t")).unwrap(), there.get(&path("/t")).unwrap());
            check_clean(&here);
        }
    }
    // A Keg that cannot read what it serves says so; what came is whole.
    for healthy in [0, 10, 40] {
        let (_two, here) = new_keg();
        let store = FileStore::open(there.home()).unwrap();
        let store = FaultyStore::new(store, Fault::BitFlip, healthy);
        let rotten = Keg::with_store(there.home(), Box::new(store));
        if let Err(error) = pull_same(&here, &mut Direct::to(&rotten), "/t") {
            assert!(error.to_string().contains("the other Keg says"), "{error}");
        }
        check_clean(&here);
    }
}
