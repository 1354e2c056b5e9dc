//! The bytes of a pack, and packs that lie.

use std::{path::Path, sync::Arc};

use super::*;
use crate::{Kid, object::Kind, store::StoreError, testing::noise};

/// A Keg's directory with nothing but packs.
fn home() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    crate::store::format::write(dir.path()).unwrap();
    dir
}

fn writer(home: &Path) -> PackWriter {
    PackWriter::create(home.join("pack-being-written")).unwrap()
}

fn slice(block: u64, start: u32, len: u64) -> Piece {
    Piece { len, source: Source::Slice { block, start } }
}

fn read(set: &Arc<PackSet>, kid: &Kid) -> Result<Vec<u8>, StoreError> {
    let found = set.find(kid)?.ok_or(StoreError::Missing { kid: *kid })?;
    PackedBlob::new(set, *kid, found, Prefer::Packed).read_whole()
}

/// A pack with one object of each kind of piece: two texts, a third that differs from them, and one
/// that is in its recipe.
fn example(home: &Path) -> (Kid, Vec<Vec<u8>>) {
    let first = b"The quick brown fox jumps over the lazy dog. ".repeat(50);
    let second = noise(1, 100);
    let mut third = first[..1000].to_vec();
    third.extend_from_slice(b"Sphinx of black quartz, judge my vow. ");
    let mut writer = writer(home);
    let both = [&first[..], &second[..]].concat();
    let frame = writer.block(both.len(), &compress(&[], &both, 9).unwrap()).unwrap();
    let tail = &third[500..];
    let patch = writer.block(tail.len(), &compress(&first[..600], tail, 9).unwrap()).unwrap();
    let solid = |start, len: usize| Recipe {
        kind: Kind::Blob,
        size: len as u64,
        base: None,
        pieces: vec![slice(frame, start, len as u64)],
        within: Within::default(),
    };
    let base = Base { kid: Kid::of_blob(&first), depth: 1 };
    let source = Source::Patch { block: patch, from: 0, prefix: 600 };
    let pieces = vec![
        Piece { len: 500, source: Source::Copy { from: 0 } },
        Piece { len: tail.len() as u64, source },
    ];
    writer.object(Kid::of_blob(&first), &solid(0, first.len()));
    writer.object(Kid::of_blob(&second), &solid(first.len() as u32, second.len()));
    let (size, within) = (third.len() as u64, Within::default());
    let recipe = Recipe { kind: Kind::Blob, size, base: Some(base), pieces, within };
    writer.object(Kid::of_blob(&third), &recipe);
    let fourth = [&first[..50], Kid::of_blob(&second).as_bytes(), &first[50..900]].concat();
    let names = vec![base.kid, Kid::of_blob(&second)];
    let prefix = [&first[..], base.kid.as_bytes(), names[1].as_bytes()].concat();
    let frame = bare(&compress(&prefix, &fourth, 9).unwrap()).to_vec();
    assert!(frame.len() < 40, "{}", frame.len());
    let source = Source::Within { prefix: first.len() as u32 };
    let recipe = Recipe {
        size: fourth.len() as u64,
        pieces: vec![Piece { len: fourth.len() as u64, source }],
        within: Within { names, frame },
        ..recipe
    };
    writer.object(Kid::of_blob(&fourth), &recipe);
    (writer.finish(home).unwrap(), vec![first, second, third, fourth])
}

#[test]
fn a_keg_with_a_wide_block_says_so() {
    let (wide, bytes) = (home(), vec![7; NARROW + 1]);
    let says_so = |home: &Path| {
        let format = std::fs::read_to_string(home.join("format.json")).unwrap();
        format.contains(WIDE)
    };
    // Returns the only pack.
    let pack = |home: &Path, len: usize| {
        let (mut writer, kid) = (writer(home), Kid::of_blob(&bytes[..len]));
        let at = writer.block(len, &compress(&[], &bytes[..len], 1).unwrap()).unwrap();
        let pieces = vec![slice(at, 0, len as u64)];
        let (base, within) = (None, Within::default());
        writer.object(kid, &Recipe { kind: Kind::Blob, size: len as u64, base, pieces, within });
        let name = writer.finish(home).unwrap();
        assert!(read(&PackSet::new(home), &kid).unwrap() == bytes[..len]);
        Pack::open(home, &name).unwrap()
    };
    pack(wide.path(), NARROW);
    assert!(!says_so(wide.path()));
    let stored = pack(wide.path(), NARROW + 1).stored(open::MAGIC as u64).unwrap();
    assert!(says_so(wide.path()));
    // One that is taken from another pack, as where packs are joined.
    let joined = home();
    let mut writer = writer(joined.path());
    writer.copy(&stored).unwrap();
    writer.finish(joined.path()).unwrap();
    assert!(says_so(joined.path()));
}

/// Puts a pack from golden bytes into a directory; returns its name and the bytes of its index.
fn golden(home: &Path, text: &str) -> (Kid, Vec<u8>) {
    let mut lines = text.lines().map(|line| hex::decode(line).unwrap());
    let (data, index) = (lines.next().unwrap(), lines.next().unwrap());
    let name = Kid::of_blob(&data);
    std::fs::create_dir(directory(home)).unwrap();
    std::fs::write(open::data_path(home, &name), &data).unwrap();
    std::fs::write(open::index_path(home, &name), &index).unwrap();
    (name, index)
}

const GOLDEN: &str = include_str!("../../../tests/golden/pack-listed.txt");
/// Of the first format, which is read, and written no more.
const FIRST: &str = include_str!("../../../tests/golden/pack.txt");

#[test]
fn golden_bytes_never_change() {
    let other = home();
    let (made, objects) = example(other.path());
    // Written: another zstd may make other frames, and then other golden bytes are as good.
    let written = std::fs::read(open::data_path(other.path(), &made)).unwrap();
    let index = std::fs::read(open::index_path(other.path(), &made)).unwrap();
    assert_eq!(format!("{}\n{}\n", hex::encode(written), hex::encode(index)), GOLDEN);
    // Read: whatever zstd makes of them today, these bytes are these objects.
    for (text, count) in [(FIRST, 3), (GOLDEN, 4)] {
        let dir = home();
        golden(dir.path(), text);
        let set = PackSet::new(dir.path());
        for bytes in &objects[..count] {
            assert_eq!(&read(&set, &Kid::of_blob(bytes)).unwrap(), bytes);
        }
        assert_eq!(set.all().unwrap().0[0].kids().count(), count);
    }
}

#[test]
fn an_index_made_again_is_the_same() {
    for text in [FIRST, GOLDEN] {
        let dir = home();
        let (name, good) = golden(dir.path(), text);
        let path = open::index_path(dir.path(), &name);
        std::fs::remove_file(&path).unwrap();
        rebuild_index(dir.path(), &name).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), good);
    }
}

/// What reading an object says whose recipe is this, in a pack with one block of 3000 bytes.
fn refused(kid: Kid, base: Option<(Kid, Recipe)>, recipe: impl FnOnce(u64) -> Recipe) -> String {
    let dir = home();
    let mut writer = writer(dir.path());
    let block = writer.block(3000, &compress(&[], &noise(9, 3000), 1).unwrap()).unwrap();
    writer.object(kid, &recipe(block));
    if let Some((kid, recipe)) = base {
        writer.object(kid, &recipe);
    }
    let name = writer.finish(dir.path()).unwrap();
    let error = read(&PackSet::new(dir.path()), &kid).expect_err("a lie").to_string();
    assert!(error.contains(&display(&name)) || error.contains(&kid.to_string()), "{error}");
    let mut found = Vec::new();
    audit_packs(dir.path(), &mut |audited| {
        if let crate::store::Audited::Object { kid: bad, damage: Some(what), .. } = audited
            && bad == kid
        {
            found.push(what);
        }
    })
    .unwrap();
    assert!(found.len() == 1 && found[0].contains(&display(&name)), "fsck: {found:?}");
    error
}

#[test]
fn packs_that_lie_are_refused() {
    let kid = Kid::of_blob(b"what it says it is");
    let solid = |piece: Piece| Recipe {
        kind: Kind::Blob,
        size: piece.len,
        base: None,
        pieces: vec![piece],
        within: Within::default(),
    };
    let check = |want: &str, error: String| assert!(error.contains(want), "{want}: {error}");
    check("hash to another KID", refused(kid, None, |block| solid(slice(block, 0, 3000))));
    check("too short", refused(kid, None, |block| solid(slice(block, 2000, 3000))));
    check("impossible lengths", refused(kid, None, |block| solid(slice(block + 1, 0, 10))));
    check("no block", refused(kid, None, |_| solid(slice(3, 0, 10))));
    check("no block", refused(kid, None, |_| solid(slice(u64::MAX, 0, 10))));
    let bomb = |block| Recipe {
        kind: Kind::Blob,
        size: 1 << 32,
        base: None,
        pieces: vec![slice(block, 0, 1 << 22); 1 << 10],
        within: Within::default(),
    };
    check("too short", refused(kid, None, bomb));
}

#[test]
fn chains_that_lie_are_refused() {
    let (kid, other) = (Kid::of_blob(b"one"), Kid::of_blob(b"two"));
    let copy = |from, len| Piece { len, source: Source::Copy { from } };
    let based = |kid, depth, pieces: Vec<Piece>| Recipe {
        kind: Kind::Blob,
        size: pieces.iter().map(|piece| piece.len).sum(),
        base: Some(Base { kid, depth }),
        pieces,
        within: Within::default(),
    };
    let check = |want: &str, base, recipe: &dyn Fn(u64) -> Recipe| {
        let error = refused(kid, base, recipe);
        assert!(error.contains(want), "{want}: {error}");
    };
    check("a cycle", None, &|_| based(kid, 8, vec![copy(0, 10)]));
    let back = based(kid, 8, vec![copy(0, 10)]);
    check("a cycle", Some((other, back)), &|_| based(other, 8, vec![copy(0, 10)]));
    let back = based(kid, 7, vec![copy(0, 10)]);
    check("a cycle", Some((other, back)), &|_| based(other, 8, vec![copy(0, 10)]));
    check("is not here", None, &|_| based(other, 1, vec![copy(0, 10)]));
    let (pieces, within) = (vec![slice(8, 0, 100)], Within::default());
    let short = Recipe { kind: Kind::Blob, size: 100, base: None, pieces, within };
    let base = || Some((other, short.clone()));
    check("shorter than its use", base(), &|_| based(other, 1, vec![copy(95, 10)]));
    check("shorter than its use", base(), &|_| based(other, 1, vec![copy(1 << 40, 10)]));
    check("hash to another", base(), &|_| based(other, 1, vec![copy(0, 10)]));
    let patch = |len| Piece { len, source: Source::Patch { block: 8, from: 0, prefix: 50 } };
    check("another length", base(), &|_| based(other, 1, vec![patch(10)]));
    let inside = |prefix, len, raw: &[u8]| {
        let frame = bare(&compress(&[], raw, 1).unwrap()).to_vec();
        let pieces = vec![Piece { len, source: Source::Within { prefix } }];
        Recipe { within: Within { names: vec![kid], frame }, ..based(other, 1, pieces) }
    };
    check("hash to another", base(), &|_| inside(50, 10, &[7; 10]));
    check("unpacks to 9 bytes", base(), &|_| inside(50, 10, &[7; 9]));
    check("frame is damaged", base(), &|_| inside(50, 10, &[7; 11]));
    check("shorter than its use", base(), &|_| inside(101, 10, &[7; 10]));
    // Copies of copies: each level promises a hundred times the one below.
    let many = based(other, 1, vec![copy(0, 100); 4000]);
    let bomb = based(kid, 2, vec![copy(0, 400_000); 4000]);
    let dir = home();
    let mut writer = writer(dir.path());
    let block = writer.block(3000, &compress(&[], &noise(9, 3000), 1).unwrap()).unwrap();
    writer.object(other, &Recipe { pieces: vec![slice(block, 0, 100)], ..short.clone() });
    writer.object(kid, &many);
    let third = Kid::of_blob(b"three");
    writer.object(third, &bomb);
    writer.finish(dir.path()).unwrap();
    let store = PackSet::new(dir.path());
    let found = store.find(&third).unwrap().unwrap();
    assert!(found.recipe.size > crate::store::MAX_IN_MEMORY, "`get` refuses it by its size");
}
