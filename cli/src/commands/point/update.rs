//! `keg update`: pointers follow what they point to, by a new version.

use keg::{
    Keg, NamePath,
    names::{Expected, Txn, Version},
    object::{Entry, Value},
    pointer::MAX_LACKING as MAX_POINTERS,
};
use serde_json::{Value as Json, json};

use super::{DIGITS, is_pointer, short, tell};
use crate::{
    args::Update,
    commands::{change::nothing_at, through, who},
    error::CommandError,
    find, output,
};

/// Most directories that are looked through for pointers.
const MAX_DIRECTORIES: usize = 1 << 20;

/// What became of one pointer.
struct Row {
    path: NamePath,
    old: Entry,
    outcome: Outcome,
}

enum Outcome {
    Updated(Entry),
    Current,
    Pinned,
    Failed(CommandError),
}

/// Follows all pointers at and below some paths. One that cannot be followed stays as it is, and
/// is the command's error once the others are done.
pub fn run(args: &Update) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let mut found = Vec::new();
    for path in &args.paths {
        let path: NamePath = path.parse()?;
        let before = found.len();
        pointers(&keg, &path, &mut found)?;
        if found.len() == before {
            return Err(CommandError::user(format!("there is no pointer at or below {path}"))
                .hint(format!("`keg ls {path}` shows what is there; `keg point` makes pointers")));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found.dedup_by(|(a, _), (b, _)| a == b);
    let rows: Vec<Row> = found
        .into_iter()
        .map(|(path, old)| {
            let outcome = follow(&keg, &old).unwrap_or_else(Outcome::Failed);
            Row { path, old, outcome }
        })
        .collect();
    let version = commit(&keg, &rows, args)?;
    report(&rows, version, args)?;
    let failed = rows.into_iter().find_map(|row| match row.outcome {
        Outcome::Failed(error) => Some(error.within(format!("{} was not updated", row.path))),
        _ => None,
    });
    failed.map_or(Ok(()), Err)
}

/// The pointers at a path and in the directories below it.
fn pointers(
    keg: &Keg,
    path: &NamePath,
    found: &mut Vec<(NamePath, Entry)>,
) -> Result<(), CommandError> {
    if let Some(above) = path.parent().map(|parent| through::above(keg, &parent)).transpose()?
        && let Some(above) = above
    {
        return Err(CommandError::user(format!("{path} is below the pointer {above}"))
            .hint(format!("update that: keg update {above}")));
    }
    let entry = keg.get(path)?.ok_or_else(|| nothing_at(path))?;
    let mut left = vec![(path.clone(), entry)];
    let mut looked = 0;
    while let Some((path, entry)) = left.pop() {
        match &entry.value {
            Value::Pointer { .. } => found.push((path.clone(), entry)),
            Value::Tree { kid, .. } => {
                for (name, entry) in keg.objects().tree(kid)?.entries {
                    let text = std::str::from_utf8(name.as_bytes()).ok();
                    let below = text.and_then(|name| path.join(name).ok());
                    let leads = is_pointer(&entry) && entry.kid().is_some();
                    if let Some(below) = below
                        && (leads || matches!(entry.value, Value::Tree { .. }))
                    {
                        left.push((below, entry));
                    }
                }
                looked += 1;
            }
            _ => {}
        }
        if looked > MAX_DIRECTORIES || found.len() > MAX_POINTERS {
            return Err(CommandError::user(format!("there is too much below {path}"))
                .hint("update a part of it"));
        }
    }
    Ok(())
}

fn follow(keg: &Keg, old: &Entry) -> Result<Outcome, CommandError> {
    let (source, _) = peer::pointer::source_of(old)?;
    if source.is_pinned() && old.kid().is_some() {
        return Ok(Outcome::Pinned);
    }
    let resolved = peer::pointer::resolve(keg, &source, Some(old))?;
    tell(&resolved.remarks);
    Ok(if resolved.entry == *old { Outcome::Current } else { Outcome::Updated(resolved.entry) })
}

/// One version with all that has moved, unless somebody moved one of them meanwhile.
fn commit(keg: &Keg, rows: &[Row], args: &Update) -> Result<Option<Version>, CommandError> {
    let moved: Vec<&Row> =
        rows.iter().filter(|row| matches!(row.outcome, Outcome::Updated(_))).collect();
    let usual = match moved.as_slice() {
        [] => return Ok(None),
        [row] => format!("update {}: {}", row.path, moves(row)),
        rows => format!("update {} pointers", rows.len()),
    };
    let mut txn = Txn::new(&who::author(), args.message.as_deref().unwrap_or(&usual));
    for row in moved {
        let Outcome::Updated(new) = &row.outcome else { continue };
        let expected = row.old.kid().map_or(Expected::Any, Expected::Kid);
        txn = txn.expect(row.path.clone(), expected).set(row.path.clone(), new.clone());
    }
    Ok(Some(who::commit(keg, txn)?))
}

/// `K-old → K-new, git 0123abcd → 89abcdef`.
fn moves(row: &Row) -> String {
    let Outcome::Updated(new) = &row.outcome else { return String::new() };
    let kids = format!("{} → {}", short(row.old.kid()), short(new.kid()));
    match (commit_of(&row.old), commit_of(new)) {
        (Some(old), Some(new)) => format!("{kids}, git {} → {}", &old[..DIGITS], &new[..DIGITS]),
        _ => kids,
    }
}

fn commit_of(entry: &Entry) -> Option<String> {
    peer::pointer::source_of(entry).ok()?.1
}

fn report(rows: &[Row], version: Option<Version>, args: &Update) -> Result<(), CommandError> {
    if args.output.json {
        let rows: Vec<Json> = rows.iter().map(described).collect();
        return output::json_line(&json!({
            "version": version.map(|version| version.commit),
            "seq": version.map(|version| version.seq), "pointers": rows,
        }));
    }
    for row in rows {
        let path = &row.path;
        output::line(&match &row.outcome {
            Outcome::Updated(_) => format!("{path}  {}", moves(row)),
            Outcome::Current => format!("{path}  already up to date ({})", short(row.old.kid())),
            Outcome::Pinned => format!("{path}  pinned, left at {}", short(row.old.kid())),
            Outcome::Failed(error) => format!("{path}  not updated: {error}"),
        })?;
    }
    match version {
        Some(version) => {
            output::line(&format!("version {} {}", version.seq, version.commit.short()))
        }
        None => Ok(()),
    }
}

fn described(row: &Row) -> Json {
    let mut json = json!({ "path": row.path.as_str(), "old": row.old.kid(),
                           "old_commit": commit_of(&row.old), "new": row.old.kid() });
    json["state"] = match &row.outcome {
        Outcome::Updated(new) => {
            json["new"] = json!(new.kid());
            json["new_commit"] = json!(commit_of(new));
            "updated"
        }
        Outcome::Current => "current",
        Outcome::Pinned => "pinned",
        Outcome::Failed(error) => {
            json["error"] = json!(error.to_string());
            "failed"
        }
    }
    .into();
    json
}
