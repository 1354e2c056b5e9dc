//! `keg why`: the chain from a running process to the source it was built from.

mod find_process;
mod pointer;

use keg::{Keg, Kid, path::NamePath};
use serde_json::{Value as Json, json};

use crate::{args::Output, error::CommandError, find, output};

/// Prints the chain of the one process that `target` stands for.
pub fn run(target: &str, how: Output) -> Result<(), CommandError> {
    if target.starts_with('/') && pointer::run(target, how)? {
        return Ok(());
    }
    let (keg, _) = find::running_keg()?;
    let row = find_process::find(&keg, target)?;
    let chain = chain(&keg, &row)?;
    if how.json { output::json_line(&chain) } else { print(&chain) }
}

/// The chain as a document.
fn chain(keg: &Keg, row: &Json) -> Result<Json, CommandError> {
    let source = kid(row, "source").map(|kid| source(keg, kid)).transpose()?;
    let build_path: NamePath =
        format!("/builds/{}/build.json", output::field(row, "build")).parse()?;
    let build = keg.get_json(&build_path)?.unwrap_or_default();
    Ok(json!({
        "process": row["process"],
        "pid": row["pid"],
        "app": row["app"],
        "type": row["type"],
        "state": row["state"],
        "machine": keg::machine::name(),
        "started": row["started"],
        "release": row["release"],
        "image": row["image"],
        "build": row["build"],
        "source": source,
        "packages": build["inputs"]["packages"],
    }))
}

fn source(keg: &Keg, kid: Kid) -> Result<Json, CommandError> {
    let commit = keg.objects().commit(&kid)?;
    Ok(json!({
        "kid": kid,
        "git": commit.extra.get("git"),
        "author": commit.author,
        "user": commit.extra.get("user"),
        "message": commit.message.trim_end(),
        "time": keg::time::rfc3339(commit.time_ms),
        "tree": commit.tree,
    }))
}

fn kid(row: &Json, field: &str) -> Option<Kid> {
    row[field].as_str()?.parse().ok()
}

fn print(chain: &Json) -> Result<(), CommandError> {
    let field = |name| output::field(chain, name);
    let short = |name| output::short(chain, name);
    let source = &chain["source"];
    output::line(&format!(
        "process  {}  {} {}, pid {}, {} since {}",
        short("process"),
        field("app"),
        field("type"),
        field("pid"),
        field("state"),
        field("started")
    ))?;
    output::line(&format!("release  {}  /oci-images/{}", short("release"), field("app")))?;
    output::line(&format!("image    {}", short("image")))?;
    output::line(&format!("build    {}  /builds/{0}/log", field("build")))?;
    let message = output::field(source, "message");
    output::line(&format!(
        "source   {}  git {}  {}",
        output::short(source, "kid"),
        output::field(source, "git").chars().take(12).collect::<String>(),
        output::field(source, "author"),
    ))?;
    output::line(&format!("         {}", message.lines().next().unwrap_or_default()))?;
    let packages = chain["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    output::line(&format!("packages {}", packages.len()))?;
    let rows: Vec<Vec<String>> = packages
        .iter()
        .map(|package| {
            vec![
                format!("         {}", output::short(package, "kid")),
                output::field(package, "from"),
                output::field(package, "name"),
                output::field(package, "version"),
            ]
        })
        .collect();
    output::table(&["         KID", "FROM", "PACKAGE", "VERSION"], &rows)
}
