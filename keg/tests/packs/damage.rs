//! Flipped bits, torn files, lost indexes: named, never served.

use std::fs;

use super::*;

/// The data file of the only pack.
fn data_file(sample: &Sample) -> PathBuf {
    let name = &list(&sample.keg).unwrap()[0].name;
    sample.home().join("packs").join(format!("{name}.pack"))
}

/// Nothing wrong is served; returns how many objects cannot be read, and what the errors say.
fn unreadable(sample: &Sample, keg: &Keg) -> (usize, String) {
    let (mut count, mut said) = (0, String::new());
    for (kid, bytes) in &sample.objects {
        match keg.objects().get(kid) {
            Ok(object) => assert!(object.bytes == *bytes, "{kid} is served wrong"),
            Err(error) => {
                count += 1;
                said = error.to_string();
            }
        }
        let mut read = Vec::new();
        match keg.objects().open_blob(kid).map(|mut reader| reader.read_to_end(&mut read)) {
            Ok(Ok(_)) => assert!(read == *bytes, "{kid} is streamed wrong"),
            Ok(Err(_)) => assert!(read.len() < bytes.len(), "the end is withheld"),
            Err(_) => {}
        }
    }
    (count, said)
}

fn write(file: &Path, bytes: &[u8]) {
    // Another file, as what is open keeps the old one.
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

/// Small, so that every byte can be wrong once.
fn tiny() -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let mut objects = BTreeMap::new();
    let mut bytes = b"some text that packs well. ".repeat(90);
    let mut trees = Vec::new();
    for n in 0..3u8 {
        bytes[100] = n;
        let file = |name: &str| (name.to_owned(), bytes.clone());
        let entry = put_tree(&keg, &BTreeMap::from([file("a")]));
        trees.push(entry.kid().unwrap());
        keg.commit(Txn::new("t", "m").set(path("/app"), entry)).unwrap();
        objects.insert(Kid::of_blob(&bytes), bytes.clone());
    }
    let sample = Sample { dir, keg, objects, trees };
    pack_all(&sample.keg);
    assert_eq!(sample.loose(), 0);
    sample
}

#[test]
fn every_wrong_byte_of_a_pack_is_found_and_nothing_wrong_is_served() {
    let sample = tiny();
    for file in [data_file(&sample), data_file(&sample).with_extension("idx")] {
        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut wrong = good.clone();
            wrong[at] ^= 0x10;
            write(&file, &wrong);
            let keg = sample.reopened();
            let (count, said) = unreadable(&sample, &keg);
            assert!(count == 0 || said.contains("packs/"), "byte {at}: {said}");
            let report = check(&keg);
            assert!(!report.is_clean(), "byte {at} of {}: {report:?}", file.display());
        }
        write(&file, &good);
        assert!(check(&sample.reopened()).is_clean());
    }
}

#[test]
fn every_torn_pack_is_refused_by_name() {
    let sample = tiny();
    for file in [data_file(&sample), data_file(&sample).with_extension("idx")] {
        let good = fs::read(&file).unwrap();
        for cut in 0..good.len() {
            write(&file, &good[..cut]);
            let keg = sample.reopened();
            let (count, said) = unreadable(&sample, &keg);
            assert!(count == 3 && said.contains("packs/"), "cut at {cut}: {count} {said}");
            if cut % 16 == 0 {
                let report = check(&keg);
                let place = |damage: &keg::fsck::Damage| damage.place.clone().unwrap_or_default();
                let named = report.damaged.iter().any(|damage| place(damage).contains("packs/"));
                assert!(named, "cut at {cut}: {report:?}");
            }
        }
        write(&file, &good);
    }
}

#[test]
fn fsck_names_the_pack_the_object_and_the_paths() {
    let sample = Sample::new(2);
    // Of these the last is in a frame of its own right.
    let more = [noise(9, 6 << 20), noise(10, 5000)];
    let files = more.iter().enumerate().map(|(n, bytes)| (n.to_string(), bytes.clone()));
    let entry = put_tree(&sample.keg, &files.collect());
    sample.keg.commit(Txn::new("t", "m").set(path("/more"), entry)).unwrap();
    pack_all(&sample.keg);
    let file = data_file(&sample);
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    write(&file, &bytes);
    let report = check(&sample.reopened());
    let pack = format!("packs/{}", file.file_name().unwrap().to_string_lossy());
    assert!(report.damaged.iter().any(|damage| damage.place.as_deref() == Some(&pack)));
    let object = report.damaged.iter().find(|damage| damage.kid.is_some()).unwrap();
    assert!(object.what.contains(&pack), "{object:?}");
    let stays = report.damaged.iter().find(|damage| damage.paths.contains(&"/app/a-stays".into()));
    assert!(stays.is_some(), "{report:?}");
    // Others may be read as ever, and what is written again is there.
    assert!(sample.reopened().objects().blob(&Kid::of_blob(&more[1])).is_ok());
}

#[test]
fn a_lost_or_damaged_index_is_made_again() {
    let sample = Sample::new(3);
    pack_all(&sample.keg);
    let index = data_file(&sample).with_extension("idx");
    let good = fs::read(&index).unwrap();
    let damages: [&dyn Fn(); 3] =
        [&|| fs::remove_file(&index).unwrap(), &|| write(&index, &good[..good.len() / 2]), &|| {
            write(&index, b"")
        }];
    for damage in damages {
        damage();
        let report = check(&sample.reopened());
        let said = format!("{report:?}");
        assert!(!report.is_clean() && said.contains("makes it again"), "{said}");
        assert_eq!(pack_all(&sample.reopened()).indexes, 1);
        assert_eq!(fs::read(&index).unwrap(), good, "the same index");
        sample.check_reads(&sample.reopened(), "with a new index");
    }
    fs::write(sample.home().join("packs/stray"), b"x").unwrap();
    let report = check(&sample.keg);
    assert_eq!(report.damaged[0].place.as_deref(), Some("packs/stray"));
}

#[test]
fn what_is_damaged_is_not_packed() {
    let sample = Sample::new(1);
    let wrong = [noise(1, 30_000), noise(77, 2 << 20)].map(|bytes| Kid::of_blob(&bytes));
    for kid in &wrong {
        let file = loose(sample.home(), kid);
        let mut bytes = fs::read(&file).unwrap();
        bytes[777] ^= 1;
        write(&file, &bytes);
    }
    let report = pack_all(&sample.keg);
    let mut found = report.damaged.clone();
    found.sort_unstable();
    let mut want = wrong.to_vec();
    want.sort_unstable();
    assert_eq!(found, want);
    assert_eq!((sample.loose(), report.removed), (2, 5));
    assert!(packed(&sample.keg).unwrap().iter().all(|kid| !wrong.contains(kid)));
}

#[test]
fn a_packed_object_that_rots_keeps_its_loose_file() {
    let sample = tiny();
    let kids: Vec<Kid> = sample.objects.keys().copied().collect();
    restore(&sample.keg, &kids).unwrap();
    let file = data_file(&sample);
    let mut bytes = fs::read(&file).unwrap();
    bytes[40] ^= 1;
    write(&file, &bytes);
    let report = pack_all(&sample.reopened());
    assert_eq!((report.already, report.removed, report.damaged.len()), (3, 0, 3), "{report:?}");
    sample.check_reads(&sample.reopened(), "from loose files");
}
