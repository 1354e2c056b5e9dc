//! A wheel as a zip file: opened within bounds, every entry checked before anything is unpacked.

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom},
    rc::Rc,
};

use zip::{ZipArchive, read::ZipFile};

use super::{
    WheelError,
    names::{NameRefused, Seen},
};

/// Largest wheel taken, in bytes.
pub const MAX_WHEEL: u64 = 2 * 1024 * 1024 * 1024;
/// Most files in a wheel.
const MAX_ENTRIES: usize = 100_000;
/// Most bytes of one unpacked file.
const MAX_FILE: u64 = 2 * 1024 * 1024 * 1024;
/// Most bytes of a wheel's unpacked files: this many times its size, and this much more.
const MAX_RATIO: u64 = 100;
const MAX_SLACK: u64 = 64 * 1024 * 1024;
/// Most bytes that are read to find and read the list of files, which is held in memory.
const MAX_LIST: u64 = 32 * 1024 * 1024;
/// Size of pieces that are read.
const BUFFER: usize = 64 * 1024;

/// 1980-01-01, the earliest time a zip file can tell.
const EPOCH_OF_ZIP: i64 = 315_532_800;

/// A file in a wheel.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its number in the archive.
    pub index: usize,
    /// Its name, checked.
    pub name: String,
    /// Unpacked bytes, as declared.
    pub size: u64,
    /// Whether it may be run.
    pub executable: bool,
    /// Seconds since 1970 (the archive's time taken as UTC, so that it is the same everywhere).
    pub mtime: i64,
}

/// An opened wheel.
pub struct Archive<R> {
    zip: ZipArchive<Metered<R>>,
    /// Its files, in the archive's order.
    pub items: Vec<Item>,
}

impl<R: Read + Seek> Archive<R> {
    /// Opens a wheel of `size` bytes and checks its list of files.
    ///
    /// # Errors
    /// It is no zip file, has too much in it, or something that a wheel must not have.
    pub fn open(reader: R, size: u64) -> Result<Self, WheelError> {
        let left = Rc::new(Cell::new(MAX_LIST));
        let reader = Metered { inner: reader, left: left.clone() };
        let mut zip = ZipArchive::new(reader).map_err(WheelError::zip)?;
        // From here on what is read is bounded by the list.
        left.set(u64::MAX);
        if zip.len() > MAX_ENTRIES {
            return Err(WheelError::TooMany(zip.len()));
        }
        if zip.has_duplicate_names() {
            return Err(NameRefused { name: "?".into(), reason: "a name comes twice" }.into());
        }
        let most = size.saturating_mul(MAX_RATIO).saturating_add(MAX_SLACK);
        let (mut seen, mut items, mut total) = (Seen::default(), Vec::new(), 0u64);
        for index in 0..zip.len() {
            let file = zip.by_index(index).map_err(WheelError::zip)?;
            let name = seen.check(file.name_raw())?;
            let item = item(index, name, &file)?;
            total = total.saturating_add(item.size);
            if item.size > MAX_FILE || total > most {
                return Err(WheelError::TooLarge { most: most.min(MAX_FILE) });
            }
            if !file.is_dir() {
                items.push(item);
            }
        }
        Ok(Self { zip, items })
    }

    /// The file with this name.
    pub fn find(&self, name: &str) -> Option<Item> {
        self.items.iter().find(|item| item.name == name).cloned()
    }

    /// A small file as a whole.
    ///
    /// # Errors
    /// It has more than `limit` bytes, or is damaged.
    pub fn read(&mut self, item: &Item, limit: u64) -> Result<Vec<u8>, WheelError> {
        if item.size > limit {
            return Err(WheelError::FileTooLarge { name: item.name.clone(), limit });
        }
        let mut bytes = Vec::new();
        self.stream(item, &mut |file| file.read_to_end(&mut bytes).map(drop))?;
        Ok(bytes)
    }

    /// Gives a file's bytes, at most as many as declared, to `take`.
    ///
    /// # Errors
    /// It is damaged, longer or shorter than declared, or `take` fails.
    pub fn stream(
        &mut self,
        item: &Item,
        take: &mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
    ) -> Result<(), WheelError> {
        let damaged = |source| WheelError::Damaged { name: item.name.clone(), source };
        let file = self.zip.by_index(item.index).map_err(WheelError::zip)?;
        let mut exact =
            Exact { inner: io::BufReader::with_capacity(BUFFER, file), left: item.size };
        take(&mut exact).map_err(damaged)?;
        match exact.left {
            0 => Ok(()),
            _ => Err(damaged(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn item<R: Read>(index: usize, name: String, file: &ZipFile<'_, R>) -> Result<Item, WheelError> {
    let refuse = |reason| NameRefused { name: name.clone(), reason };
    if file.encrypted() {
        return Err(refuse("it is encrypted").into());
    }
    // The library's own reading of the mode leaves out what is refused here.
    let mode = match file.external_attributes() >> 16 {
        0 => 0o644,
        mode => mode,
    };
    const TYPE: u32 = 0o170_000;
    match mode & TYPE {
        0 | 0o100_000 | 0o040_000 => {}
        0o120_000 => return Err(refuse("it is a symbolic link").into()),
        _ => return Err(refuse("it is neither a file nor a directory").into()),
    }
    if file.is_symlink() {
        return Err(refuse("it is a symbolic link").into());
    }
    if mode & 0o6000 != 0 {
        return Err(refuse("it would run as another user (set-user-ID or set-group-ID)").into());
    }
    let mtime = file.last_modified().map_or(EPOCH_OF_ZIP, |time| {
        let days = days_from_1970(time.year().into(), time.month().into(), time.day().into());
        let (hour, minute) = (i64::from(time.hour()), i64::from(time.minute()));
        days * 86_400 + hour * 3_600 + minute * 60 + i64::from(time.second())
    });
    let executable = mode & 0o111 != 0 && !file.is_dir();
    Ok(Item { index, size: file.size(), executable, mtime: mtime.max(EPOCH_OF_ZIP), name })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March, so that the leap day is the last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// A reader of at most so many bytes.
struct Metered<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(n as u64);
        self.left.set(left.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "its list of files has no end in sight")
        })?);
        Ok(n)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// Fails when there is more than was declared.
struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "it is longer than declared")
        })?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_end_is_not_read_into_memory() {
        // A directory of 60 MiB: a million names.
        let mut zip = Vec::new();
        let count = 1_000_000_u64;
        for _ in 0..count {
            zip.extend_from_slice(b"PK\x01\x02\x14\0\x14\0");
            zip.extend_from_slice(&[0; 20]);
            zip.extend_from_slice(&[14, 0]);
            zip.extend_from_slice(&[0; 16]);
            zip.extend_from_slice(b"a/bcdefghij.py");
        }
        let size = zip.len() as u64;
        // The end of the directory in its long form (APPNOTE 4.3.14 to 4.3.16).
        zip.extend_from_slice(b"PK\x06\x06");
        for field in [44, 45 | (45 << 16), 0, count, count, size, 0] {
            let bytes = u64::to_le_bytes(field);
            let len = if field == (45 | (45 << 16)) { 4 } else { 8 };
            zip.extend_from_slice(&bytes[..len]);
        }
        zip.extend_from_slice(b"PK\x06\x07\0\0\0\0");
        zip.extend_from_slice(&size.to_le_bytes());
        zip.extend_from_slice(&[1, 0, 0, 0]);
        zip.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        zip.extend_from_slice(&[0xff; 12]);
        zip.extend_from_slice(&[0, 0]);
        let len = zip.len() as u64;
        let error = Archive::open(io::Cursor::new(zip), len).err().expect("refused");
        let text = crate::error::chain(&error);
        assert!(text.contains("no end in sight"), "{text}");
    }

    #[test]
    fn days_are_counted_from_1970() {
        for (date, want) in [
            ((1970, 1, 1), 0),
            ((1980, 1, 1), 3_652),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 23), 20_780),
        ] {
            assert_eq!(days_from_1970(date.0, date.1, date.2), want, "{date:?}");
        }
    }
}
