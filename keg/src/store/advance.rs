//! Moving the root several times at once: the two steps of it, for whoever commits for others.

use super::{
    FileStore, Root, StoreError,
    log::{Appender, Move, Position},
};

/// The right to move the root: nobody else does meanwhile.
pub(crate) struct Moving<'a> {
    store: &'a FileStore,
    appender: Appender<'a>,
}

impl FileStore {
    /// Makes what was put durable, waits for the right to move the root, and follows the log.
    pub(crate) fn moving(&self) -> Result<Moving<'_>, StoreError> {
        self.check_writable()?;
        self.publish()?;
        Ok(Moving { store: self, appender: self.log.appender()? })
    }

    /// Makes what was moved durable, up to a position.
    pub(crate) fn settle(&self, end: Position) -> Result<(), StoreError> {
        self.log.sync_to(end)?;
        self.log.settle_old();
        Ok(())
    }
}

impl Moving<'_> {
    /// The newest version, durable or not.
    pub(crate) fn latest(&self) -> Root {
        self.appender.latest()
    }

    /// Version `seq`, durable or not.
    pub(crate) fn root(&self, seq: u64) -> Option<Root> {
        self.store.log.root(seq)
    }

    /// Up to where the log is whole.
    pub(crate) fn end(&self) -> Position {
        self.store.log.known_end()
    }

    /// Appends moves, each the successor of the one before; returns up to where to settle.
    pub(crate) fn append(&self, moves: &[Move<'_>]) -> Result<Position, StoreError> {
        if moves.is_empty() {
            return Ok(self.end());
        }
        let store = self.store;
        for new in moves.iter().flat_map(|one| &one.objects) {
            store.splits.allow(&store.home, new.kind, new.bytes)?;
        }
        self.appender.append_moves(moves)
    }
}
