//! Faults: whatever dies, fails or tears, the store opens, a check is clean, and what was
//! acknowledged is there. `docs/faults.md` says which test shows what.
//!
//! System calls are met by `ptrace`, with the registers of x86-64; other machines skip this.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/answer.rs"]
mod answer;
mod calls;
#[path = "../common/child.rs"]
mod child;
mod disk;
mod each;
mod failing;
mod flips;
mod images;
mod jobs;
mod killed;
mod packs;
mod passing;
#[path = "../common/peer.rs"]
mod peer;
mod place;
mod power;
mod races;
mod tracer;
