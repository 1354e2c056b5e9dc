//! `keg cat`: the bytes of a blob, or a tree or commit in words.

use std::io;

use keg::object::Value;
use serde_json::json;

use super::{locate, ls};
use crate::{args::Output, error::CommandError, find, output};

/// Prints a value.
pub fn run(path: &str, how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let located = locate::value(&keg, path)?;
    match &located.entry.value {
        Value::File { kid, .. } if how.json => {
            let bytes = keg.objects().blob(kid)?;
            let text = String::from_utf8_lossy(&bytes);
            let parsed = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(text));
            output::json_line(&json!({"path": path, "kid": kid, "value": parsed}))
        }
        Value::File { kid, .. } => {
            let mut blob = keg.objects().open_blob(kid)?;
            let damaged = |error: io::Error| match error.kind() {
                io::ErrorKind::InvalidData => CommandError::damaged(error.to_string())
                    .hint("`keg fsck` names all that is damaged, and the paths that use it"),
                _ => error.into(),
            };
            io::copy(&mut blob, &mut io::stdout().lock()).map(drop).map_err(damaged)
        }
        Value::Commit { kid } => {
            let commit = keg.objects().commit(kid)?;
            let document = json!({
                "kid": kid,
                "tree": commit.tree,
                "parents": commit.parents,
                "author": commit.author,
                "time": keg::time::rfc3339(commit.time_ms),
                "message": commit.message,
                "extra": commit.extra,
            });
            if how.json {
                return output::json_line(&document);
            }
            let text = serde_json::to_string_pretty(&document).map_err(io::Error::from)?;
            output::line(&text)
        }
        Value::Symlink { target } => output::line(&String::from_utf8_lossy(target)),
        Value::Tree { .. } => Err(CommandError::user(format!("{path} is a directory"))
            .hint(format!("`keg ls {path}` lists it"))),
        _ => Err(CommandError::user(format!(
            "{path} is a {} and has no bytes to print",
            ls::kind(&located.entry)
        ))),
    }
}
