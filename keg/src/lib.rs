//! The Keg: one versioned, hierarchical namespace of immutable values.
//!
//! Bottom up: [`kid`] (identities), [`object`] (blobs, trees, commits and their bytes), [`store`]
//! (where objects live), [`names`] (the versioned namespace over them), [`watch`], [`stream`]
//! (open logs), [`users`] (who changes names), [`ingest`] and [`union`] (directories and trees to
//! trees), [`mount`] (a tree as a read-only or writable file system), [`pack`] (what is not used,
//! compressed), [`gc`] (collection, leases, sizes, repair), [`fsck`].

mod commit;
#[doc(hidden)]
pub mod decoders;
pub(crate) mod directory;
pub mod erofs;
pub mod fsck;
pub mod gc;
mod groups;
pub mod ingest;
mod inotify;
mod keg;
pub mod kid;
pub mod machine;
pub mod mount;
pub mod names;
pub mod object;
pub mod pack;
pub mod path;
pub mod pointer;
pub mod process;
pub mod spawn;
pub mod store;
pub mod stream;
pub mod sync;
pub mod testing;
pub mod time;
pub mod union;
pub mod users;
pub mod watch;

pub use keg::Keg;
pub use kid::Kid;
pub use names::{Change, CommitError, Expected, NamesError, Txn, Version};
pub use path::NamePath;
