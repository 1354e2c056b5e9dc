//! Processes as values: their KIDs, and the rows of services and work in the process table.

use std::{fs, process};

use serde_json::{Value as Json, json};

use crate::{
    Keg, Kid, machine,
    names::{CommitError, NamesError, Txn},
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
    /// The table could not be read.
    #[error(transparent)]
    Table(#[from] NamesError),
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
    let process = Process::of(pid, &what_of(kind, what))?;
    let row = process.row()?;
    let txn = Txn::new("keg", &format!("process {pid} started: {kind} {what}"))
        .set_json(row.clone(), describe(&process, kind, what));
    keg.commit(txn).map_err(|source| ProcessError::Row { pid, source })?;
    Ok(Registration { keg: keg.clone(), process, row })
}

/// The rows of this machine's process table: apps, services and work.
///
/// # Errors
/// The table could not be read.
pub fn rows(keg: &Keg) -> Result<Vec<Json>, ProcessError> {
    let table: NamePath = format!("/machines/{}/processes", machine::name()).parse()?;
    let mut rows = Vec::new();
    for (name, _) in keg.list(&table)? {
        rows.extend(keg.get_json(&table.join(&name)?)?);
    }
    Ok(rows)
}

/// Removes the rows of services and work on this machine whose processes are gone, for `keg up`
/// to call when it starts and when a child of its died. Returns how many there were.
///
/// # Errors
/// The table could not be read or written.
pub fn remove_stale(keg: &Keg) -> Result<usize, ProcessError> {
    let (machine, boot) = (machine::name(), machine::boot_id());
    let table: NamePath = format!("/machines/{machine}/processes").parse()?;
    let mut txn = Txn::new("keg", "processes that are gone");
    let mut stale = 0;
    for (name, _) in keg.list(&table)? {
        let path = table.join(&name)?;
        let Some(row) = keg.get_json(&path)? else { continue };
        if row["app"].is_null() && !is_running(&row, &machine, &boot) {
            txn = txn.remove(path);
            stale += 1;
        }
    }
    if stale > 0 {
        keg.commit(txn).map_err(|source| ProcessError::Row { pid: process::id(), source })?;
    }
    Ok(stale)
}

/// Whether the process of a row, and not another with its number, runs since it was written.
fn is_running(row: &Json, machine: &str, boot: &str) -> bool {
    let number = |field: &str| row[field].as_u64();
    let pid = number("pid").and_then(|pid| u32::try_from(pid).ok());
    let (Some(pid), Some(start)) = (pid, number("start")) else { return false };
    let what = what_of(row["type"].as_str().unwrap_or(""), row["what"].as_str().unwrap_or(""));
    let kid = process_kid(machine, boot, pid, start, &what);
    row["process"] == kid.to_string() && start_ticks(pid) == Some(start)
}

fn what_of(kind: &str, what: &str) -> String {
    format!("{kind} {what}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let kid = process_kid("m", "boot", 1, 2, "web");
        for other in [
            process_kid("m2", "boot", 1, 2, "web"),
            process_kid("m", "boo", 1, 2, "tweb"),
            process_kid("m", "boot", 2, 2, "web"),
            process_kid("m", "boot", 1, 3, "web"),
        ] {
            assert_ne!(kid, other);
        }
        let this = Process::of(process::id(), "test").unwrap();
        assert!(this.is_alive() && this.start_time > 0);
        assert!(!Process { start_time: this.start_time + 1, ..this }.is_alive());
        assert!(matches!(Process::of(u32::MAX, "x"), Err(ProcessError::NotThere { .. })));
    }

    #[test]
    fn rows_come_and_go_with_their_processes() {
        let keg = Keg::in_memory();
        let registration = register(&keg, "service/front", "").unwrap();
        let row = keg.get_json(registration.row()).unwrap().unwrap();
        assert_eq!(row["process"], registration.process().kid.to_string());
        assert_eq!((&row["type"], &row["app"]), (&json!("service/front"), &Json::Null));
        let table = registration.row().parent().unwrap();
        let mut gone = row.clone();
        gone["start"] = json!(1);
        let mut app = gone.clone();
        app["app"] = json!("blog");
        let txn = Txn::new("t", "m").set_json(table.join("gone.json").unwrap(), gone);
        keg.commit(txn.set_json(table.join("app.json").unwrap(), app)).unwrap();
        assert_eq!(remove_stale(&keg).unwrap(), 1);
        assert_eq!(remove_stale(&keg).unwrap(), 0);
        assert_eq!(keg.list(&table).unwrap().len(), 2, "apps' rows are the mayor's");
        drop(registration);
        assert_eq!(keg.list(&table).unwrap().len(), 1);
    }
}
