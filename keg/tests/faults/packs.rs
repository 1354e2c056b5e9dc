//! Jobs on the cold side: packing, joining packs, and taking garbage out of them.

use std::path::Path;

use keg::{
    Keg, Kid, Txn,
    object::{EntryName, Tree},
    pack::{PackOptions, Which, list, pack, packed},
    testing::noise,
};
use serde_json::json;

use super::jobs::{Done, Job, collect_at_once, expect, path, put_directory};

pub const PACK: Job =
    Job { name: "pack", prepare: versions, run: pack_all, done: |keg| expect(keg, "/app") };
pub const JOIN: Job = Job { name: "join", prepare: nights, run: join, done: joined };
pub const SWEEP: Job = Job { name: "sweep", prepare: waste, run: sweep, done: swept };

/// Names a directory of these files, beside what is in it already.
fn name_files(keg: &Keg, files: &[(&str, &[u8])], mut tree: Tree) {
    for (name, bytes) in files {
        let entry = keg.objects().put_bytes(bytes).unwrap();
        tree.entries.insert(EntryName::new(*name).unwrap(), entry);
    }
    let entry = keg.objects().put_tree(&tree).unwrap();
    keg.commit(Txn::new("t", "m").set(path("/app"), entry)).unwrap();
}

/// Packs all there is, into packs of about so many bytes: those that have half of it are not joined.
fn pack_into(keg: &Keg, max_pack: u64) -> Result<keg::pack::Report, keg::pack::PackError> {
    let options = PackOptions { which: Which::All, level: 1, max_pack, ..PackOptions::default() };
    let report = pack(keg, &options, &mut |_| {})?;
    assert!(report.damaged.is_empty(), "{report:?}");
    Ok(report)
}

/// Two versions of small and large files that differ a little. Those of the log are enough that it
/// is sealed, and they leave it.
fn versions(root: &Path) {
    let keg = Keg::create(&root.join("keg")).unwrap();
    let mut bytes = [noise(1, 9000), noise(2, 1 << 20)];
    for version in 0..2 {
        bytes.iter_mut().for_each(|bytes| bytes[4000] = version);
        let mut tree = Tree::default();
        let small = put_directory(&keg, u64::from(version), &[2000; 140]).unwrap();
        tree.entries.insert(EntryName::new("small").unwrap(), small);
        name_files(&keg, &[("f0", &bytes[0]), ("f1", &bytes[1])], tree);
    }
}

fn pack_all(keg: &Keg, _: &Path) -> Done {
    pack_into(keg, 1 << 20)?;
    Ok(())
}

/// The files of a night: one that changes a little from night to night, and a new one.
fn night(number: u8) -> [Vec<u8>; 2] {
    let mut same = noise(900, 20_000);
    (0..=number).for_each(|number| same[1000 + usize::from(number)] ^= 0x40);
    [same, noise(u64::from(number), 3000)]
}

/// Nights, each packed by itself.
const NIGHTS: u8 = 4;

/// Four packs, of which three have differences to what is in others.
fn nights(root: &Path) {
    let keg = Keg::create(&root.join("keg")).unwrap();
    for number in 0..NIGHTS {
        let [same, new] = night(number);
        name_files(&keg, &[("same", &same), ("new", &new)], Tree::default());
        pack_into(&keg, 5000).unwrap();
    }
    assert_eq!(list(&keg).unwrap().len(), usize::from(NIGHTS));
}

fn join(keg: &Keg, _: &Path) -> Done {
    let report = pack_into(keg, 1 << 30)?;
    assert!(report.joined.left.is_empty(), "{report:?}");
    Ok(())
}

/// So few packs that they need not be joined, with all in them. Who dies after the new one is there
/// leaves some of the old ones, which the next join takes along.
fn joined(keg: &Keg) {
    assert!(list(keg).unwrap().len() < usize::from(NIGHTS));
    let packed = packed(keg).unwrap();
    for number in 0..NIGHTS {
        for bytes in night(number) {
            let kid = Kid::of_blob(&bytes);
            assert!(packed.contains(&kid), "{kid}");
            assert!(keg.objects().blob(&kid).unwrap() == bytes, "{kid}");
        }
    }
}

const STAYS: u64 = 1;
const GOES: u64 = 2;

/// A pack of which half is garbage, and one that is.
fn waste(root: &Path) {
    let keg = Keg::create(&root.join("keg")).unwrap();
    let document = json!({"keep": "1 version"});
    keg.commit(Txn::new("t", "m").set_json(path("/-/gc.json"), document)).unwrap();
    let [stays, goes, alone] = [STAYS, GOES, GOES + 1].map(|seed| noise(seed, 9000));
    name_files(&keg, &[("stays", &stays), ("goes", &goes)], Tree::default());
    pack_into(&keg, 1 << 30).unwrap();
    name_files(&keg, &[("stays", &stays), ("alone", &alone)], Tree::default());
    pack_into(&keg, 1 << 30).unwrap();
    name_files(&keg, &[("stays", &stays)], Tree::default());
    assert_eq!(list(&keg).unwrap().len(), 2);
}

/// Condemns, sweeps, empties the trash.
fn sweep(keg: &Keg, _: &Path) -> Done {
    for _ in 0..3 {
        collect_at_once(keg)?;
    }
    Ok(())
}

/// What is needed is in packs, and nothing else.
fn swept(keg: &Keg) {
    let packed = packed(keg).unwrap();
    let has = |seed| packed.contains(&Kid::of_blob(&noise(seed, 9000)));
    assert_eq!([STAYS, GOES, GOES + 1].map(has), [true, false, false]);
    assert!(keg.objects().blob(&Kid::of_blob(&noise(STAYS, 9000))).unwrap() == noise(STAYS, 9000));
}
