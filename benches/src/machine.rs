//! The machine that is measured on. Its name is nobody's business.

use std::path::Path;

use serde::Serialize;

/// Bytes of a page of memory.
const PAGE: usize = 4096;

/// Load average of the last minute: how many processes ran or wanted to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Load(pub f64);

/// What matters for speed.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// When, UTC.
    pub date: String,
    /// Processors.
    pub cores: usize,
    /// Bytes.
    pub memory: u64,
    /// Name and release.
    pub kernel: String,
    /// Kind of the file system that Kegs and peers are on.
    pub files: String,
    /// When the run began.
    pub load: Load,
}

impl Machine {
    /// This machine, now.
    pub fn now() -> Self {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        Self {
            date: keg::time::now(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: rustix::system::sysinfo().totalram as u64,
            kernel: format!("{} {}", text(uname.sysname()), text(uname.release())),
            files: file_system(&crate::kegs::place()),
            load: load(),
        }
    }
}

/// The load average of the last minute.
pub fn load() -> Load {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Load(text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN))
}

/// Uses so much memory, and half as much again, and gives it back. A host takes memory back that a
/// virtual machine has not used for a while, and then the first use costs far more than the writing
/// (on ours seven times as much), whoever comes first.
pub fn touch(bytes: u64) {
    let mut memory = vec![0u8; (bytes + bytes / 2) as usize];
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

/// The kind of the file system of a directory: that of the longest mount point above it.
fn file_system(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let above = fields.filter(|f| f.len() > 2 && dir.starts_with(f[1]));
    above.max_by_key(|f| f[1].len()).map_or("unknown".to_owned(), |f| f[2].to_owned())
}
