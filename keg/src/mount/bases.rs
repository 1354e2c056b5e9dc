//! Which images others can stand on: `img/bases`, the KIDs of their trees in hexadecimal, a line
//! each, the newest first. It is derived and only saves work: lines that are none are passed over.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use crate::Kid;
use crate::object::{Entry, Value};
use crate::store::Objects;

/// Most trees that are noted.
const MAX_BASES: usize = 16;
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// Most directories that are read to see how alike two trees are.
const MAX_COMPARED: usize = 64;
const NAME: &str = "bases";

/// The noted trees.
pub fn read(dir: &Path) -> Vec<Kid> {
    let mut text = String::new();
    let opened = File::open(dir.join(NAME));
    if opened.and_then(|file| file.take(MAX_FILE).read_to_string(&mut text)).is_err() {
        return Vec::new();
    }
    text.lines().filter_map(|line| format!("K-{line}").parse().ok()).take(MAX_BASES).collect()
}

/// Notes a tree as the newest.
pub fn note(dir: &Path, temporary: &Path, tree: &Kid) {
    let others = read(dir).into_iter().filter(|other| other != tree);
    let lines = std::iter::once(*tree).chain(others).take(MAX_BASES);
    let text: String = lines.map(|tree| tree.to_hex() + "\n").collect();
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(temporary)?;
        file.write_all(text.as_bytes())?;
        file.persist(dir.join(NAME)).map_err(|error| error.error)
    };
    // Without it, the next image is larger, nothing else.
    if write().is_err() {
        let _ = fs::remove_file(dir.join(NAME));
    }
}

/// The noted tree that most of this one is the same as, if at least three quarters are.
pub fn nearest(objects: &dyn Objects, tree: &Kid, noted: &[Kid]) -> Option<Kid> {
    let others = noted.iter().filter(|base| *base != tree);
    let alike = others.filter(|base| is_of_a_size(objects, base, tree)).filter_map(|base| {
        let (same, all) = alike(objects, base, tree)?;
        (same * 4 >= all * 3).then_some((same, base))
    });
    alike.max_by_key(|(same, _)| *same).map(|(_, base)| *base)
}

/// Whether a tree has at least half as many entries as another. One with far fewer is better off
/// with an image of its own than with one that says what of the other is not there.
pub fn is_of_a_size(objects: &dyn Objects, base: &Kid, tree: &Kid) -> bool {
    let entries = |tree: &Kid| entries(objects, tree);
    entries(base).zip(entries(tree)).is_some_and(|(base, tree)| tree >= base / 2)
}

/// How many entries of a tree are the same in another, as far as a short look tells, and how many
/// it has. `None` if they cannot be read.
fn alike(objects: &dyn Objects, base: &Kid, tree: &Kid) -> Option<(u64, u64)> {
    let (mut same, mut all) = (0, 0);
    let mut left = vec![(*base, *tree)];
    let mut read = 0;
    while let Some((base, tree)) = left.pop() {
        let (before, after) = objects.differing(&base, &tree).ok()?;
        read += 1;
        // Parts that both have are not among them.
        let listed = after.entries.values().map(weight).fold(0, u64::saturating_add);
        let shared = entries(objects, &tree)?.saturating_sub(listed);
        same += shared;
        all += shared;
        for (name, entry) in &after.entries {
            let old = before.entries.get(name);
            if old == Some(entry) {
                same += weight(entry);
                all += weight(entry);
                continue;
            }
            let pair =
                old.and_then(|old| Some((directory(objects, old)?, directory(objects, entry)?)));
            match pair {
                Some(pair) if read + left.len() < MAX_COMPARED => {
                    all += 1;
                    left.push(pair);
                }
                _ => all += weight(entry),
            }
        }
    }
    Some((same, all))
}

/// How many entries are below a tree, at all depths.
fn entries(objects: &dyn Objects, tree: &Kid) -> Option<u64> {
    match objects.tree_entry(tree).ok()?.value {
        Value::Tree { entries, .. } => Some(entries),
        _ => None,
    }
}

fn directory(objects: &dyn Objects, entry: &Entry) -> Option<Kid> {
    objects.directory_of(entry).ok().flatten()
}

fn weight(entry: &Entry) -> u64 {
    match entry.value {
        Value::Tree { entries, .. } => entries.saturating_add(1),
        _ => 1,
    }
}
