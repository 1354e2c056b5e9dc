//! Git's trees, as bytes.

use gix_hash::ObjectId;

/// An entry of a git tree.
pub(crate) struct TreeEntry<'a> {
    /// The mode's digits, as written.
    pub(crate) mode_text: &'a [u8],
    /// The mode.
    pub(crate) mode: u32,
    /// The name: without `/` only if the tree was checked.
    pub(crate) name: &'a [u8],
    /// What it names.
    pub(crate) id: ObjectId,
}

/// What an entry of a git tree is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EntryKind {
    /// A directory.
    Tree,
    /// A file.
    File,
    /// A file with the executable bit.
    Executable,
    /// A symbolic link.
    Symlink,
    /// A commit of another repository.
    Submodule,
}

impl TreeEntry<'_> {
    /// What git takes the mode for.
    pub(crate) fn kind(&self) -> EntryKind {
        match self.mode & 0o170_000 {
            0o040_000 => EntryKind::Tree,
            0o100_000 if self.mode & 0o100 != 0 => EntryKind::Executable,
            0o100_000 => EntryKind::File,
            0o120_000 => EntryKind::Symlink,
            _ => EntryKind::Submodule,
        }
    }
}

/// A tree that is cut off or has no valid mode somewhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadTree;

/// The entries of a tree; ends after the first error.
pub(crate) fn tree_entries(bytes: &[u8]) -> impl Iterator<Item = Result<TreeEntry<'_>, BadTree>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = next_entry(rest);
        rest = entry.as_ref().map_or(&[], |(_, after)| *after);
        Some(entry.map(|(entry, _)| entry).ok_or(BadTree))
    })
}

/// The first entry and what follows it.
fn next_entry(bytes: &[u8]) -> Option<(TreeEntry<'_>, &[u8])> {
    let space = bytes.iter().position(|&byte| byte == b' ')?;
    let (mode_text, rest) = (&bytes[..space], &bytes[space + 1..]);
    let mut mode = 0u32;
    for digit in mode_text {
        if !matches!(digit, b'0'..=b'7') {
            return None;
        }
        mode = mode.wrapping_shl(3) | u32::from(digit - b'0');
    }
    let end = rest.iter().position(|&byte| byte == 0)?;
    let (name, id) = (&rest[..end], &rest[end + 1..]);
    let (id, after) = id.split_at_checked(20)?;
    if mode_text.is_empty() || name.is_empty() {
        return None;
    }
    Some((TreeEntry { mode_text, mode, name, id: ObjectId::from_bytes_or_panic(id) }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_until_the_first_fault() {
        let entry = |text: &str| [text.as_bytes(), &[7; 20]].concat();
        let good = [entry("100755 a\0"), entry("40000 b\0")].concat();
        let kinds: Vec<_> = tree_entries(&good).map(|e| e.map(|e| e.kind())).collect();
        assert_eq!(kinds, [Ok(EntryKind::Executable), Ok(EntryKind::Tree)]);
        for bad in ["100644 \0", " a\0", "10x644 a\0", "100644a"] {
            assert!(tree_entries(&entry(bad)).any(|e| e.is_err()), "{bad}");
        }
        assert!(tree_entries(&good[..good.len() - 1]).any(|e| e.is_err()));
    }
}
