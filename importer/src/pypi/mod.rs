//! Python packages: requirements → versions → wheels → trees → one tree.
//!
//! What the Keg keeps, below `/packages/pypi/`:
//!
//! - `projects/<name>.json`: what the index said about a project, and when;
//! - `metadata/<sha256>`: the `METADATA` of the wheel with this hash;
//! - `files/<sha256>.json`: which tree that wheel became, by which recipe;
//! - `wheels/<file>`: the tree (`lib`, `scripts`, `headers`, `data`: the same for every Python);
//! - `resolutions/<memo>.json`: what a set of requirements resolved to, so that it is resolved
//!   once; never changed;
//! - `sets/<key>`: the union of a request's wheels, to be laid over a root.
//!
//! No pip or uv runs here, except to be asked which index it is configured to use ([`config`]).

pub mod config;
pub mod fetch;
#[cfg(test)]
mod hostile_tests;
mod html;
pub mod import;
pub mod index;
mod lockfiles;
pub mod marker;
pub mod metadata;
pub mod name;
pub mod project;
#[cfg(test)]
mod registry_tests;
pub mod requirement;
pub mod requirements;
pub mod resolve;
pub mod sets;
mod suggest;
pub mod tags;
pub mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod version;
pub mod wheel;

pub use import::{PypiDone, PypiError, import};
pub use target::python_of;
