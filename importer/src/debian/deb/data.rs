//! `data.tar`: the files of a package.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read},
};

use keg::{
    ingest::link_group,
    object::{Attrs, Entry, EntryName, Kind, Value},
    store::Objects,
};
use md5::{Digest, Md5};

use super::{Control, DebError};
use crate::{
    debian::{
        paths::{self, Parts},
        tarball::{self, Item, ItemKind},
    },
    tree::{Dir, Node, PlaceError},
};

/// Files up to this many bytes are handed to the store whole.
const SMALL: u64 = 256 * 1024;

/// The files of a package, and what is known of them.
pub struct Data {
    /// The directory `files/`.
    pub files: Entry,
    /// Paths as shipped, one a line.
    pub list: Vec<u8>,
    /// Entries shipped.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Latest time of a file.
    pub newest: i64,
    /// Configuration files and their MD5s.
    pub conffiles: Vec<(String, String)>,
}

/// Reads the archive into the Keg.
pub fn read(
    objects: &dyn Objects,
    archive: impl Read,
    control: &Control,
) -> Result<Data, DebError> {
    let mut unpacker = Unpacker {
        objects,
        conffiles: control.conffiles.iter().map(|path| (path.clone(), None)).collect(),
        root: Dir::default(),
        shipped: HashMap::new(),
        list: Vec::new(),
        bytes: 0,
        newest: 0,
    };
    tarball::each(archive, &mut |item, bytes| unpacker.take(item, bytes))?;
    let conffiles = unpacker.conffiles.into_iter().filter_map(|(p, md5)| Some((p, md5?)));
    Ok(Data {
        list: unpacker.list,
        entries: unpacker.shipped.len() as u64,
        bytes: unpacker.bytes,
        newest: unpacker.newest,
        conffiles: conffiles.collect(),
        files: unpacker.root.write(objects)?,
    })
}

struct Unpacker<'a> {
    objects: &'a dyn Objects,
    conffiles: BTreeMap<String, Option<String>>,
    root: Dir,
    /// Paths as shipped.
    shipped: HashMap<Parts, ItemKind>,
    list: Vec<u8>,
    bytes: u64,
    newest: i64,
}

impl Unpacker<'_> {
    fn take(&mut self, item: &Item, bytes: &mut dyn Read) -> Result<(), DebError> {
        let shipped = paths::parts(&item.path)?;
        let shown = if shipped.is_empty() { "/.".to_owned() } else { paths::show(&shipped) };
        if self.shipped.insert(shipped.clone(), item.kind).is_some() {
            return Err(DebError::Place { path: shown, source: PlaceError::Twice });
        }
        self.list.extend_from_slice(shown.as_bytes());
        self.list.push(b'\n');
        let place = paths::merged(&shipped);
        let attrs = attrs(item);
        match item.kind {
            ItemKind::Directory => return self.directory(&place, &shown, attrs),
            ItemKind::Symlink if is_merge_link(&shipped, &item.link) => return Ok(()),
            _ => {}
        }
        let top = matches!(shipped.as_slice(), [name] if paths::is_merged(name));
        if top || place.is_empty() {
            return Err(DebError::Place { path: shown, source: PlaceError::Root });
        }
        self.newest = self.newest.max(item.mtime);
        let entry = match item.kind {
            ItemKind::Symlink => {
                paths::link_target(&shipped, &item.link)?;
                Entry { value: Value::Symlink { target: item.link.clone() }, attrs }
            }
            ItemKind::HardLink => self.hard_link(&shown, &item.link)?,
            _ => self.file(item, &shown, attrs, bytes)?,
        };
        self.place(&place, &shown, entry)
    }

    fn directory(&mut self, at: &[EntryName], shown: &str, attrs: Attrs) -> Result<(), DebError> {
        let refuse = |source| DebError::Place { path: shown.to_owned(), source };
        let dir = self.root.dir(at).map_err(refuse)?;
        // `/lib` and `/usr/lib` are one; the root's own metadata is not a package's to set.
        if !dir.named && !at.is_empty() {
            dir.named = true;
            dir.attrs = attrs;
        }
        Ok(())
    }

    fn file(
        &mut self,
        item: &Item,
        shown: &str,
        attrs: Attrs,
        bytes: &mut dyn Read,
    ) -> Result<Entry, DebError> {
        let mut md5 = self.conffiles.contains_key(shown).then(Md5::new);
        let mut reader = Tee { inner: bytes, md5: md5.as_mut() };
        let (kid, size) = if item.size <= SMALL {
            let mut whole = Vec::with_capacity(usize::try_from(item.size).unwrap_or(0));
            reader.read_to_end(&mut whole)?;
            (self.objects.put(Kind::Blob, &whole)?, whole.len() as u64)
        } else {
            self.objects.put_blob(&mut reader)?
        };
        if size != item.size {
            return Err(DebError::Truncated(shown.to_owned()));
        }
        if let Some(md5) = md5 {
            self.conffiles.insert(shown.to_owned(), Some(hex::encode(md5.finalize())));
        }
        self.bytes += size;
        Ok(Entry { value: Value::File { kid, size }, attrs })
    }

    /// A second name of an earlier file; both become members of one link group.
    fn hard_link(&mut self, shown: &str, link: &[u8]) -> Result<Entry, DebError> {
        let refuse = || DebError::HardLink {
            path: shown.to_owned(),
            target: String::from_utf8_lossy(link).into_owned(),
        };
        let target = paths::parts(link).map_err(|_| refuse())?;
        let is_file =
            matches!(self.shipped.get(&target), Some(ItemKind::File | ItemKind::HardLink));
        let place = paths::merged(&target);
        let Some(Node::Leaf(entry)) = self.root.at(&place).filter(|_| is_file) else {
            return Err(refuse());
        };
        if entry.attrs.link_group == 0 {
            entry.attrs.link_group =
                link_group(paths::show(&place).trim_start_matches('/').as_bytes());
        }
        Ok(entry.clone())
    }

    /// Puts an entry in its place. Where the merged `/usr` makes one of two shipped paths, a link
    /// that leads to itself gives way to what it led to.
    fn place(&mut self, at: &[EntryName], shown: &str, entry: Entry) -> Result<(), DebError> {
        let refuse = |source| DebError::Place { path: shown.to_owned(), source };
        match self.root.place(at, entry.clone()) {
            Err(PlaceError::Twice) => {}
            done => return done.map_err(refuse),
        }
        let Some(Node::Leaf(there)) = self.root.at(at) else {
            return Err(refuse(PlaceError::Twice));
        };
        match (leads_to(&entry, at), leads_to(there, at)) {
            (true, _) => Ok(()),
            (false, true) => {
                *there = entry;
                Ok(())
            }
            (false, false) => Err(refuse(PlaceError::Twice)),
        }
    }
}

/// Whether `entry` is a link whose target, on a merged system, is `at` itself.
fn leads_to(entry: &Entry, at: &[EntryName]) -> bool {
    let Value::Symlink { target } = &entry.value else { return false };
    paths::link_target(at, target).is_ok_and(|target| paths::merged(&target) == at)
}

/// Whether this is `/bin -> usr/bin` or its like, which every root file system gets anyway.
fn is_merge_link(shipped: &[EntryName], target: &[u8]) -> bool {
    let [name] = shipped else { return false };
    let expected = [b"usr/", name.as_bytes()].concat();
    paths::is_merged(name) && target.strip_prefix(b"/").unwrap_or(target) == expected
}

fn attrs(item: &Item) -> Attrs {
    let (mode, mtime) = match item.kind {
        ItemKind::Directory => (item.mode, 0),
        ItemKind::Symlink => (0o777, item.mtime),
        _ => (item.mode, item.mtime),
    };
    Attrs { mode, uid: item.uid, gid: item.gid, mtime, ..Attrs::with_mode(mode) }
}

/// Passes bytes on, and to MD5 if that is wanted.
struct Tee<'a> {
    inner: &'a mut dyn Read,
    md5: Option<&'a mut Md5>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some(md5) = &mut self.md5 {
            md5.update(&buffer[..n]);
        }
        Ok(n)
    }
}
