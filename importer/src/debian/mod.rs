//! Debian: suites as verified snapshots, packages as trees, root file systems as their union.

pub mod apt;
pub mod ar;
pub mod compress;
pub mod deb;
pub mod deb822;
pub mod import;
pub mod index;
pub mod mirror;
pub mod paths;
pub mod pool;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod rootfs;
pub mod snapshot;
pub mod tarball;
#[cfg(test)]
pub(crate) mod testing;
pub mod together;
pub mod users;
pub mod verify;
pub mod version;

pub use together::{Times, Together, together};

/// Debian's name for this machine's architecture.
pub fn native_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "i386",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        other => other,
    }
}
