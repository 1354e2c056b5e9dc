//! Rewriting sealed segments without what nobody needs (`docs/store.md`, "Garbage").
//!
//! A run of neighbouring segments becomes one file with the number of the last. The order matters:
//! the old files get second names in the trash; the new segment takes the last one's name; its
//! index follows; the others' names go. At every moment each live object is in some segment, and a
//! crash leaves objects twice at worst.

use std::{
    fs::File,
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::Path,
    time::Instant,
};

use super::{
    Log, NewObject,
    index::{settle_index, write_index},
    record::{self, Record, RecordKind},
    segment::{MAGIC, Met, Place, Position, Trust, index_path, scan, segment_path},
};
use crate::{
    Kid,
    object::Kind,
    store::{Audited, Root, StoreError, durable::sync_dir, io},
};

/// What to rewrite.
pub(crate) struct Rewrite<'a> {
    /// Neighbouring sealed segments, ascending.
    pub(crate) run: &'a [u32],
    /// Whether the copy of an object in a segment stays.
    pub(crate) keep: &'a dyn Fn(&Kid, u32) -> bool,
    /// The oldest version whose root stays.
    pub(crate) oldest: u64,
    /// Where the old files go: a directory on the same file system.
    pub(crate) aside: &'a Path,
    /// Leaves records out that are damaged; otherwise a run that has any is not rewritten.
    pub(crate) drop_damaged: bool,
}

/// What a rewrite did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Compaction {
    pub(crate) dropped: u64,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
}

/// The new segment while it is written.
struct Output {
    file: BufWriter<File>,
    size: u64,
    objects: u64,
    roots: u64,
    /// The newest version it has so far.
    seq: u64,
}

impl Log {
    /// The numbers of all sealed segments, ascending, as far as this process knows.
    pub(crate) fn sealed_segments(&self) -> Vec<u32> {
        self.state().sealed.iter().map(|sealed| sealed.segment).collect()
    }

    /// Every copy of every object in a sealed segment.
    pub(crate) fn sealed_objects(&self, segment: u32, visit: &mut dyn FnMut(Kid, Place)) {
        self.with_index(segment, &mut |index| {
            for (kid, place) in index.objects() {
                if let Some(place) = place {
                    visit(kid, place);
                }
            }
        });
    }

    /// Every object in the tail, and the tail's size in bytes.
    pub(crate) fn tail_objects(&self, visit: &mut dyn FnMut(&Kid, &Place)) -> u64 {
        let state = self.state();
        state.tail.objects.iter().for_each(|(kid, place)| visit(kid, place));
        u64::from(state.tail.end)
    }

    /// Bytes of a segment.
    pub(crate) fn segment_size(&self, segment: u32) -> Result<u64, StoreError> {
        let path = segment_path(&self.dir, segment);
        let meta = std::fs::metadata(&path);
        Ok(meta.map_err(io(format_args!("reading {}", path.display())))?.len())
    }

    /// Seals the tail, so that what is in it can be rewritten, and makes that durable.
    pub(crate) fn seal_tail(&self) -> Result<(), StoreError> {
        let end = {
            let appender = self.appender()?;
            appender.roll()?;
            self.known_end()
        };
        self.sync_to(end)?;
        self.settle_sealed(Instant::now());
        Ok(())
    }

    /// Appends an object although it is there: that copy is damaged. Its segment must be sealed.
    pub(crate) fn append_again(
        &self,
        kind: Kind,
        kid: &Kid,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let new = NewObject { kind, kid: *kid, bytes };
        self.appender()?.append_all(&[new]).map(drop)
    }

    /// The sealed segments that have a copy of an object which is not what its KID says.
    pub(crate) fn damaged_copies(&self, kid: &Kid) -> Vec<u32> {
        let copies: Vec<Place> = {
            let state = self.state();
            state.sealed.iter().filter_map(|sealed| sealed.find(kid)).collect()
        };
        let damaged = |place: &Place| {
            let file = self.segment_file(place.at.segment);
            let audited = file.and_then(|file| self.audit_object(&file, *kid, *place));
            !matches!(audited, Ok(Audited::Object { damage: None, .. }))
        };
        copies.into_iter().filter(damaged).map(|place| place.at.segment).collect()
    }

    /// Lists the segments again, and makes indexes that are missing.
    pub(crate) fn relist(&self) -> Result<(), StoreError> {
        self.reload(&mut self.state())
    }

    /// Rewrites a run; `None`: it has damage that was not to be dropped.
    pub(crate) fn rewrite(&self, plan: &Rewrite<'_>) -> Result<Option<Compaction>, StoreError> {
        let Some(last) = plan.run.last().copied() else { return Ok(None) };
        let head = self.head()?.position;
        if last >= self.known_end().segment || last >= head.segment {
            let what = "only sealed segments before the head can be rewritten".to_owned();
            return Err(StoreError::Log { place: format!("segment {last}"), what });
        }
        let beside = self.dir.join(format!("{last:08}.rewritten"));
        let written = self.write_rewritten(plan, &beside);
        let (output, mut done) = match written {
            Ok(Some(written)) => written,
            other => {
                let _ = std::fs::remove_file(&beside);
                return other.map(|_| None);
            }
        };
        for number in plan.run {
            settle_index(&self.dir, *number)?;
            done.bytes_before += self.segment_size(*number)?;
            self.link_aside(*number, plan.aside)?;
        }
        sync_dir(plan.aside)?;
        if output.objects + output.roots > 0 {
            done.bytes_after = output.size;
            let path = segment_path(&self.dir, last);
            std::fs::rename(&beside, &path)
                .map_err(io(format_args!("replacing {}", path.display())))?;
            write_index(&self.dir, last)?;
        } else {
            remove(&beside)?;
            remove(&index_path(&self.dir, last))?;
            remove(&segment_path(&self.dir, last))?;
        }
        for number in plan.run.iter().filter(|number| **number != last) {
            remove(&index_path(&self.dir, *number))?;
            remove(&segment_path(&self.dir, *number))?;
        }
        sync_dir(&self.dir)?;
        self.reload(&mut self.state())?;
        Ok(Some(done))
    }

    fn link_aside(&self, number: u32, aside: &Path) -> Result<(), StoreError> {
        for path in [segment_path(&self.dir, number), index_path(&self.dir, number)] {
            let to = aside.join(path.file_name().unwrap_or_default());
            match std::fs::hard_link(&path, &to) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                linked => linked.map_err(io(format_args!("keeping {}", path.display())))?,
            }
        }
        Ok(())
    }

    fn write_rewritten(
        &self,
        plan: &Rewrite<'_>,
        beside: &Path,
    ) -> Result<Option<(Output, Compaction)>, StoreError> {
        let what = || format!("writing {}", beside.display());
        let Some(base) = self.first_root(plan)? else { return Ok(None) };
        let mut output = Output {
            file: BufWriter::new(File::create(beside).map_err(io(what()))?),
            size: 0,
            objects: 0,
            roots: 0,
            seq: base.seq,
        };
        let mut start = MAGIC.to_vec();
        record::push(&mut start, RecordKind::Base, &base.commit, &base.seq.to_le_bytes());
        output.push(&start).map_err(io(what()))?;
        let mut done = Compaction::default();
        for number in plan.run {
            if !self.copy(*number, plan, &mut output, &mut done)? {
                return Ok(None);
            }
        }
        // An index is known by its segment's size, so that must change.
        if output.size == self.segment_size(plan.run[plan.run.len() - 1])? {
            output.push(&start[MAGIC.len()..]).map_err(io(what()))?;
        }
        output.file.flush().map_err(io(what()))?;
        output.file.get_ref().sync_all().map_err(io(what()))?;
        Ok(Some((output, done)))
    }

    /// The root that the rewritten segment begins with: the first that is kept, or the last there
    /// is. `None`: there is damage in the way.
    fn first_root(&self, plan: &Rewrite<'_>) -> Result<Option<Root>, StoreError> {
        let (mut first, mut last, mut damaged) = (None, None, false);
        for number in plan.run {
            let file = self.segment_file(*number)?;
            let start = Position { segment: *number, offset: MAGIC.len() as u32 };
            scan(&file, start, u32::MAX, Trust::Whole, &mut |met| match met {
                Met::Root(root, _) => {
                    last = Some(root);
                    if root.seq >= plan.oldest && first.is_none() {
                        first = Some(root);
                    }
                }
                Met::Damage(_) => damaged = true,
                Met::Object(..) => {}
            })?;
        }
        Ok(first.or(last).filter(|_| plan.drop_damaged || !damaged))
    }

    /// Copies what stays of one segment; `false`: it is damaged.
    fn copy(
        &self,
        number: u32,
        plan: &Rewrite<'_>,
        output: &mut Output,
        done: &mut Compaction,
    ) -> Result<bool, StoreError> {
        let file = self.segment_file(number)?;
        let what = || format!("reading segment {number}");
        let start = Position { segment: number, offset: MAGIC.len() as u32 };
        let (mut sound, mut failed) = (true, None);
        let mut met_one = |met| -> Result<(), StoreError> {
            match met {
                Met::Object(kid, place) if (plan.keep)(&kid, number) => {
                    let mut bytes = vec![0; place.len as usize + record::OVERHEAD];
                    let at = u64::from(place.at.offset);
                    file.read_exact_at(&mut bytes, at).map_err(io(what()))?;
                    if Record::parse(&bytes).is_some_and(|record| record.is_whole()) {
                        output.objects += 1;
                        return output.push(&bytes).map_err(io("rewriting a segment"));
                    }
                    sound = false;
                    done.dropped += 1;
                }
                Met::Object(..) => done.dropped += 1,
                Met::Root(root, _) if root.seq >= plan.oldest => {
                    output.roots += 1;
                    if root.seq > output.seq {
                        output.seq = root.seq;
                        let (mut bytes, seq) = (Vec::new(), root.seq.to_le_bytes());
                        record::push(&mut bytes, RecordKind::Root, &root.commit, &seq);
                        return output.push(&bytes).map_err(io("rewriting a segment"));
                    }
                }
                Met::Root(..) => {}
                Met::Damage(_) => sound = false,
            }
            Ok(())
        };
        scan(&file, start, u32::MAX, Trust::Whole, &mut |met| {
            if failed.is_none() {
                failed = met_one(met).err();
            }
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(sound || plan.drop_damaged),
        }
    }
}

impl Output {
    fn push(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io(format_args!("removing {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}
