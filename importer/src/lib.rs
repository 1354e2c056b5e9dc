//! The importer: packages of Debian and PyPI become trees in the Keg.
//!
//! One shape for every origin: a verified, hashable index (*snapshot*) → candidates → *promises*
//! (path, size, hash) → verified bytes → trees (pure, bounded) → a union. Only this crate talks to
//! the network. What is wanted is a document at `/packages/requests/<key>.json` ([`request`]), what
//! came of it a lock at `/packages/locks/<key>.json`, see `docs/namespace.md`.

pub mod debian;
pub mod error;
pub mod http;
pub mod progress;
pub mod request;
pub mod tree;

/// Who the importer is in the histories of names.
pub const AUTHOR: &str = "service/importer";

pub use progress::{Progress, Report};
pub use request::{Base, DebianWant, PypiWant, Request};
