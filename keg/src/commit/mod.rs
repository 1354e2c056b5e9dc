//! How transactions are made: alone, many at once, and by one process for others.
//!
//! A version costs an append and a sync; those of many transactions cost hardly more. So whoever
//! holds the right to move the root makes everything that waits (`batch.rs`): what one caller
//! gives at once ([`Keg::commit_all`]), what the tasks of one process await
//! ([`Keg::commit_soon`]), and what other processes have queued (`lead.rs`). Each transaction is
//! checked on its own, in order, and makes a version of its own.

mod batch;
mod lead;
mod prepare;
mod queue;
mod request;
mod soon;
mod step;
mod trees;
mod turns;

pub(crate) use step::{die, dies_at};
pub use trees::TreeCache;

use crate::{
    Keg,
    names::{self, CommitError, Planned, Txn, Version},
    store::{Advance, Objects, StoreError},
};
use batch::Outcome;

/// What an open Keg keeps for its commits.
#[derive(Default)]
pub(crate) struct Commits {
    trees: TreeCache,
    shared: lead::Shared,
    soon: soon::Soon,
}

impl Keg {
    /// Makes a transaction: all of it or, on a conflict, nothing. On return it is durable, and so
    /// are all earlier puts. One that changes nothing makes no version and returns the newest.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] and the other reasons why it cannot be made, or the store's.
    pub fn commit(&self, txn: Txn) -> Result<Version, CommitError> {
        let planned = prepare::prepare(self, &txn)?;
        self.made(&[planned])?.pop().unwrap_or(Err(CommitError::Root))
    }

    /// Makes transactions in their order, each as [`Keg::commit`] does, with one sync for all:
    /// one that cannot be made keeps none of the others from being made. Answers in their order.
    ///
    /// # Errors
    /// The store's, which concern all: then nothing is promised about any.
    pub fn commit_all(
        &self,
        txns: &[Txn],
    ) -> Result<Vec<Result<Version, CommitError>>, StoreError> {
        let prepared = txns.iter().map(|txn| prepare::prepare(self, txn));
        let prepared: Vec<Result<Planned<'_>, CommitError>> = prepared.collect();
        let mut errors = Vec::with_capacity(prepared.len());
        let mut planned = Vec::with_capacity(prepared.len());
        for one in prepared {
            match one {
                Ok(one) => {
                    planned.push(one);
                    errors.push(None);
                }
                Err(error) => errors.push(Some(error)),
            }
        }
        let mut made = self.made(&planned)?.into_iter();
        let answers = errors.into_iter().map(|error| match error {
            Some(error) => Err(error),
            None => made.next().unwrap_or(Err(CommitError::Root)),
        });
        Ok(answers.collect())
    }

    fn made(&self, planned: &[Planned<'_>]) -> Result<Vec<Outcome>, StoreError> {
        if let Some(store) = self.master().shared() {
            let Commits { trees, shared, .. } = self.commits();
            return shared.make(store, trees, planned);
        }
        Ok(planned.iter().map(|planned| self.alone(planned)).collect())
    }

    /// Without anybody's help, on any store.
    fn alone(&self, planned: &Planned<'_>) -> Outcome {
        let root = self.master().advance(&mut |objects: &dyn Objects, root| {
            let tree = objects.commit(&root.commit)?.tree;
            let base = Version { seq: root.seq, commit: root.commit, tree };
            let made = names::plan(objects, &base, planned)?;
            Ok(made.map(|made| Advance {
                objects: made.objects.into_iter().map(|(_, object)| object).collect(),
                commit: made.commit,
            }))
        })?;
        let tree = self.objects().commit(&root.commit)?.tree;
        Ok(Version { seq: root.seq, commit: root.commit, tree })
    }
}
