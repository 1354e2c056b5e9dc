//! Many tasks of one process: what is ready to be committed at the same time shares a sync.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    task::Id,
};

use super::turns::is_conflict;
use crate::{
    Keg,
    names::{CommitError, Txn, Version},
    store::StoreError,
};

/// Most transactions made at once, so that no task waits for too many others.
const MAX_TOGETHER: usize = 256;
/// How often a task lets those go first that have been answered and not seen it yet.
const PATIENCE: usize = 4;
/// Most tasks of which it is known that they have met a conflict.
const MAX_KEPT: usize = 4096;

type Answer = oneshot::Sender<Result<Version, CommitError>>;

/// Transactions that tasks of this process wait for.
#[derive(Default)]
pub(super) struct Soon(Mutex<Line>);

#[derive(Default)]
struct Line {
    waiting: Vec<Waiting>,
    /// The turns of tasks whose last transaction met a conflict, as in `turns.rs`.
    kept: HashMap<Id, u64>,
    newest: u64,
    /// Answers that their tasks have not seen yet.
    unseen: usize,
}

/// A task that waits for its answer.
struct Asking<'a> {
    soon: &'a Soon,
    answer: oneshot::Receiver<Result<Version, CommitError>>,
}

impl Asking<'_> {
    /// The answer, if it is there.
    fn see(&mut self) -> Result<Result<Version, CommitError>, TryRecvError> {
        let seen = self.answer.try_recv();
        if seen.is_ok() {
            self.soon.lock().unseen -= 1;
        }
        seen
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.answer.close();
        // An answer that came after all counts as seen; nobody wants to know what it says.
        let _ = self.see();
    }
}

struct Waiting {
    turn: u64,
    task: Option<Id>,
    txn: Txn,
    answer: Answer,
}

impl Soon {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn push(&mut self, txn: Txn, answer: Answer) {
        self.newest += 1;
        let task = tokio::task::try_id();
        let kept = task.and_then(|task| self.kept.get(&task).copied());
        let turn = kept.unwrap_or(self.newest);
        self.waiting.push(Waiting { turn, task, txn, answer });
    }

    /// Takes those that came first, in the order of their turns.
    fn take(&mut self) -> Vec<Waiting> {
        let count = self.waiting.len().min(MAX_TOGETHER);
        let first = self.waiting.drain(..count);
        let mut taken: Vec<Waiting> = first.filter(|one| !one.answer.is_closed()).collect();
        taken.sort_by_key(|one| one.turn);
        taken
    }

    /// Keeps or forgets a task's turn.
    fn settle(&mut self, task: Option<Id>, turn: u64, conflict: bool) {
        let Some(task) = task else { return };
        if !conflict {
            self.kept.remove(&task);
            return;
        }
        if self.kept.len() >= MAX_KEPT {
            // Mostly of tasks that did not try again.
            self.kept.clear();
        }
        self.kept.insert(task, turn);
    }
}

impl Keg {
    /// Makes a transaction as [`Keg::commit`] does, together with those that other tasks of this
    /// process want at the same time: 64 tasks that each await their own share an append and a
    /// sync. When the future is dropped, it may have been made or not; it is not made later.
    ///
    /// # Errors
    /// As [`Keg::commit`].
    pub async fn commit_soon(&self, txn: Txn) -> Result<Version, CommitError> {
        let (answered, answer) = oneshot::channel();
        let soon = &self.commits().soon;
        soon.lock().push(txn, answered);
        let mut asking = Asking { soon, answer };
        // Whatever is ready to run comes first, and may bring more.
        tokio::task::yield_now().await;
        let mut patience = PATIENCE;
        loop {
            match asking.see() {
                Ok(outcome) => return outcome,
                // What they try again after a conflict would be out of date before it is made.
                Err(TryRecvError::Empty) if patience > 0 && soon.lock().unseen > 0 => {
                    patience -= 1;
                    tokio::task::yield_now().await;
                }
                Err(TryRecvError::Empty) => self.commit_waiting(),
                Err(TryRecvError::Closed) => {
                    return Err(StoreError::Poisoned.into());
                }
            }
        }
    }

    /// Makes the oldest of what waits.
    fn commit_waiting(&self) {
        let soon = &self.commits().soon;
        let together = soon.lock().take();
        let (mut txns, mut askers) = (Vec::new(), Vec::new());
        for Waiting { turn, task, txn, answer } in together {
            txns.push(txn);
            askers.push((turn, task, answer));
        }
        let outcomes = match self.commit_all(&txns) {
            Ok(outcomes) => outcomes,
            // It concerns all, but is one: each finds it by itself.
            Err(_) => txns.into_iter().map(|txn| self.commit(txn)).collect(),
        };
        for ((turn, task, answer), outcome) in askers.into_iter().zip(outcomes) {
            let mut line = soon.lock();
            line.settle(task, turn, is_conflict(&outcome));
            // Who does not wait any more need not be told.
            line.unseen += usize::from(answer.send(outcome).is_ok());
        }
    }
}
