//! Containers: one command in namespaces of its own, with a filter, limits, and a supervisor.
//!
//! ```text
//! caller ──spec──► shim (fresh exec; libcontainer lives and dies here)
//!                   │  state_dir/<id>/pid.json
//!                   ├──► the command (its own pid, mount, ipc, uts, cgroup, network namespaces)
//!                   └─exec─► waiter (tiny): reaps, records exit.json, writes log lines
//! ```
//!
//! This crate knows nothing of Kegs. It needs root, and calls itself again: the program that uses
//! it must pass `sandbox …` on to [`main`] (see [`self_exe`]).

pub mod cgroup;
mod error;
mod executor;
pub mod netns;
mod oci;
mod profile;
pub mod record;
mod seccomp;
mod shim;
mod spawn;
mod spec;
mod syscalls;
mod tiny;
mod trace;

pub use error::{SandboxError, SetupError};
pub use executor::DEFAULT_PATH;
pub use record::Exit;
pub use shim::FAILED;
pub use spawn::{main, run, self_exe, spawn, spawn_tied};
pub use spec::{Bind, Limits, Network, Output, Profile, Spec, check_id};

/// A stream of lines is renamed to `<path>.1` when it is longer than this many bytes.
pub const LINES_LIMIT: u64 = 8 << 20;
