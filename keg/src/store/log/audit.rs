//! Reading all of the log to see whether it is what was written.

use std::{collections::HashMap, os::unix::fs::FileExt};

use super::{
    Log,
    index::SealedIndex,
    record::{OVERHEAD, Record},
    segment::{MAGIC, Met, Place, Position, Trust, scan, segments},
};
use crate::{
    Kid,
    store::{Audited, StoreError, io},
};

impl Log {
    /// Reads every durable record; compares every sealed segment with its index.
    pub(crate) fn audit(&self, visit: &mut dyn FnMut(Audited)) -> Result<(), StoreError> {
        // What others have rewritten does not match the indexes that this process has open.
        self.relist()?;
        if let Err(error) = self.latest() {
            visit(Audited::Damage { place: "log/HEAD".to_owned(), what: error.to_string() });
        }
        let end = self.known_end().min(self.head()?.position);
        for segment in segments(&self.dir)?.into_iter().filter(|number| *number <= end.segment) {
            self.audit_segment(segment, end, visit)?;
        }
        Ok(())
    }

    fn audit_segment(
        &self,
        segment: u32,
        end: Position,
        visit: &mut dyn FnMut(Audited),
    ) -> Result<(), StoreError> {
        let place = || format!("log/{segment:08}.seg");
        let file = self.segment_file(segment)?;
        let mut magic = [0; MAGIC.len()];
        file.read_exact_at(&mut magic, 0).map_err(io(format_args!("reading {}", place())))?;
        if magic != *MAGIC {
            let what = "it does not start as a segment".to_owned();
            visit(Audited::Damage { place: place(), what });
        }
        let to = if segment == end.segment { end.offset } else { u32::MAX };
        let mut found: HashMap<Kid, Place> = HashMap::new();
        let mut failed = None;
        let start = Position { segment, offset: MAGIC.len() as u32 };
        scan(&file, start, to, Trust::Whole, &mut |met| match met {
            Met::Object(kid, at) => {
                found.entry(kid).or_insert(at);
                match self.audit_object(&file, kid, at) {
                    Ok(audited) => visit(audited),
                    Err(error) => failed = Some(error),
                }
            }
            Met::Root(..) => {}
            Met::Damage(range) => {
                let what = format!("bytes {} to {} are no record", range.start, range.end);
                visit(Audited::Damage { place: place(), what });
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.with_index(segment, &mut |index| audit_index(index, &found, visit));
        Ok(())
    }

    pub(super) fn audit_object(
        &self,
        file: &std::fs::File,
        kid: Kid,
        at: Place,
    ) -> Result<Audited, StoreError> {
        let mut bytes = vec![0; at.len as usize + OVERHEAD];
        let read = file.read_exact_at(&mut bytes, u64::from(at.at.offset));
        read.map_err(io(format_args!("reading the log at {}", at.at)))?;
        let whole = Record::parse(&bytes)
            .is_some_and(|record| record.is_whole() && at.kind.kid_of(record.payload) == kid);
        let what = || format!("its record in the log at {} does not match its KID", at.at);
        let damage = if whole { None } else { Some(what()) };
        Ok(Audited::Object { kid, kind: at.kind, bytes: u64::from(at.len), damage })
    }
}

fn audit_index(index: &SealedIndex, found: &HashMap<Kid, Place>, visit: &mut dyn FnMut(Audited)) {
    let place = format!("log/{:08}.idx", index.segment);
    let mut damage = |what: &str| {
        let what = format!("{what}; remove the file, it is made again when the Keg is next opened");
        visit(Audited::Damage { place: place.clone(), what });
    };
    if !index.is_whole() {
        damage("its checksum does not match");
    } else if found.iter().any(|(kid, place)| index.find(kid) != Some(*place)) {
        damage("an object of the segment is not in it");
    } else if index.objects().any(|(kid, place)| found.get(&kid).copied() != place) {
        damage("it has an object that the segment does not");
    }
}
