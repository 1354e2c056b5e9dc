//! Many tasks of one process: what is ready to be committed at the same time shares a sync.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::{
    Keg,
    names::{CommitError, Txn, Version},
    store::StoreError,
};

/// Most transactions made at once, so that no task waits for too many others.
const MAX_TOGETHER: usize = 256;

type Answer = oneshot::Sender<Result<Version, CommitError>>;

/// Transactions that tasks of this process wait for.
#[derive(Default)]
pub(super) struct Soon {
    waiting: Mutex<Vec<(Txn, Answer)>>,
}

impl Soon {
    fn lock(&self) -> MutexGuard<'_, Vec<(Txn, Answer)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (answer, mut answered) = oneshot::channel();
        self.commits().soon.lock().push((txn, answer));
        // Whatever is ready to run comes first, and may bring more.
        tokio::task::yield_now().await;
        loop {
            match answered.try_recv() {
                Ok(outcome) => return outcome,
                Err(oneshot::error::TryRecvError::Empty) => self.commit_waiting(),
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Err(StoreError::Poisoned.into());
                }
            }
        }
    }

    /// Makes the oldest of what waits.
    fn commit_waiting(&self) {
        let together: Vec<(Txn, Answer)> = {
            let mut waiting = self.commits().soon.lock();
            let count = waiting.len().min(MAX_TOGETHER);
            waiting.drain(..count).filter(|(_, answer)| !answer.is_closed()).collect()
        };
        let (txns, answers): (Vec<Txn>, Vec<Answer>) = together.into_iter().unzip();
        match self.commit_all(&txns) {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    // Who does not wait any more need not be told.
                    let _ = answer.send(outcome);
                }
            }
            // It concerns all, but is one: each finds it by itself.
            Err(_) => {
                for (txn, answer) in txns.into_iter().zip(answers) {
                    let _ = answer.send(self.commit(txn));
                }
            }
        }
    }
}
