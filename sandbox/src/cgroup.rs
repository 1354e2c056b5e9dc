//! Control groups of our containers: `keg/<id>` in every hierarchy, version 1, 2 or both.
//!
//! libcontainer makes them and puts the container in; the quota, the out-of-memory count,
//! listing, killing and removal are ours.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::SandboxError;

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Our parent group.
const PARENT: &str = "keg";
/// Period of the processor quota in microseconds, the kernel's default.
const PERIOD_US: u64 = 100_000;
/// Most processes killed in one group before giving up.
const MAX_KILLS: usize = 100_000;

/// The path libcontainer is given.
pub fn relative(id: &str) -> PathBuf {
    Path::new(PARENT).join(id)
}

/// Whether one unified (version 2) hierarchy holds all controllers.
pub fn unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The mount points of the hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    if unified() {
        return vec![PathBuf::from(ROOT)];
    }
    let Ok(entries) = fs::read_dir(ROOT) else { return Vec::new() };
    entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}

/// The directories of a container's group that exist.
pub fn dirs(id: &str) -> Vec<PathBuf> {
    hierarchies().into_iter().map(|h| h.join(relative(id))).filter(|d| d.is_dir()).collect()
}

/// Makes the parent group, so that containers starting at the same time do not race for it.
pub fn prepare() {
    for hierarchy in hierarchies() {
        // What is missing is reported by libcontainer, which knows which controllers it needs.
        let _ = fs::create_dir(hierarchy.join(PARENT));
    }
}

/// Limits the processor time of a container that is set up, to `cpus` processors.
pub fn set_cpus(id: &str, cpus: f64) -> Result<(), SandboxError> {
    let quota = (cpus * PERIOD_US as f64).max(1000.0) as u64;
    let write = |path: PathBuf, text: String| {
        fs::write(&path, text).map_err(|e| SandboxError::io("set the processor limit in", path, e))
    };
    if unified() {
        let dir = Path::new(ROOT).join(relative(id));
        return write(dir.join("cpu.max"), format!("{quota} {PERIOD_US}"));
    }
    let dir = Path::new(ROOT).join("cpu").join(relative(id));
    write(dir.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
    write(dir.join("cpu.cfs_quota_us"), quota.to_string())
}

/// Whether the kernel limits swap as well: it may be built or started without that.
pub fn limits_swap() -> bool {
    if !unified() {
        return Path::new(ROOT).join("memory/memory.memsw.limit_in_bytes").exists();
    }
    // The root group has no limits, any other does.
    let groups = fs::read_dir(ROOT).into_iter().flatten().flatten();
    groups.map(|group| group.path()).any(|group| group.join("memory.swap.max").exists())
}

/// The file whose line `oom_kill <n>` counts kills for want of memory.
pub fn oom_file(id: &str) -> PathBuf {
    if unified() {
        return Path::new(ROOT).join(relative(id)).join("memory.events");
    }
    Path::new(ROOT).join("memory").join(relative(id)).join("memory.oom_control")
}

/// Ids of the groups of ours that exist and begin with `prefix`.
pub fn list(prefix: &str) -> Vec<String> {
    let mut ids: Vec<String> = hierarchies()
        .into_iter()
        .filter_map(|h| fs::read_dir(h.join(PARENT)).ok())
        .flat_map(|entries| entries.flatten())
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|id| id.starts_with(prefix))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Processes in a container's group, as ids on the host.
pub fn pids(id: &str) -> Vec<i32> {
    let mut pids: Vec<i32> = dirs(id)
        .iter()
        .filter_map(|d| fs::read_to_string(d.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|l| l.parse().ok()).collect::<Vec<i32>>())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Kills everything in a container's group (SIGKILL). Returns how many processes were told.
pub fn kill(id: &str) -> usize {
    let mut killed = 0;
    for dir in dirs(id) {
        // One write does it on version 2, forks in flight included.
        let _ = fs::write(dir.join("cgroup.kill"), "1");
    }
    for pid in pids(id).into_iter().take(MAX_KILLS) {
        // SAFETY: plain system call. The id was in our group just now.
        if pid > 1 && unsafe { libc::kill(pid, libc::SIGKILL) } == 0 {
            killed += 1;
        }
    }
    killed
}

/// Removes a container's empty groups; `false` if something still lives in one.
pub fn remove(id: &str) -> bool {
    dirs(id).iter().filter(|dir| fs::remove_dir(dir).is_err()).count() == 0
}
