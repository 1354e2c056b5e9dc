//! Few packs instead of many.

use super::*;

/// A version of a file that changes a little, packed by itself.
fn night(keg: &Keg, number: u8, bytes: &mut [u8]) -> Kid {
    bytes[1000 + usize::from(number)] ^= 0x40;
    let mut files = BTreeMap::from([("f".to_owned(), bytes.to_vec())]);
    files.insert("new".to_owned(), noise(u64::from(number), 3000));
    let entry = put_tree(keg, &files);
    keg.commit(Txn::new("t", "m").set(path("/app"), entry)).unwrap();
    Kid::of_blob(bytes)
}

#[test]
fn many_small_packs_become_few_and_read_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let before = Keg::open(dir.path()).unwrap();
    let mut bytes = noise(900, 60_000);
    let (mut kids, mut joined, mut most) = (Vec::new(), 0, 0);
    for number in 0..20 {
        kids.push((night(&keg, number, &mut bytes), bytes.clone()));
        let report = pack_all(&keg);
        assert_eq!(report.damaged, [], "{report:?}");
        joined += report.joined.packs;
        most = most.max(list(&keg).unwrap().len());
        if number == 5 {
            // Knows packs that will not be there.
            assert_eq!(before.objects().blob(&kids[0].0).unwrap(), kids[0].1);
        }
    }
    assert!(joined >= 20 && most <= 4, "{joined} packs joined, {most} at once at most");
    for keg in [&keg, &before, &Keg::open(dir.path()).unwrap()] {
        for (kid, bytes) in &kids {
            assert!(keg.objects().blob(kid).unwrap() == *bytes, "{kid}");
        }
        assert!(check(keg).is_clean());
    }
    // 60 KB and 20 times 3 KB that do not pack, and differences.
    let bytes: u64 = list(&keg).unwrap().iter().map(|pack| pack.bytes).sum();
    assert!(bytes < 150_000, "{bytes}");
    assert_eq!(packed(&keg).unwrap().len(), 40);
}

#[test]
fn a_damaged_pack_is_not_joined_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let mut bytes = noise(900, 60_000);
    for number in 0..3 {
        night(&keg, number, &mut bytes);
        pack_all(&keg);
    }
    let name = list(&keg).unwrap()[0].name.clone();
    let file = dir.path().join("packs").join(format!("{name}.pack"));
    let mut wrong = std::fs::read(&file).unwrap();
    wrong[30] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, wrong).unwrap();
    night(&keg, 3, &mut bytes);
    let report = pack_all(&keg);
    assert_eq!((report.joined.packs, report.joined.left.len()), (0, 4), "{report:?}");
    assert_eq!(list(&keg).unwrap().len(), 4);
}

#[test]
fn packs_of_the_first_format_are_joined_with_others() {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let mut bytes = noise(900, 60_000);
    let kids: Vec<Kid> = (0..3)
        .map(|number| {
            let kid = night(&keg, number, &mut bytes);
            pack_all(&keg);
            kid
        })
        .collect();
    // Two texts, and one that differs from the first.
    let first = b"The quick brown fox jumps over the lazy dog. ".repeat(50);
    let third = [&first[..1000], b"Sphinx of black quartz, judge my vow. "].concat();
    let mut golden =
        include_str!("../golden/pack.txt").lines().map(|line| hex::decode(line).unwrap());
    let data = golden.next().unwrap();
    let name = dir.path().join("packs").join(Kid::of_blob(&data).to_hex());
    std::fs::write(name.with_extension("pack"), data).unwrap();
    std::fs::write(name.with_extension("idx"), golden.next().unwrap()).unwrap();
    let fresh = Keg::open(dir.path()).unwrap();
    assert_eq!(fresh.objects().blob(&Kid::of_blob(&third)).unwrap(), third);
    let report = pack_all(&keg);
    assert_eq!((report.joined.packs, report.joined.into), (4, 1), "{report:?}");
    assert!(!name.with_extension("pack").exists());
    for keg in [&keg, &fresh, &Keg::open(dir.path()).unwrap()] {
        for text in [&first, &third, &noise(1, 100)] {
            assert_eq!(&keg.objects().blob(&Kid::of_blob(text)).unwrap(), text);
        }
        kids.iter().for_each(|kid| assert_eq!(keg.objects().blob(kid).unwrap().len(), 60_000));
        assert!(check(keg).is_clean());
    }
}
