//! Whose turn it is: who has waited longest for a name that many want goes first.
//!
//! Of those that expect the same of a name, the first that is made wins, and all others are in
//! conflict with it. So transactions are made in the order of their turns. Who meets a conflict
//! keeps its turn for the next try, who wins takes a new one, behind all others.
//!
//! That is of no use to who is slow: when it comes back from a conflict others have made the next
//! move. So if one has met conflicts for long, nothing is made until it is back; and if it is the
//! leader itself, it stops leading.

use std::{
    cmp::Reverse,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::{batch::Outcome, queue::Queue};
use crate::names::CommitError;

/// From how many turns on that were given after its own a process has met conflicts for long.
pub(super) const STARVED: u32 = 128;
/// How long it is waited for, at most: it may not try again, and then loses its turn. On a busy
/// machine it takes some time until it runs.
pub(super) const PATIENCE: Duration = Duration::from_millis(8);

/// The turn that a process keeps from a transaction that met a conflict; 0: none.
#[derive(Default)]
pub(super) struct Turn(AtomicU32);

impl Turn {
    /// The turn for the next transaction of the process that has this slot. One that was kept is
    /// in the slot still, unless it was waited for in vain.
    pub(super) fn take(&self, queue: &Queue, slot: Option<usize>) -> u32 {
        match self.0.load(Ordering::Relaxed) {
            kept if kept != 0 && slot.is_none_or(|slot| queue.turn(slot) == kept) => kept,
            _ => queue.new_turn(),
        }
    }

    /// Keeps the turn if nothing came of it but conflicts.
    pub(super) fn give_back(&self, turn: u32, outcomes: &[Outcome]) {
        let kept = !outcomes.is_empty() && outcomes.iter().all(is_conflict);
        self.0.store(if kept { turn } else { 0 }, Ordering::Relaxed);
    }
}

/// Whether a transaction has to be tried again.
pub(super) fn is_conflict(outcome: &Outcome) -> bool {
    matches!(outcome, Err(CommitError::Conflict { .. }))
}

/// In which order things are done of which these are the ages: the oldest first, those of one age
/// as they came.
pub(super) fn oldest_first(ages: &[u32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ages.len()).collect();
    order.sort_by_key(|at| Reverse(ages[*at]));
    order
}
