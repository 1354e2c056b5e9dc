//! A wheel becomes a tree: checked, folded, with its programs, as an installer would leave it.
//!
//! The tree has the directories of [`names::scheme`]; it depends on the wheel's bytes alone, so
//! that one tree serves every Python and every app. Times are the archive's, directories have none.

pub mod archive;
pub mod names;
mod record;
mod scripts;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek};

use keg::{
    object::{Attrs, Entry, EntryName},
    store::{Objects, StoreError},
};
use sha2::{Digest, Sha256};

use self::{
    archive::{Archive, Item},
    names::{NameRefused, place, scheme},
};
use super::{metadata::MAX_METADATA, name::PackageName, tags::WheelName, version::parse_version};
use crate::tree::{Dir, PlaceError};

/// Version of what is done here; part of the memo, so that a change makes wheels anew.
pub const RECIPE: u32 = 1;
/// Largest script whose first line may be rewritten, in bytes.
const MAX_SCRIPT: u64 = 4 * 1024 * 1024;
/// Largest `WHEEL` file, in bytes.
const MAX_WHEEL_FILE: u64 = 256 * 1024;

/// Why a wheel is not taken.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// Not a zip file, or one with features that wheels do not have.
    #[error("it is no proper zip file")]
    Zip(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A name, kind or mode that is refused.
    #[error(transparent)]
    Name(#[from] NameRefused),
    /// Too many files.
    #[error("it has {0} files, too many")]
    TooMany(usize),
    /// Too much in it.
    #[error("its files have more than {most} bytes, too much for its size")]
    TooLarge {
        /// The bound.
        most: u64,
    },
    /// One of its own files is too large.
    #[error("its file {name:?} has more than {limit} bytes")]
    FileTooLarge {
        /// Which.
        name: String,
        /// The bound.
        limit: u64,
    },
    /// Data that cannot be read.
    #[error("its file {name:?} is damaged")]
    Damaged {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that every wheel has is missing.
    #[error("it has no {0}")]
    Missing(String),
    /// Not the wheel that its name promises, or of a newer format.
    #[error("{0}")]
    Format(String),
    /// `RECORD` cannot be read.
    #[error("its RECORD cannot be read: {0}")]
    Record(String),
    /// A file is not what `RECORD` says.
    #[error("its file {name:?} does not match RECORD: {reason}")]
    Mismatch {
        /// Which.
        name: String,
        /// How.
        reason: &'static str,
    },
    /// `entry_points.txt` cannot be read.
    #[error("its entry_points.txt cannot be used: {0}")]
    EntryPoints(String),
    /// Two files for one place.
    #[error("its file {name:?} cannot be placed: {reason}")]
    Place {
        /// Which.
        name: String,
        /// Why.
        reason: PlaceError,
    },
    /// The Keg's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WheelError {
    fn zip(error: zip::result::ZipError) -> Self {
        Self::Zip(Box::new(error))
    }
}

/// What a wheel became.
#[derive(Debug)]
pub struct Unpacked {
    /// Its tree.
    pub tree: Entry,
    /// The bytes of its `METADATA`.
    pub metadata: Vec<u8>,
}

/// Unpacks a wheel of `size` bytes into the Keg's objects.
///
/// # Errors
/// It breaks a rule; nothing names what was stored by then.
pub fn unpack<R: Read + Seek>(
    objects: &dyn Objects,
    name: &WheelName,
    reader: R,
    size: u64,
) -> Result<Unpacked, WheelError> {
    let mut archive = Archive::open(reader, size)?;
    let info = dist_info(&archive, name)?;
    let metadata = required(&mut archive, &format!("{info}/METADATA"), MAX_METADATA)?;
    check_format(&required(&mut archive, &format!("{info}/WHEEL"), MAX_WHEEL_FILE)?)?;
    let rows = required(&mut archive, &format!("{info}/RECORD"), record::MAX_RECORD)?;
    let rows = record::parse(&rows).map_err(WheelError::Record)?;
    check_listed(&archive, &rows, &info)?;
    let mut installing =
        Installing { objects, root: Dir::default(), rows: Vec::new(), project: name.name.clone() };
    let data = info.replace(".dist-info", ".data");
    for item in archive.items.clone() {
        if is_record(&item.name, &info) || item.name == format!("{info}/INSTALLER") {
            continue;
        }
        let listed = rows.get(&item.name).map(String::as_str).unwrap_or_default();
        installing.take(&mut archive, &item, listed, &data)?;
    }
    let entry_points = archive.find(&format!("{info}/entry_points.txt"));
    if let Some(item) = entry_points {
        let bytes = archive.read(&item, scripts::MAX_ENTRY_POINTS)?;
        installing.scripts(&bytes, item.mtime)?;
    }
    let mtime = archive.find(&format!("{info}/METADATA")).map_or(0, |item| item.mtime);
    let tree = installing.finish(&info, mtime)?;
    Ok(Unpacked { tree, metadata })
}

/// The name of the one `.dist-info` directory, which is that of the project and version.
fn dist_info<R>(archive: &Archive<R>, name: &WheelName) -> Result<String, WheelError> {
    let mut dirs: Vec<&str> = archive
        .items
        .iter()
        .filter_map(|item| item.name.split_once('/'))
        .map(|(top, _)| top)
        .filter(|top| top.ends_with(".dist-info"))
        .collect();
    dirs.dedup();
    dirs.sort_unstable();
    dirs.dedup();
    let [dir] = dirs.as_slice() else {
        return Err(WheelError::Missing("single .dist-info directory".into()));
    };
    let stem = dir.strip_suffix(".dist-info").unwrap_or(dir);
    let fits = stem.split_once('-').is_some_and(|(project, version)| {
        PackageName::new(project).is_ok_and(|project| project == name.name)
            && parse_version(&version.replace('_', "-")).is_some_and(|v| v == name.version)
    });
    if fits {
        Ok((*dir).to_owned())
    } else {
        let (project, version) = (&name.name, &name.version);
        Err(WheelError::Format(format!("it holds {stem:?}, not {project} {version}")))
    }
}

fn required<R: Read + Seek>(
    archive: &mut Archive<R>,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, WheelError> {
    let item = archive.find(name).ok_or_else(|| WheelError::Missing(name.to_owned()))?;
    archive.read(&item, limit)
}

fn check_format(wheel: &[u8]) -> Result<(), WheelError> {
    let text = String::from_utf8_lossy(wheel);
    let version = text.lines().find_map(|line| line.strip_prefix("Wheel-Version:"));
    match version.map(str::trim) {
        Some(version) if version == "1" || version.starts_with("1.") => Ok(()),
        Some(version) => Err(WheelError::Format(format!(
            "it has the format {:?}, and only 1.x is known",
            version.chars().take(20).collect::<String>()
        ))),
        None => Err(WheelError::Format("its WHEEL file says no Wheel-Version".into())),
    }
}

/// `RECORD` and its signatures are not in `RECORD`.
fn is_record(name: &str, info: &str) -> bool {
    let file = name.strip_prefix(info).and_then(|rest| rest.strip_prefix('/'));
    matches!(file, Some("RECORD" | "RECORD.jws" | "RECORD.p7s"))
}

/// Every file is listed with a hash, and everything listed is there.
fn check_listed<R>(
    archive: &Archive<R>,
    rows: &record::Rows,
    info: &str,
) -> Result<(), WheelError> {
    let fail = |name: &str, reason| WheelError::Mismatch { name: name.to_owned(), reason };
    for item in &archive.items {
        match rows.get(&item.name) {
            _ if is_record(&item.name, info) => {}
            Some(hash) if hash.starts_with("sha256=") => {}
            Some(_) => return Err(fail(&item.name, "it is listed without a SHA-256")),
            None => return Err(fail(&item.name, "it is not listed")),
        }
    }
    let names: std::collections::HashSet<&str> =
        archive.items.iter().map(|item| item.name.as_str()).collect();
    let absent = rows.keys().find(|name| {
        !names.contains(name.as_str()) && !is_record(name, info) && !name.ends_with('/')
    });
    absent.map_or(Ok(()), |name| Err(fail(name, "it is listed and not there")))
}

/// A wheel on its way into a tree.
struct Installing<'a> {
    objects: &'a dyn Objects,
    root: Dir,
    /// Scheme, path below it, digest and size of each file.
    rows: Vec<(&'static str, String, String, u64)>,
    project: PackageName,
}

impl Installing<'_> {
    fn take<R: Read + Seek>(
        &mut self,
        archive: &mut Archive<R>,
        item: &Item,
        listed: &str,
        data: &str,
    ) -> Result<(), WheelError> {
        let (scheme, path) = place(&item.name, data)?;
        let mut hash = Sha256::new();
        let (mut stored, mut failed) = (None, None);
        if scheme == scheme::SCRIPTS && item.size <= MAX_SCRIPT {
            let bytes = archive.read(item, MAX_SCRIPT)?;
            hash.update(&bytes);
            stored = Some(
                self.objects
                    .put_bytes(scripts::with_interpreter(&bytes).as_deref().unwrap_or(&bytes))?,
            );
        } else {
            archive.stream(item, &mut |file| {
                let mut reader = Hashing { inner: file, hash: &mut hash };
                match self.objects.put_blob(&mut reader) {
                    Ok((kid, size)) => stored = Some(Entry::file(kid, size)),
                    Err(error) => failed = Some(error),
                }
                // What the store did not read is read to find damage.
                io::copy(&mut reader, &mut io::sink()).map(drop)
            })?;
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        if record::digest_text(&hash.finalize()) != listed {
            return Err(WheelError::Mismatch {
                name: item.name.clone(),
                reason: "it has another SHA-256",
            });
        }
        let entry = stored.ok_or_else(|| WheelError::Missing(item.name.clone()))?;
        let executable = item.executable || scheme == scheme::SCRIPTS;
        self.place(scheme, path, entry, executable, item.mtime, listed)
    }

    fn place(
        &mut self,
        scheme: &'static str,
        path: &str,
        mut entry: Entry,
        executable: bool,
        mtime: i64,
        digest: &str,
    ) -> Result<(), WheelError> {
        let mode = if executable { 0o755 } else { 0o644 };
        entry.attrs = Attrs { mtime, ..Attrs::with_mode(mode) };
        let size = match &entry.value {
            keg::object::Value::File { size, .. } => *size,
            _ => 0,
        };
        // Headers have a directory of their project's own.
        let own = format!("{}/{path}", self.project);
        let below = if scheme == scheme::HEADERS { &own } else { path };
        let refused = |reason| NameRefused { name: path.to_owned(), reason };
        let mut parts = vec![EntryName::new(scheme).expect("because a scheme's name is plain")];
        parts.extend(names::parts(below).map_err(refused)?);
        let fail = |reason| WheelError::Place { name: path.to_owned(), reason };
        self.root.place(&parts, entry).map_err(fail)?;
        self.rows.push((scheme, path.to_owned(), digest.to_owned(), size));
        Ok(())
    }

    /// Stores small text that installing adds.
    fn add(
        &mut self,
        scheme: &'static str,
        path: &str,
        text: &[u8],
        executable: bool,
        mtime: i64,
    ) -> Result<(), WheelError> {
        let entry = self.objects.put_bytes(text)?;
        let digest = record::digest_text(&Sha256::digest(text));
        self.place(scheme, path, entry, executable, mtime, &digest)
    }

    fn scripts(&mut self, entry_points: &[u8], mtime: i64) -> Result<(), WheelError> {
        for script in scripts::parse(entry_points).map_err(WheelError::EntryPoints)? {
            let path = [EntryName::new(scheme::SCRIPTS), EntryName::new(script.name.as_str())];
            let taken = path.into_iter().collect::<Result<Vec<_>, _>>();
            // A program brought along in `.data/scripts` goes before one made here.
            if taken.is_ok_and(|path| self.root.at(&path).is_some()) {
                continue;
            }
            self.add(scheme::SCRIPTS, &script.name, script.text.as_bytes(), true, mtime)?;
        }
        Ok(())
    }

    /// Writes `INSTALLER` and `RECORD`, with paths as seen from `dist-packages`. Headers are not
    /// in it: where they go depends on the Python, and the tree must not.
    fn finish(mut self, info: &str, mtime: i64) -> Result<Entry, WheelError> {
        self.add(scheme::LIB, &format!("{info}/INSTALLER"), b"keg\n", false, mtime)?;
        let mut rows: Vec<(String, String, u64)> = self
            .rows
            .iter()
            .filter_map(|(scheme, path, digest, size)| {
                let path = match *scheme {
                    scheme::LIB => path.clone(),
                    scheme::SCRIPTS => format!("../../../bin/{path}"),
                    scheme::DATA => format!("../../../{path}"),
                    _ => return None,
                };
                Some((path, self.digest_of(scheme, digest), *size))
            })
            .collect();
        rows.sort();
        let mut text = String::new();
        for (path, digest, size) in rows {
            record::write_row(&mut text, &path, &digest, size);
        }
        record::write_row(&mut text, &format!("{info}/RECORD"), "", 0);
        self.add(scheme::LIB, &format!("{info}/RECORD"), text.as_bytes(), false, mtime)?;
        Ok(self.root.write(self.objects)?)
    }

    /// The digest of what was stored. Scripts may have got another first line; nothing checks
    /// theirs, so they are listed without one, as RECORD allows.
    fn digest_of(&self, scheme: &str, digest: &str) -> String {
        if scheme == scheme::SCRIPTS { String::new() } else { digest.to_owned() }
    }
}

/// Hashes what passes.
struct Hashing<'a> {
    inner: &'a mut dyn Read,
    hash: &'a mut Sha256,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}
