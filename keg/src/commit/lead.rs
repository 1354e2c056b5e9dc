//! Many processes: whoever gets the right to lead makes what the others have queued.
//!
//! A process that wants to commit tries to get the right to lead. If it has it, it makes its own
//! transaction and all that are queued, answers them, and goes on while there are more, for a
//! while. If another one leads, it queues its transaction and sleeps until it is answered. Leaders
//! die at any moment: the right goes with them, and a sleeper looks now and then whether anybody
//! leads. What the dead one had written is found by the version that it noted first. In which
//! order transactions are made: see `turns.rs`.

use std::{
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

use super::{
    TreeCache,
    batch::{self, Failed, Outcome},
    queue::{MAX_BODY, Queue, SLOTS, State},
    request::{self, Reply, Request},
    step::step,
    turns::{PATIENCE, STARVED, Turn, is_conflict, oldest_first},
};
use crate::{
    names::{CommitError, Planned, Version},
    store::{FileStore, Objects, Root, StoreError, durable::Flock, io},
};

/// How long a leader goes on for others after its own transaction is made. Its caller waits
/// meanwhile; the next leader has to read what was written in that time.
const TERM: Duration = Duration::from_millis(4);
/// How long a waiting process sleeps before it looks whether anybody leads: only if a leader died
/// does it take as long.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often it looks before it takes its transaction back and makes it alone: the leader may
/// have been stopped.
const LOOKS: usize = 50;

/// What a process needs to commit for others and be committed for.
#[derive(Default)]
pub(super) struct Shared {
    queue: OnceLock<Option<Queue>>,
    /// Threads of one process share its locks: these keep them apart.
    leading: Mutex<()>,
    submitting: Mutex<()>,
    /// This process's own slot, once it needed one; `None` in it: there was none left.
    slot: OnceLock<Option<usize>>,
    turn: Turn,
}

impl Shared {
    /// Makes transactions: by oneself, or by whoever leads. Durable on return.
    pub(super) fn make(
        &self,
        store: &FileStore,
        trees: &TreeCache,
        planned: &[Planned<'_>],
    ) -> Result<Vec<Outcome>, StoreError> {
        store.check_writable()?;
        let Some(queue) = self.queue(store)? else {
            return alone(store, trees, planned);
        };
        let here = Here { shared: self, queue, store, trees };
        if let Some(made) = here.try_lead(planned, false)? {
            return Ok(made);
        }
        // Several together are cheap as they are, and share the sync.
        if let [one] = planned
            && let Some(outcome) = here.submit(one)?
        {
            return Ok(vec![outcome]);
        }
        alone(store, trees, planned)
    }

    fn queue(&self, store: &FileStore) -> Result<Option<&Queue>, StoreError> {
        if let Some(queue) = self.queue.get() {
            return Ok(queue.as_ref());
        }
        let queue = Queue::open(&store.home().join("log"))?;
        Ok(self.queue.get_or_init(|| queue).as_ref())
    }
}

fn alone(
    store: &FileStore,
    trees: &TreeCache,
    planned: &[Planned<'_>],
) -> Result<Vec<Outcome>, StoreError> {
    let all: Vec<&Planned<'_>> = planned.iter().collect();
    batch::make(store, trees, &all, &mut |_| {}).map_err(Failed::error)
}

struct Here<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    store: &'a FileStore,
    trees: &'a TreeCache,
}

impl Here<'_> {
    /// Leads, if nobody does: makes `own`, which may be none, and what is queued. Does not get in
    /// before whoever is to lead next, unless that one may be dead (`insist`), or has to read first
    /// what this process has written.
    fn try_lead(
        &self,
        own: &[Planned<'_>],
        insist: bool,
    ) -> Result<Option<Vec<Outcome>>, StoreError> {
        let (mine, last) = (self.slot(), || self.slot().is_some_and(|slot| self.led_last(slot)));
        let heir = || self.queue.heir().is_some_and(|heir| Some(heir) != mine) && !last();
        // Several are made alone otherwise, so for them it is worth asking the lock itself.
        let led = || own.len() < 2 && self.queue.is_led();
        if !insist && (heir() || led()) {
            return Ok(None);
        }
        let Ok(_thread) = self.shared.leading.try_lock() else { return Ok(None) };
        let Some(right) = self.queue.try_lead()? else { return Ok(None) };
        self.queue.set_is_led(true);
        step("lead");
        self.queue.set_heir(None);
        let made = self.lead(own);
        self.hand_over(right);
        made.map(Some)
    }

    fn lead(&self, own: &[Planned<'_>]) -> Result<Vec<Outcome>, StoreError> {
        let until = Instant::now() + TERM;
        self.finish_dead()?;
        let queued = self.take(true);
        if let Some(slot) = self.slot() {
            let newest = (0..SLOTS).map(|slot| self.queue.led(slot)).max().unwrap_or(0);
            self.queue.set_led(slot, newest.wrapping_add(1));
        }
        let (made, mut stop) = self.make(own, &queued)?;
        while !stop && Instant::now() < until {
            let queued = self.take(false);
            if queued.is_empty() {
                break;
            }
            stop = self.make(&[], &queued).map_or(true, |(_, stop)| stop);
        }
        Ok(made)
    }

    /// Whether nobody has led since the owner of a slot.
    fn led_last(&self, slot: usize) -> bool {
        let led = self.queue.led(slot);
        led != 0 && (0..SLOTS).all(|other| self.queue.led(other) <= led)
    }

    /// The turn of this process's next transaction; it is in its slot, too.
    fn turn(&self) -> u32 {
        let slot = self.slot();
        let turn = self.shared.turn.take(self.queue, slot);
        slot.into_iter().for_each(|slot| self.queue.set_turn(slot, turn));
        turn
    }

    fn slot(&self) -> Option<usize> {
        self.shared.slot.get().copied().flatten()
    }

    /// Ends the term. The one of those that wait who led last leads next: what it must read of the
    /// log to do so is least.
    fn hand_over(&self, right: Flock<'_>) {
        let heir = || {
            let waiting = (0..SLOTS).filter(|slot| self.queue.state(*slot) == State::Queued);
            waiting.max_by_key(|slot| self.queue.led(*slot))
        };
        let mut next = heir();
        self.queue.set_heir(next);
        // Before the lock goes: who asks for it now in vain is seen below, or found by the heir.
        self.queue.set_is_led(false);
        drop(right);
        // Who queued while this one still led has gone to sleep.
        if next.is_none() {
            next = heir();
        }
        self.queue.ring(next.into_iter());
    }

    /// What a leader that died has left: what it had noted is in the log, or it is not.
    fn finish_dead(&self) -> Result<(), StoreError> {
        let mut noted = Vec::new();
        for slot in 0..SLOTS {
            match self.queue.state(slot) {
                State::Taken => self.queue.set_state(slot, State::Queued),
                State::Noted => noted.push(slot),
                State::Free | State::Queued | State::Done => {}
            }
        }
        if noted.is_empty() {
            return Ok(());
        }
        let (made, end) = {
            let moving = self.store.moving()?;
            let made = |slot: &usize| moving.root(self.queue.noted(*slot).seq);
            let made: Vec<Option<Root>> = noted.iter().map(made).collect();
            (made, moving.end())
        };
        self.store.settle(end)?;
        for (slot, made) in noted.iter().zip(made) {
            let root = self.queue.noted(*slot);
            if made != Some(root) {
                self.queue.set_state(*slot, State::Queued);
                continue;
            }
            let objects: &dyn Objects = self.store;
            let tree = objects.commit(&root.commit)?.tree;
            self.answer(*slot, &Reply::Made(Version { seq: root.seq, commit: root.commit, tree }));
        }
        self.queue.ring(noted.into_iter());
        Ok(())
    }

    /// Takes what is queued; `first`: who queued it may have died long ago.
    fn take(&self, first: bool) -> Vec<(usize, Request)> {
        let mut taken = Vec::new();
        let mine = self.slot();
        for slot in 0..SLOTS {
            if self.queue.state(slot) != State::Queued {
                continue;
            }
            if first && Some(slot) != mine && !self.queue.is_owned(slot) {
                self.queue.change(slot, State::Queued, State::Free);
                continue;
            }
            if !self.queue.change(slot, State::Queued, State::Taken) {
                continue;
            }
            match Request::decode(&self.queue.read(slot)) {
                Ok(request) => taken.push((slot, request)),
                Err(_) => {
                    self.answer(slot, &Reply::Alone);
                    self.queue.ring([slot].into_iter());
                }
            }
        }
        taken
    }

    /// Makes one's own transactions and those of others in one batch, and answers the others. Also
    /// returns whether it is time to stop leading.
    fn make(
        &self,
        own: &[Planned<'_>],
        queued: &[(usize, Request)],
    ) -> Result<(Vec<Outcome>, bool), StoreError> {
        step("taken");
        let others: Vec<Planned<'_>> =
            queued.iter().map(|(_, request)| request.planned()).collect();
        let turn = if own.is_empty() { 0 } else { self.turn() };
        let turns = own.iter().map(|_| turn);
        let turns = turns.chain(queued.iter().map(|(slot, _)| self.queue.turn(*slot)));
        let ages: Vec<u32> = turns.map(|turn| self.queue.age(turn)).collect();
        let order = oldest_first(&ages);
        let all: Vec<&Planned<'_>> = own.iter().chain(&others).collect();
        let all: Vec<&Planned<'_>> = order.iter().map(|at| all[*at]).collect();
        let slot_of = |at: usize| Some(queued.get(at.checked_sub(own.len())?)?.0);
        let slots = || order.iter().filter_map(|at| slot_of(*at));
        let noted = &mut |outcomes: &[Outcome]| {
            for (at, outcome) in order.iter().zip(outcomes) {
                if let (Some(slot), Ok(Version { seq, commit, .. })) = (slot_of(*at), outcome) {
                    self.queue.note(slot, Root { seq: *seq, commit: *commit });
                }
            }
            step("noted");
        };
        let made = batch::make(self.store, self.trees, &all, noted);
        step("made");
        let (mut mine, mut starving, mut losers) = (Vec::new(), Vec::new(), Vec::new());
        let result = match made {
            Ok(outcomes) => {
                for ((at, planned), outcome) in order.iter().zip(&all).zip(outcomes) {
                    let slot = slot_of(*at);
                    if is_conflict(&outcome) {
                        losers.extend(slot);
                        starving.extend((ages[*at] >= STARVED).then(|| slot.or(self.slot())));
                    }
                    match slot {
                        Some(slot) => self.answer(slot, &Reply::of(planned, outcome)),
                        // They are of one turn, so in their order.
                        None => mine.push(outcome),
                    }
                }
                Ok(())
            }
            Err(failed) => {
                let reply = match &failed {
                    Failed::Unmade(_) => Reply::Alone,
                    Failed::Unsynced(error) => Reply::Unsynced(errno(error)),
                };
                slots().for_each(|slot| self.answer(slot, &reply));
                Err(failed.error())
            }
        };
        if !own.is_empty() {
            self.shared.turn.give_back(turn, &mine);
        }
        step("answered");
        self.queue.ring(slots().filter(|slot| !losers.contains(slot)));
        // Who has waited longest is the first to come back.
        self.queue.ring(losers.iter().copied().take(1));
        let stop = self.make_way(&starving);
        self.queue.ring(losers.into_iter().skip(1));
        result.map(|()| (mine, stop))
    }

    /// Lets the first of those that were told of conflicts for long (slots; `None`: this process)
    /// come back before anything else is made, which would be the next conflict. Returns whether
    /// this process is among them: then it must not lead on, as it could not come back.
    fn make_way(&self, starving: &[Option<usize>]) -> bool {
        if starving.contains(&None) || starving.contains(&self.slot()) {
            return true;
        }
        if let Some(Some(slot)) = starving.first() {
            let until = Instant::now() + PATIENCE;
            let away = || matches!(self.queue.state(*slot), State::Done | State::Free);
            while away() && Instant::now() < until {
                rustix::thread::sched_yield();
            }
            if away() {
                // It does not try again, or not soon: the others wait for it no more.
                self.queue.set_turn(*slot, 0);
            }
        }
        false
    }

    fn answer(&self, slot: usize, reply: &Reply) {
        // What does not fit is found out by who asked.
        let fits = reply.encode().ok().filter(|bytes| bytes.len() <= MAX_BODY);
        let alone = || Reply::Alone.encode().unwrap_or_default();
        self.queue.write(slot, &fits.unwrap_or_else(alone));
        self.queue.set_state(slot, State::Done);
    }

    /// Queues a transaction and waits for the answer. `None`: it has to be made alone.
    fn submit(&self, planned: &Planned<'_>) -> Result<Option<Outcome>, StoreError> {
        let Ok(_thread) = self.shared.submitting.try_lock() else { return Ok(None) };
        let bytes = match request::encode(planned) {
            Ok(bytes) if bytes.len() <= MAX_BODY => bytes,
            _ => return Ok(None),
        };
        let claimed = self.shared.slot.get_or_init(|| self.queue.claim());
        let Some(slot) = *claimed else { return Ok(None) };
        // What was put before becomes durable with the transaction.
        self.store.publish()?;
        let turn = self.turn();
        self.queue.write(slot, &bytes);
        self.queue.set_state(slot, State::Queued);
        step("queued");
        let outcome = self.wait(slot, planned)?;
        self.shared.turn.give_back(turn, outcome.as_slice());
        Ok(outcome)
    }

    fn wait(&self, slot: usize, planned: &Planned<'_>) -> Result<Option<Outcome>, StoreError> {
        let (mut looks, mut insist) = (0, false);
        loop {
            let seen = self.queue.bell(slot);
            if self.queue.state(slot) == State::Done {
                break;
            }
            if looks >= LOOKS && self.queue.change(slot, State::Queued, State::Free) {
                return Ok(None);
            }
            // Nobody may have led when it was queued, or whoever did is dead.
            match self.try_lead(&[], insist) {
                Ok(None) => {}
                Ok(Some(_)) => continue,
                Err(error) if self.queue.change(slot, State::Queued, State::Free) => {
                    return Err(error);
                }
                Err(_) => {}
            }
            insist = self.queue.wait(slot, seen, LOOK_AGAIN);
            looks += usize::from(insist);
        }
        let reply = Reply::decode(&self.queue.read(slot));
        self.queue.set_state(slot, State::Free);
        Ok(match reply {
            Ok(Reply::Made(version)) => Some(Ok(version)),
            Ok(Reply::Conflict(index, found)) => {
                let expectation = planned.txn.expected.get(index);
                expectation.map(|(path, expected)| {
                    let (path, found) = (path.clone(), found.map(Box::new));
                    Err(CommitError::Conflict { path, expected: *expected, found })
                })
            }
            Ok(Reply::Unsynced(errno)) => {
                self.store.log().fail();
                let source = std::io::Error::from_raw_os_error(errno);
                return Err(io("syncing the Keg's log, by another process,")(source));
            }
            Ok(Reply::Alone) | Err(_) => None,
        })
    }
}

fn errno(error: &StoreError) -> i32 {
    let source = match error {
        StoreError::Io { source, .. } | StoreError::Full { source, .. } => source,
        _ => return rustix::io::Errno::IO.raw_os_error(),
    };
    source.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error())
}
