//! The inner archives of a `.deb`: tar files as dpkg takes them (v7, ustar and GNU long names).
//!
//! PAX headers are refused, as dpkg refuses them; so a PAX `size` cannot make two readers see two
//! different archives.

use std::io::{self, Read};

/// Longest name a GNU long-name entry may carry.
const MAX_LONG_NAME: u64 = 4096;
/// Most entries in one archive.
const MAX_ENTRIES: u32 = 400_000;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of an earlier entry.
    HardLink,
}

/// An entry's header.
#[derive(Debug)]
pub struct Item {
    /// As in the archive.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: ItemKind,
    /// Where a link leads; empty for others.
    pub link: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// The user's id, by the table of names.
    pub uid: u32,
    /// The group's id, by the table of names.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Bytes of a file.
    pub size: u64,
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It is malformed, truncated or unpacks to too much.
    #[error("the tar archive cannot be read")]
    Io(#[from] io::Error),
    /// An entry that has no place in a package.
    #[error("{path:?} is {what}, which a package may not hold")]
    Kind {
        /// The entry.
        path: String,
        /// Such as "a device node".
        what: &'static str,
    },
    /// A long name that is too long, doubled or without an entry.
    #[error("a long name in the tar archive is malformed")]
    LongName,
    /// Too many entries.
    #[error("the tar archive has more than {MAX_ENTRIES} entries")]
    TooMany,
}

/// Shows every entry to `visit`, with its bytes if it is a file.
///
/// # Errors
/// The archive's, or `visit`'s.
pub fn each<E: From<TarError>>(
    archive: impl Read,
    visit: &mut dyn FnMut(&Item, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = tar::Archive::new(archive);
    let mut long_path: Option<Vec<u8>> = None;
    let mut long_link: Option<Vec<u8>> = None;
    // Raw, so that nothing is read into memory behind our back.
    let entries = archive.entries().map_err(TarError::from)?.raw(true);
    for (count, entry) in (0..).zip(entries) {
        let mut entry = entry.map_err(TarError::from)?;
        if count >= MAX_ENTRIES {
            return Err(TarError::TooMany.into());
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_gnu_longlink() {
            let slot = if kind.is_gnu_longname() { &mut long_path } else { &mut long_link };
            let name = long_name(&mut entry)?;
            if slot.replace(name).is_some() {
                return Err(TarError::LongName.into());
            }
            continue;
        }
        let item = item(&entry, long_path.take(), long_link.take())?;
        visit(&item, &mut entry)?;
    }
    if long_path.is_some() || long_link.is_some() {
        return Err(TarError::LongName.into());
    }
    Ok(())
}

fn long_name(entry: &mut tar::Entry<'_, impl Read>) -> Result<Vec<u8>, TarError> {
    if entry.size() > MAX_LONG_NAME {
        return Err(TarError::LongName);
    }
    let mut name = Vec::new();
    entry.read_to_end(&mut name)?;
    if name.len() as u64 != entry.size() {
        return Err(TarError::LongName);
    }
    name.pop_if(|last| *last == 0);
    Ok(name)
}

fn item(
    entry: &tar::Entry<'_, impl Read>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
) -> Result<Item, TarError> {
    let header = entry.header();
    let path = long_path.unwrap_or_else(|| header.path_bytes().into_owned());
    let kind = header.entry_type();
    let kind = match kind {
        _ if kind.is_file() || kind.is_contiguous() => ItemKind::File,
        _ if kind.is_dir() => ItemKind::Directory,
        _ if kind.is_symlink() => ItemKind::Symlink,
        _ if kind.is_hard_link() => ItemKind::HardLink,
        _ => {
            let what = match kind {
                _ if kind.is_character_special() || kind.is_block_special() => "a device node",
                _ if kind.is_fifo() => "a named pipe",
                _ if kind.is_pax_local_extensions() => "a PAX header",
                _ if kind.is_pax_global_extensions() => "a global PAX header",
                _ if kind.is_gnu_sparse() => "a sparse file",
                _ => "an entry of an unknown type",
            };
            return Err(TarError::Kind { path: String::from_utf8_lossy(&path).into_owned(), what });
        }
    };
    // Old archives mark directories by a closing slash alone.
    let kind = match kind {
        ItemKind::File if path.ends_with(b"/") => ItemKind::Directory,
        kind => kind,
    };
    let link = match kind {
        ItemKind::Symlink | ItemKind::HardLink => long_link
            .or_else(|| header.link_name_bytes().map(|l| l.into_owned()))
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    Ok(Item {
        path,
        kind,
        link,
        mode: header.mode()? & 0o7777,
        uid: super::users::user(header.username_bytes().unwrap_or_default(), header.uid()?),
        gid: super::users::group(header.groupname_bytes().unwrap_or_default(), header.gid()?),
        mtime: i64::try_from(header.mtime()?).unwrap_or(0),
        size: if kind == ItemKind::File { entry.size() } else { 0 },
    })
}
