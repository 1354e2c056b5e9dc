//! The Keg in a browser: every path of the namespace is a page, and the same path gives the same
//! as data.
//!
//! [`view`] reads one version of the namespace; [`pages`] makes HTML of it, [`data`] JSON, [`raw`]
//! bytes; [`live`] follows changes and logs, [`feed`] for many at once; [`put`] is the one way to write; [`search`] resolves
//! KIDs, process numbers and names; [`guard`] keeps other sites out. The web reads every subtree
//! and writes only `/apps`.

mod ask;
mod assets;
mod data;
mod deploys;
mod docs;
mod error;
mod feed;
mod format;
mod guard;
mod highlight;
mod history;
mod live;
mod location;
mod overview;
mod pages;
mod places;
mod put;
mod raw;
mod search;
mod serve;
mod stream_text;
mod view;

pub use guard::guard;
pub use serve::router;
