//! Debian: suites as verified snapshots, packages as trees, root file systems as their union.

pub mod apt;
pub mod ar;
pub mod compress;
pub mod deb;
pub mod deb822;
pub mod index;
pub mod mirror;
pub mod paths;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod snapshot;
pub mod tarball;
#[cfg(test)]
mod testing;
pub mod users;
pub mod verify;
pub mod version;
