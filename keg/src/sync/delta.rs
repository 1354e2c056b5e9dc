//! Sending a large blob: the hashes of its groups, then its bytes, piece by piece compared with
//! the base.
//!
//! Pieces that are where they were in the base are one copy, however many there are; of others
//! the difference to the neighbourhood in the base is sent. A window of the base at a time is in
//! memory.

use std::io::{self, Read, Seek, SeekFrom};

use blake3::hazmat::ChainingValue;

use super::{
    MAX_BASE, MAX_FRAME,
    codec::compress,
    error::{SyncError, local},
    pack::{COPY, GROUPS, put_frame, put_patch},
    walk::Listed,
};
use crate::{
    Kid,
    groups::{GroupHasher, group_size},
    object::wire::put_varint,
    store::{BlobRead, Objects, StoreError},
};

/// Bytes that are compared with the base at a time.
const PIECE: usize = 1 << 20;
/// How far to either side of a piece's place the base is looked at.
const REACH: u64 = 1 << 20;
const _: () = assert!(PIECE + 2 * REACH as usize <= MAX_BASE);
/// Bytes read at a time to be hashed.
const CHUNK: usize = 256 << 10;

/// A large blob on its way out.
pub(super) struct LargeSender<'a> {
    kid: Kid,
    from: Box<dyn BlobRead + 'a>,
    base: Option<(Box<dyn BlobRead + 'a>, u64)>,
    at: u64,
    size: u64,
    /// What is the same in the base: offset and length, not sent yet.
    copy: Option<(u64, u64)>,
}

impl<'a> LargeSender<'a> {
    /// Puts the hashes of the groups into `out`; the bytes from `start` on follow by steps.
    pub(super) fn new(
        objects: &'a dyn Objects,
        blob: Listed,
        start: u64,
        out: &mut Vec<u8>,
    ) -> Result<Self, SyncError> {
        let Listed { kid, size, .. } = blob;
        out.push(GROUPS);
        for hash in hash_groups(objects, &kid, size)? {
            out.extend_from_slice(&hash);
        }
        let base = blob.base.and_then(|base| {
            let size = objects.blob_size(&base).ok().filter(|size| *size > 0)?;
            Some((objects.open_blob(&base).ok()?, size))
        });
        let mut from = objects.open_blob(&kid)?;
        let at = start.min(size);
        if at > 0 {
            from.seek(SeekFrom::Start(at)).map_err(reading(&kid))?;
        }
        Ok(Self { kid, from, base, at, size, copy: None })
    }

    /// Up to where it has been sent.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Appends the next frame, if a piece makes one; `false` at the end.
    pub(super) fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, SyncError> {
        let most = if self.base.is_some() { PIECE } else { MAX_FRAME };
        let len = usize::try_from(self.size - self.at).unwrap_or(most).min(most);
        if len == 0 {
            self.put_copy(out);
            return Ok(false);
        }
        let mut piece = vec![0; len];
        self.from.read_exact(&mut piece).map_err(reading(&self.kid))?;
        let at = self.at;
        self.at += len as u64;
        let window = match &mut self.base {
            // A base that cannot be read is none.
            Some((base, size)) => Window::around(base.as_mut(), *size, at, len).ok(),
            None => None,
        };
        let Some(window) = window else {
            self.put_copy(out);
            put_frame(out, &piece)?;
            return Ok(true);
        };
        // What is the same at both ends is a copy; often all of it is, or all but a few bytes.
        let (head, tail) = window.same(&piece, at);
        self.copy_more(out, at, head as u64);
        let middle = &piece[head..len - tail];
        if !middle.is_empty() {
            self.put_copy(out);
            let patch = compress(middle, Some(&window.bytes))?;
            if patch.len() < middle.len() {
                put_patch(out, (window.start, window.bytes.len()), middle.len(), &patch);
            } else {
                put_frame(out, middle)?;
            }
        }
        self.copy_more(out, at + (len - tail) as u64, tail as u64);
        Ok(true)
    }

    fn copy_more(&mut self, out: &mut Vec<u8>, at: u64, len: u64) {
        match &mut self.copy {
            _ if len == 0 => {}
            Some((start, had)) if *start + *had == at => *had += len,
            _ => {
                self.put_copy(out);
                self.copy = Some((at, len));
            }
        }
    }

    fn put_copy(&mut self, out: &mut Vec<u8>) {
        if let Some((start, len)) = self.copy.take() {
            out.push(COPY);
            put_varint(out, start);
            put_varint(out, len);
        }
    }
}

/// A part of the base.
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn around(base: &mut dyn BlobRead, size: u64, at: u64, len: usize) -> io::Result<Self> {
        let start = at.saturating_sub(REACH).min(size);
        let end = (at + len as u64).saturating_add(REACH).min(size);
        let mut bytes = vec![0; (end - start) as usize];
        base.seek(SeekFrom::Start(start))?;
        base.read_exact(&mut bytes)?;
        Ok(Self { start, bytes })
    }

    /// How many bytes at the start and at the end of a piece are the same at its place here.
    fn same(&self, piece: &[u8], at: u64) -> (usize, usize) {
        let from = at.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let Some(here) = from.and_then(|from| self.bytes.get(from..)) else { return (0, 0) };
        let alike = |(a, b): &(&u8, &u8)| a == b;
        if let Some(here) = here.get(..piece.len()) {
            if here == piece {
                return (piece.len(), 0);
            }
            let head = piece.iter().zip(here).take_while(alike).count();
            let tail = piece.iter().rev().zip(here.iter().rev()).take_while(alike).count();
            return (head, tail);
        }
        (piece.iter().zip(here).take_while(alike).count(), 0)
    }
}

fn hash_groups(
    objects: &dyn Objects,
    kid: &Kid,
    size: u64,
) -> Result<Vec<ChainingValue>, SyncError> {
    let mut from = objects.open_blob(kid)?;
    let mut hasher = GroupHasher::new(group_size(size), 0);
    let (mut groups, mut chunk, mut at) = (Vec::new(), vec![0; CHUNK], 0u64);
    loop {
        let room = hasher.room().min(CHUNK);
        match from.read(&mut chunk[..room]).map_err(reading(kid))? {
            0 => break,
            n => {
                groups.extend(hasher.update(&chunk[..n]));
                at += n as u64;
            }
        }
    }
    if !at.is_multiple_of(group_size(size)) {
        groups.push(hasher.finish());
    }
    if at != size {
        let what = format!("a tree says {size} bytes, but it has {at}");
        return Err(StoreError::Corrupt { kid: *kid, what }.into());
    }
    Ok(groups)
}

fn reading(kid: &Kid) -> impl FnOnce(io::Error) -> SyncError {
    local(format!("reading {kid}"))
}
