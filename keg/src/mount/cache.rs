//! Images on disk: `img/<tree hex>.erofs`, made when first wanted, the longest unused deleted.

use std::fs::{self, File, FileTimes};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

use super::MountError;
use crate::erofs::{self, ErofsError, Header};
use crate::{Kid, machine, store::Objects};

/// Images together may take this many bytes; then the longest unused go.
const CACHE_MAX: u64 = 4 << 30;
/// Most images that are looked at for that.
const CACHE_FILES: usize = 1 << 20;
/// Names the boot in which the image was written or checked whole: within it, what was written is
/// what is read, and a crash of the machine may have torn only images of an earlier one.
const BOOT: &str = "user.keg.boot";

/// The images of a Keg.
#[derive(Clone)]
pub struct Images {
    dir: PathBuf,
    temporary: PathBuf,
    boot: String,
}

impl Images {
    pub fn new(home: &Path) -> Self {
        let boot = machine::boot_id();
        Self { dir: home.join("img"), temporary: home.join("tmp"), boot }
    }

    /// The image of a tree, whole. It may be deleted at any time after.
    pub fn path_of(&self, objects: &dyn Objects, tree: &Kid) -> Result<PathBuf, MountError> {
        let path = self.dir.join(format!("{}.erofs", tree.to_hex()));
        match self.usable(&path) {
            Ok(true) => return Ok(path),
            Ok(false) => {}
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("read", &path)(source)),
        }
        self.make(objects, tree, &path)?;
        self.trim(&path, CACHE_MAX)?;
        Ok(path)
    }

    /// Whether the image is whole; if so, it counts as just used.
    fn usable(&self, path: &Path) -> io::Result<bool> {
        let mut file = File::open(path)?;
        if !self.is_of_this_boot(&file) {
            let Some(header) = Header::read(&mut file)? else { return Ok(false) };
            if !header.matches(&mut BufReader::new(&file))? {
                return Ok(false);
            }
            self.mark(&file);
        }
        file.set_times(FileTimes::new().set_modified(SystemTime::now()))?;
        Ok(true)
    }

    fn is_of_this_boot(&self, file: &File) -> bool {
        let mut value = [0; 64];
        match fgetxattr(file, BOOT, &mut value) {
            Ok(len) => value[..len] == *self.boot.as_bytes(),
            Err(_) => false,
        }
    }

    fn mark(&self, file: &File) {
        // Without it (a file system without attributes) images are checked at each use.
        let _ = fsetxattr(file, BOOT, self.boot.as_bytes(), XattrFlags::empty());
    }

    fn make(&self, objects: &dyn Objects, tree: &Kid, path: &Path) -> Result<(), MountError> {
        // The kernel opens raw objects by itself, so they have to be in their places.
        objects
            .sync()
            .map_err(|source| MountError::Store { tree: *tree, source: source.into() })?;
        let image = |source: ErofsError| MountError::Image { tree: *tree, source: source.into() };
        let composed = erofs::compose(objects, tree).map_err(image)?;
        let file = tempfile::Builder::new()
            .prefix("image-")
            .tempfile_in(&self.temporary)
            .map_err(failed("make a file in", &self.temporary))?;
        erofs::write(&composed, &mut BufWriter::new(&file)).map_err(image)?;
        self.mark(file.as_file());
        file.persist(path).map_err(|error| failed("write", path)(error.error))?;
        drop(composed);
        give_back();
        Ok(())
    }

    /// Deletes the longest unused images but `keep`, until the others take less than `max` bytes.
    /// The kernel keeps those that are mounted, so this disturbs nobody.
    pub fn trim(&self, keep: &Path, max: u64) -> Result<(), MountError> {
        let mut images: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("list", &self.dir))?.take(CACHE_FILES) {
            let entry = entry.map_err(failed("list", &self.dir))?;
            // One that another process has just deleted is no loss.
            let Ok(meta) = entry.metadata() else { continue };
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            images.push((used, meta.len(), entry.path()));
        }
        images.sort_unstable();
        let mut total: u64 = images.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in images.iter().filter(|(_, _, path)| path != keep) {
            if total <= max {
                break;
            }
            match fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("delete", path)(error)),
            }
            total -= bytes;
        }
        Ok(())
    }
}

/// Returns freed memory to the system. What an image is made from takes megabytes in many small
/// pieces, and services that mount live on for months without ever needing them again.
fn give_back() {
    // SAFETY: a plain call, which only looks at the allocator's own lists.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MountError {
    move |source| MountError::Io { action, path: path.to_owned(), source }
}
