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
    // 64 KiB copied 1000 times, and that 1000 times.
    let delta = |base: u64, copies: u64, size: u64| {
        let mut delta = Vec::new();
        for mut number in [base, copies * size] {
            while number >= 0x80 {
                delta.push((number as u8 & 0x7f) | 0x80);
                number >>= 7;
            }
            delta.push(number as u8);
        }
        for _ in 0..copies {
            match size {
                0x10000 => delta.push(0x80),
                size => {
                    delta.push(0xf0);
                    delta.extend_from_slice(&(size as u32).to_le_bytes()[..3]);
                }
            }
        }
        delta
    };
    let mut entries =
        vec![Entry::zeros("blob", 0x10000), Entry::ofs(0, &delta(0x10000, 200, 0x10000))];
    for _ in 0..200 {
        entries.push(Entry::ofs(1, &delta(200 * 0x10000, 100, 0xffffff)));
    }
    let (verdict, _) = timed("a delta bomb", &Pack::of_last(entries));
    assert_eq!(verdict, Verdict::Refused);
    // A chain of 70,000 deltas, each adding a byte.
    let mut entries = vec![Entry::whole("blob", &[b'x'; 100])];
    for n in 0..70_000u64 {
        let mut delta = Vec::new();
        for mut number in [100 + n, 101 + n] {
            while number >= 0x80 {
                delta.push((number as u8 & 0x7f) | 0x80);
                number >>= 7;
            }
            delta.push(number as u8);
        }
        delta.push(0b1111_0000);
        delta.extend_from_slice(&((100 + n) as u32).to_le_bytes()[..3]);
        delta.extend_from_slice(&[1, b'0' + (n % 10) as u8]);
        entries.push(Entry::ofs(n as usize, &delta));
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
