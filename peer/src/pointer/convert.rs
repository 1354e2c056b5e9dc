//! A tree of git becomes a tree of the Keg: the same one that a push of it becomes, so that both
//! have one KID (directories 0755, files 0644 or 0755, all root's, time 0).

use std::{
    collections::{HashMap, HashSet},
    io::Read,
};

use keg::{
    Kid,
    object::{Attrs, Entry, EntryName, EntryNameError, Kind, Tree, Value},
    store::{Objects, StoreError},
};

use super::{
    batch::{Batch, Head},
    run::{GitError, io},
};

/// Most names, at all depths.
const MAX_ENTRIES: u64 = 1_000_000;
/// Most bytes of all files.
const MAX_BYTES: u64 = 16 << 30;
/// Deepest directory.
const MAX_DEPTH: usize = 200;
/// Longest path.
const MAX_PATH: usize = 4000;
/// Longest target of a symbolic link.
const MAX_TARGET: u64 = 4095;
/// Largest directory, in bytes.
const MAX_TREE: u64 = 64 << 20;
/// Files up to this are read whole.
const SMALL: u64 = 1 << 20;
/// Pointers of Git LFS are smaller than this.
const MAX_LFS: usize = 1024;
/// Most paths that are told of one kind.
const MAX_TOLD: usize = 5;

/// Why a tree of git cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// More than [`MAX_ENTRIES`] or [`MAX_BYTES`].
    #[error(
        "it has over {MAX_ENTRIES} files or {} GiB; point at a part of it: #REF:PATH",
        MAX_BYTES >> 30
    )]
    TooMuch,
    /// More than [`MAX_DEPTH`] or [`MAX_PATH`].
    #[error("its path {0}… is too long or too deep")]
    Path(String),
    /// A name that no file system takes, or that is git's own.
    #[error("it has a name that is not taken over, in /{path}: {reason}")]
    Name {
        /// The directory.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A symbolic link without a usable target.
    #[error("its symbolic link {0} has no target, or one that is too long")]
    Target(String),
    /// An object is not there or is not what names it says.
    #[error("the repository did not send all of it: {0} is missing")]
    Missing(String),
    /// Git.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The Keg.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What people are told besides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remarks {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Submodules, of which only the name was taken over; the first few.
    pub submodules: Vec<String>,
    /// Files that Git LFS keeps elsewhere; the first few.
    pub lfs: Vec<String>,
}

/// One conversion.
pub(super) struct Converter<'a> {
    pub(super) objects: &'a dyn Objects,
    pub(super) batch: &'a mut Batch,
    /// Addresses of submodules by path.
    pub(super) urls: HashMap<Vec<u8>, String>,
    /// Files that are here and stay.
    former: HashSet<Kid>,
    known: HashMap<[u8; 20], Value>,
    entries: u64,
    pub(super) remarks: Remarks,
}

impl<'a> Converter<'a> {
    pub(super) fn new(
        objects: &'a dyn Objects,
        batch: &'a mut Batch,
        urls: HashMap<Vec<u8>, String>,
        former: HashSet<Kid>,
    ) -> Self {
        let (known, remarks) = (HashMap::new(), Remarks::default());
        Self { objects, batch, urls, former, known, entries: 0, remarks }
    }

    /// Converts a tree, or a file, that stands at a path of the repository.
    pub(super) fn run(
        &mut self,
        id: &[u8; 20],
        mode: u32,
        path: &str,
    ) -> Result<Entry, ConvertError> {
        let mut path = path.as_bytes().to_vec();
        self.entry(id, mode, &mut path, 0)
    }

    fn tree(
        &mut self,
        id: &[u8; 20],
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<Value, ConvertError> {
        if depth > MAX_DEPTH {
            return Err(ConvertError::Path(shown(path)));
        }
        if let Some(known) = self.known.get(id) {
            return Ok(known.clone());
        }
        let missing = || ConvertError::Missing(shown(path));
        let bytes = self.batch.whole(&hex(id), "tree", MAX_TREE)?.ok_or_else(missing)?;
        let mut tree = Tree::default();
        for entry in entries(&bytes) {
            let Some((mode, name, id)) = entry else {
                return Err(ConvertError::Missing(shown(path)));
            };
            let entry_name =
                checked(name).map_err(|reason| ConvertError::Name { path: shown(path), reason })?;
            let parent = path.len();
            if parent > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if path.len() > MAX_PATH {
                return Err(ConvertError::Path(shown(&path[..100])));
            }
            self.entries += 1;
            let converted = self.entry(&id, mode, path, depth + 1)?;
            path.truncate(parent);
            tree.entries.insert(entry_name, converted);
            if self.entries > MAX_ENTRIES {
                return Err(ConvertError::TooMuch);
            }
        }
        let value = self.objects.put_tree(&tree)?.value;
        if let Value::Tree { bytes, entries, .. } = value
            && (bytes > MAX_BYTES || entries > MAX_ENTRIES)
        {
            return Err(ConvertError::TooMuch);
        }
        self.known.insert(*id, value.clone());
        Ok(value)
    }

    fn entry(
        &mut self,
        id: &[u8; 20],
        mode: u32,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<Entry, ConvertError> {
        Ok(match mode & 0o170_000 {
            0o040_000 => {
                let value = self.tree(id, path, depth)?;
                Entry { value, attrs: Attrs::with_mode(0o755) }
            }
            0o100_000 => {
                let mode = if mode & 0o100 != 0 { 0o755 } else { 0o644 };
                Entry { value: self.file(id, path)?, attrs: Attrs::with_mode(mode) }
            }
            0o120_000 => {
                let target = self.batch.whole(&hex(id), "blob", MAX_TARGET)?;
                let good = |target: &Vec<u8>| !target.is_empty() && !target.contains(&0);
                let target = target.filter(good);
                Entry::symlink(target.ok_or_else(|| ConvertError::Target(shown(path)))?)
            }
            _ => {
                note(&mut self.remarks.submodules, path);
                let source = self.urls.get(path.as_slice()).cloned().unwrap_or_default();
                let value = Value::Pointer { source, reference: hex(id), kid: None };
                Entry { value, attrs: Attrs::with_mode(0o755) }
            }
        })
    }

    fn file(&mut self, id: &[u8; 20], path: &[u8]) -> Result<Value, ConvertError> {
        if let Some(known) = self.known.get(id) {
            return Ok(known.clone());
        }
        let (objects, former) = (self.objects, &self.former);
        let read = |head: &Head, body: &mut dyn Read| -> Result<_, ConvertError> {
            if head.kind != "blob" {
                return Err(ConvertError::Missing(shown(path)));
            }
            if head.size > SMALL {
                let (kid, size) = objects.put_blob(body)?;
                return Ok((kid, size, false));
            }
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes).map_err(io("reading an object of git"))?;
            let known = Some(Kid::of_blob(&bytes)).filter(|kid| former.contains(kid));
            let kid = known.map_or_else(|| objects.put(Kind::Blob, &bytes), Ok)?;
            Ok((kid, bytes.len() as u64, is_lfs(&bytes)))
        };
        let found = self.batch.object(&hex(id), read)?;
        let (kid, size, lfs) = found.ok_or_else(|| ConvertError::Missing(shown(path)))?;
        if lfs {
            note(&mut self.remarks.lfs, path);
        }
        self.remarks.files += 1;
        self.remarks.bytes += size;
        if self.remarks.bytes > MAX_BYTES {
            return Err(ConvertError::TooMuch);
        }
        let value = Value::File { kid, size };
        self.known.insert(*id, value.clone());
        Ok(value)
    }
}

/// The files of a value that is here whole and has a name: they need not be put again, which would
/// make each of them durable once more.
///
/// # Errors
/// The store's.
pub(super) fn files_of(objects: &dyn Objects, value: &Entry) -> Result<HashSet<Kid>, StoreError> {
    let (mut files, mut left) = (HashSet::new(), vec![value.clone()]);
    while let Some(entry) = left.pop() {
        match &entry.value {
            Value::File { kid, .. } => {
                files.insert(*kid);
            }
            Value::Tree { kid, .. } => left.extend(objects.tree(kid)?.entries.into_values()),
            _ => {}
        }
        if (files.len() + left.len()) as u64 > MAX_ENTRIES {
            break;
        }
    }
    Ok(files)
}

/// A name that may stand in a tree: not one that git or a shell in a checkout takes for git's own.
fn checked(name: &[u8]) -> Result<EntryName, String> {
    if name.eq_ignore_ascii_case(b".git") || name.eq_ignore_ascii_case(b"git~1") {
        return Err("it is one of git's own directories".to_owned());
    }
    EntryName::new(name).map_err(|error: EntryNameError| error.to_string())
}

fn note(list: &mut Vec<String>, path: &[u8]) {
    if list.len() < MAX_TOLD {
        list.push(shown(path));
    }
}

/// Whether a file is a pointer of Git LFS
/// (<https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>).
fn is_lfs(bytes: &[u8]) -> bool {
    bytes.len() < MAX_LFS && bytes.starts_with(b"version https://git-lfs.github.com/spec/v1\n")
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The 40 digits of an id.
pub(super) fn hex(id: &[u8; 20]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An entry of a tree: its mode, name and id.
pub(super) type GitEntry<'a> = (u32, &'a [u8], [u8; 20]);

/// The entries of a tree of git; ends after a `None`, where it cannot be read on.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = Option<GitEntry<'_>>> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest.filter(|rest| !rest.is_empty())?;
        let next = next_entry(bytes);
        rest = next.map(|(_, after)| after);
        Some(next.map(|(entry, _)| entry))
    })
}

fn next_entry(bytes: &[u8]) -> Option<(GitEntry<'_>, &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let mode = std::str::from_utf8(&bytes[..space]).ok()?;
    let mode = u32::from_str_radix(mode, 8).ok()?;
    let rest = &bytes[space + 1..];
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (id, after) = rest[end + 1..].split_first_chunk::<20>()?;
    Some(((mode, &rest[..end], *id), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_git() {
        let entry = |head: &[u8]| [head, b"\0", &[7; 20]].concat();
        let good = [entry(b"40000 a"), entry(b"100755 b c"), entry(b"120000 \xff")].concat();
        let read: Vec<_> = entries(&good).collect();
        let want: [GitEntry<'_>; 3] = [
            (0o40_000, b"a", [7; 20]),
            (0o100_755, b"b c", [7; 20]),
            (0o120_000, b"\xff", [7; 20]),
        ];
        assert_eq!(read, want.map(Some));
        for bad in [&entry(b"9 a")[..], &entry(b"100644"), b"100644 a\0short", b"100644 a", b" a\0"]
        {
            assert_eq!(entries(bad).last(), Some(None), "{bad:?}");
        }
    }

    #[test]
    fn names_of_git_are_not_taken_over() {
        for name in [&b".git"[..], b".GIT", b"git~1", b"", b"..", b"a/b"] {
            assert!(checked(name).is_err(), "{name:?}");
        }
        for name in [&b".gitignore"[..], b".gitmodules", b"\xff"] {
            assert!(checked(name).is_ok(), "{name:?}");
        }
        assert!(is_lfs(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"));
        assert!(!is_lfs(b"version 1\n"));
    }
}
