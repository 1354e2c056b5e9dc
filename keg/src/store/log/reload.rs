//! Keeping up with segments that a collection rewrites while this process reads them.
//!
//! A collection replaces a run of sealed segments by one with the number of the last of them, and
//! only then takes the others away. So an index that is out of date either still leads to the same
//! bytes (the files are open), or to a file that is gone or holds something else there: then the
//! segments are listed again.

use std::{path::Path, sync::Arc};

use super::{
    Log,
    index::SealedIndex,
    segment::{Place, segments},
    tail::{State, Tail},
};
use crate::{
    Kid,
    store::{StoreError, condemned::Table},
};

/// How often the segments are listed again when they change meanwhile.
const RELOADS: usize = 16;

/// Whether a file was not there.
pub(super) fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// The indexes of all sealed segments, and the tail; `None`: it is still the one given.
pub(super) fn load(
    dir: &Path,
    tail: Option<u32>,
) -> Result<(Vec<SealedIndex>, Option<Tail>), StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_load(dir, tail) {
            Err(error) if is_gone(&error) && tries < RELOADS => {}
            loaded => return loaded,
        }
    }
}

fn try_load(dir: &Path, tail: Option<u32>) -> Result<(Vec<SealedIndex>, Option<Tail>), StoreError> {
    let mut numbers = segments(dir)?;
    let newest = numbers.pop().ok_or_else(|| StoreError::Log {
        place: dir.display().to_string(),
        what: "it has no segments".to_owned(),
    })?;
    let sealed = numbers.into_iter().map(|number| SealedIndex::open(dir, number));
    let sealed = sealed.collect::<Result<Vec<_>, _>>()?;
    let tail = if tail == Some(newest) { None } else { Some(Tail::open(dir, newest)?) };
    Ok((sealed, tail))
}

impl Log {
    /// An object as it is stored, wherever collections have moved it meanwhile; `None`: not in
    /// the log. The caller checks the bytes against the KID.
    pub(crate) fn load(&self, kid: &Kid) -> Result<Option<(Place, Vec<u8>)>, StoreError> {
        let mut failed = None;
        for _ in 0..RELOADS {
            let Some(place) = self.find(kid)? else { return Ok(None) };
            match self.read(kid, &place) {
                Ok(bytes) => return Ok(Some((place, bytes))),
                Err(error) if !is_gone(&error) && !matches!(error, StoreError::Corrupt { .. }) => {
                    return Err(error);
                }
                // The same place as before: it has not moved, it is damaged.
                Err(error) if failed == Some(place) => return Err(error),
                Err(_) => failed = Some(place),
            }
            self.reload(&mut self.state())?;
        }
        Err(StoreError::Corrupt { kid: *kid, what: "the log changes all the time".to_owned() })
    }

    /// Whether an object is in the log, in a copy that no collection is about to take away.
    pub(crate) fn relies_on(&self, kid: &Kid) -> Result<bool, StoreError> {
        if self.find(kid)?.is_none() {
            return Ok(false);
        }
        let condemned = self.fresh_condemned()?;
        let found = self.find(kid)?;
        Ok(found.is_some_and(|place| !condemned.covers(kid, place.at.segment)))
    }

    /// What is condemned; what this process knows of the segments is not older than that.
    pub(crate) fn fresh_condemned(&self) -> Result<Arc<Table>, StoreError> {
        let table = self.condemned.current()?;
        let mut state = self.state();
        if state.generation != table.generation() {
            self.reload(&mut state)?;
            state.generation = table.generation();
        }
        Ok(table)
    }

    /// What is condemned, and how to publish it.
    pub(crate) fn condemned(&self) -> &super::Condemned {
        &self.condemned
    }

    /// Lists the segments again.
    pub(super) fn reload(&self, state: &mut State) -> Result<(), StoreError> {
        let (sealed, tail) = load(&self.dir, Some(state.tail.number))?;
        state.sealed = sealed;
        state.open.clear();
        if let Some(tail) = tail {
            state.tail = tail;
        }
        Ok(())
    }
}
