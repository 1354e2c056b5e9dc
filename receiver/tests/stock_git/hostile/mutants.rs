//! Random damage to good packs: stock git and the receiver must agree on every one.

use super::{
    BLOB, Entry, Pack, commit,
    craft::{encode, tree},
    id,
    oracle::{Oracle, Verdict},
};

/// How many mutants a normal run tries; `RECEIVER_MUTANTS` says otherwise.
const MUTANTS: u64 = 150;

/// A small generator of numbers (xorshift), so that every run tries the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

pub fn mutants() {
    let count = std::env::var("RECEIVER_MUTANTS").ok().and_then(|n| n.parse().ok());
    let seed = std::env::var("RECEIVER_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let oracle = Oracle::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
    let mut disagreed = Vec::new();
    for number in 0..count.unwrap_or(MUTANTS) {
        let (what, pack) = mutant(&mut random);
        let ((ours, said), (stock, git)) = oracle.both(&pack);
        // Git has become stricter with addresses of submodules; the receiver is as strict as the
        // newest, whatever is installed.
        let stricter = ours == Verdict::Refused && said.contains("gitmodulesUrl");
        if ours != stock && !stricter {
            disagreed.push(format!("{number} {what}: we {ours:?} {said}, stock {stock:?} {git}"));
        }
    }
    assert!(disagreed.is_empty(), "{} disagree:\n{}", disagreed.len(), disagreed.join("\n"));
}

/// A good set of objects with one of them, or the pack itself, damaged.
fn mutant(random: &mut Random) -> (String, Pack) {
    let inner = tree(&[("100644", "f", &id("blob", BLOB))]);
    let modules = b"[submodule \"a\"]\n\tpath = a\n\turl = https://h/a\n".to_vec();
    let root = tree(&[
        ("100644", ".gitmodules", &id("blob", &modules)),
        ("100644", "a", &id("blob", BLOB)),
        ("40000", "d", &id("tree", &inner)),
        ("120000", "l", &id("blob", BLOB)),
    ]);
    let tip = commit(&id("tree", &root)).into_bytes();
    let mut objects = vec![
        ("blob", BLOB.to_vec()),
        ("blob", modules),
        ("tree", inner),
        ("tree", root),
        ("commit", tip),
    ];
    let choice = random.below(3);
    let mut what = String::new();
    if choice < 2 {
        // Damage an object, and let what names it follow, so that the damage itself is judged.
        let victim = 1 + random.below(objects.len() - 1);
        let old = id(objects[victim].0, &objects[victim].1);
        let how = damage(&mut objects[victim].1, random);
        what = format!("{} {how}", objects[victim].0);
        rename(&mut objects, victim, &old);
    }
    let mut entries: Vec<Entry> =
        objects.iter().map(|(kind, bytes)| Entry::whole(kind, bytes)).collect();
    let tip = id("commit", &objects[4].1);
    let mut delta = b"\x06\x0c\x90\x06\x06world\n".to_vec();
    if choice == 1 {
        what += &format!(" and delta {}", damage(&mut delta, random));
    }
    entries.push(Entry::ofs(0, &delta));
    let mut pack = Pack { bytes: encode(&entries), tip };
    if choice == 2 {
        let end = pack.bytes.len() - 20;
        let mut body = pack.bytes[..end].to_vec();
        what = format!("pack {}", damage(&mut body, random));
        body.extend_from_slice(&[0; 20]);
        pack.bytes = body;
        pack = pack.resealed();
    }
    (what, pack)
}

/// Puts the new id of a damaged object wherever its old one was, up to the commit.
fn rename(objects: &mut [(&str, Vec<u8>)], victim: usize, old: &str) {
    let new = id(objects[victim].0, &objects[victim].1);
    for at in victim + 1..objects.len() {
        let before = id(objects[at].0, &objects[at].1);
        let (old_raw, new_raw) = (hex::decode(old).expect("hex"), hex::decode(&new).expect("hex"));
        let bytes = &mut objects[at].1;
        replace(bytes, &old_raw, &new_raw);
        replace(bytes, old.as_bytes(), new.as_bytes());
        if id(objects[at].0, &objects[at].1) != before {
            rename(objects, at, &before);
        }
    }
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let found = bytes.windows(old.len()).position(|window| window == old);
    if let Some(at) = found {
        bytes[at..at + old.len()].copy_from_slice(new);
    }
}

/// Damages bytes in one place; says how.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) -> String {
    if bytes.is_empty() {
        bytes.push(0);
        return "grown".to_owned();
    }
    let at = random.below(bytes.len());
    match random.below(5) {
        0 => {
            bytes[at] ^= 1 << random.below(8);
            format!("bit flipped at {at}")
        }
        1 => {
            bytes[at] = b"\0\n \x7f/.\\<>0"[random.below(10)];
            format!("byte set at {at}")
        }
        2 => {
            bytes.remove(at);
            format!("byte removed at {at}")
        }
        3 => {
            bytes.insert(at, b"\0\n 0."[random.below(5)]);
            format!("byte added at {at}")
        }
        _ => {
            let end = (at + 1 + random.below(30)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
            format!("{at}..{end} doubled")
        }
    }
}
