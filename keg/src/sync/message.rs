//! The small messages: what is asked for, and what it is compared with.

use super::{
    MAX_BLOBS, MAX_HAVES, MAX_OBJECTS, MAX_STOPS, Message,
    bitmap::Bitmap,
    error::{SyncError, protocol},
    walk::Ends,
    wire::{Input, put_entry, put_kids, put_named, put_option, put_text, start},
};
use crate::{
    Kid,
    names::Expected,
    object::{
        Entry, Kind,
        wire::{put_bytes, put_varint},
    },
    path::{MAX_PATH, NamePath},
};

/// Most blobs of which a part is there.
const MAX_STARTS: usize = 1024;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Want {
    /// What a path stands for now; `/`: the newest version with all before it.
    Path(NamePath),
    /// This value.
    Value(Kind, Kid),
}

/// A pull that was interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Resume {
    /// What was being pulled, …
    pub(super) value: Kid,
    /// … compared with what, …
    pub(super) base: Option<Kid>,
    /// … and how many of its trees and commits are here.
    pub(super) objects: u64,
}

/// Asks for trees and commits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WantTrees {
    pub(super) want: Want,
    /// Values that are here whole; the first one known there is the base.
    pub(super) haves: Vec<(Kind, Kid)>,
    pub(super) resume: Option<Resume>,
}

impl WantTrees {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = start(Message::WantTrees);
        match &self.want {
            Want::Path(path) => {
                out.push(0);
                put_bytes(&mut out, path.as_str().as_bytes());
            }
            Want::Value(kind, kid) => {
                out.push(1);
                put_named(&mut out, &(*kind, *kid));
            }
        }
        put_varint(&mut out, self.haves.len() as u64);
        self.haves.iter().for_each(|have| put_named(&mut out, have));
        put_option(&mut out, self.resume.as_ref(), |out, resume| {
            out.extend_from_slice(resume.value.as_bytes());
            put_option(out, resume.base.as_ref(), |out, kid| out.extend_from_slice(kid.as_bytes()));
            put_varint(out, resume.objects);
        });
        out
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, SyncError> {
        let want = match input.byte()? {
            0 => Want::Path(read_path(input)?),
            1 => {
                let (kind, kid) = input.named()?;
                Want::Value(kind, kid)
            }
            other => return Err(protocol(format!("a wish of kind {other}"))),
        };
        let count = input.length(MAX_HAVES, "values the other side has")?;
        let haves = (0..count).map(|_| input.named()).collect::<Result<_, _>>()?;
        let resume = input.option(|input| {
            Ok(Resume {
                value: input.kid()?,
                base: input.option(Input::kid)?,
                objects: input.number(MAX_OBJECTS, "trees and commits that are there")?,
            })
        })?;
        Ok(Self { want, haves, resume })
    }
}

/// Where in the walk blobs are missing, and how much of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Missing {
    pub(super) bits: Bitmap,
    /// Of these blobs (by their number in the walk, ascending) so many bytes are there already.
    pub(super) starts: Vec<(u64, u64)>,
}

impl Missing {
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), SyncError> {
        self.bits.put(out)?;
        put_varint(out, self.starts.len() as u64);
        for (index, offset) in &self.starts {
            put_varint(out, *index);
            put_varint(out, *offset);
        }
        Ok(())
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, SyncError> {
        let bits = Bitmap::read(input)?;
        let count = input.length(MAX_STARTS, "blobs of which a part is there")?;
        let mut starts: Vec<(u64, u64)> = Vec::with_capacity(count);
        for _ in 0..count {
            let index = input.number(MAX_BLOBS, "the number of a blob")?;
            if starts.last().is_some_and(|(last, _)| *last >= index) {
                return Err(protocol("parts of blobs are not in order"));
            }
            starts.push((index, input.number(u64::MAX, "the length of a part")?));
        }
        Ok(Self { bits, starts })
    }

    /// How much of a blob is there.
    pub(super) fn start_of(&self, index: u64) -> u64 {
        let found = self.starts.binary_search_by_key(&index, |(index, _)| *index);
        found.map_or(0, |at| self.starts[at].1)
    }

    /// Notes that a part of a blob is there, while there is room for it.
    pub(super) fn start_at(&mut self, index: u64, offset: u64) -> bool {
        let room = self.starts.len() < MAX_STARTS;
        if room {
            self.starts.push((index, offset));
        }
        room
    }
}

/// A walk that both ends have made, and what is missing of its blobs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PackOrder {
    pub(super) value: Entry,
    pub(super) base: Option<(Kind, Kid)>,
    pub(super) ends: Ends,
    pub(super) missing: Missing,
}

impl PackOrder {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), SyncError> {
        put_entry(out, Some(&self.value))?;
        put_option(out, self.base.as_ref(), put_named);
        put_kids(out, &self.ends.stops);
        put_kids(out, &self.ends.gone);
        self.missing.put(out)
    }

    fn read_from(input: &mut Input<'_>) -> Result<Self, SyncError> {
        let value = input.entry()?.ok_or_else(|| protocol("a pack of nothing"))?;
        let base = input.option(Input::named)?;
        let ends = Ends { stops: read_kids(input)?, gone: read_kids(input)? };
        Ok(Self { value, base, ends, missing: Missing::read(input)? })
    }

    /// The message that asks for the pack.
    pub(super) fn encode(&self) -> Result<Vec<u8>, SyncError> {
        let mut out = start(Message::WantPack);
        self.put(&mut out)?;
        Ok(out)
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, SyncError> {
        Self::read_from(input)
    }
}

/// What a push wants to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Offer {
    pub(super) path: NamePath,
    /// What the name is there; `Any`: only tell me, nothing follows.
    pub(super) expected: Expected,
    /// What it is to be.
    pub(super) value: Entry,
    /// The walk compares it with the expected value, which is here, too.
    pub(super) compared: bool,
    pub(super) author: String,
}

impl Offer {
    fn put(&self, out: &mut Vec<u8>) -> Result<(), SyncError> {
        put_bytes(out, self.path.as_str().as_bytes());
        match self.expected {
            Expected::Absent => out.push(0),
            Expected::Kid(kid) => {
                out.push(1);
                out.extend_from_slice(kid.as_bytes());
            }
            Expected::Any => out.push(2),
        }
        put_entry(out, Some(&self.value))?;
        out.push(u8::from(self.compared));
        put_text(out, &self.author);
        Ok(())
    }

    /// The start of the message that offers trees; records follow.
    pub(super) fn encode(&self) -> Result<Vec<u8>, SyncError> {
        let mut out = start(Message::OfferTrees);
        self.put(&mut out)?;
        Ok(out)
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, SyncError> {
        let path = read_path(input)?;
        let expected = match input.byte()? {
            0 => Expected::Absent,
            1 => Expected::Kid(input.kid()?),
            2 => Expected::Any,
            other => return Err(protocol(format!("an expectation of kind {other}"))),
        };
        let value = input.entry()?.ok_or_else(|| protocol("an offer of nothing"))?;
        let compared = input.option(|_| Ok(()))?.is_some();
        Ok(Self { path, expected, value, compared, author: input.text()? })
    }

    /// The start of the message that offers the pack; frames follow.
    pub(super) fn encode_pack(&self, order: &PackOrder) -> Result<Vec<u8>, SyncError> {
        let mut out = start(Message::OfferPack);
        self.put(&mut out)?;
        order.put(&mut out)?;
        Ok(out)
    }

    pub(super) fn read_pack(input: &mut Input<'_>) -> Result<(Self, PackOrder), SyncError> {
        let offer = Self::read(input)?;
        let order = PackOrder::read_from(input)?;
        if order.value != offer.value {
            return Err(protocol("a pack of another value than the name is to be"));
        }
        Ok((offer, order))
    }
}

fn read_kids(input: &mut Input<'_>) -> Result<Vec<Kid>, SyncError> {
    let count = input.length(MAX_STOPS, "commits at which a walk ends")?;
    let mut kids = Vec::new();
    for _ in 0..count {
        kids.push(input.kid()?);
    }
    Ok(kids)
}

fn read_path(input: &mut Input<'_>) -> Result<NamePath, SyncError> {
    let bytes = input.bytes(MAX_PATH, "a path")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| protocol("a path that is not UTF-8"))?;
    let path: NamePath = text.parse().map_err(|error| protocol(format!("{error}")))?;
    if path.as_str() != text {
        return Err(protocol("a path that is not in its one form"));
    }
    Ok(path)
}
