//! From a PID, a KID, a URL or an app's name to a row of the process table.

use std::fs;

use keg::{Keg, kid::KidPrefix};
use serde_json::Value as Json;

use crate::{error::CommandError, output};

/// Fields of a row that hold KIDs people may ask by.
const KID_FIELDS: [&str; 4] = ["process", "release", "image", "source"];
/// Ancestors looked at from a PID upwards.
const MAX_ANCESTORS: usize = 64;

/// The process that a text stands for.
pub fn find(keg: &Keg, target: &str) -> Result<Json, CommandError> {
    let rows: Vec<Json> =
        keg::process::rows(keg)?.into_iter().filter(|row| !row["app"].is_null()).collect();
    let found = if let Ok(pid) = target.parse::<u32>() {
        by_pid(&rows, pid)
    } else if target.starts_with("K-") {
        by_kid(&rows, target)?
    } else {
        by_app(&rows, app_of(target))
    };
    one(found, target)
}

fn one(mut found: Vec<Json>, target: &str) -> Result<Json, CommandError> {
    match found.len() {
        0 => Err(CommandError::user(format!("no running process belongs to {target}"))
            .hint("`keg ps` lists the processes; give a PID, a KID, a URL or an app")),
        1 => Ok(found.remove(0)),
        _ => {
            let list: Vec<String> = found
                .iter()
                .map(|row| {
                    let (app, kind) = (output::field(row, "app"), output::field(row, "type"));
                    format!("{} ({app} {kind}, pid {})", output::short(row, "process"), row["pid"])
                })
                .collect();
            Err(CommandError::user(format!("{target} could be any of {}", list.join(", ")))
                .hint("give the process's KID or its PID on the host"))
        }
    }
}

/// A PID on the host is looked up with its ancestors; if none is an app's, the PID may be one
/// inside a container.
fn by_pid(rows: &[Json], pid: u32) -> Vec<Json> {
    let mut next = pid;
    for _ in 0..MAX_ANCESTORS {
        if let Some(row) = rows.iter().find(|row| row["pid"] == next) {
            return vec![row.clone()];
        }
        match status(next).and_then(|status| status.parent).filter(|parent| *parent > 1) {
            Some(parent) => next = parent,
            None => break,
        }
    }
    rows.iter().filter(|row| holds(row, pid)).cloned().collect()
}

/// Whether a container has a process that is `pid` in its own PID namespace.
fn holds(row: &Json, pid: u32) -> bool {
    let Some(init) = row["pid"].as_u64().and_then(|init| u32::try_from(init).ok()) else {
        return false;
    };
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(ours) = namespace(init) else { return false };
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|host| status(*host).is_some_and(|status| status.inner == pid))
        .any(|host| namespace(host).as_ref() == Some(&ours))
}

struct Status {
    parent: Option<u32>,
    inner: u32,
}

fn status(pid: u32) -> Option<Status> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let inner = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
    Some(Status { parent: field("PPid:").and_then(|parent| parent.parse().ok()), inner })
}

fn by_kid(rows: &[Json], target: &str) -> Result<Vec<Json>, CommandError> {
    let prefix: KidPrefix = target.parse().map_err(|error: keg::kid::ParseKidError| {
        CommandError::user(error.to_string()).hint("KIDs look like K-0123abcd")
    })?;
    let matches = |row: &&Json| {
        KID_FIELDS.iter().any(|field| {
            row[*field]
                .as_str()
                .and_then(|text| text.parse().ok())
                .is_some_and(|kid| prefix.matches(&kid))
        })
    };
    Ok(rows.iter().filter(matches).cloned().collect())
}

fn by_app(rows: &[Json], app: &str) -> Vec<Json> {
    let of = |kind: Option<&str>| -> Vec<Json> {
        rows.iter()
            .filter(|row| row["app"] == app && kind.is_none_or(|kind| row["type"] == kind))
            .cloned()
            .collect()
    };
    // A URL is answered by the web process; an app without one is any process it has.
    let running: Vec<Json> =
        of(Some("web")).into_iter().filter(|r| r["state"] == "running").collect();
    if running.is_empty() { of(None) } else { running }
}

/// `http://blog.localhost:8080/x` and `blog` both name the app `blog`.
fn app_of(target: &str) -> &str {
    let host = target.split_once("://").map_or(target, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or(host);
    let host = host.split(':').next().unwrap_or(host);
    host.strip_suffix(".localhost").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_apps() {
        for target in ["blog", "http://blog.localhost:8080/a?b#c", "blog.localhost"] {
            assert_eq!(app_of(target), "blog", "{target}");
        }
    }
}
