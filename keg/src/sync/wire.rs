//! Reading messages from a stream, every length checked before anything is allocated for it.

use std::io::{BufReader, Read};

use super::{
    MAX_TEXT, Message,
    error::{SyncError, broken, protocol},
};
use crate::{
    Kid,
    object::{
        Entry, EntryName, Kind, Tree,
        wire::{put_bytes, put_varint},
    },
};

/// How every message begins: the protocol …
const MAGIC: &[u8; 8] = b"keg-sync";
/// … and its version.
const VERSION: u8 = 1;
/// The tag of a failure, possible wherever a tag is.
pub(super) const FAILED: u8 = 0x7f;
/// Read ahead from the connection, in bytes.
const BUFFER: usize = 64 << 10;
/// The name under which an entry travels.
const VALUE: &[u8] = b"value";
/// Longest encoding of an entry: its attributes may be large.
const MAX_ENTRY: usize = 16 << 20;
/// Bytes are allocated as they come, this many at a time, whatever length was announced.
const STEP: usize = 1 << 20;

/// A message being read.
pub(super) struct Input<'a> {
    from: BufReader<Box<dyn Read + 'a>>,
    read: u64,
}

impl<'a> Input<'a> {
    /// Reads the start of a message, which must be of this kind.
    pub(super) fn open(from: Box<dyn Read + 'a>, want: Message) -> Result<Self, SyncError> {
        let mut input = Self { from: BufReader::with_capacity(BUFFER, from), read: 0 };
        let start: [u8; 8] = input.array()?;
        if start != *MAGIC {
            let what = format!("a message starts with {:?}", String::from_utf8_lossy(&start));
            return Err(SyncError::NotAKeg { what });
        }
        let theirs = input.byte()?;
        if theirs != VERSION {
            return Err(SyncError::Version { theirs, ours: VERSION });
        }
        match input.byte()? {
            found if found == want as u8 => Ok(input),
            found => Err(protocol(format!("message {found} came instead of {}", want as u8))),
        }
    }

    /// Bytes read so far.
    pub(super) fn count(&self) -> u64 {
        self.read
    }

    pub(super) fn byte(&mut self) -> Result<u8, SyncError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SyncError> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(broken)?;
        self.read += N as u64;
        Ok(bytes)
    }

    pub(super) fn kid(&mut self) -> Result<Kid, SyncError> {
        self.array().map(Kid::from_bytes)
    }

    /// A tag; a failure told by the other side becomes the error.
    pub(super) fn tag(&mut self) -> Result<u8, SyncError> {
        match self.byte()? {
            FAILED => Err(SyncError::Refused { message: self.text()? }),
            tag => Ok(tag),
        }
    }

    /// An unsigned LEB128 number in its shortest form, at most `limit`.
    pub(super) fn number(&mut self, limit: u64, what: &'static str) -> Result<u64, SyncError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (shift == 63 && bits > 1) || (byte == 0 && shift > 0) {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if value > limit {
                    return Err(protocol(format!("{what}: {value} is more than {limit}")));
                }
                return Ok(value);
            }
        }
        Err(protocol(format!("{what}: a number that is too large or not in its shortest form")))
    }

    /// A number that is a length in memory.
    pub(super) fn length(&mut self, limit: usize, what: &'static str) -> Result<usize, SyncError> {
        Ok(self.number(limit as u64, what)? as usize)
    }

    /// So many bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<Vec<u8>, SyncError> {
        let mut bytes = Vec::with_capacity(len.min(STEP));
        while bytes.len() < len {
            let start = bytes.len();
            bytes.resize(len.min(start + STEP), 0);
            self.from.read_exact(&mut bytes[start..]).map_err(broken)?;
        }
        self.read += len as u64;
        Ok(bytes)
    }

    /// A length and the bytes.
    pub(super) fn bytes(&mut self, limit: usize, what: &'static str) -> Result<Vec<u8>, SyncError> {
        let len = self.length(limit, what)?;
        self.take(len)
    }

    /// A text for people, whose control characters are shown as U+FFFD.
    pub(super) fn text(&mut self) -> Result<String, SyncError> {
        let bytes = self.bytes(MAX_TEXT, "a text")?;
        let shown = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
        Ok(String::from_utf8_lossy(&bytes).chars().map(shown).collect())
    }

    /// The kind and KID of a value.
    pub(super) fn named(&mut self) -> Result<(Kind, Kid), SyncError> {
        let kind = match self.byte()? {
            0 => Kind::Blob,
            1 => Kind::Tree,
            2 => Kind::Commit,
            other => return Err(protocol(format!("a value of kind {other}"))),
        };
        Ok((kind, self.kid()?))
    }

    /// What may be there or not: 0, or 1 and the thing.
    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, SyncError>,
    ) -> Result<Option<T>, SyncError> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            other => Err(protocol(format!("{other} where 0 or 1 was expected"))),
        }
    }

    /// An entry, or nothing: the bytes of a tree that has at most the name `value`.
    pub(super) fn entry(&mut self) -> Result<Option<Entry>, SyncError> {
        let bytes = self.bytes(MAX_ENTRY, "an entry")?;
        let mut tree = Tree::decode(&bytes)
            .map_err(|error| protocol(format!("an entry that is none: {error}")))?;
        let entry = tree.entries.remove(VALUE);
        if tree.entries.is_empty() {
            return Ok(entry);
        }
        Err(protocol("an entry under another name than `value`"))
    }

    /// Nothing may follow.
    pub(super) fn end(&mut self) -> Result<(), SyncError> {
        match self.from.read(&mut [0]).map_err(broken)? {
            0 => Ok(()),
            _ => Err(protocol("bytes after the end")),
        }
    }

    /// Reads what still comes and drops it, so that the other side hears the answer.
    pub(super) fn drain(&mut self) {
        // The answer is given anyway.
        let _ = std::io::copy(&mut self.from, &mut std::io::sink());
    }
}

/// The start of a message.
pub(super) fn start(message: Message) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend([VERSION, message as u8]);
    out
}

/// Appends the kind and KID of a value.
pub(super) fn put_named(out: &mut Vec<u8>, (kind, kid): &(Kind, Kid)) {
    out.push(match kind {
        Kind::Blob => 0,
        Kind::Tree => 1,
        Kind::Commit => 2,
    });
    out.extend_from_slice(kid.as_bytes());
}

/// Appends 0, or 1 and the thing.
pub(super) fn put_option<T>(
    out: &mut Vec<u8>,
    value: Option<&T>,
    put: impl FnOnce(&mut Vec<u8>, &T),
) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

/// Appends an entry, or nothing.
pub(super) fn put_entry(out: &mut Vec<u8>, entry: Option<&Entry>) -> Result<(), SyncError> {
    let mut tree = Tree::default();
    if let Some(entry) = entry {
        let name = EntryName::new(VALUE).map_err(|error| protocol(error.to_string()))?;
        tree.entries.insert(name, entry.clone());
    }
    let bytes = tree.encode().map_err(|error| protocol(error.to_string()))?;
    put_bytes(out, &bytes);
    Ok(())
}

/// Appends a text of at most [`MAX_TEXT`] bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|end| text.is_char_boundary(*end));
    put_bytes(out, &text.as_bytes()[..end.unwrap_or(0)]);
}

/// A failure, as a record of any message.
pub(super) fn failed(message: &str) -> Vec<u8> {
    let mut out = vec![FAILED];
    put_text(&mut out, message);
    out
}

/// Appends a list of KIDs.
pub(super) fn put_kids(out: &mut Vec<u8>, kids: &[Kid]) {
    put_varint(out, kids.len() as u64);
    kids.iter().for_each(|kid| out.extend_from_slice(kid.as_bytes()));
}
