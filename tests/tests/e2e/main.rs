//! The whole main path with the real binaries: stock git, `keg`, containers, the router, skopeo,
//! podman, Chromium. Needs root. Tests named `registry_…` fetch packages, and run only with
//! `KEG_TEST_NETWORK=1`; all others use this machine's own Python in place of Debian's.

mod bad_input;
mod cli;
mod crashes;
mod deploys;
mod far;
mod gc;
mod history;
mod isolation;
mod mounts;
mod oci;
mod path;
mod pointers;
mod policies;
mod registries;
mod router;
mod screens;
mod sync;
