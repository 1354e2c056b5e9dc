//! Bytes that directories take.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// Bytes on the disk: whole blocks, directories, too.
pub fn blocks(dir: &Path) -> u64 {
    sum(dir, &|meta| meta.blocks() * 512)
}

/// Bytes in files: what would have to be sent.
pub fn bytes(dir: &Path) -> u64 {
    sum(dir, &|meta| if meta.is_file() { meta.len() } else { 0 })
}

fn sum(path: &Path, of: &dyn Fn(&fs::Metadata) -> u64) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let below = match meta.is_dir() {
        true => fs::read_dir(path).into_iter().flatten().flatten(),
        false => return of(&meta),
    };
    of(&meta) + below.map(|entry| sum(&entry.path(), of)).sum::<u64>()
}
