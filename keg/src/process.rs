//! Processes as values: their KIDs, and the rows of services and work in the process table.

use std::{fs, process};

use serde_json::{Value as Json, json};

use crate::{
    Keg, Kid, machine,
    names::{CommitError, Txn},
    path::{NamePath, PathError},
    time::now,
};

/// `derive_key` context of processes.
const CONTEXT: &str = "keg 2026 process v1";
/// Field 22 of `/proc/<pid>/stat` is the start time; this many fields follow the name before it.
const FIELDS_BEFORE_START: usize = 19;

/// Why a process could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// `/proc` does not tell about it.
    #[error("there is no process {pid} (its /proc/{pid}/stat cannot be read)")]
    NotThere {
        /// Which.
        pid: u32,
    },
    /// The row could not be written.
    #[error("the row of process {pid} could not be written: {source}")]
    Row {
        /// Which.
        pid: u32,
        /// Why.
        source: CommitError,
    },
    /// No path can be made for the row.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// A running process, told apart from all that had its number before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its identity.
    pub kid: Kid,
    /// Its number now.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

impl Process {
    /// A process that is running here.
    ///
    /// # Errors
    /// [`ProcessError::NotThere`].
    pub fn of(pid: u32, what: &str) -> Result<Self, ProcessError> {
        let start_time = start_ticks(pid).ok_or(ProcessError::NotThere { pid })?;
        let kid = process_kid(&machine::name(), &machine::boot_id(), pid, start_time, what);
        Ok(Self { kid, pid, start_time })
    }

    /// The process's name in the table: the first 16 digits of its KID.
    pub fn id(&self) -> String {
        self.kid.to_hex()[..16].to_owned()
    }

    /// Its row: `/machines/<m>/processes/<id>.json`.
    ///
    /// # Errors
    /// Never for names that [`machine::name`] makes.
    pub fn row(&self) -> Result<NamePath, PathError> {
        format!("/machines/{}/processes/{}.json", machine::name(), self.id()).parse()
    }

    /// Whether it is still the same process that has the number.
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_time)
    }
}

/// The identity of a process: derived from the machine, its boot, the number, the start time and
/// what it runs, each with its length before it.
pub fn process_kid(machine: &str, boot_id: &str, pid: u32, start_ticks: u64, what: &str) -> Kid {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    let (pid, start) = (pid.to_le_bytes(), start_ticks.to_le_bytes());
    for field in [machine.as_bytes(), boot_id.as_bytes(), &pid, &start, what.as_bytes()] {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    hasher.finalize().into()
}

/// When a process started, in clock ticks since boot; `None`: there is no such process, or it is
/// a zombie.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything, also parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(FIELDS_BEFORE_START - 1)?.parse().ok()
}

/// A row in the process table, removed when this is dropped. What a killed process leaves is
/// removed by `keg up`, which sees that it is gone.
pub struct Registration {
    keg: Keg,
    process: Process,
    row: NamePath,
}

impl Registration {
    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its row.
    pub fn row(&self) -> &NamePath {
        &self.row
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let txn = Txn::new("keg", &format!("process {} ended", self.process.pid));
        // Nobody is left to tell; the row is found to be stale by its start time.
        let _ = self.keg.commit(txn.remove(self.row.clone()));
    }
}

/// Puts this process into the table: `kind` is `service/front`, `work/build`…; `what` says what
/// it does, such as the key of a request.
///
/// # Errors
/// The row could not be written.
pub fn register(keg: &Keg, kind: &str, what: &str) -> Result<Registration, ProcessError> {
    let pid = process::id();
    let process = Process::of(pid, &format!("{kind} {what}"))?;
    let row = process.row()?;
    let txn = Txn::new("keg", &format!("process {pid} started: {kind} {what}"))
        .set_json(row.clone(), describe(&process, kind, what));
    keg.commit(txn).map_err(|source| ProcessError::Row { pid, source })?;
    Ok(Registration { keg: keg.clone(), process, row })
}

fn describe(process: &Process, kind: &str, what: &str) -> Json {
    json!({
        "process": process.kid, "pid": process.pid, "start": process.start_time,
        "app": null, "type": kind, "index": 0, "what": what, "state": "running",
        "image": null, "release": null, "source": null, "build": null, "user": null,
        "started": now(), "restarts": 0, "exit": null, "port": null,
        "command": std::env::args().collect::<Vec<_>>(), "stream": null,
    })
}
