//! Which states a power cut may leave.

use std::collections::BTreeMap;

use super::{Disk, Node, Op, SECTOR};

/// What has come of one operation that was not durable yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Came {
    Whole,
    /// Not at all.
    Not,
    /// Of a write: the length; where the file has grown, zeros instead of the bytes.
    Zeros,
    /// Of a write: so many bytes of the start, or (from the other end) all but so many.
    Start(usize),
    End(usize),
}

/// A way to choose what has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Nothing that need not have.
    Least,
    /// Names, but no bytes.
    NamesOnly,
    /// Names and lengths, but zeros instead of bytes.
    Zeros,
    /// Bytes, but no names.
    BytesOnly,
    /// Of each file the first half of what was written.
    Prefixes,
    /// Of each file only the last that was written.
    LastOnly,
    /// Removals and renames, but nothing that was made.
    RemovalsFirst,
    /// Removals only.
    RemovalsOnly,
    /// Anything, by this seed.
    Random(u64),
}

/// The nasty ones, and so many random ones.
pub fn cuts(seed: u64, random: u64) -> impl Iterator<Item = Cut> {
    use Cut::{
        BytesOnly, LastOnly, Least, NamesOnly, Prefixes, RemovalsFirst, RemovalsOnly, Zeros,
    };
    let nasty =
        [Least, NamesOnly, Zeros, BytesOnly, Prefixes, LastOnly, RemovalsFirst, RemovalsOnly];
    nasty.into_iter().chain((0..random).map(move |n| Cut::Random(seed * 1000 + n)))
}

/// A disk after a power cut.
pub struct State {
    pub disk: Disk,
    /// To tell states apart.
    pub digest: blake3::Hash,
}

impl State {
    /// The disk after the first `done` operations and a cut.
    pub fn after(start: &Disk, ops: &[Op], done: usize, cut: Cut) -> Self {
        let ops = &ops[..done];
        let durable = durable(ops);
        let (halves, last) = writes(ops, &durable);
        let mut random = Random(match cut {
            Cut::Random(seed) => seed ^ (done as u64) << 32,
            _ => 0,
        });
        let mut came: Vec<Came> = Vec::with_capacity(done);
        for (at, op) in ops.iter().enumerate() {
            let first_half = halves.get(&node_of(op)).is_some_and(|half| at < *half);
            let is_last = last.get(&node_of(op)) == Some(&at);
            let chosen = choose(cut, op, &mut random, first_half, is_last);
            came.push(if durable[at] { Came::Whole } else { chosen });
        }
        imply(ops, &mut came);
        let mut disk = start.clone();
        for (op, came) in ops.iter().zip(came) {
            come(&mut disk, op, came);
        }
        let digest = digest(&disk);
        Self { disk, digest }
    }
}

/// Which of the operations a later sync made durable.
fn durable(ops: &[Op]) -> Vec<bool> {
    let mut durable = vec![false; ops.len()];
    let mut dropped = vec![false; ops.len()];
    for (at, op) in ops.iter().enumerate() {
        for before in 0..at {
            let by = |node: Node| concerns(&ops[before], node);
            match op {
                Op::Sync { node } if by(*node) && !dropped[before] => durable[before] = true,
                Op::SyncAll if !dropped[before] => durable[before] = true,
                Op::SyncFailed { node } if node.is_none_or(by) && !durable[before] => {
                    dropped[before] = matches!(ops[before], Op::Write { .. });
                }
                _ => {}
            }
        }
    }
    durable
}

/// Whatever has happened to a name, all that happened to it before has, too.
fn imply(ops: &[Op], came: &mut [Came]) {
    for at in (0..ops.len()).rev() {
        if came[at] != Came::Whole {
            continue;
        }
        for before in 0..at {
            if names(&ops[before]).any(|name| names(&ops[at]).any(|other| name == other)) {
                came[before] = Came::Whole;
            }
        }
    }
}

/// The names that an operation changes.
fn names(op: &Op) -> impl Iterator<Item = (Node, &str)> {
    let (one, two) = match op {
        Op::Name { dir, name, .. } | Op::Remove { dir, name } => (Some((*dir, name)), None),
        Op::Rename { from, to, .. } => (Some((from.0, &from.1)), Some((to.0, &to.1))),
        _ => (None, None),
    };
    one.into_iter().chain(two).map(|(dir, name)| (dir, name.as_str()))
}

/// Whether syncing a file or directory makes an operation durable.
fn concerns(op: &Op, node: Node) -> bool {
    match op {
        Op::Name { dir, .. } | Op::Remove { dir, .. } => *dir == node,
        Op::Rename { from, to, .. } => from.0 == node || to.0 == node,
        Op::Write { node: of, .. } | Op::Length { node: of, .. } => *of == node,
        _ => false,
    }
}

fn node_of(op: &Op) -> Node {
    match op {
        Op::Write { node, .. } | Op::Length { node, .. } => *node,
        _ => Node::MAX,
    }
}

/// For each file, the operation before which half of its writes are, and its last write.
fn writes(ops: &[Op], durable: &[bool]) -> (BTreeMap<Node, usize>, BTreeMap<Node, usize>) {
    let mut all: BTreeMap<Node, Vec<usize>> = BTreeMap::new();
    for (at, op) in ops.iter().enumerate() {
        if matches!(op, Op::Write { .. }) && !durable[at] {
            all.entry(node_of(op)).or_default().push(at);
        }
    }
    let half = all.iter().map(|(node, list)| (*node, list[list.len() / 2])).collect();
    (half, all.iter().map(|(node, list)| (*node, list[list.len() - 1])).collect())
}

fn choose(cut: Cut, op: &Op, random: &mut Random, first_half: bool, last: bool) -> Came {
    let data = matches!(op, Op::Write { .. } | Op::Length { .. });
    let length = matches!(op, Op::Length { .. });
    let some = |whole: bool| if whole { Came::Whole } else { Came::Not };
    match cut {
        Cut::Least => Came::Not,
        Cut::NamesOnly => some(!data || length),
        Cut::Zeros if data && !length => Came::Zeros,
        Cut::Zeros => Came::Whole,
        Cut::BytesOnly => some(data),
        Cut::Prefixes if data && last => torn(op, |len| Came::Start(len / 2)),
        Cut::Prefixes => some(!data || first_half || length),
        Cut::LastOnly => some(!data || last || length),
        Cut::RemovalsOnly => some(matches!(op, Op::Remove { .. })),
        Cut::RemovalsFirst => some(!matches!(op, Op::Name { .. })),
        Cut::Random(_) if data && !length => match random.below(6) {
            0 | 1 => Came::Whole,
            2 => Came::Not,
            3 => Came::Zeros,
            4 => torn(op, |len| Came::Start(random.below(len as u64 + 1) as usize)),
            _ => torn(op, |len| Came::End(random.below(len as u64 + 1) as usize)),
        },
        Cut::Random(_) => some(random.below(2) == 0),
    }
}

/// Tears a write where a sector ends; one within a sector comes whole or not.
fn torn(op: &Op, tear: impl FnOnce(usize) -> Came) -> Came {
    let Op::Write { at, bytes, .. } = op else { return Came::Not };
    let start = *at as usize;
    let cut = |len: usize| ((start + len) / SECTOR * SECTOR).saturating_sub(start);
    match tear(bytes.len()) {
        Came::Start(len) if len < bytes.len() => Came::Start(cut(len)),
        Came::End(len) if len < bytes.len() => Came::End(cut(len)),
        _ => Came::Whole,
    }
}

fn come(disk: &mut Disk, op: &Op, came: Came) {
    let Op::Write { node, at, bytes } = op else {
        if came == Came::Whole {
            disk.apply(op);
        }
        return;
    };
    let at = *at as usize;
    match came {
        Came::Whole => disk.write(*node, at, bytes),
        Came::Not => {}
        Came::Zeros => {
            let file = disk.files.entry(*node).or_default();
            let len = file.len().max(at + bytes.len());
            file.resize(len, 0);
        }
        Came::Start(len) => disk.write(*node, at, &bytes[..len]),
        Came::End(from) => disk.write(*node, at + from, &bytes[from..]),
    }
}

fn digest(disk: &Disk) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut left = vec![super::HOME];
    while let Some(dir) = left.pop() {
        for (name, node) in &disk.dirs[&dir] {
            hasher.update(name.as_bytes()).update(&[0]);
            if disk.dirs.contains_key(node) {
                left.push(*node);
            } else if let Some(bytes) = disk.files.get(node) {
                hasher.update(&bytes.len().to_le_bytes()).update(bytes);
            }
        }
        hasher.update(&[1]);
    }
    hasher.finalize()
}

/// Numbers that look random and are the same each time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}
