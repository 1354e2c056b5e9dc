//! A tree as the sequence of its tar entries, one at a time, without reading any blob.

use std::collections::{HashMap, btree_map};

use keg::{
    Kid,
    object::{Attrs, Entry, EntryName, Value},
    store::{Objects, StoreError},
};

use super::header::{self, BLOCK, Node};

/// Longest path in a layer, as `PATH_MAX` on Linux.
const MAX_PATH: usize = 4096;
/// Most files with several names in one layer (each costs a remembered path).
const MAX_LINK_GROUPS: usize = 1 << 20;

/// Why a tree cannot be a layer.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// An object is missing or damaged.
    #[error("cannot read {kid} for the layer")]
    Store {
        /// Which object.
        kid: Kid,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// A blob could not be read to its end.
    #[error("cannot read the file {kid} for the layer")]
    Read {
        /// Which blob.
        kid: Kid,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The tree promises another size than the blob has.
    #[error("{kid} should have {want} bytes but ends after {found}; run `keg fsck`")]
    Short {
        /// Which blob.
        kid: Kid,
        /// Size in the tree.
        want: u64,
        /// Size of the blob.
        found: u64,
    },
    /// Commits and pointers have no form in a tar.
    #[error("{path:?} is a {what}, which an image layer cannot hold")]
    Unsupported {
        /// Where in the layer.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A path or the number of hard links exceeds its bound.
    #[error("{path:?} exceeds a bound: {bound}")]
    Bound {
        /// Where in the layer.
        path: String,
        /// Which bound.
        bound: &'static str,
    },
}

/// One entry: its header blocks, and the blob that follows, padded to a block.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// Header blocks.
    pub head: Vec<u8>,
    /// Content: blob and size in bytes.
    pub body: Option<(Kid, u64)>,
}

impl Item {
    /// Zero bytes after the content.
    pub fn padding(&self) -> usize {
        let size = self.body.map_or(0, |(_, size)| size);
        // Below a block, so it fits any integer.
        (size.next_multiple_of(BLOCK as u64) - size) as usize
    }

    /// Bytes of the entry in the tar.
    pub fn len(&self) -> u64 {
        let size = self.body.map_or(0, |(_, size)| size);
        self.head.len() as u64 + size + self.padding() as u64
    }
}

struct Frame {
    prefix: Vec<u8>,
    entries: btree_map::IntoIter<EntryName, Entry>,
}

/// Walks a tree in the order of the tar: names sorted by bytes, a directory before what it holds.
/// The root itself has no entry. Memory: the trees on the current path, and a path per file with
/// several names.
pub struct Walk {
    stack: Vec<Frame>,
    links: HashMap<u64, (Kid, Vec<u8>)>,
}

impl Walk {
    /// Starts at a tree.
    ///
    /// # Errors
    /// The tree is not in the store.
    pub fn new(objects: &dyn Objects, tree: &Kid) -> Result<Self, TarError> {
        let mut walk = Self { stack: Vec::new(), links: HashMap::new() };
        walk.push(objects, tree, Vec::new())?;
        Ok(walk)
    }

    /// The next entry; `None` after the last.
    ///
    /// # Errors
    /// A tree is missing, a value cannot be in a layer, or a bound is exceeded.
    pub fn next(&mut self, objects: &dyn Objects) -> Result<Option<Item>, TarError> {
        while let Some(frame) = self.stack.last_mut() {
            let Some((name, entry)) = frame.entries.next() else {
                self.stack.pop();
                continue;
            };
            let mut path = frame.prefix.clone();
            path.extend_from_slice(name.as_bytes());
            if path.len() > MAX_PATH {
                return Err(bound(&path, "4096 bytes in a path"));
            }
            return self.item(objects, path, &entry).map(Some);
        }
        Ok(None)
    }

    fn push(&mut self, objects: &dyn Objects, kid: &Kid, prefix: Vec<u8>) -> Result<(), TarError> {
        let tree = objects.tree(kid).map_err(|source| TarError::Store { kid: *kid, source })?;
        self.stack.push(Frame { prefix, entries: tree.entries.into_iter() });
        Ok(())
    }

    fn item(
        &mut self,
        objects: &dyn Objects,
        mut path: Vec<u8>,
        entry: &Entry,
    ) -> Result<Item, TarError> {
        let attrs = &entry.attrs;
        let plain = |path: &[u8], node: &Node<'_>| Item {
            head: header::encode(path, node, attrs),
            body: None,
        };
        Ok(match &entry.value {
            Value::File { kid, size } => self.file(&path, *kid, *size, attrs)?,
            Value::Tree { kid, .. } => {
                path.push(b'/');
                let item = plain(&path, &Node::Dir);
                self.push(objects, kid, path)?;
                item
            }
            Value::Symlink { target } => plain(&path, &Node::Symlink(target)),
            // Overlay's whiteout; in a layer it is an empty file with a name that says so.
            Value::Device { block: false, major: 0, minor: 0 } => {
                plain(&whiteout(&path), &Node::File(0))
            }
            Value::Device { block, major, minor } => {
                plain(&path, &Node::Device(*block, *major, *minor))
            }
            Value::Fifo => plain(&path, &Node::Fifo),
            Value::Commit { .. } => return Err(unsupported(&path, "commit")),
            Value::Pointer { .. } => return Err(unsupported(&path, "pointer")),
        })
    }

    fn file(&mut self, path: &[u8], kid: Kid, size: u64, attrs: &Attrs) -> Result<Item, TarError> {
        if attrs.link_group != 0 {
            match self.links.get(&attrs.link_group) {
                Some((first, target)) if *first == kid => {
                    let head = header::encode(path, &Node::Hardlink(target), attrs);
                    return Ok(Item { head, body: None });
                }
                Some(_) => {}
                None if self.links.len() >= MAX_LINK_GROUPS => {
                    return Err(bound(path, "1,048,576 files with several names"));
                }
                None => {
                    self.links.insert(attrs.link_group, (kid, path.to_vec()));
                }
            }
        }
        let head = header::encode(path, &Node::File(size), attrs);
        Ok(Item { head, body: (size > 0).then_some((kid, size)) })
    }
}

fn whiteout(path: &[u8]) -> Vec<u8> {
    let cut = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    [&path[..cut], b".wh.", &path[cut..]].concat()
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned()
}

fn unsupported(path: &[u8], what: &'static str) -> TarError {
    TarError::Unsupported { path: lossy(path), what }
}

fn bound(path: &[u8], bound: &'static str) -> TarError {
    TarError::Bound { path: lossy(path), bound }
}
