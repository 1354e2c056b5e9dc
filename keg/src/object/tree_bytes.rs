//! The canonical bytes of a tree (`docs/store.md`, "Tree").

use std::{cmp::Ordering, collections::BTreeMap};

use super::shards::Extent;
use super::wire::{DecodeError, Fields, bad, put_bytes, put_signed, put_varint};
use super::{Attrs, Entry, EntryName, MAX_OBJECT, Tree, Value};
use crate::kid::Kid;

/// The format of a tree in one object. 2 is that of index nodes, see `shards.rs`.
const FORMAT: u8 = 1;
/// Set in an entry's kind byte when a link group follows.
const LINKED: u8 = 0x80;
/// Longest symbolic link target, as on Linux.
const MAX_TARGET: usize = 4095;
/// Longest name of an extended attribute, as on Linux.
const MAX_XATTR_NAME: usize = 255;
/// Longest value of an extended attribute, as on Linux.
const MAX_XATTR_VALUE: usize = 65536;

/// About what an entry takes, with a name that is not long, in bytes.
const ROOM_EACH: usize = 64;

const FILE: u8 = 1;
const TREE: u8 = 2;
const COMMIT: u8 = 3;
const SYMLINK: u8 = 4;
const POINTER: u8 = 5;
const CHAR_DEVICE: u8 = 6;
const BLOCK_DEVICE: u8 = 7;
const FIFO: u8 = 8;

/// The sums in a tree's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sums {
    /// Bytes of all files below; what commits hold is not counted.
    pub bytes: u64,
    /// Entries below, at all depths; a commit counts as one.
    pub entries: u64,
}

impl Sums {
    /// Of one entry and what is below it.
    pub(crate) fn of(entry: &Entry) -> Result<Self, DecodeError> {
        let (bytes, below) = match entry.value {
            Value::File { size, .. } => (size, 0),
            Value::Tree { bytes, entries, .. } => (bytes, entries),
            _ => (0, 0),
        };
        Self { bytes, entries: 1 }.plus(Self { bytes: 0, entries: below })
    }

    pub(crate) fn plus(self, other: Self) -> Result<Self, DecodeError> {
        let over = || bad("sums", "more than 2^64");
        Ok(Self {
            bytes: self.bytes.checked_add(other.bytes).ok_or_else(over)?,
            entries: self.entries.checked_add(other.entries).ok_or_else(over)?,
        })
    }
}

impl Tree {
    /// The entry of a name.
    pub fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Bytes and entries below, as its header says.
    ///
    /// # Errors
    /// The sums do not fit 64 bits.
    pub fn sums(&self) -> Result<Sums, DecodeError> {
        self.entries.values().try_fold(Sums::default(), |sums, entry| sums.plus(Sums::of(entry)?))
    }

    /// What is below it: by this it is known whether it is one object, or stored as several, which
    /// [`put_tree`](crate::store::Objects) makes.
    pub(crate) fn extent(&self) -> Result<Extent, DecodeError> {
        let of = |sum: Extent, (name, entry)| sum.plus(Extent::of(name, entry)?);
        self.entries.iter().try_fold(Extent::default(), of)
    }

    /// The canonical bytes of a tree that is one object: of all but large directories, which
    /// `put_tree` splits.
    ///
    /// # Errors
    /// An attribute or target that no tree may hold, sums that do not fit 64 bits, or more than
    /// [`MAX_OBJECT`] bytes.
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        self.encode_with(self.sums()?)
    }

    /// As [`Tree::encode`], for who has its sums already.
    pub(crate) fn encode_with(&self, sums: Sums) -> Result<Vec<u8>, DecodeError> {
        let table = Table::of(self)?;
        let mut out = Vec::with_capacity(ROOM_EACH * (self.entries.len() + 1));
        out.push(FORMAT);
        put_varint(&mut out, sums.bytes);
        put_varint(&mut out, sums.entries);
        put_varint(&mut out, table.rows.len() as u64);
        for attrs in &table.rows {
            put_attrs(&mut out, attrs);
        }
        put_varint(&mut out, self.entries.len() as u64);
        let mut row = 0;
        for (name, entry) in &self.entries {
            row = table.row_of(&entry.attrs, row);
            put_bytes(&mut out, name.as_bytes());
            put_entry(&mut out, entry, row as u64)?;
        }
        check_size(out.len())?;
        Ok(out)
    }

    /// The tree these bytes are the one encoding of.
    ///
    /// # Errors
    /// Anything else than exactly what [`Tree::encode`] makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_size(bytes.len())?;
        let mut fields = Fields::new(bytes);
        match fields.byte("format")? {
            FORMAT => {}
            other => return Err(DecodeError::Format(other)),
        }
        let stated = Sums { bytes: fields.varint("bytes")?, entries: fields.varint("entries")? };
        let table = read_table(&mut fields)?;
        let mut used = vec![false; table.len()];
        // An entry has at least a name of one byte, its length, a kind and an attribute index.
        let count = fields.count(4, "number of entries")?;
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let name = EntryName::new(fields.bytes("name")?)
                .map_err(|error| bad("name", error.to_string()))?;
            if entries.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Err(bad("names", "not sorted, or twice the same"));
            }
            let entry = read_entry(&mut fields, &table, &mut used)?;
            entries.insert(name, entry);
        }
        fields.end()?;
        if used.contains(&false) {
            return Err(bad("attributes", "a row of the table is not used"));
        }
        let tree = Self { entries };
        if tree.sums()? != stated { Err(bad("sums", "not those of the entries")) } else { Ok(tree) }
    }
}

fn check_size(bytes: usize) -> Result<(), DecodeError> {
    if bytes > MAX_OBJECT { Err(DecodeError::TooBig { bytes, limit: MAX_OBJECT }) } else { Ok(()) }
}

/// The attributes of a directory's entries, each once, ascending.
struct Table<'a> {
    rows: Vec<&'a Attrs>,
}

impl<'a> Table<'a> {
    fn of(tree: &'a Tree) -> Result<Self, DecodeError> {
        let mut rows: Vec<&Attrs> = Vec::new();
        for Entry { attrs, .. } in tree.entries.values() {
            // Most are as those of the entry before.
            if rows.last().is_none_or(|last| order(last, attrs).is_ne()) {
                check_attrs(attrs)?;
                rows.push(attrs);
            }
        }
        rows.sort_unstable_by(|left, right| order(left, right));
        rows.dedup_by(|right, left| order(left, right).is_eq());
        Ok(Self { rows })
    }

    /// The row of an entry's attributes, which is likely to be that of the entry before.
    fn row_of(&self, attrs: &Attrs, likely: usize) -> usize {
        if self.rows.get(likely).is_some_and(|row| order(row, attrs).is_eq()) {
            return likely;
        }
        self.rows.partition_point(|row| order(row, attrs).is_lt())
    }
}

/// How the table is sorted: by everything but the link group, which is the entry's own.
fn order(left: &Attrs, right: &Attrs) -> Ordering {
    let key = |attrs: &Attrs| (attrs.mode, attrs.uid, attrs.gid, attrs.mtime, attrs.mtime_nsec);
    key(left).cmp(&key(right)).then_with(|| left.xattrs.cmp(&right.xattrs))
}

fn check_attrs(attrs: &Attrs) -> Result<(), DecodeError> {
    if attrs.mode > 0o7777 {
        return Err(bad("mode", format!("{:o} has bits outside 7777", attrs.mode)));
    }
    if attrs.mtime_nsec >= 1_000_000_000 {
        return Err(bad("nanoseconds", "1e9 or more"));
    }
    if !attrs.xattrs.is_sorted_by(|(left, _), (right, _)| left < right) {
        return Err(bad("extended attributes", "not sorted, or twice the same"));
    }
    for (name, value) in &attrs.xattrs {
        let sound = !name.is_empty() && name.len() <= MAX_XATTR_NAME && !name.contains(&0);
        if !sound || value.len() > MAX_XATTR_VALUE {
            return Err(bad("extended attributes", "a name or value no file can have"));
        }
    }
    Ok(())
}

fn put_attrs(out: &mut Vec<u8>, attrs: &Attrs) {
    put_varint(out, u64::from(attrs.mode));
    put_varint(out, u64::from(attrs.uid));
    put_varint(out, u64::from(attrs.gid));
    put_signed(out, attrs.mtime);
    put_varint(out, u64::from(attrs.mtime_nsec));
    put_varint(out, attrs.xattrs.len() as u64);
    for (name, value) in &attrs.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
}

fn read_table(fields: &mut Fields<'_>) -> Result<Vec<Attrs>, DecodeError> {
    let rows = fields.count(6, "number of attribute rows")?;
    let mut table: Vec<Attrs> = Vec::with_capacity(rows);
    for _ in 0..rows {
        let mut attrs = Attrs::with_mode(fields.u32("mode")?);
        attrs.uid = fields.u32("uid")?;
        attrs.gid = fields.u32("gid")?;
        attrs.mtime = fields.signed("mtime")?;
        attrs.mtime_nsec = fields.u32("nanoseconds")?;
        for _ in 0..fields.count(2, "number of extended attributes")? {
            let name = fields.bytes("extended attribute")?.to_vec();
            attrs.xattrs.push((name, fields.bytes("extended attribute")?.to_vec()));
        }
        check_attrs(&attrs)?;
        if table.last().is_some_and(|last| *last >= attrs) {
            return Err(bad("attributes", "rows not sorted, or twice the same"));
        }
        table.push(attrs);
    }
    Ok(table)
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry, row: u64) -> Result<(), DecodeError> {
    let kind = match &entry.value {
        Value::File { .. } => FILE,
        Value::Tree { .. } => TREE,
        Value::Commit { .. } => COMMIT,
        Value::Symlink { .. } => SYMLINK,
        Value::Pointer { .. } => POINTER,
        Value::Device { block: false, .. } => CHAR_DEVICE,
        Value::Device { block: true, .. } => BLOCK_DEVICE,
        Value::Fifo => FIFO,
    };
    let linked = if entry.attrs.link_group == 0 { 0 } else { LINKED };
    out.push(kind | linked);
    put_varint(out, row);
    if linked != 0 {
        put_varint(out, entry.attrs.link_group);
    }
    match &entry.value {
        Value::File { kid, size } => {
            put_varint(out, *size);
            out.extend_from_slice(kid.as_bytes());
        }
        Value::Tree { kid, bytes, entries } => {
            put_varint(out, *bytes);
            put_varint(out, *entries);
            out.extend_from_slice(kid.as_bytes());
        }
        Value::Commit { kid } => out.extend_from_slice(kid.as_bytes()),
        Value::Symlink { target } => {
            check_target(target)?;
            put_bytes(out, target);
        }
        Value::Pointer { source, reference, kid } => {
            put_bytes(out, source.as_bytes());
            put_bytes(out, reference.as_bytes());
            out.push(u8::from(kid.is_some()));
            out.extend_from_slice(kid.as_ref().map_or(&[][..], |kid| kid.as_bytes()));
        }
        Value::Device { major, minor, .. } => {
            put_varint(out, u64::from(*major));
            put_varint(out, u64::from(*minor));
        }
        Value::Fifo => {}
    }
    Ok(())
}

fn check_target(target: &[u8]) -> Result<(), DecodeError> {
    if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
        return Err(bad("link target", "empty, longer than 4095 bytes, or with NUL"));
    }
    Ok(())
}

fn read_entry(
    fields: &mut Fields<'_>,
    table: &[Attrs],
    used: &mut [bool],
) -> Result<Entry, DecodeError> {
    let kind = fields.byte("kind")?;
    let row = usize::try_from(fields.varint("attribute index")?).unwrap_or(usize::MAX);
    let mut attrs =
        table.get(row).cloned().ok_or_else(|| bad("attribute index", "outside the table"))?;
    used[row] = true;
    if kind & LINKED != 0 {
        attrs.link_group = fields.varint("link group")?;
        if attrs.link_group == 0 {
            return Err(bad("link group", "0 is not written"));
        }
    }
    let value = match kind & !LINKED {
        FILE => Value::File { size: fields.varint("size")?, kid: read_kid(fields)? },
        TREE => Value::Tree {
            bytes: fields.varint("bytes")?,
            entries: fields.varint("entries")?,
            kid: read_kid(fields)?,
        },
        COMMIT => Value::Commit { kid: read_kid(fields)? },
        SYMLINK => {
            let target = fields.bytes("link target")?.to_vec();
            check_target(&target)?;
            Value::Symlink { target }
        }
        POINTER => Value::Pointer {
            source: fields.text("pointer's source")?.to_owned(),
            reference: fields.text("pointer's reference")?.to_owned(),
            kid: match fields.byte("pointer's flag")? {
                0 => None,
                1 => Some(read_kid(fields)?),
                _ => return Err(bad("pointer's flag", "neither 0 nor 1")),
            },
        },
        kind @ (CHAR_DEVICE | BLOCK_DEVICE) => Value::Device {
            block: kind == BLOCK_DEVICE,
            major: fields.u32("major number")?,
            minor: fields.u32("minor number")?,
        },
        FIFO => Value::Fifo,
        other => return Err(bad("kind", format!("{other} is not known"))),
    };
    Ok(Entry { value, attrs })
}

fn read_kid(fields: &mut Fields<'_>) -> Result<Kid, DecodeError> {
    Ok(Kid::from_bytes(fields.array("KID")?))
}
