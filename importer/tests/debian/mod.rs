//! The hand-made packages of the unit tests, for tests of whole processes.

pub use importer::debian::{apt, deb};

#[path = "../../src/debian/testing.rs"]
#[allow(dead_code)]
pub mod testing;
