//! Packs that cost, reach for what is not theirs, or meet a full disk.

use std::time::{Duration, Instant};

use super::{
    BLOB,
    craft::{Entry, Pack, commit, id, tree},
    oracle::{Oracle, Verdict},
};
use crate::world::World;

/// Packs that unfold to much more than they weigh end soon, taken or refused.
pub fn bombs() {
    let oracle = Oracle::new();
    let timed = |what: &str, pack: &Pack| {
        let start = Instant::now();
        let (verdict, said) = oracle.ours(pack);
        let (took, weight) = (start.elapsed(), pack.bytes.len() >> 10);
        println!("{what}: {weight} KiB, {verdict:?} in {took:.2?}, {} MiB", oracle.peak_mib());
        assert!(oracle.peak_mib() <= 512, "{what} took {} MiB", oracle.peak_mib());
        assert!(took < Duration::from_secs(60), "{what} took {took:?}");
        (verdict, said)
    };
    // A gigabyte of zeros in a megabyte.
    let zeros = Pack::of_last(vec![Entry::zeros("blob", 1 << 30)]);
    let (verdict, said) = timed("1 GiB of zeros", &zeros);
    assert_eq!(verdict, Verdict::Refused);
    assert!(said.contains("too much data for its size"), "{said}");
    // 64 KiB copied 200 times, and that 100 times, 200 times.
    let mut entries =
        vec![Entry::zeros("blob", 0x10000), Entry::ofs(0, &copies(0x10000, 200, 0x10000))];
    for _ in 0..200 {
        entries.push(Entry::ofs(1, &copies(200 * 0x10000, 100, 0xff_ffff)));
    }
    let (verdict, _) = timed("a delta bomb", &Pack::of_last(entries));
    assert_eq!(verdict, Verdict::Refused);
    // A chain of 70,000 deltas, each adding a byte.
    let mut entries = vec![Entry::whole("blob", &[b'x'; 100])];
    for n in 0..70_000 {
        let delta = [copies(100 + n, 1, 100 + n), vec![1, b'0' + (n % 10) as u8]].concat();
        entries.push(Entry::ofs(n as usize, &resized(delta, 100 + n, 101 + n)));
    }
    timed("a chain of 70,000", &Pack::of_last(entries.clone()));
    entries.truncate(5000);
    assert_eq!(timed("a chain of 5,000", &Pack::of_last(entries)).0, Verdict::Taken);
    // Trees 5,000 deep: kept as a tag, for nobody builds it.
    let mut deep = vec![Entry::whole("blob", BLOB)];
    let mut root = tree(&[("100644", "f", &id("blob", BLOB))]);
    for _ in 0..5000 {
        deep.push(Entry::whole("tree", &root));
        root = tree(&[("40000", "d", &id("tree", &root))]);
    }
    deep.push(Entry::whole("tree", &root));
    deep.push(Entry::whole("commit", commit(&id("tree", &root)).as_bytes()));
    assert_eq!(timed("trees 5,000 deep", &Pack::of_commit(deep)).0, Verdict::Taken);
}

/// A delta that copies the first `size` bytes of its base several times.
fn copies(base: u64, count: u64, size: u64) -> Vec<u8> {
    let mut delta = [number(base), number(count * size)].concat();
    for _ in 0..count {
        delta.push(0xf0);
        delta.extend_from_slice(&(size as u32).to_le_bytes()[..3]);
    }
    delta
}

/// The same instructions with another size of the target.
fn resized(delta: Vec<u8>, base: u64, target: u64) -> Vec<u8> {
    let instructions = &delta[2 * number(base).len()..];
    [number(base), number(target), instructions.to_vec()].concat()
}

/// A number at the start of a delta.
fn number(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

pub fn objects_of_other_apps() {
    let world = World::new();
    let secret = world.repo("secret", &[("key", "42\n")]);
    secret.push().expect(true, &[]);
    let blob = secret.ask(&["rev-parse", "HEAD:key"]);
    let oracle = Oracle::at(world.keg.home());
    // A tree that names another app's file, a delta on it, and a ref to its commit.
    let root = tree(&[("100644", "key", &blob)]);
    let pack = Pack::of_commit(vec![
        Entry::whole("tree", &root),
        Entry::whole("commit", commit(&id("tree", &root)).as_bytes()),
    ]);
    let (verdict, said) = oracle.ours(&pack);
    assert_eq!(verdict, Verdict::Refused);
    assert!(said.contains(&format!("blob {blob} is missing")), "{said}");
    let pack = Pack::of_last(vec![Entry::reference(&blob, b"\x03\x03\x90\x03")]);
    let (verdict, said) = oracle.ours(&pack);
    assert_eq!(verdict, Verdict::Refused);
    assert!(said.contains("whose base is missing"), "{said}");
    let mut pack = Pack::of_last(vec![Entry::whole("blob", b"x")]);
    pack.tip = secret.head();
    assert_eq!(oracle.ours(&pack).0, Verdict::Refused);
}

/// A disk with no room left: the push is refused in words, and what was there is unharmed.
pub fn full_disk() {
    let world = World::new();
    let repo = world.repo("blog", &[("a", "1\n")]);
    repo.push().expect(true, &[]);
    let before = world.main("blog");
    let oracle = Oracle::at(world.keg.home());
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(6 << 20)
    .collect();
    let entries: Vec<Entry> =
        (0..4u8).map(|n| Entry::whole("blob", &[&noise[..], &[n]].concat())).collect();
    // Files may grow to 4 MiB only, which fails as a full disk does.
    let (verdict, said) = oracle.ours_with_file_limit(&Pack::of_last(entries), 4 << 20);
    assert_eq!(verdict, Verdict::Refused, "{said}");
    assert!(said.contains("File too large") || said.contains("No space left"), "{said}");
    assert_eq!(world.main("blog"), before);
    repo.commit("after", &[("a", "2\n")]);
    repo.push().expect(true, &[]);
}
