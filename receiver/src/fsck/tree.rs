//! Trees.

use std::cmp::Ordering;

use gix_hash::ObjectId;

use super::{
    Fault,
    names::{self, ATTRIBUTES, MODULES},
};
use crate::git::{EntryKind, TreeEntry, tree_entries};

/// Blobs of a tree whose contents must be checked too.
#[derive(Default)]
pub(crate) struct Notes {
    /// Those called `.gitmodules`.
    pub(crate) modules: Vec<ObjectId>,
    /// Those called `.gitattributes`.
    pub(crate) attributes: Vec<ObjectId>,
}

/// Checks a tree: names, modes and order.
///
/// # Errors
/// The first fault.
pub(crate) fn tree(bytes: &[u8]) -> Result<Notes, Fault> {
    let mut notes = Notes::default();
    let mut order = Order::default();
    for entry in tree_entries(bytes) {
        let entry = entry
            .map_err(|_| Fault::new("badTree", "an entry is cut off or has no mode or name"))?;
        name(&entry)?;
        if entry.id.is_null() {
            return Err(Fault::new("nullSha1", "an entry names the null id"));
        }
        if entry.mode_text[0] == b'0' {
            return Err(Fault::new("zeroPaddedFilemode", "a mode starts with 0"));
        }
        order.next(&entry)?;
        let symlink = entry.mode & 0o170_000 == 0o120_000;
        if names::is_special(entry.name, &MODULES) {
            if symlink {
                return Err(Fault::new("gitmodulesSymlink", ".gitmodules is a symbolic link"));
            }
            notes.modules.push(entry.id);
        }
        if names::is_special(entry.name, &ATTRIBUTES) && !symlink {
            notes.attributes.push(entry.id);
        }
    }
    Ok(notes)
}

/// Checks the name of an entry.
fn name(entry: &TreeEntry<'_>) -> Result<(), Fault> {
    match entry.name {
        b"." => Err(Fault::new("hasDot", "an entry is called \".\"")),
        b".." => Err(Fault::new("hasDotdot", "an entry is called \"..\"")),
        name if name.contains(&b'/') => {
            Err(Fault::new("fullPathname", "the name of an entry contains /"))
        }
        name if names::is_dot_git(name) => Err(Fault::new(
            "hasDotgit",
            "an entry is called .git, or a file system takes it for that",
        )),
        _ => Ok(()),
    }
}

/// The order of entries: by bytes, directories as if their names ended in `/`.
#[derive(Default)]
struct Order<'a> {
    last: Option<(&'a [u8], bool)>,
    /// Names of files that a later directory may have as well: `a`, `a.b`, `a/`.
    candidates: Vec<&'a [u8]>,
}

impl<'a> Order<'a> {
    /// Checks that `entry` may follow those before it.
    fn next(&mut self, entry: &TreeEntry<'a>) -> Result<(), Fault> {
        let unsorted = Fault::new("treeNotSorted", "its entries are not sorted");
        let twice = Fault::new("duplicateEntries", "two entries have the same name");
        let (name, is_tree) = (entry.name, entry.kind() == EntryKind::Tree);
        let Some((last, last_is_tree)) = self.last.replace((name, is_tree)) else { return Ok(()) };
        let shared = last.len().min(name.len());
        match last[..shared].cmp(&name[..shared]) {
            Ordering::Less => return Ok(()),
            Ordering::Greater => return Err(unsorted),
            Ordering::Equal => {}
        }
        let next_byte = |name: &[u8], tree: bool| match name.get(shared) {
            Some(&byte) => byte,
            None if tree => b'/',
            None => 0,
        };
        if last.len() == name.len() {
            return Err(twice);
        }
        let (before, after) = (next_byte(last, last_is_tree), next_byte(name, is_tree));
        let below_slash = |byte: u8| byte > 0 && byte < b'/';
        if before == 0 && below_slash(after) {
            self.candidates.push(last);
        } else if after == b'/' && below_slash(before) {
            while let Some(candidate) = self.candidates.pop() {
                match name.strip_prefix(candidate) {
                    Some([]) => return Err(twice),
                    Some([byte, ..]) if below_slash(*byte) => {
                        self.candidates.push(candidate);
                        break;
                    }
                    _ => {}
                }
            }
        }
        if before < after { Ok(()) } else { Err(unsorted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entries: &[(&str, &str)], want: Option<&str>) {
        let mut bytes = Vec::new();
        for (mode, name) in entries {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            bytes.extend_from_slice(&[7; 20]);
        }
        assert_eq!(tree(&bytes).err().map(|fault| fault.name), want, "{entries:?}");
    }

    #[test]
    fn names_and_modes() {
        const FILE: &str = "100644";
        check(&[(FILE, "a"), ("100755", "b"), ("120000", "c"), ("160000", "d")], None);
        check(&[("100664", "a")], None);
        check(&[(FILE, ".")], Some("hasDot"));
        check(&[(FILE, "..")], Some("hasDotdot"));
        check(&[("40000", ".git")], Some("hasDotgit"));
        check(&[(FILE, "a/b")], Some("fullPathname"));
        check(&[("040000", "a")], Some("zeroPaddedFilemode"));
        check(&[("120000", ".gitmodules")], Some("gitmodulesSymlink"));
        check(&[("120000", ".gitattributes")], None);
        check(&[("12x000", "a")], Some("badTree"));
    }

    #[test]
    fn order_and_duplicates() {
        const FILE: &str = "100644";
        const DIR: &str = "40000";
        check(&[(FILE, "a"), (FILE, "a.b"), (DIR, "a-")], Some("treeNotSorted"));
        check(&[(FILE, "a.b"), (DIR, "a"), (FILE, "a0")], None);
        check(&[(DIR, "a"), (FILE, "a.b")], Some("treeNotSorted"));
        check(&[(FILE, "b"), (FILE, "a")], Some("treeNotSorted"));
        check(&[(FILE, "a"), (FILE, "a")], Some("duplicateEntries"));
        check(&[(FILE, "a"), (DIR, "a")], Some("duplicateEntries"));
        check(&[(FILE, "a"), (FILE, "a.b"), (FILE, "a.b.c"), (DIR, "a")], Some("duplicateEntries"));
        check(&[(FILE, "a"), (FILE, "a.b"), (DIR, "a.b"), (DIR, "a")], Some("duplicateEntries"));
    }
}
