//! Writing a pack: beside, then synced, then named; the index last.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{
    LISTED, MAX_OBJECTS, MAX_TABLE, NARROW, WIDE, block, directory, index,
    list::List,
    open::{ENDS, FOOTERS, MAGICS, data_path, index_path},
    recipe::Recipe,
};
use crate::{
    Kid,
    store::{
        StoreError,
        durable::{replace_file, sync_dir},
        format, io,
    },
};

/// A pack that is being written.
pub(crate) struct PackWriter {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    at: u64,
    table: Vec<u8>,
    list: List,
    rows: Vec<index::Row>,
    /// It has a block that older programs refuse.
    wide: bool,
}

impl PackWriter {
    /// Starts a pack in a new file.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn create(path: PathBuf) -> Result<Self, StoreError> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path);
        let file = opened.map_err(io(format_args!("writing {}", path.display())))?;
        let mut writer = Self {
            path,
            file: BufWriter::with_capacity(1 << 20, file),
            hasher: blake3::Hasher::new(),
            at: 0,
            table: Vec::new(),
            list: List::default(),
            rows: Vec::new(),
            wide: false,
        };
        writer.write(MAGICS[1])?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let what = || format!("writing {}", self.path.display());
        self.file.write_all(bytes).map_err(io(what()))?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Adds a block; returns its offset.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn block(&mut self, raw_len: usize, frame: &[u8]) -> Result<u64, StoreError> {
        let at = self.at;
        self.wide |= raw_len > NARROW;
        self.write(&block::encode(raw_len, frame))?;
        Ok(at)
    }

    /// Adds a block of another pack as it is; returns its offset here.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn copy(&mut self, stored: &block::Stored) -> Result<u64, StoreError> {
        let at = self.at;
        self.wide |= stored.raw_len() > NARROW;
        self.write(stored.bytes())?;
        Ok(at)
    }

    /// Adds an object; bases in the same pack first.
    pub(crate) fn object(&mut self, kid: Kid, recipe: &Recipe) {
        let (number, offset) = (self.list.number(&kid), self.table.len() as u32);
        self.rows.push(index::Row { kid, number, offset });
        recipe.encode(&mut self.table, &mut |kid| self.list.number(kid));
    }

    /// Bytes of data so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.at
    }

    /// Gives the pack its name, durably, and returns it. Then readers find it.
    ///
    /// # Errors
    /// The disk's, or those of `format.json`; then there is no pack.
    pub(crate) fn finish(mut self, home: &Path) -> Result<Kid, StoreError> {
        // Before anything is where programs look that do not know what is written now.
        format::require(home, LISTED)?;
        if self.wide {
            format::require(home, WIDE)?;
        }
        let (list, names) = std::mem::take(&mut self.list).into_bytes();
        let table = std::mem::take(&mut self.table);
        debug_assert!(list.len() + table.len() <= MAX_TABLE && self.rows.len() <= MAX_OBJECTS);
        let mut end = Vec::with_capacity(FOOTERS[1]);
        for number in [self.at, names, table.len() as u64, self.rows.len() as u64] {
            end.extend_from_slice(&number.to_le_bytes());
        }
        let sum = blake3::Hasher::new().update(&list).update(&table).finalize();
        end.extend_from_slice(&sum.as_bytes()[..8]);
        end.extend_from_slice(ENDS[1]);
        self.write(&list)?;
        self.write(&table)?;
        self.write(&end)?;
        let what = format!("writing {}", self.path.display());
        self.file.flush().map_err(io(&what))?;
        self.file.get_ref().sync_all().map_err(io(&what))?;
        let name = Kid::from(self.hasher.finalize());
        let dir = directory(home);
        if !dir.exists() {
            fs::create_dir_all(&dir).map_err(io(format_args!("making {}", dir.display())))?;
            sync_dir(home)?;
        }
        // Its index is there under another name before the data has its own: so whoever finds data
        // without an index sees whether that was lost, or is on its way.
        let beside = beside(home, &name);
        let index =
            index::encode(self.at, &name, std::mem::take(&mut self.rows), index::Format::Listed);
        let placed = write_synced(&beside, &index)
            .map_err(io(&what))
            .and_then(|()| sync_dir(&dir))
            .and_then(|()| fs::rename(&self.path, data_path(home, &name)).map_err(io(&what)))
            .and_then(|()| sync_dir(&dir))
            .and_then(|()| fs::rename(&beside, index_path(home, &name)).map_err(io(&what)))
            .and_then(|()| sync_dir(&dir));
        placed.map(|()| name)
    }
}

/// Makes the names of all packs durable. Somebody who died between naming one and syncing the
/// directory may have left some that are not: before anything relies on packs alone.
///
/// # Errors
/// The disk's.
pub(crate) fn settle(home: &Path) -> Result<(), StoreError> {
    sync_dir(&directory(home))?;
    sync_dir(home)
}

/// Where an index is that does not count yet, or any more.
pub(super) fn beside(home: &Path, name: &Kid) -> PathBuf {
    index_path(home, name).with_extension(format!("tmp-{}", std::process::id()))
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes a pack: its index no longer counts, then there is no data, then nothing.
///
/// # Errors
/// The disk's.
pub(crate) fn remove_pack(home: &Path, name: &Kid) -> Result<(), StoreError> {
    let (beside, dir) = (beside(home, name), directory(home));
    let what = format!("removing {}", super::display(name));
    // What it had is elsewhere by now, but perhaps only since somebody put it there who died
    // before that was durable.
    let opened = File::open(home).map_err(io(&what))?;
    rustix::fs::syncfs(opened).map_err(io(&what))?;
    fs::rename(index_path(home, name), &beside).map_err(io(&what))?;
    sync_dir(&dir)?;
    fs::remove_file(data_path(home, name)).map_err(io(&what))?;
    sync_dir(&dir)?;
    fs::remove_file(&beside).map_err(io(&what))
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        // Gone already if it was finished; else of no use to anybody.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes the index of a pack of `size` bytes.
pub(super) fn write_index(
    home: &Path,
    name: &Kid,
    size: u64,
    rows: Vec<index::Row>,
    format: index::Format,
) -> Result<(), StoreError> {
    replace_file(&index_path(home, name), &index::encode(size, name, rows, format))
}
