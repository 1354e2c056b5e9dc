//! What the disk does by itself.

use std::{io::Write as _, path::Path, time::Instant};

/// About what one move of one of 64 names in a directory writes: the directory, the root, the
/// document, the version.
pub const MOVE_BYTES: usize = 3000;
/// Appends of one run.
const APPENDS: usize = 300;

/// Appends of so many bytes per second, each synced.
pub fn syncs(dir: &Path, bytes: usize) -> f64 {
    let mut file = tempfile::tempfile_in(dir).expect("a file");
    let block = vec![7; bytes];
    let begun = Instant::now();
    for _ in 0..APPENDS {
        file.write_all(&block).and_then(|()| file.sync_data()).expect("written");
    }
    APPENDS as f64 / begun.elapsed().as_secs_f64()
}
