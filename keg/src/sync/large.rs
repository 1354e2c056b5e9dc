//! Taking in a pack's frames, and blobs of more than 1 MiB: verified group by group.

use std::io::{self, Read, SeekFrom};

use blake3::hazmat::ChainingValue;

use super::{
    MAX_BASE, MAX_FRAME,
    codec::decompress,
    error::{SyncError, local, protocol},
    pack::{COMPRESSED, COPY, END, GROUPS, MAX_SENT, PATCHED, STORED},
    partial::Part,
    walk::Listed,
    wire::Input,
};
use crate::{
    Keg, Kid,
    groups::{GroupHasher, group_count, group_size, root},
    store::{BlobRead, Objects},
};

/// Most bytes of a copy that are in memory at once.
const COPIED: u64 = 1 << 20;

/// The frames of a pack, as the bytes they become.
pub(super) struct Frames<'a, 'i> {
    input: &'a mut Input<'i>,
    objects: &'a dyn Objects,
    bytes: Vec<u8>,
    at: usize,
    /// Of a copy: where in the base, and how much is left.
    copy: Option<(u64, u64)>,
    base: Option<(Kid, Box<dyn BlobRead + 'a>)>,
}

impl<'a, 'i> Frames<'a, 'i> {
    pub(super) fn new(input: &'a mut Input<'i>, objects: &'a dyn Objects) -> Self {
        Self { input, objects, bytes: Vec::new(), at: 0, copy: None, base: None }
    }

    /// Some of the next bytes, at most `left`, which is what the blob still needs. `shared`: other
    /// blobs may follow in the same frame.
    pub(super) fn next(
        &mut self,
        base: Option<&Kid>,
        left: u64,
        shared: bool,
    ) -> Result<&[u8], SyncError> {
        if self.at == self.bytes.len() {
            self.fill(base, left, shared)?;
        }
        let rest = (self.bytes.len() - self.at) as u64;
        let start = self.at;
        self.at += rest.min(left) as usize;
        Ok(&self.bytes[start..self.at])
    }

    /// Gives the last bytes again, the next time.
    fn put_back(&mut self, len: usize) {
        self.at -= len;
    }

    /// The last bytes that were given.
    fn last(&self, len: usize) -> &[u8] {
        &self.bytes[self.at - len..self.at]
    }

    fn fill(&mut self, base: Option<&Kid>, left: u64, shared: bool) -> Result<(), SyncError> {
        self.at = 0;
        self.bytes.clear();
        if self.copy.is_none() {
            match self.input.tag()? {
                STORED => {
                    self.bytes = self.input.bytes(MAX_FRAME, "a frame")?;
                }
                COMPRESSED => {
                    let len = self.input.length(MAX_FRAME, "a frame")?;
                    let packed = self.input.bytes(len, "a compressed frame")?;
                    self.bytes = decompress(&packed, None, len)?;
                }
                PATCHED => self.patched(base, left)?,
                COPY => {
                    let offset = self.input.number(u64::MAX, "the place of a copy")?;
                    let len = self.input.number(left, "the length of a copy")?;
                    self.copy = Some((offset, len));
                }
                END => return Err(protocol("the pack ends before the blobs do")),
                other => return Err(protocol(format!("a frame of kind {other} is out of place"))),
            }
        }
        if let Some((offset, len)) = self.copy {
            let piece = len.min(COPIED);
            self.bytes = self.read_base(base, offset, piece as usize)?;
            self.copy = (len > piece).then_some((offset + piece, len - piece));
        }
        if self.bytes.is_empty() {
            return Err(protocol("an empty frame"));
        }
        if !shared && self.bytes.len() as u64 > left {
            return Err(protocol("a frame goes beyond the end of its blob"));
        }
        Ok(())
    }

    fn patched(&mut self, base: Option<&Kid>, left: u64) -> Result<(), SyncError> {
        let offset = self.input.number(u64::MAX, "the place in the base")?;
        let reach = self.input.length(MAX_BASE, "the part of the base")?;
        let most = left.min(MAX_FRAME as u64) as usize;
        let len = self.input.length(most, "a frame")?;
        // zstd adds a few bytes to what it cannot compress.
        let packed = self.input.bytes(len + 1024, "a compressed frame")?;
        let base = self.read_base(base, offset, reach)?;
        self.bytes = decompress(&packed, Some(&base), len)?;
        Ok(())
    }

    fn read_base(
        &mut self,
        base: Option<&Kid>,
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>, SyncError> {
        let kid = base.ok_or_else(|| protocol("a frame refers to a base, and there is none"))?;
        if self.base.as_ref().is_none_or(|(open, _)| open != kid) {
            self.base = Some((*kid, self.objects.open_blob(kid)?));
        }
        let size = self.objects.blob_size(kid)?;
        if offset.checked_add(len as u64).is_none_or(|end| end > size) {
            return Err(protocol("a frame refers to more than its base has"));
        }
        let mut bytes = vec![0; len];
        if let Some((_, reader)) = &mut self.base {
            let read = reader.seek(SeekFrom::Start(offset));
            let read = read.and_then(|_| reader.read_exact(&mut bytes));
            read.map_err(local(format!("reading {kid}")))?;
        }
        Ok(bytes)
    }

    /// The hashes of a blob's groups, checked against its KID.
    fn groups(&mut self, blob: &Listed) -> Result<Vec<ChainingValue>, SyncError> {
        if self.at != self.bytes.len() {
            return Err(protocol("a frame goes beyond the end of its blob"));
        }
        if self.input.tag()? != GROUPS {
            return Err(protocol("a large blob without the hashes of its groups"));
        }
        let count = group_count(blob.size);
        let groups = (0..count).map(|_| self.input.array()).collect::<Result<Vec<_>, _>>()?;
        if root(&groups) != Some(blob.kid) {
            let what = "the hashes of its groups do not make its KID".into();
            return Err(SyncError::Wrong { kid: blob.kid, what });
        }
        Ok(groups)
    }

    /// The pack's end, after so many blobs.
    pub(super) fn end(self, blobs: u64) -> Result<(), SyncError> {
        if self.at != self.bytes.len() || self.copy.is_some() {
            return Err(protocol("bytes after the last blob"));
        }
        if self.input.tag()? != END {
            return Err(protocol("a frame after the last blob"));
        }
        if self.input.number(MAX_SENT, "blobs")? != blobs {
            return Err(protocol("another number of blobs than was asked for"));
        }
        Ok(())
    }
}

/// Receives and stores a blob of more than 1 MiB, of which `start` bytes are here; tells of each
/// piece how long it was.
pub(super) fn receive_large(
    keg: &Keg,
    frames: &mut Frames<'_, '_>,
    blob: &Listed,
    start: u64,
    told: &mut dyn FnMut(u64),
) -> Result<(), SyncError> {
    if !start.is_multiple_of(group_size(blob.size)) || start >= blob.size {
        return Err(protocol("a blob that starts in the middle of a group"));
    }
    let groups = frames.groups(blob)?;
    let mut part = Part::open(keg, blob)?;
    match &mut part {
        Some(part) => part.begin_at(start, blob, &groups)?,
        None if start > 0 => return Err(SyncError::Busy { kid: blob.kid }),
        None => {}
    }
    let hasher = GroupHasher::new(group_size(blob.size), start);
    let next = (start / group_size(blob.size)) as usize;
    let mut coming = Coming { frames, blob, groups, next, hasher, at: start, failed: None };
    if let Some(mut part) = part {
        part.fill(&mut coming, told)?;
        return part.keep(keg, blob);
    }
    let put = keg.objects().put_blob(&mut coming);
    if let Some(failed) = coming.failed {
        return Err(failed);
    }
    let (found, size) = put?;
    told(size);
    if found != blob.kid {
        let what = "its groups are right, but not the whole".into();
        return Err(SyncError::Wrong { kid: blob.kid, what });
    }
    Ok(())
}

/// The bytes of a large blob as they come, each group checked at its end.
pub(super) struct Coming<'a, 'f, 'i> {
    frames: &'a mut Frames<'f, 'i>,
    blob: &'a Listed,
    groups: Vec<ChainingValue>,
    next: usize,
    hasher: GroupHasher,
    at: u64,
    failed: Option<SyncError>,
}

impl Coming<'_, '_, '_> {
    /// How many bytes have come, with those that were there.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// At most `most` more bytes, none at the end; and how many bytes of the blob are verified.
    pub(super) fn more(&mut self, most: usize) -> Result<(&[u8], u64), SyncError> {
        let left = self.blob.size - self.at;
        if left == 0 {
            return Ok((&[], self.at));
        }
        let got = self.frames.next(self.blob.base.as_ref(), left, false)?.len();
        let len = got.min(most).min(self.hasher.room());
        self.frames.put_back(got - len);
        let bytes = self.frames.last(len);
        let ended = self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        let last = self.at == self.blob.size;
        let hash = match ended {
            None if last => Some(self.hasher.finish()),
            ended => ended,
        };
        if let Some(hash) = hash {
            if self.groups.get(self.next) != Some(&hash) {
                let what = format!("its part that ends at byte {} is another one", self.at);
                return Err(SyncError::Wrong { kid: self.blob.kid, what: what.into() });
            }
            self.next += 1;
        }
        let group = group_size(self.blob.size);
        Ok((bytes, if last { self.at } else { self.at / group * group }))
    }
}

impl Read for Coming<'_, '_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        match self.more(buf.len()) {
            Ok((bytes, _)) => {
                let len = bytes.len();
                buf[..len].copy_from_slice(bytes);
                Ok(len)
            }
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("the blob did not come whole"))
            }
        }
    }
}
