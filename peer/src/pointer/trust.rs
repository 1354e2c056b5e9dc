//! Which files and ssh accounts of this machine pointers may use.
//!
//! A pointer may have come with a value from elsewhere. What it says must not make this Keg read
//! repositories on its own disk, or log in somewhere with the keys of whoever reads it. So sources
//! of these schemes are used only if somebody named them here: `pointers/<16 digits>`, an empty
//! file for each, which no sync carries.

use std::{fs, io, path::PathBuf};

use keg::{Keg, Kid};

use super::source::Source;

/// Digits of the BLAKE3 of a source.
const DIGITS: usize = 16;

/// Whether a source may be used without having been named here.
fn is_free(source: &Source) -> bool {
    matches!(source.scheme(), "http" | "https")
}

fn note(keg: &Keg, source: &Source) -> PathBuf {
    let digits = Kid::of_blob(source.source().as_bytes()).to_hex();
    keg.home().join("pointers").join(&digits[..DIGITS])
}

/// Notes that somebody named a source here.
///
/// # Errors
/// The disk's.
pub(super) fn allow(keg: &Keg, source: &Source) -> io::Result<()> {
    if is_free(source) {
        return Ok(());
    }
    let path = note(keg, source);
    fs::create_dir_all(path.with_file_name(""))?;
    fs::write(path, b"")
}

/// Whether a source may be used.
pub(super) fn allows(keg: &Keg, source: &Source) -> bool {
    is_free(source) || note(keg, source).exists()
}
