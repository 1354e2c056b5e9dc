//! Reads any range of a layer's tar in steps of bounded size and work.

use std::{io::Read as _, ops::Range};

use keg::{
    Kid,
    store::{BlobRead, Objects},
};

use super::{
    header::BLOCK,
    walk::{Item, TarError, Walk},
};

/// Most bytes of one step.
pub const STEP_BYTES: usize = 256 * 1024;
/// Most entries visited in one step, so that a step over many empty or skipped files is short.
const STEP_ITEMS: usize = 256;
/// What reading one [`STEP_BYTES`] past costs in entries.
const PAST_COST: usize = STEP_ITEMS / 2;
/// The end of a tar: two zero blocks.
const TRAILER: usize = 2 * BLOCK;

/// What a step gave.
pub enum Step {
    /// The next bytes, at most [`STEP_BYTES`]. May be empty: entries were skipped.
    Data(Vec<u8>),
    /// Everything in the range has been given.
    End,
}

enum Part {
    /// Bytes at hand, and how many were given.
    Bytes(Vec<u8>, usize),
    /// A blob being read: bytes to read past first (a seek would have the store check the whole
    /// blob at once, which is not a bounded step), and bytes still to read.
    Blob { kid: Kid, size: u64, past: u64, left: u64, from: Box<dyn BlobRead> },
}

/// The bytes of a layer from one offset up to another.
pub struct LayerReader {
    walk: Walk,
    /// Rest of the current entry, next part last.
    parts: Vec<Part>,
    /// Bytes to leave out before the first that is wanted.
    skip: u64,
    /// Bytes still to give; `None`: up to the end.
    left: Option<u64>,
    trailer_done: bool,
}

impl LayerReader {
    /// The whole layer.
    ///
    /// # Errors
    /// The tree is not in the store.
    pub fn whole(objects: &dyn Objects, tree: &Kid) -> Result<Self, TarError> {
        Ok(Self {
            walk: Walk::new(objects, tree)?,
            parts: Vec::new(),
            skip: 0,
            left: None,
            trailer_done: false,
        })
    }

    /// Some bytes of the layer; files before the range are not opened.
    ///
    /// # Errors
    /// The tree is not in the store.
    pub fn range(objects: &dyn Objects, tree: &Kid, range: Range<u64>) -> Result<Self, TarError> {
        let left = Some(range.end.saturating_sub(range.start));
        Ok(Self { skip: range.start, left, ..Self::whole(objects, tree)? })
    }

    /// Gives the next bytes, after at most [`STEP_BYTES`] read and 256 entries visited.
    ///
    /// # Errors
    /// An object is missing, damaged or of another size than the tree says, or cannot be in a
    /// layer.
    pub fn step(&mut self, objects: &dyn Objects) -> Result<Step, TarError> {
        let mut out = Vec::new();
        let mut items = 0;
        while out.len() < STEP_BYTES && items < STEP_ITEMS && self.left != Some(0) {
            if let Some(part) = self.parts.last_mut() {
                let room = STEP_BYTES - out.len();
                let room = self.left.map_or(room, |l| room.min(usize::try_from(l).unwrap_or(room)));
                let (given, finished) = part.read(room, &mut out)?;
                // Reading past what is not wanted is work, too.
                items += usize::from(given == 0) * PAST_COST;
                self.left = self.left.map(|left| left - given as u64);
                if finished {
                    self.parts.pop();
                }
                continue;
            }
            items += 1;
            match self.walk.next(objects)? {
                Some(item) => self.enter(objects, item)?,
                None if self.trailer_done => break,
                None => {
                    self.trailer_done = true;
                    self.enter(objects, Item { head: vec![0; TRAILER], body: None })?;
                }
            }
        }
        let over = self.left == Some(0) || (self.trailer_done && self.parts.is_empty());
        Ok(if out.is_empty() && over { Step::End } else { Step::Data(out) })
    }

    /// Queues an entry's parts, without what comes before the range.
    fn enter(&mut self, objects: &dyn Objects, item: Item) -> Result<(), TarError> {
        if self.skip >= item.len() {
            self.skip -= item.len();
            return Ok(());
        }
        let padding = item.padding();
        let head_skip = take(&mut self.skip, item.head.len() as u64) as usize;
        let body = match item.body {
            Some((kid, size)) => {
                let skip = take(&mut self.skip, size);
                (skip < size).then(|| open(objects, kid, size, skip)).transpose()?
            }
            None => None,
        };
        let padding_skip = take(&mut self.skip, padding as u64) as usize;
        let bytes = |bytes: Vec<u8>, at| (at < bytes.len()).then_some(Part::Bytes(bytes, at));
        self.parts.extend(bytes(vec![0; padding], padding_skip));
        self.parts.extend(body);
        self.parts.extend(bytes(item.head, head_skip));
        Ok(())
    }
}

/// Takes up to `most` off a counter; says how much.
fn take(counter: &mut u64, most: u64) -> u64 {
    let taken = (*counter).min(most);
    *counter -= taken;
    taken
}

fn open(objects: &dyn Objects, kid: Kid, size: u64, past: u64) -> Result<Part, TarError> {
    let from = objects.open_blob(&kid).map_err(|source| TarError::Store { kid, source })?;
    Ok(Part::Blob { kid, size, past, left: size, from })
}

impl Part {
    /// Appends up to `room` bytes; says how many, and whether the part is used up.
    fn read(&mut self, room: usize, out: &mut Vec<u8>) -> Result<(usize, bool), TarError> {
        match self {
            Self::Bytes(bytes, at) => {
                let end = bytes.len().min(*at + room);
                out.extend_from_slice(&bytes[*at..end]);
                let given = end - *at;
                *at = end;
                Ok((given, end == bytes.len()))
            }
            Self::Blob { kid, size, past, left, from } => {
                let start = out.len();
                let most = if *past > 0 { *past } else { *left };
                let room = if *past > 0 { STEP_BYTES } else { room };
                let want = usize::try_from(most).unwrap_or(room).min(room);
                out.resize(start + want, 0);
                let got = from
                    .read(&mut out[start..])
                    .map_err(|source| TarError::Read { kid: *kid, source })?;
                out.truncate(start + got);
                if got == 0 && want > 0 {
                    return Err(TarError::Short { kid: *kid, want: *size, found: *size - *left });
                }
                *left -= got as u64;
                if *past > 0 {
                    *past -= got as u64;
                    out.truncate(start);
                    return Ok((0, *left == 0));
                }
                Ok((got, *left == 0))
            }
        }
    }
}
