//! The hand-made packages of the unit tests, for tests of whole processes.

pub use importer::debian::{apt, deb};

#[path = "../../src/debian/testing.rs"]
#[allow(dead_code)]
pub mod testing;

/// Writes `apt.conf`, for `APT_CONFIG`: the configuration of a machine that uses the mirror for
/// this suite.
pub fn configure(mirror: &testing::TestMirror, suite: &str) {
    let keyring = std::fs::read(mirror.signer.keyring()).expect("there");
    mirror.write("etc/trusted/test.gpg", &keyring);
    let source = format!("deb file:{} {suite} main\n", mirror.dir.path().display());
    mirror.write("etc/sources.list", source.as_bytes());
    let config = format!(
        "Dir::Etc \"{}\";\nDir::Etc::sourceparts \"none\";\nDir::Etc::trustedparts \"trusted\";\n",
        mirror.path("etc").display()
    );
    mirror.write("apt.conf", config.as_bytes());
}
