//! The importer: packages of Debian and PyPI become trees in the Keg.
//!
//! One shape for every origin: a verified, hashable index (*snapshot*) → candidates → *promises*
//! (path, size, hash) → verified bytes → trees (pure, bounded) → a union. Only this crate talks to
//! the network. What is wanted is a document at `/packages/requests/<key>.json` ([`request`]), what
//! came of it a lock at `/packages/locks/<key>.json`, see `docs/namespace.md`.

pub mod debian;
pub mod error;
pub mod http;
pub mod import;
pub mod lockfile;
pub mod progress;
pub mod pypi;
pub mod request;
pub mod tree;

/// Who the importer is in the histories of names.
pub const AUTHOR: &str = "service/importer";

/// Instead of a request's key: `keg work import packages` is a worker of another import.
pub const WORKER: &str = "packages";

pub use error::ImportError;
pub use import::{import_now, pending, refresh_key, refresh_now, request, work_import};
pub use progress::{Progress, Report};
pub use request::{Base, DebianWant, PypiWant, Request};
