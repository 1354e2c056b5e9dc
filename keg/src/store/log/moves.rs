//! Several moves of the root in one append.

use std::os::unix::fs::FileExt;

use super::{
    NewObject, Place, Position,
    append::{Appender, MAX_APPEND},
    record::{self, OVERHEAD, RecordKind},
};
use crate::{
    commit::{die, dies_at},
    object::{Kind, MAX_OBJECT},
    store::{Root, StoreError, io},
};

/// How many sealed segments, beside the tail, are searched for what is about to be written. What
/// is only in older ones is written again: to look everywhere for what is nearly always new costs
/// more than the few bytes.
const RECENT_SEGMENTS: usize = 1;

/// Bytes of the record that moves the root.
const ROOT: usize = OVERHEAD + 8;

/// A version and what comes with it.
pub(crate) struct Move<'a> {
    /// New objects.
    pub(crate) objects: Vec<NewObject<'a>>,
    /// The version.
    pub(crate) root: Root,
}

impl Appender<'_> {
    /// Appends moves in their order by one write, each behind its objects; returns where they end.
    /// If that fails, none was made.
    pub(crate) fn append_moves(&self, moves: &[Move<'_>]) -> Result<Position, StoreError> {
        self.make_room()?;
        let condemned = self.log.fresh_condemned()?;
        let mut state = self.log.state();
        let (start, segment) = (state.tail.end, state.tail.number);
        let new = || moves.iter().flat_map(|one| &one.objects);
        let room = new().map(|one| one.bytes.len() + OVERHEAD).sum::<usize>();
        let mut bytes = Vec::with_capacity((room + moves.len() * ROOT).min(MAX_APPEND));
        let mut places = Vec::with_capacity(new().count());
        let mut roots = Vec::with_capacity(moves.len());
        for Move { objects, root } in moves {
            for new in objects {
                let here = if new.kind == Kind::Commit {
                    None
                } else {
                    state.find_recent(&new.kid, RECENT_SEGMENTS)
                };
                if here.is_some_and(|place| !condemned.covers(&new.kid, place.at.segment)) {
                    continue;
                }
                let at = Position { segment, offset: start + bytes.len() as u32 };
                places.push((new.kid, Place { at, kind: new.kind, len: new.bytes.len() as u32 }));
                record::push_object(&mut bytes, self.log.by, new.kind, &new.kid, new.bytes);
                if bytes.len() > MAX_APPEND || new.bytes.len() > MAX_OBJECT {
                    let limit = MAX_APPEND as u64;
                    return Err(StoreError::TooBig { bytes: bytes.len() as u64, limit });
                }
            }
            record::push(&mut bytes, RecordKind::Root, &root.commit, &root.seq.to_le_bytes());
            roots.push((*root, start + bytes.len() as u32));
        }
        if dies_at("torn") {
            let half = bytes.len() / 2;
            let _ = state.tail.file.write_all_at(&bytes[..half], u64::from(start));
            die();
        }
        if let Err(error) = state.tail.file.write_all_at(&bytes, u64::from(start)) {
            // Cut what was written of it; if that fails, the next writer does.
            let _ = state.tail.file.set_len(u64::from(start));
            return Err(io("appending to the Keg's log")(error));
        }
        let end = start + bytes.len() as u32;
        state.tail.grow(end, places, roots);
        Ok(state.end())
    }
}
