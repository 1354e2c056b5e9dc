//! Reading images back, when a Keg is checked.

use std::fs::{self, File};
use std::io::{self, BufReader};

use rustix::fs::{XattrFlags, fsetxattr};

use super::{BOOT, CACHE_FILES, Images};
use crate::erofs::Header;

/// What stands for the boot in an image that was found damaged.
const DAMAGED: &[u8] = b"damaged";
/// How much of an image is read at once.
const CHUNK: usize = 1 << 20;

impl Images {
    /// Reads each image that mounts take for whole against its own digest; tells of those that are
    /// not: which file of the Keg, and what is wrong. They are taken for whole no more, so that
    /// the next mount makes them again.
    ///
    /// Those of an earlier boot are passed over: a power cut may have torn them, and the next
    /// mount looks.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn audit(&self, visit: &mut dyn FnMut(&str, &str)) -> io::Result<()> {
        let list = match fs::read_dir(&self.dir) {
            Ok(list) => list,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in list.take(CACHE_FILES) {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if !name.ends_with(".erofs") {
                continue;
            }
            // It may be deleted at any time.
            let Ok(file) = File::open(entry.path()) else { continue };
            if !self.is_of_this_boot(&file) {
                continue;
            }
            let wrong = match is_whole(&file) {
                Ok(true) => continue,
                Ok(false) => "its bytes are not what was written".to_owned(),
                Err(error) => format!("it cannot be read: {error}"),
            };
            let again = match fsetxattr(&file, BOOT, DAMAGED, XattrFlags::empty()) {
                Ok(()) => "mount it again",
                Err(_) => "remove it and mount it again",
            };
            let shows = "a mount of this tree may show wrong names and small files";
            visit(&format!("img/{name}"), &format!("{wrong}: {shows}; {again}"));
        }
        Ok(())
    }
}

fn is_whole(mut file: &File) -> io::Result<bool> {
    match Header::read(&mut file)? {
        Some(header) => header.matches(&mut BufReader::with_capacity(CHUNK, file)),
        None => Ok(false),
    }
}
