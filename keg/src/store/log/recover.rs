//! Opening a log that somebody did not close: what is whole beyond the head is kept.

use std::os::unix::fs::FileExt;

use super::{
    Head, Log,
    segment::{MAGIC, Position},
};
use crate::store::{StoreError, durable::sync_dir, io};

/// Bytes that are written again at once.
const PIECE: usize = 1 << 20;

impl Log {
    /// What is whole beyond the head was written by a process that died before it synced: keep it.
    pub(super) fn recover(&self, newest: u32) -> Result<(), StoreError> {
        let head = self.head()?;
        let size = self.state().tail.size()?;
        let end = Position { segment: newest, offset: size };
        if head.position == end {
            return self.follow(&mut self.state(), head.position);
        }
        if head.position > end {
            let what = "the log ends before what log/HEAD says; if the log was not cut off but \
                        HEAD damaged, remove HEAD: it is made again";
            let place = head.position.to_string();
            return Err(StoreError::Log { place, what: what.to_owned() });
        }
        let end = {
            let _appender = self.appender()?;
            // Whoever made the tail may have died before its name was durable; and of a new Keg
            // also `format.json`, with which it is one.
            sync_dir(&self.dir)?;
            sync_dir(self.dir.parent().unwrap_or(&self.dir))?;
            // Meanwhile somebody else may have done it.
            self.write_again(self.head()?)?;
            self.known_end()
        };
        self.sync_to(end)
    }

    /// Writes what is beyond the head once more, as it is. It may be there because a sync failed:
    /// then the kernel has dropped it and only shows what it still remembers, and a sync that
    /// succeeds now would say nothing about it (Rebello et al., "Can Applications Recover from
    /// fsync Failures?", USENIX ATC 2020, section 3). The caller has the right to append.
    fn write_again(&self, head: Head) -> Result<(), StoreError> {
        let (file, number, end) = {
            let state = self.state();
            (state.tail.file.clone(), state.tail.number, u64::from(state.tail.end))
        };
        let known = head.position.segment == number;
        let mut at = if known { u64::from(head.position.offset) } else { MAGIC.len() as u64 };
        let mut piece = vec![0; PIECE];
        while at < end {
            let len = PIECE.min((end - at) as usize);
            file.read_exact_at(&mut piece[..len], at).map_err(io("reading the log's end"))?;
            file.write_all_at(&piece[..len], at).map_err(io("writing the log's end again"))?;
            at += len as u64;
        }
        Ok(())
    }
}
