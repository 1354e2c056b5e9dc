//! `control.tar`: the package's own description and its scripts.

use std::io::Read;

use keg::{
    object::{Attrs, Entry, EntryName},
    store::{Objects, StoreError},
};

use super::Promise;
use crate::{
    debian::{
        deb822,
        paths::{self, PathError},
        tarball::{self, ItemKind, TarError},
    },
    tree::Dir,
};

/// Largest member, such as `symbols` or `md5sums`.
const MAX_MEMBER: u64 = 32 << 20;
/// Most members.
const MAX_MEMBERS: usize = 64;
/// Fields that only dpkg's own database has.
const FOREIGN: [&str; 5] =
    ["Status", "Conffiles", "Config-Version", "Triggers-Pending", "Triggers-Awaited"];

/// What the control part of a package says.
pub struct Control {
    /// Its members.
    pub tree: Entry,
    /// Absolute paths of configuration files, without those that are only to be removed.
    pub conffiles: Vec<String>,
}

/// Why the control part is refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The archive.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A path in it.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Something else than plain files in its root.
    #[error("{0:?} in control.tar is no plain file in its root")]
    NotPlain(String),
    /// The same name twice.
    #[error("{0:?} is twice in control.tar")]
    Twice(String),
    /// Too large, or too many.
    #[error("control.tar is too large: {0}")]
    TooLarge(String),
    /// No `control`, or one that is none.
    #[error("its control file is malformed: {0}")]
    Malformed(&'static str),
    /// Another package than the index promised.
    #[error("its control file says {field}: {found}, but the index says {expected}")]
    Mismatch {
        /// The field.
        field: &'static str,
        /// In the package.
        found: String,
        /// In the index.
        expected: String,
    },
    /// It cannot be read.
    #[error("control.tar cannot be read")]
    Io(#[from] std::io::Error),
    /// The Keg cannot take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Control {
    /// Reads the archive and holds its `control` file against what was promised.
    ///
    /// # Errors
    /// It is malformed, too large, or describes another package.
    pub fn read(
        objects: &dyn Objects,
        archive: impl Read,
        promise: &Promise,
    ) -> Result<Self, ControlError> {
        let mut dir = Dir::default();
        let mut control = None;
        let mut conffiles = Vec::new();
        let mut names: Vec<EntryName> = Vec::new();
        tarball::each(archive, &mut |item, bytes| {
            let path = paths::parts(&item.path)?;
            let shown = || String::from_utf8_lossy(&item.path).into_owned();
            let [name] = path.as_slice() else {
                let root = path.is_empty() && item.kind == ItemKind::Directory;
                return if root { Ok(()) } else { Err(ControlError::NotPlain(shown())) };
            };
            if item.kind != ItemKind::File {
                return Err(ControlError::NotPlain(shown()));
            }
            if names.contains(name) {
                return Err(ControlError::Twice(shown()));
            }
            names.push(name.clone());
            if item.size > MAX_MEMBER || names.len() > MAX_MEMBERS {
                return Err(ControlError::TooLarge(shown()));
            }
            let mut text = Vec::new();
            bytes.read_to_end(&mut text)?;
            if text.len() as u64 != item.size {
                return Err(ControlError::Malformed("it is truncated"));
            }
            let mut entry = objects.put_bytes(&text)?;
            entry.attrs = Attrs::with_mode(if item.mode & 0o111 != 0 { 0o755 } else { 0o644 });
            dir.set(name.clone(), entry);
            match name.as_bytes() {
                b"control" => control = Some(text),
                b"conffiles" => conffiles = conffile_paths(&text)?,
                _ => {}
            }
            Ok(())
        })?;
        let control = control.ok_or(ControlError::Malformed("it is missing"))?;
        check(&control, promise)?;
        Ok(Self { tree: dir.write(objects)?, conffiles })
    }
}

fn check(control: &[u8], promise: &Promise) -> Result<(), ControlError> {
    let mut stanzas = deb822::stanzas(control);
    let (Some(stanza), None) = (stanzas.next(), stanzas.next()) else {
        return Err(ControlError::Malformed("it has not exactly one stanza"));
    };
    for (field, expected) in
        [("Package", &promise.name), ("Version", &promise.version), ("Architecture", &promise.arch)]
    {
        let found = stanza.get(field).unwrap_or_default();
        if found != expected {
            let (found, expected) = (found.to_owned(), expected.clone());
            return Err(ControlError::Mismatch { field, found, expected });
        }
    }
    if FOREIGN.iter().any(|field| stanza.get(field).is_some()) {
        return Err(ControlError::Malformed("it has a field of dpkg's own database"));
    }
    Ok(())
}

/// The paths in a `conffiles` member (deb-conffiles(5)).
fn conffile_paths(text: &[u8]) -> Result<Vec<String>, ControlError> {
    let text = std::str::from_utf8(text)
        .map_err(|_| ControlError::Malformed("its conffiles are not UTF-8"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let shipped = lines.filter(|line| !line.starts_with("remove-on-upgrade "));
    let check = |line: &str| match line.starts_with('/') && !line.contains(char::is_control) {
        true => Ok(line.to_owned()),
        false => Err(ControlError::Malformed("a path in its conffiles is not absolute")),
    };
    shipped.map(check).collect()
}
