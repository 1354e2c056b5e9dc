//! Receiving git: a push becomes a commit under `/source`, its packs and refs live under `/git`.
//!
//! ```text
//! git ──HTTP──► http (the front: moves bytes)
//!                 └─ one child per request: work
//!                      ├─ advertise   the refs, for a push
//!                      ├─ push        request ─► pack ─► policy ─► convert ─► land ─► deploy
//!                      └─ fetch       stock git upload-pack over a view of the packs
//! ```
//!
//! Objects come first: packs, trees and files are stored before anything names them. One
//! transaction then sets `/git/<app>` and `/source/<app>`, so a push that is killed anywhere is
//! there whole or not at all. The builder and the mayor answer by setting names; the push process
//! shows what they say and, if the deploy fails, puts the refs back ([`settle`]).

mod advertise;
mod ancestry;
mod answer;
mod check;
mod convert;
mod deploy;
mod fetch;
mod follow;
mod fsck;
mod git;
pub mod http;
mod kids;
mod land;
mod lfs;
mod pack;
mod plain;
mod policy;
mod push;
mod repack;
mod repo;
mod request;
mod settle;
mod taken;
mod work;

pub use http::Context;
pub use work::work_receive;

/// Most bytes of one request, as sent and as decompressed: 4 GiB.
pub const MAX_BODY: u64 = 4 << 30;
