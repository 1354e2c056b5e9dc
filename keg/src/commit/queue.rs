//! Memory that the processes of one machine share: transactions that wait for whoever leads.
//!
//! `log/queue`, mapped by each process that commits (all numbers in the machine's own order):
//! ```text
//! 0     magic 8 | SLOTS u32 | SLOT_BYTES u32
//! 16    who leads next u32: its slot and one; 0: anybody
//! 20    whether somebody leads u32: a hint, the lock decides
//! 24    the newest turn u32
//! 1024  a bell u32 for each 32 slots: rung when some of them have been answered
//! 2048  a state u32 for each slot
//! 4096  for each slot, when its owner last led u32
//! 5120  for each slot, the turn of what is in it u32
//! 8192  slots: length u32, seq u64, commit 32, bytes
//! ```
//! Nothing in it must survive the machine. A slot belongs to whoever has the lock on its byte of
//! the file, which dies with the owner; who leads has the `flock` on the file.

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
    ptr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use memmap2::{MmapOptions, MmapRaw};
use rustix::{
    fs::{self, FallocateFlags},
    thread::futex,
};

use crate::{
    Kid,
    store::{
        Root, StoreError,
        durable::{Flock, lock_file},
        io,
    },
};

/// How many processes can have a transaction waiting at a time; more commit by themselves.
pub(super) const SLOTS: usize = 256;
/// Bytes of a slot: larger transactions are made by who has them.
const SLOT_BYTES: usize = 8 << 10;
const MAGIC: &[u8; 8] = b"keg-que1";
const HEAD: usize = 16;
const HEIR_AT: usize = 16;
const LEADING_AT: usize = 20;
const TURN_AT: usize = 24;
const BELLS_AT: usize = 1024;
const STATES_AT: usize = 2048;
const LED_AT: usize = 4096;
const TURNS_AT: usize = 5120;
const SLOTS_AT: usize = 8192;
const BYTES: usize = SLOTS_AT + SLOTS * SLOT_BYTES;
const SEQ_AT: usize = 4;
const COMMIT_AT: usize = SEQ_AT + 8;
const BODY_AT: usize = COMMIT_AT + 32;
/// Most bytes a request or reply can have.
pub(super) const MAX_BODY: usize = SLOT_BYTES - BODY_AT;
/// Slots that share a bell.
const BELL_SLOTS: usize = 32;

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum State {
    /// Nothing.
    Free = 0,
    /// A transaction that nobody has looked at.
    Queued = 1,
    /// One that is being made: nothing has been written of it.
    Taken = 2,
    /// One that is about to be, or is, in the log as the version that is noted beside.
    Noted = 3,
    /// The answer.
    Done = 4,
}

impl State {
    fn of(raw: u32) -> Self {
        match raw {
            1 => Self::Queued,
            2 => Self::Taken,
            3 => Self::Noted,
            4 => Self::Done,
            _ => Self::Free,
        }
    }
}

/// The queue of one Keg, as one process sees it.
pub(super) struct Queue {
    file: File,
    map: MmapRaw,
}

impl Queue {
    /// Opens (creating it) the queue in `dir`. `None`: it is of another version of Keg, or there
    /// is no room for it.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join("queue");
        let what = || format!("opening {}", path.display());
        let file = lock_file(&path)?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&(SLOTS as u32).to_ne_bytes());
        head.extend_from_slice(&(SLOT_BYTES as u32).to_ne_bytes());
        let mut found = read_head(&file).map_err(io(what()))?;
        if found == [0; HEAD] {
            let _alone = Flock::exclusive(&file)?;
            found = read_head(&file).map_err(io(what()))?;
            if found == [0; HEAD] && allocate(&file) {
                file.write_all_at(&head, 0).map_err(io(what()))?;
                found.copy_from_slice(&head);
            }
        }
        if found != *head || !allocate(&file) {
            return Ok(None);
        }
        let map = MmapOptions::new().len(BYTES).map_raw(&file).map_err(io(what()))?;
        Ok(Some(Self { file, map }))
    }

    /// The right to lead, if nobody has it. One process leads at a time; within one, the caller
    /// keeps threads apart.
    pub(super) fn try_lead(&self) -> Result<Option<Flock<'_>>, StoreError> {
        Flock::try_exclusive(&self.file)
    }

    /// Takes a slot for as long as this queue is open. `None`: all are taken.
    pub(super) fn claim(&self) -> Option<usize> {
        let start = std::process::id() as usize;
        (0..SLOTS).map(|n| (start + n) % SLOTS).find(|slot| {
            if !self.lock_byte(*slot, libc::F_WRLCK) {
                return false;
            }
            // What a dead owner has left there is for who leads to finish.
            let usable = matches!(self.state(*slot), State::Free | State::Done);
            if usable {
                self.set_state(*slot, State::Free);
            } else {
                self.lock_byte(*slot, libc::F_UNLCK);
            }
            usable
        })
    }

    fn lock_byte(&self, slot: usize, how: libc::c_int) -> bool {
        let mut lock = range(slot, how);
        // SAFETY: the descriptor is open, and the argument is what the command takes.
        unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) == 0 }
    }

    /// Whether a slot's owner lives, where that is another process; its own look ownerless to it.
    pub(super) fn is_owned(&self, slot: usize) -> bool {
        let mut lock = range(slot, libc::F_WRLCK);
        // SAFETY: as above.
        let asked = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
        asked == 0 && lock.l_type != libc::F_UNLCK as libc::c_short
    }

    pub(super) fn state(&self, slot: usize) -> State {
        State::of(self.word(STATES_AT, slot).load(Ordering::SeqCst))
    }

    pub(super) fn set_state(&self, slot: usize, state: State) {
        self.word(STATES_AT, slot).store(state as u32, Ordering::SeqCst);
    }

    /// Changes a state, if it is what is expected.
    pub(super) fn change(&self, slot: usize, from: State, to: State) -> bool {
        let (order, state) = (Ordering::SeqCst, self.word(STATES_AT, slot));
        state.compare_exchange(from as u32, to as u32, order, order).is_ok()
    }

    /// The slot of whoever leads next.
    pub(super) fn heir(&self) -> Option<usize> {
        (self.word(HEIR_AT, 0).load(Ordering::SeqCst) as usize).checked_sub(1)
    }

    pub(super) fn set_heir(&self, slot: Option<usize>) {
        let raw = slot.map_or(0, |slot| slot as u32 + 1);
        self.word(HEIR_AT, 0).store(raw, Ordering::SeqCst);
    }

    /// Whether somebody leads, as far as anybody has said: who was killed says nothing.
    pub(super) fn is_led(&self) -> bool {
        self.word(LEADING_AT, 0).load(Ordering::SeqCst) != 0
    }

    pub(super) fn set_is_led(&self, led: bool) {
        self.word(LEADING_AT, 0).store(u32::from(led), Ordering::SeqCst);
    }

    /// A turn after all that were given so far; never 0.
    pub(super) fn new_turn(&self) -> u32 {
        self.word(TURN_AT, 0).fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1)
    }

    /// How many turns were given after a turn.
    pub(super) fn age(&self, turn: u32) -> u32 {
        self.word(TURN_AT, 0).load(Ordering::Relaxed).wrapping_sub(turn)
    }

    /// The turn of what is queued in a slot.
    pub(super) fn turn(&self, slot: usize) -> u32 {
        self.word(TURNS_AT, slot).load(Ordering::Relaxed)
    }

    pub(super) fn set_turn(&self, slot: usize, turn: u32) {
        self.word(TURNS_AT, slot).store(turn, Ordering::Relaxed);
    }

    /// When the owner of a slot last led: more is later.
    pub(super) fn led(&self, slot: usize) -> u32 {
        self.word(LED_AT, slot).load(Ordering::Relaxed)
    }

    pub(super) fn set_led(&self, slot: usize, when: u32) {
        self.word(LED_AT, slot).store(when, Ordering::Relaxed);
    }

    /// What the bell of a slot shows; ask before looking at the state.
    pub(super) fn bell(&self, slot: usize) -> u32 {
        self.word(BELLS_AT, slot / BELL_SLOTS).load(Ordering::SeqCst)
    }

    /// Waits until the bell of a slot is rung for it, if it still shows `seen`, at most `timeout`;
    /// returns whether that passed.
    pub(super) fn wait(&self, slot: usize, seen: u32, timeout: Duration) -> bool {
        let bell = self.word(BELLS_AT, slot / BELL_SLOTS);
        let Some(bit) = std::num::NonZeroU32::new(1 << (slot % BELL_SLOTS)) else { return false };
        let until = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let nanos = until.tv_nsec + timeout.subsec_nanos() as i64;
        let until = rustix::time::Timespec {
            tv_sec: until.tv_sec + timeout.as_secs() as i64 + nanos / 1_000_000_000,
            tv_nsec: nanos % 1_000_000_000,
        };
        // Whatever ends it (rung, rung before, time, a signal), the caller looks again.
        let waited = futex::wait_bitset(bell, futex::Flags::empty(), seen, Some(&until), bit);
        waited == Err(rustix::io::Errno::TIMEDOUT)
    }

    /// Wakes the owners of slots.
    pub(super) fn ring(&self, slots: impl Iterator<Item = usize>) {
        let mut masks = [0u32; SLOTS / BELL_SLOTS];
        slots.for_each(|slot| masks[slot / BELL_SLOTS] |= 1 << (slot % BELL_SLOTS));
        for (group, mask) in masks.into_iter().enumerate() {
            let Some(mask) = std::num::NonZeroU32::new(mask) else { continue };
            let bell = self.word(BELLS_AT, group);
            bell.fetch_add(1, Ordering::SeqCst);
            // It fails for nothing but a bad address.
            let _ = futex::wake_bitset(bell, futex::Flags::empty(), u32::MAX >> 1, mask);
        }
    }

    /// Puts bytes into a slot, of which the caller has [`MAX_BODY`] at most.
    pub(super) fn write(&self, slot: usize, bytes: &[u8]) {
        let len = bytes.len().min(MAX_BODY);
        self.copy_in(slot, BODY_AT, &bytes[..len]);
        self.copy_in(slot, 0, &(len as u32).to_ne_bytes());
    }

    /// The bytes in a slot.
    pub(super) fn read(&self, slot: usize) -> Vec<u8> {
        let mut len = [0; 4];
        self.copy_out(slot, 0, &mut len);
        let mut bytes = vec![0; (u32::from_ne_bytes(len) as usize).min(MAX_BODY)];
        self.copy_out(slot, BODY_AT, &mut bytes);
        bytes
    }

    /// Notes which version the transaction in a slot is about to become.
    pub(super) fn note(&self, slot: usize, root: Root) {
        self.copy_in(slot, SEQ_AT, &root.seq.to_ne_bytes());
        self.copy_in(slot, COMMIT_AT, root.commit.as_bytes());
        self.set_state(slot, State::Noted);
    }

    pub(super) fn noted(&self, slot: usize) -> Root {
        let (mut seq, mut commit) = ([0; 8], [0; 32]);
        self.copy_out(slot, SEQ_AT, &mut seq);
        self.copy_out(slot, COMMIT_AT, &mut commit);
        Root { seq: u64::from_ne_bytes(seq), commit: Kid::from_bytes(commit) }
    }

    fn word(&self, table: usize, index: usize) -> &AtomicU32 {
        debug_assert!(index < SLOTS);
        // SAFETY: the tables have room for as many words as there are slots, the map is aligned
        // to pages and lives as long as the reference, and all processes use these as atomics.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(table).cast::<u32>().add(index)) }
    }

    fn copy_in(&self, slot: usize, at: usize, bytes: &[u8]) {
        debug_assert!(slot < SLOTS && at + bytes.len() <= SLOT_BYTES);
        // SAFETY: within the map, which is no Rust reference anywhere. Who may write is ruled by
        // the state, an atomic; a process that breaks the rule makes bytes that do not decode.
        unsafe {
            let to = self.map.as_mut_ptr().add(SLOTS_AT + slot * SLOT_BYTES + at);
            ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    fn copy_out(&self, slot: usize, at: usize, bytes: &mut [u8]) {
        debug_assert!(slot < SLOTS && at + bytes.len() <= SLOT_BYTES);
        // SAFETY: as for writing.
        unsafe {
            let from = self.map.as_ptr().add(SLOTS_AT + slot * SLOT_BYTES + at);
            ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len());
        }
    }
}

/// Its first bytes; zeros: nobody has made it.
fn read_head(file: &File) -> std::io::Result<[u8; HEAD]> {
    let mut head = [0; HEAD];
    let mut len = 0;
    while len < HEAD {
        match file.read_at(&mut head[len..], len as u64)? {
            0 => break,
            read => len += read,
        }
    }
    Ok(head)
}

/// Sees to it that each page has its blocks: where one cannot be had when the page is written,
/// the system ends the process. Returns whether it could be done.
fn allocate(file: &File) -> bool {
    fs::fallocate(file, FallocateFlags::empty(), 0, BYTES as u64).is_ok()
}

/// The byte of the file that stands for a slot.
fn range(slot: usize, how: libc::c_int) -> libc::flock {
    // SAFETY: a struct of integers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = how as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = (SLOTS_AT + slot) as libc::off_t;
    lock.l_len = 1;
    lock
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
