//! Inputs that are nearly right.

/// Numbers that look random and are the same each time (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this; 0 if there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Numbers that things go wrong at.
const NUMBERS: [u64; 14] = [
    0,
    1,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64,
    u64::MAX,
];
/// Numbers as text and as varints.
const WORDS: [&[u8]; 12] = [
    b"-1",
    b"null",
    b"[]",
    b"{}",
    b"\"\"",
    b"18446744073709551616",
    b"1e999",
    b"/",
    b"..",
    b"\0",
    &[0xff; 10],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
];

/// One of the corpus, changed in one to five places.
pub fn input(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.of(corpus).clone();
    for _ in 0..1 + random.below(5) {
        change(&mut bytes, corpus, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let rest = bytes.len() - at;
    match random.below(9) {
        0 if rest > 0 => bytes[at] ^= 1 << random.below(8),
        1 if rest > 0 => bytes[at] = random.below(256) as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..at + random.below(rest.min(16) + 1))),
        4 => {
            let (from, width) = (*random.of(&NUMBERS), *random.of(&[1, 2, 4, 8]));
            let width = rest.min(width);
            bytes[at..at + width].copy_from_slice(&from.to_le_bytes()[..width]);
        }
        5 => {
            let word = *random.of(&WORDS);
            bytes.splice(at..at, word.iter().copied());
        }
        6 => {
            // A part of it twice.
            let len = random.below(rest.min(64) + 1);
            let part = bytes[at..at + len].to_vec();
            bytes.splice(at..at, part);
        }
        7 => {
            // A part of another.
            let other = random.of(corpus);
            let from = random.below(other.len() + 1);
            let len = random.below((other.len() - from).min(64) + 1);
            let end = at + rest.min(len);
            bytes.splice(at..end, other[from..from + len].iter().copied());
        }
        _ => {
            let some = random.below(32);
            let noise: Vec<u8> = (0..some).map(|_| random.below(256) as u8).collect();
            bytes.splice(at..at, noise);
        }
    }
}
