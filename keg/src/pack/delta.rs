//! What two large objects have in common: long runs to copy, and the parts between to be packed
//! behind the bytes of the base that are around them.

use std::{collections::HashMap, ops::Range};

use crate::store::packs::MAX_PREFIX;

/// Smallest, usual and largest content-defined chunk.
pub(super) const CHUNK: (usize, usize, usize) = (16 << 10, 32 << 10, 64 << 10);
/// From here on a run is copied rather than packed: a piece costs about as much as packing 256 KiB
/// that are there already.
const COPY_MIN: usize = 256 << 10;
/// How much of the base is looked at on both sides of where a part should be.
const AROUND: usize = 1 << 20;
/// Most bytes of a part: 4 MiB, so that as much of the base and what is around that is a prefix.
const PART: usize = 4 << 20;
const _: () = assert!(PART + 2 * AROUND <= MAX_PREFIX);
/// Less of the base than this is of no help.
const PREFIX_MIN: usize = 64;
/// At least one in this many bytes must be found in the base.
const SHARE: usize = 8;
/// Most chunks of a base that are remembered: 64 GiB of it, 50 MB of memory.
const MAX_CHUNKS: usize = 1 << 21;

/// How a part of the new object comes about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// From the base.
    Copy { from: usize, len: usize },
    /// Packed behind these bytes of the base; none: packed by itself.
    Pack { new: Range<usize>, base: Range<usize> },
}

/// Names a chunk: half a BLAKE3 is more than enough for what is checked afterwards.
pub(super) fn chunk_name(chunk: &[u8]) -> [u8; 16] {
    *blake3::hash(chunk).as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Cuts bytes at places that their content defines.
pub(super) fn chunks(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let (min, usual, max) = CHUNK;
    fastcdc::v2020::FastCDC::new(bytes, min, usual, max)
        .map(|chunk| chunk.offset..chunk.offset + chunk.length)
}

/// A run that both have.
#[derive(Clone, Copy, Debug)]
struct Match {
    new: usize,
    base: usize,
    len: usize,
}

/// How `new` comes about from `base`; `None`: they have too little in common.
pub(super) fn plan(base: &[u8], new: &[u8]) -> Option<Vec<Op>> {
    let mut matches = common(base, new);
    let shared: usize = matches.iter().map(|found| found.len).sum();
    if shared < new.len() / SHARE {
        return None;
    }
    extend(base, new, &mut matches);
    let mut ops = Vec::new();
    let (mut at, mut base_at) = (0, 0);
    let end = Match { new: new.len(), base: base.len(), len: 0 };
    let long = matches.iter().filter(|found| found.len >= COPY_MIN).chain([&end]);
    for found in long {
        let gap = Gap { new: at..found.new, base: base_at..found.base.max(base_at) };
        gap.pack(base, &matches, &mut ops);
        if found.len > 0 {
            ops.push(Op::Copy { from: found.base, len: found.len });
        }
        (at, base_at) = (found.new + found.len, found.base + found.len);
    }
    Some(ops)
}

/// Whole chunks that both have, in order, neighbours joined.
fn common(base: &[u8], new: &[u8]) -> Vec<Match> {
    let mut known: HashMap<[u8; 16], usize> = HashMap::new();
    for chunk in chunks(base).take(MAX_CHUNKS) {
        known.entry(chunk_name(&base[chunk.clone()])).or_insert(chunk.start);
    }
    let mut matches: Vec<Match> = Vec::new();
    for chunk in chunks(new) {
        let bytes = &new[chunk.clone()];
        if let Some(last) = matches.last_mut()
            && last.new + last.len == chunk.start
            && base[last.base + last.len..].starts_with(bytes)
        {
            last.len += bytes.len();
        } else if let Some(from) = known.get(&chunk_name(bytes)).copied()
            && base[from..].starts_with(bytes)
        {
            matches.push(Match { new: chunk.start, base: from, len: bytes.len() });
        }
    }
    matches
}

/// Lets each run grow into what lies between it and its neighbours.
fn extend(base: &[u8], new: &[u8], matches: &mut [Match]) {
    for at in 0..matches.len() {
        let from = if at == 0 { 0 } else { matches[at - 1].new + matches[at - 1].len };
        let to = matches.get(at + 1).map_or(new.len(), |next| next.new);
        let found = &mut matches[at];
        let before = new[from..found.new].iter().rev().zip(base[..found.base].iter().rev());
        let back = before.take_while(|(new, base)| new == base).count();
        *found = Match { new: found.new - back, base: found.base - back, len: found.len + back };
        let rest = new[found.new + found.len..to].iter();
        let after = rest.zip(&base[found.base + found.len..]);
        found.len += after.take_while(|(new, base)| new == base).count();
    }
}

/// What lies between two copies, in both.
struct Gap {
    new: Range<usize>,
    base: Range<usize>,
}

impl Gap {
    fn pack(&self, base: &[u8], matches: &[Match], ops: &mut Vec<Op>) {
        let mut at = self.new.start;
        while at < self.new.end {
            let part = at..self.new.end.min(at + PART);
            at = part.end;
            let base = self.prefix(base, matches, &part);
            ops.push(Op::Pack { new: part, base });
        }
    }

    /// What of the base is most like a part.
    fn prefix(&self, base: &[u8], matches: &[Match], part: &Range<usize>) -> Range<usize> {
        let prefix = if self.base.len() <= MAX_PREFIX - 2 * AROUND {
            self.base.clone()
        } else {
            let first = matches.partition_point(|found| found.new + found.len <= part.start);
            let inside = matches.get(first).filter(|found| found.new < part.end);
            let (new, old) =
                inside.map_or((self.new.start, self.base.start), |found| (found.new, found.base));
            let start = (old + part.start).saturating_sub(new).min(base.len());
            start..(start + part.len()).min(base.len())
        };
        if prefix.len().max(part.len()) < PREFIX_MIN {
            return 0..0;
        }
        let wide = prefix.start.saturating_sub(AROUND)..(prefix.end + AROUND).min(base.len());
        if part.len() < PREFIX_MIN || wide.len() < PREFIX_MIN { 0..0 } else { wide }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    /// What the operations make, and how much of it is packed.
    fn apply(base: &[u8], new: &[u8], ops: &[Op]) -> (Vec<u8>, usize) {
        let (mut out, mut packed) = (Vec::new(), 0);
        for op in ops {
            match op.clone() {
                Op::Copy { from, len } => out.extend_from_slice(&base[from..from + len]),
                Op::Pack { new: part, base: prefix } => {
                    assert!(part.len() <= PART && prefix.len() <= MAX_PREFIX);
                    assert!(prefix.end <= base.len());
                    packed += part.len();
                    out.extend_from_slice(&new[part]);
                }
            }
        }
        (out, packed)
    }

    #[test]
    fn what_is_common_is_copied_and_the_rest_packed() {
        let base = noise(1, 12 << 20);
        let check = |change: &dyn Fn(&mut Vec<u8>), most: usize| {
            let mut new = base.clone();
            change(&mut new);
            let ops = plan(&base, &new).expect("they are alike");
            let (made, packed) = apply(&base, &new, &ops);
            assert!(made == new, "the operations make the new object");
            assert!(packed <= most, "{packed} bytes are packed, not {most}: {ops:?}");
        };
        check(&|_| {}, 0);
        check(&|new| new[6_000_000..6_000_008].fill(0), 8);
        check(&|new| new[..8].fill(0), 8);
        check(&|new| *new.last_mut().unwrap() ^= 1, 1);
        check(&|new| drop(new.splice(3_000_000..3_000_000, noise(9, 50_000))), 50_000);
        check(&|new| drop(new.drain(3_000_000..9_000_000)), 0);
        check(&|new| new.truncate(2 << 20), 0);
        check(&|new| new.extend_from_slice(&noise(9, 5 << 20)), 5 << 20);
        check(&|new| new.rotate_left(5 << 20), 1);
        check(&|new| (0..new.len()).step_by(200_000).for_each(|at| new[at] ^= 1), 12 << 20);
    }

    #[test]
    fn strangers_have_nothing_in_common() {
        assert_eq!(plan(&noise(1, 2 << 20), &noise(2, 2 << 20)), None);
        assert_eq!(plan(&[], &noise(2, 2 << 20)), None);
    }
}
