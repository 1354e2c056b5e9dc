//! `/machines/<m>/machine.json`: what this machine is.

use keg::{Keg, names::Txn};
use serde_json::json;

use crate::{error::CommandError, find::Running};

/// Writes the machine's document, unless it is there already as it would be written.
pub fn write(keg: &Keg, running: &Running) -> Result<(), CommandError> {
    let path = format!("/machines/{}/machine.json", running.machine).parse()?;
    let mut document = keg.get_json(&path)?.unwrap_or_else(|| json!({}));
    let before = document.clone();
    document["name"] = json!(running.machine);
    document["machine"] = json!(keg::machine::kid());
    document["boot_id"] = json!(keg::machine::boot_id());
    document["cores"] = json!(std::thread::available_parallelism().map_or(1, |cores| cores.get()));
    document["memory"] = json!(memory_bytes());
    document["kernel"] = json!(rustix::system::uname().release().to_string_lossy());
    document["url"] = json!(running.url);
    document["apps_url"] = json!(running.apps_url);
    if document == before {
        return Ok(());
    }
    let txn = Txn::new("service/up", "the machine came up").set_json(path, document);
    keg.commit(txn)?;
    Ok(())
}

fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0u64);
    kib * 1024
}
