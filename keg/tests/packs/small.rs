//! Cold small blobs in packs.

use keg::{
    gc::{GcError, Options, collect, du, repair},
    ingest::{IngestOptions, ingest},
    testing::at_once,
};
use serde_json::json;

use super::{peer::Peer, trees::log_bytes, *};

/// A text of 4 to 2048 bytes.
fn text(number: u64, version: u64) -> Vec<u8> {
    let mut text = format!("the text {number} of version {version}. ").repeat(80).into_bytes();
    text.truncate(4 + (number * 337 % 2045) as usize);
    text
}

fn texts(version: u64) -> BTreeMap<String, Vec<u8>> {
    (0..450).map(|n| (format!("f{n}"), text(n, version))).collect()
}

/// A Keg with some hundred small files, of which the log has more than a segment that is sealed.
fn sample() -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let entry = put_tree(&keg, &texts(1));
    let trees = vec![entry.kid().unwrap()];
    keg.commit(Txn::new("t", "m").set(path("/app"), entry)).unwrap();
    let objects = texts(1).into_values().map(|bytes| (Kid::of_blob(&bytes), bytes)).collect();
    Sample { dir, keg, objects, trees }
}

fn gc(keg: &Keg, options: &Options) {
    // A child that another test is just starting has this test's locks, too, for a moment.
    let busy = |tried: &Result<_, GcError>| matches!(tried, Err(GcError::Busy));
    let tries = std::iter::repeat_with(|| collect(keg, options, &mut |_| {}));
    tries.take(1_000_000).find(|tried| !busy(tried)).unwrap().unwrap();
}

#[test]
fn small_blobs_leave_the_log_and_read_as_before() {
    let sample = sample();
    let (before, whole) = (sample.reopened(), log_bytes(&sample.keg));
    let extra = [b"".to_vec(), b"1".to_vec()].map(|bytes| (Kid::of_blob(&bytes), bytes));
    let entry = put_tree(&sample.keg, &extra.iter().map(|(k, b)| (k.short(), b.clone())).collect());
    sample.keg.commit(Txn::new("t", "m").set(path("/extra"), entry)).unwrap();
    let report = pack_all(&sample.keg);
    // All but the one without bytes.
    assert_eq!(report.counts.small, sample.objects.len() as u64 + 1, "{report:?}");
    assert!(report.counts.small_bytes > 400_000 && report.packed_bytes < 60_000, "{report:?}");
    assert!(log_bytes(&sample.keg) < whole / 20, "{} of {whole}", log_bytes(&sample.keg));
    let inside = packed(&sample.keg).unwrap();
    assert!(sample.objects.keys().all(|kid| inside.contains(kid)));
    assert_eq!(extra.each_ref().map(|(kid, _)| inside.contains(kid)), [false, true]);
    let fresh = sample.reopened();
    for (keg, what) in [(&sample.keg, "packing"), (&before, "opened before"), (&fresh, "after")] {
        sample.check_reads(keg, what);
        for (kid, bytes) in &extra {
            assert_eq!(&keg.objects().blob(kid).unwrap(), bytes, "{what}");
        }
        let report = check(keg);
        assert!(report.is_clean() && report.unreferenced == 0, "{what}: {report:?}");
    }
    let taken = du(&fresh, &path("/app"), &fresh.head().unwrap()).unwrap().unwrap().total;
    assert!(taken.disk < taken.apparent / 5, "{taken:?}");
    let again = pack_all(&fresh);
    assert_eq!((again.objects, again.packs.len(), again.already), (0, 0, 0), "{again:?}");
}

#[test]
fn a_few_small_blobs_wait_for_more() {
    let sample = sample();
    pack_all(&sample.keg);
    let named = |name: &str, count: usize, version| {
        let mut files: BTreeMap<_, _> = texts(version).into_iter().take(count).collect();
        // Of so many names that there is enough in the log to seal it.
        files.extend((0..6000).map(|n| (format!("same-{version}-{n}"), b"the same".to_vec())));
        let entry = put_tree(&sample.keg, &files);
        sample.keg.commit(Txn::new("t", "m").set(path(name), entry)).unwrap();
        pack_all(&sample.keg)
    };
    let few = named("/few", 50, 2);
    assert!(few.counts.small == 0 && few.counts.trees > 0, "{few:?}");
    let more = named("/more", 300, 3);
    assert!(more.counts.small > 330, "all that waited: {more:?}");
    sample.check_reads(&sample.reopened(), "after");
    assert!(check(&sample.keg).is_clean());
}

#[test]
fn what_is_packed_is_not_written_to_the_log_again() {
    let (sample, files) = (sample(), tempfile::tempdir().unwrap());
    for (name, bytes) in texts(1) {
        std::fs::write(files.path().join(name), bytes).unwrap();
    }
    let take = |keg: &Keg| {
        let entry = ingest(keg.objects(), files.path(), &IngestOptions::default()).unwrap();
        keg.commit(Txn::new("t", "m").set(path("/files"), entry)).unwrap().seq
    };
    let seq = take(&sample.keg);
    pack_all(&sample.keg);
    let (fresh, now) = (sample.reopened(), log_bytes(&sample.keg));
    for (kid, bytes) in &sample.objects {
        let size = bytes.len() as u64;
        assert!(fresh.objects().rely_on(kid, size).unwrap(), "it need not be read again");
        assert!(!fresh.objects().rely_on(kid, size + 1).unwrap(), "of another size");
    }
    assert_eq!(take(&fresh), seq, "nothing has changed");
    fresh.objects().sync().unwrap();
    assert_eq!(log_bytes(&fresh), now);
    // One that is new is written, and the pack of old ones does not matter.
    let new = fresh.objects().put_bytes(b"a new text").unwrap().kid().unwrap();
    fresh.objects().sync().unwrap();
    assert!(log_bytes(&fresh) > now);
    assert_eq!(sample.reopened().objects().blob(&new).unwrap(), b"a new text");
}

#[test]
fn a_history_of_a_small_document_is_differences() {
    const VERSIONS: usize = 101;
    let sample = sample();
    let mut document = noise(5, 1500);
    let mut versions = Vec::new();
    for n in 0..VERSIONS {
        document[n * 14] ^= 1;
        let entry = sample.keg.objects().put_bytes(&document).unwrap();
        let txn = Txn::new("t", "m").set(path("/doc"), entry);
        versions.push((sample.keg.commit(txn).unwrap(), document.clone()));
    }
    let cold = |keg: &Keg| pack(keg, &PackOptions::default(), &mut |_| {}).unwrap();
    let report = cold(&sample.keg);
    // What names need now stays in the log.
    assert_eq!(report.counts.small, VERSIONS as u64 - 1, "{report:?}");
    assert!(report.counts.patched >= 80 && report.packed_bytes < 30_000, "{report:?}");
    let inside = packed(&sample.keg).unwrap();
    let fresh = sample.reopened();
    for (version, bytes) in &versions {
        let entry = fresh.get_at(&path("/doc"), version).unwrap().unwrap();
        assert!(fresh.objects().blob(&entry.kid().unwrap()).unwrap() == *bytes);
        let current = version.seq == versions[VERSIONS - 1].0.seq;
        assert_eq!(inside.contains(&entry.kid().unwrap()), !current);
    }
    sample.check_reads(&fresh, "in use");
    assert!(sample.objects.keys().all(|kid| !inside.contains(kid)), "they are in use");
    assert!(check(&fresh).is_clean());
    // The last one, too, and one that has become large, as differences to what is in packs.
    let report = pack_all(&fresh);
    let (small, patched) = (report.counts.small, report.counts.patched);
    assert!(small == sample.objects.len() as u64 + 1 && patched == 1, "{report:?}");
    let grown = [&document[..], &noise(6, 1000)].concat();
    let entry = fresh.objects().put_bytes(&grown).unwrap();
    fresh.commit(Txn::new("t", "m").set(path("/doc"), entry)).unwrap();
    let report = pack_all(&fresh);
    assert_eq!((report.objects, report.counts.patched), (1, 1), "{report:?}");
    for bytes in [&document, &grown] {
        assert!(fresh.objects().blob(&Kid::of_blob(bytes)).unwrap() == *bytes);
    }
    assert!(check(&fresh).is_clean());
}

#[test]
fn small_blobs_are_collected_and_come_back_for_those_who_rely_on_them() {
    let sample = sample();
    let keep = json!({"keep": "1 version"});
    sample.keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), keep)).unwrap();
    let entry = put_tree(&sample.keg, &texts(2));
    sample.keg.commit(Txn::new("t", "m").set(path("/app"), entry)).unwrap();
    pack_all(&sample.keg);
    gc(&sample.keg, &Options { grace_ms: Some(3_600_000), ..at_once() });
    // A process that has not seen the collection: one is put again, one only named.
    let other = sample.reopened();
    let [put, named] = [10, 20].map(|n| Kid::of_blob(&text(n, 1)));
    let size = sample.objects[&put].len() as u64;
    assert!(!other.objects().rely_on(&put, size).unwrap(), "it is condemned where it is");
    let first = other.objects().put_bytes(&sample.objects[&put]).unwrap();
    let second = Entry::file(named, sample.objects[&named].len() as u64);
    let txn = Txn::new("t", "m").set(path("/put"), first).set(path("/named"), second);
    other.commit(txn).unwrap();
    for _ in 0..3 {
        gc(&sample.keg, &at_once());
    }
    for keg in [&sample.keg, &other, &sample.reopened()] {
        for kid in [put, named] {
            assert_eq!(keg.objects().blob(&kid).unwrap(), sample.objects[&kid]);
        }
        for bytes in texts(2).values() {
            assert_eq!(&keg.objects().blob(&Kid::of_blob(bytes)).unwrap(), bytes);
        }
        assert!(check(keg).is_clean());
    }
    let fresh = sample.reopened();
    let gone = |kid: &&Kid| fresh.objects().kind(kid).unwrap().is_none();
    let gone = sample.objects.keys().filter(gone).count();
    assert!(gone > 400, "{gone}: what the new ones are built upon may stay");
}

#[test]
fn damage_is_named_and_never_served_and_mended_by_a_peer() {
    let (sample, twin) = (sample(), sample());
    // So small a directory stays in the log, and what is in it can be called by its name.
    let few = texts(1).into_iter().take(3).collect();
    let entry = put_tree(&sample.keg, &few);
    sample.keg.commit(Txn::new("t", "m").set(path("/few"), entry)).unwrap();
    pack_all(&sample.keg);
    let name = &list(&sample.keg).unwrap()[0].name;
    let file = sample.home().join("packs").join(format!("{name}.pack"));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[200] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    let keg = sample.reopened();
    for (kid, bytes) in &sample.objects {
        match keg.objects().get(kid) {
            Ok(object) => assert!(object.bytes == *bytes, "{kid} is served wrong"),
            Err(error) => assert!(error.to_string().contains("packs/"), "{error}"),
        }
    }
    let found = check(&keg);
    for name in few.keys() {
        let path = format!("/few/{name}");
        let named = found.damaged.iter().find(|damage| damage.paths.contains(&path));
        assert!(named.is_some_and(|damage| damage.what.contains("packs/")), "{path}");
    }
    let mended = repair(&keg, &found, &[&Peer(twin.keg.clone())], &mut |_| {}).unwrap();
    assert!(mended.is_complete());
    sample.check_reads(&keg, "mended");
    sample.check_reads(&sample.reopened(), "mended, opened again");
}
