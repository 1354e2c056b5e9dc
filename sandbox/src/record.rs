//! The container's own records, durable and safe against reused process ids.
//!
//! `state_dir/<id>/` holds
//! - `pid.json`: [`PidRecord`], once the command was started;
//! - `exit.json`: [`Exit`], once it ended;
//! - `error.json`: [`SetupError`], instead of both, if it never started.
//!
//! Each is written to a temporary file and renamed; `exit.json` is synced as well.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{SandboxError, SetupError};

/// File of the [`PidRecord`].
pub const PID_FILE: &str = "pid.json";
/// File of the [`Exit`].
pub const EXIT_FILE: &str = "exit.json";
/// File of the [`SetupError`].
pub const ERROR_FILE: &str = "error.json";
/// Larger records are not ours.
const MAX_RECORD: u64 = 1 << 20;

/// Who runs a container: enough to recognise both processes after a restart of everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidRecord {
    /// Process id (on the host) of the container's init.
    pub pid: i32,
    /// Its start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start: u64,
    /// Process id of the shim that waits for it.
    pub shim: i32,
    /// The shim's start time.
    pub shim_start: u64,
    /// `/proc/sys/kernel/random/boot_id` when it was started.
    pub boot_id: String,
    /// Microseconds from the shim's start until the command was started.
    #[serde(default)]
    pub setup_us: u64,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal, if it was killed.
    pub signal: Option<i32>,
    /// Whether the kernel killed something in the container for want of memory.
    pub oom: bool,
}

impl Exit {
    /// Whether it exited with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal, self.oom) {
            (_, _, true) => f.write_str("it ran out of memory"),
            (Some(code), _, _) => write!(f, "it exited with code {code}"),
            (_, Some(signal), _) => write!(f, "it was killed by signal {signal}"),
            _ => f.write_str("how it ended is unknown"),
        }
    }
}

/// What is known about a container from its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No record yet: it is being set up (or its shim was killed while doing so).
    Starting,
    /// It was started; whether it still runs, [`PidRecord::alive`] tells.
    Started(PidRecord),
    /// It ended.
    Exited(Exit),
    /// It never started.
    Failed(SetupError),
}

/// Reads the records in `dir`, most final first.
pub fn outcome(dir: &Path) -> Result<Outcome, SandboxError> {
    if let Some(exit) = read(&dir.join(EXIT_FILE))? {
        return Ok(Outcome::Exited(exit));
    }
    if let Some(error) = read(&dir.join(ERROR_FILE))? {
        return Ok(Outcome::Failed(error));
    }
    Ok(read(&dir.join(PID_FILE))?.map_or(Outcome::Starting, Outcome::Started))
}

impl PidRecord {
    /// Whether the container's init is still the process that was started then.
    pub fn alive(&self) -> bool {
        same_boot(&self.boot_id) && start_time(self.pid) == Some(self.start)
    }

    /// Whether the shim is still the process that was started then.
    pub fn shim_alive(&self) -> bool {
        same_boot(&self.boot_id) && start_time(self.shim) == Some(self.shim_start)
    }
}

fn same_boot(boot_id: &str) -> bool {
    self::boot_id().is_ok_and(|now| now == boot_id)
}

/// The kernel's id of this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Start time of a process in clock ticks since boot; `None` if there is none (or it is a zombie).
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and parentheses: fields count from the last one.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Writes `value` as `dir/name`: whole or not at all. It survives the death of every process, and
/// needs not survive a power cut, after which no process of it is left.
pub fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> Result<(), SandboxError> {
    let path = dir.join(name);
    let temp = dir.join(format!(".{name}.{}", std::process::id()));
    let bytes = serde_json::to_vec(value)
        .map_err(|e| SandboxError::io("encode", &path, io::Error::other(e)))?;
    let written = (|| {
        let mut file = File::create(&temp)?;
        file.write_all(&bytes)?;
        fs::rename(&temp, &path)
    })();
    written.map_err(|e| SandboxError::io("write", &path, e))
}

/// Reads a record; `None` if there is none. A torn or foreign one is an error.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SandboxError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(SandboxError::io("open", path, e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut bytes).map_err(|e| SandboxError::io("read", path, e))?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| SandboxError::io("understand", path, io::Error::other(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_and_final_ones_win() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(outcome(dir.path()).unwrap(), Outcome::Starting);
        let me = std::process::id() as i32;
        let pid = PidRecord {
            pid: me,
            start: start_time(me).unwrap(),
            shim: 1 << 30,
            shim_start: 1,
            boot_id: boot_id().unwrap(),
            setup_us: 7,
        };
        write(dir.path(), PID_FILE, &pid).unwrap();
        assert_eq!(outcome(dir.path()).unwrap(), Outcome::Started(pid.clone()));
        assert!(pid.alive());
        assert!(!pid.shim_alive());
        assert!(!PidRecord { start: pid.start + 1, ..pid.clone() }.alive(), "a reused pid");
        assert!(!PidRecord { boot_id: "x".into(), ..pid }.alive(), "another boot");
        let exit = Exit { code: None, signal: Some(9), oom: true };
        write(dir.path(), EXIT_FILE, &exit).unwrap();
        assert_eq!(outcome(dir.path()).unwrap(), Outcome::Exited(exit));
        fs::write(dir.path().join(EXIT_FILE), b"{\"code\":").unwrap();
        assert!(outcome(dir.path()).is_err(), "a torn record is not an exit with 0");
    }

    #[test]
    fn exits_read_as_sentences() {
        let table = [
            (Exit { code: Some(3), signal: None, oom: false }, "it exited with code 3"),
            (Exit { code: None, signal: Some(15), oom: false }, "it was killed by signal 15"),
            (Exit { code: Some(137), signal: None, oom: true }, "it ran out of memory"),
            (Exit::default(), "how it ended is unknown"),
        ];
        for (exit, want) in table {
            assert_eq!(exit.to_string(), want);
        }
    }
}
