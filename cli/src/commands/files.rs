//! `keg put`, `keg commit`, `keg checkout`: between the namespace and plain files.

use std::{fs, io, os::unix::ffi::OsStrExt, path::Path, time::Instant};

use keg::{
    Keg, Kid, NamePath,
    ingest::{IngestError, IngestOptions, KnownFiles, checkout, ingest},
    object::{Entry, Value},
};
use serde_json::json;

use super::{change::Changing, locate};
use crate::{
    args::{Change, Output},
    error::CommandError,
    find, output,
};

/// Sets a path to a file, a directory, or (`-`) what comes from standard input.
pub fn put(path: &str, from: &Path, how: &Change) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let to: NamePath = path.parse()?;
    let entry = if from.as_os_str() == "-" {
        blob(&keg, &mut io::stdin().lock())?
    } else {
        let cannot =
            |error| CommandError::user(format!("cannot read {}", from.display())).because(error);
        if fs::metadata(from).map_err(cannot)?.is_dir() {
            let options = IngestOptions { before: tree_at(&keg, &to)?, ..IngestOptions::default() };
            ingest(keg.objects(), from, &options)?
        } else {
            let mut file = fs::File::open(from).map_err(cannot)?;
            match keg.get(&to)?.map(|entry| entry.value) {
                Some(Value::File { kid, .. }) => {
                    file_entry(keg.objects().put_changed(&mut file, &kid)?)
                }
                _ => blob(&keg, &mut file)?,
            }
        }
    };
    let same_kind = keg.get(&to)?.is_some_and(|old| is_file(&old) && is_file(&entry));
    let mut change = Changing::new(&keg, how, &format!("put {path}"));
    change.set(to, entry, same_kind)?;
    change.make(&json!(null), "")
}

fn is_file(entry: &Entry) -> bool {
    matches!(entry.value, Value::File { .. })
}

fn blob(keg: &Keg, from: &mut dyn io::Read) -> Result<Entry, CommandError> {
    Ok(file_entry(keg.objects().put_blob(from)?))
}

fn file_entry((kid, size): (Kid, u64)) -> Entry {
    Entry::file(kid, size)
}

/// The tree that is at a path now.
fn tree_at(keg: &Keg, path: &NamePath) -> Result<Option<Kid>, CommandError> {
    match keg.get(path)? {
        Some(entry) => Ok(keg.objects().directory_of(&entry)?),
        None => Ok(None),
    }
}

/// Makes a directory the newest version of a path. Files that have not changed since the last
/// time are not read.
pub fn commit(dir: &Path, path: &str, how: &Change) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let begun = Instant::now();
    let to: NamePath = path.parse()?;
    let dir = dir.canonicalize().map_err(|error| {
        CommandError::user(format!("cannot read {}", dir.display())).because(error)
    })?;
    if super::mount::commit(&keg, &dir, &to, how)? {
        return Ok(());
    }
    let cache = keg
        .home()
        .join("cache/stat")
        .join(&Kid::of_blob(dir.as_os_str().as_bytes()).to_hex()[..16]);
    let known = KnownFiles::load(&cache);
    let before = tree_at(&keg, &to)?;
    let options = IngestOptions { known: Some(&known), before, ..IngestOptions::default() };
    let entry = ingest(keg.objects(), &dir, &options)?;
    let Value::Tree { bytes, entries, .. } = entry.value else {
        return Err(CommandError::user(format!("{} is not a directory", dir.display())));
    };
    let mut change = Changing::new(&keg, how, &format!("commit {path}"));
    change.set(to, entry, true)?;
    // Without the cache the next time takes longer, nothing else.
    if let Err(error) = known.save(&cache) {
        eprintln!("keg commit: {}: {error}", cache.display());
    }
    let (reused, seconds) = (known.reused(), begun.elapsed().as_secs_f64());
    let more = json!({ "entries": entries, "bytes": bytes, "unchanged_files": reused,
                       "seconds": seconds });
    let size = output::bytes(bytes);
    change.make(&more, &format!("{entries} entries, {size}; {reused} files known unchanged"))
}

/// Writes a value as plain files into a directory that is empty or not there.
pub fn check_out(text: &str, dir: &Path, how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let found = locate::whole(&keg, text)?;
    let tree = keg.objects().directory_of(&found.entry)?.ok_or_else(|| {
        CommandError::user(format!("{text} is not a directory"))
            .hint(format!("`keg cat {text}` prints it"))
    })?;
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(CommandError::user(format!("{} is not empty", dir.display()))
            .hint("choose a new directory: nothing that is there is overwritten"));
    }
    checkout(keg.objects(), &tree, dir)?;
    if how.json {
        return output::json_line(&json!({ "tree": tree, "directory": dir }));
    }
    output::line(&format!("{text} is in {} ({})", dir.display(), tree.short()))
}

impl From<IngestError> for CommandError {
    fn from(error: IngestError) -> Self {
        Self::user("the files could not be taken over").because(error)
    }
}
