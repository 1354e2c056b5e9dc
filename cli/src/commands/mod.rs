//! One file per command.

pub mod apps;
pub mod cat;
mod change;
pub mod completions;
pub mod diff;
pub mod files;
pub mod fsck;
pub mod gc;
pub mod import;
pub mod log;
pub mod logs;
pub mod ls;
pub mod mount;
pub mod names;
pub mod pack;
pub mod point;
pub mod ps;
pub mod rollback;
pub mod status;
pub mod sync;
pub mod watch;
pub mod why;

mod locate;
mod through;
mod who;
