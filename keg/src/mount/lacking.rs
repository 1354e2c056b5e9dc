//! Images in which a pointer is only a link, because its value was not here when they were made.
//!
//! They are kept like others, or each change of a large namespace would make a full image as long
//! as one value is away, but marked by an attribute of the file. Whoever brings the value of a
//! pointer here deletes them.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

/// The attribute.
const LACKS: &str = "user.keg.lacks";
/// Most images that are looked at.
const MAX_IMAGES: usize = 1 << 20;

/// Marks an image in the making, if it lacks something.
pub(super) fn note(image: &File, lacks: bool) {
    if lacks {
        // Without it (a file system without attributes) the link shows until the image goes.
        let _ = fsetxattr(image, LACKS, b"1", XattrFlags::empty());
    }
}

/// Deletes the images that lack the value of a pointer, now that one has come. Mounts of them stay
/// as they are until they are made again or flip to another version.
///
/// # Errors
/// The directory cannot be read, or an image not be deleted.
pub fn forget(home: &Path) -> io::Result<()> {
    for entry in fs::read_dir(home.join("img"))?.take(MAX_IMAGES) {
        let path = entry?.path();
        // One that another process has just deleted is no loss.
        let Ok(file) = File::open(&path) else { continue };
        if fgetxattr(&file, LACKS, &mut [0; 8]).is_ok() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
