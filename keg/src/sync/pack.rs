//! The second round trip: the missing blobs as one pack of frames, in the order of the walk.
//!
//! All missing blobs one after the other are one run of bytes; each frame gives the next piece of
//! it. Small blobs share a frame; a frame that refers to a base belongs to one blob.

use std::{collections::VecDeque, time::Instant};

use super::{
    MAX_BASE, MAX_BLOBS, MAX_FRAME, Progress, SYNC_BYTES, SYNC_EVERY, SYNC_OBJECTS,
    codec::compress,
    delta::LargeSender,
    error::{SyncError, protocol},
    large::{Frames, receive_large},
    message::PackOrder,
    walk::{Listed, Met, Source, Walk},
    wire::Input,
};
use crate::{
    Keg, Kid, directory,
    groups::GROUPED,
    object::{
        Commit, Kind,
        shards::Node,
        wire::{put_bytes, put_varint},
    },
    store::{Objects, StoreError},
};

/// The tags of frames.
pub(super) const END: u8 = 0;
pub(super) const STORED: u8 = 1;
pub(super) const COMPRESSED: u8 = 2;
pub(super) const PATCHED: u8 = 3;
pub(super) const COPY: u8 = 4;
pub(super) const GROUPS: u8 = 5;

/// Frames are gathered to chunks of about this many bytes.
const CHUNK: usize = 64 << 10;
/// A difference must be this many times smaller than the blob, or the blob shares a frame.
const WORTH: usize = 2;

/// A walk whose objects are all here: gives the blobs.
struct Blobs<'a> {
    walk: Walk,
    source: Here<'a>,
    next: u64,
}

struct Here<'a> {
    objects: &'a dyn Objects,
    found: VecDeque<Listed>,
}

impl<'a> Blobs<'a> {
    fn new(objects: &'a dyn Objects, order: &PackOrder) -> Self {
        let walk = Walk::new(&order.value, order.base, order.ends.clone());
        Self { walk, source: Here { objects, found: VecDeque::new() }, next: 0 }
    }

    /// The next blob and its number.
    fn next(&mut self) -> Result<Option<(u64, Listed)>, SyncError> {
        loop {
            if let Some(blob) = self.source.found.pop_front() {
                self.next += 1;
                return Ok(Some((self.next - 1, blob)));
            }
            if !self.walk.step(&mut self.source)? {
                return Ok(None);
            }
        }
    }
}

impl Source for Here<'_> {
    fn commit(&mut self, kid: &Kid, _: Option<&Kid>) -> Result<Met, SyncError> {
        Ok(Met::New(self.objects.commit(kid)?))
    }

    fn known_commit(&mut self, kid: &Kid) -> Result<Commit, SyncError> {
        Ok(self.objects.commit(kid)?)
    }

    fn node(&mut self, kid: &Kid, _: Option<&Kid>) -> Result<Node, SyncError> {
        Ok(directory::node(self.objects, kid)?)
    }

    fn known_node(&mut self, kid: &Kid) -> Result<Node, SyncError> {
        Ok(directory::node(self.objects, kid)?)
    }

    fn blob(&mut self, blob: Listed) -> Result<(), SyncError> {
        self.found.push_back(blob);
        Ok(())
    }
}

/// Bytes of the missing blobs.
pub(super) fn missing_bytes(objects: &dyn Objects, order: &PackOrder) -> Result<u64, SyncError> {
    let (mut blobs, mut bytes) = (Blobs::new(objects, order), 0u64);
    while let Some((index, blob)) = blobs.next()? {
        if order.missing.bits.get(index) == Some(true) {
            bytes = bytes.saturating_add(blob.size);
        }
    }
    Ok(bytes)
}

/// Sends the missing blobs, chunk by chunk.
pub(super) struct PackSender<'a> {
    objects: &'a dyn Objects,
    blobs: Blobs<'a>,
    order: &'a PackOrder,
    out: Vec<u8>,
    /// Small blobs that will share a frame.
    shared: Vec<u8>,
    large: Option<LargeSender<'a>>,
    sent: u64,
    /// Of the blobs, with those that are there of large ones.
    bytes: u64,
    ended: bool,
}

impl<'a> PackSender<'a> {
    pub(super) fn new(objects: &'a dyn Objects, order: &'a PackOrder) -> Self {
        let blobs = Blobs::new(objects, order);
        let (out, shared) = (Vec::new(), Vec::new());
        Self { objects, blobs, order, out, shared, large: None, sent: 0, bytes: 0, ended: false }
    }

    /// How many blobs have been sent, and how many bytes of blobs.
    pub(super) fn sent(&self) -> (u64, u64) {
        (self.sent, self.bytes)
    }

    /// The next bytes; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, SyncError> {
        while !self.ended && self.out.len() < CHUNK {
            match &mut self.large {
                Some(large) => {
                    let before = large.at();
                    let more = large.step(&mut self.out)?;
                    self.bytes += large.at() - before;
                    if !more {
                        self.large = None;
                    }
                }
                None => self.step()?,
            }
        }
        let out = std::mem::take(&mut self.out);
        Ok(if out.is_empty() { None } else { Some(out) })
    }

    fn step(&mut self) -> Result<(), SyncError> {
        let Some((index, blob)) = self.blobs.next()? else {
            self.flush()?;
            self.out.push(END);
            put_varint(&mut self.out, self.sent);
            self.ended = true;
            return Ok(());
        };
        match self.order.missing.bits.get(index) {
            None => return Err(protocol("fewer bits than blobs")),
            Some(false) => return Ok(()),
            Some(true) => self.sent += 1,
        }
        if blob.size > GROUPED {
            self.flush()?;
            let start = self.order.missing.start_of(index);
            self.bytes += start;
            self.large = Some(LargeSender::new(self.objects, blob, start, &mut self.out)?);
            return Ok(());
        }
        self.small(&blob)
    }

    fn small(&mut self, blob: &Listed) -> Result<(), SyncError> {
        let bytes = self.objects.blob(&blob.kid)?;
        if bytes.len() as u64 != blob.size {
            let what = format!("a tree says {} bytes, but it has {}", blob.size, bytes.len());
            return Err(StoreError::Corrupt { kid: blob.kid, what }.into());
        }
        self.bytes += blob.size;
        if let Some(base) = blob.base.and_then(|base| self.base(&base)) {
            let patch = compress(&bytes, Some(&base))?;
            if patch.len() * WORTH <= bytes.len() {
                self.flush()?;
                put_patch(&mut self.out, (0, base.len()), bytes.len(), &patch);
                return Ok(());
            }
        }
        if self.shared.len() + bytes.len() > MAX_FRAME {
            self.flush()?;
        }
        self.shared.extend_from_slice(&bytes);
        Ok(())
    }

    /// A base, if it is here and small enough: without one the blob is sent whole.
    fn base(&self, kid: &Kid) -> Option<Vec<u8>> {
        let small = self.objects.blob_size(kid).is_ok_and(|size| size <= MAX_BASE as u64);
        if small { self.objects.blob(kid).ok() } else { None }
    }

    fn flush(&mut self) -> Result<(), SyncError> {
        if !self.shared.is_empty() {
            put_frame(&mut self.out, &self.shared)?;
            self.shared.clear();
        }
        Ok(())
    }
}

/// Appends bytes as a frame that stands alone.
pub(super) fn put_frame(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), SyncError> {
    let packed = compress(bytes, None)?;
    if packed.len() < bytes.len() {
        out.push(COMPRESSED);
        put_varint(out, bytes.len() as u64);
        put_bytes(out, &packed);
    } else {
        out.push(STORED);
        put_bytes(out, bytes);
    }
    Ok(())
}

/// Appends a frame that is a difference to a part of the base.
pub(super) fn put_patch(out: &mut Vec<u8>, base: (u64, usize), len: usize, patch: &[u8]) {
    out.push(PATCHED);
    put_varint(out, base.0);
    put_varint(out, base.1 as u64);
    put_varint(out, len as u64);
    put_bytes(out, patch);
}

/// Stores the blobs of a pack as they come, each when its bytes are those of its KID. They stay
/// when the connection breaks; no name leads to them yet.
pub(super) fn receive_pack(
    keg: &Keg,
    input: &mut Input<'_>,
    order: &PackOrder,
    mut progress: Progress,
    told: &mut dyn FnMut(Progress),
) -> Result<Progress, SyncError> {
    let objects = keg.objects();
    let mut blobs = Blobs::new(objects, order);
    let mut frames = Frames::new(input, objects);
    let mut synced = (0, 0, Instant::now());
    let mut receive = || -> Result<(), SyncError> {
        while let Some((index, blob)) = blobs.next()? {
            match order.missing.bits.get(index) {
                None => return Err(protocol("fewer bits than blobs")),
                Some(false) => check_there(objects, &blob)?,
                Some(true) => {
                    let start = order.missing.start_of(index);
                    progress.bytes += start;
                    receive_blob(keg, &mut frames, &blob, start, &mut |len| {
                        progress.bytes += len;
                        told(progress);
                    })?;
                    progress.blobs += 1;
                    told(progress);
                }
            }
            let since = (progress.bytes - synced.0, progress.blobs - synced.1);
            let late = since.1 > 0 && synced.2.elapsed() >= SYNC_EVERY;
            if since.0 >= SYNC_BYTES || since.1 >= SYNC_OBJECTS || late {
                objects.sync()?;
                synced = (progress.bytes, progress.blobs, Instant::now());
            }
        }
        Ok(())
    };
    let received = receive();
    // Whatever happened, what has come whole is not fetched again.
    objects.sync()?;
    received?;
    if blobs.next != order.missing.bits.len() {
        return Err(protocol("more bits than blobs"));
    }
    frames.end(progress.blobs)?;
    Ok(progress)
}

/// A blob that was not asked for must be here.
fn check_there(objects: &dyn Objects, blob: &Listed) -> Result<(), SyncError> {
    let size = objects.blob_size(&blob.kid)?;
    if size == blob.size {
        return Ok(());
    }
    let what = format!("a tree says {} bytes, but it has {size}", blob.size);
    Err(SyncError::Wrong { kid: blob.kid, what: what.into() })
}

fn receive_blob(
    keg: &Keg,
    frames: &mut Frames<'_, '_>,
    blob: &Listed,
    start: u64,
    told: &mut dyn FnMut(u64),
) -> Result<(), SyncError> {
    if blob.size > GROUPED {
        return receive_large(keg, frames, blob, start, told);
    }
    let mut bytes = Vec::with_capacity(blob.size as usize);
    while (bytes.len() as u64) < blob.size {
        let left = blob.size - bytes.len() as u64;
        bytes.extend_from_slice(frames.next(blob.base.as_ref(), left, true)?);
    }
    if Kid::of_blob(&bytes) != blob.kid {
        let what = "the bytes have another KID".into();
        return Err(SyncError::Wrong { kid: blob.kid, what });
    }
    keg.objects().put(Kind::Blob, &bytes)?;
    told(blob.size);
    Ok(())
}

/// Most blobs of a pack, as its end says.
pub(super) const MAX_SENT: u64 = MAX_BLOBS;
