//! One file per command.

pub mod apps;
pub mod cat;
pub mod completions;
pub mod diff;
pub mod fsck;
pub mod import;
pub mod log;
pub mod logs;
pub mod ls;
pub mod ps;
pub mod rollback;
pub mod status;
pub mod watch;
pub mod why;

mod locate;
