//! Images on disk: `img/<tree hex>.erofs`, made when first wanted, the longest unused deleted.
//!
//! An image is full, or a delta: then its header names the tree whose image it stands on, which may
//! be a delta in turn. Which trees make good bases is noted in `img/bases`; it is found out anew if
//! that is lost. The rule for what stands on what is in [`Images::make`].

mod audit;

use std::fs::{self, File, FileTimes};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

use super::{MountError, bases, lacking};
use crate::erofs::{self, Base, ErofsError, Header, Most};
use crate::{Kid, machine, store::Objects};

/// Images together may take this many bytes; then the longest unused go.
const CACHE_MAX: u64 = 4 << 30;
/// That is looked after whenever a process has made so many bytes of images, and at its first one.
const TRIM_EVERY: u64 = 64 << 20;
/// Most images that are looked at for that.
const CACHE_FILES: usize = 1 << 20;
/// Names the boot in which the image was written or checked whole: within it, what was written is
/// what is read, and a crash of the machine may have torn only images of an earlier one.
const BOOT: &str = "user.keg.boot";
/// Most images that lie on each other, with the full one: a name that is not there is looked for
/// in each, and each is a file system for the kernel to keep.
pub const MAX_LAYERS: usize = 4;
/// A delta may have at most this part of the bytes of the full image it stands on.
const DELTA_PART: u64 = 4;
/// Full images below this many bytes are not worth a delta.
const MIN_BASE: u64 = 32 << 10;
/// A delta with more bytes than this is a base for further ones, which would repeat it otherwise.
const LARGE_DELTA: u64 = 32 << 10;
/// So is one for which more entries than this had to be compared, a millisecond or two: the next
/// one would have to compare them again.
const LARGE_COMPARED: u64 = 8_000;
/// Fewest bytes of an inode in an image, with its name.
const MIN_INODE: u64 = 40;

/// What the names of images in the making start with.
const DRAFT: &str = "image-";
/// What the names of directories start with at which an image is mounted for a moment.
pub const ATTACHED: &str = "mount-";
/// An image in the making is written to all the time.
const DRAFT_AGE: Duration = Duration::from_secs(600);

/// The images of a Keg.
#[derive(Clone)]
pub struct Images {
    dir: PathBuf,
    temporary: PathBuf,
    boot: String,
    /// Bytes that this process may make before it looks after the size of the cache.
    until_trim: Arc<AtomicU64>,
}

/// One image.
#[derive(Clone)]
pub struct Layer {
    /// Of which tree, together with those below.
    pub tree: Kid,
    /// On which it stands; `None`: it is full.
    pub base: Option<Base>,
    /// Where it is, or was.
    pub path: PathBuf,
    /// The file itself: another process may put a full image where there was a delta.
    pub file: Arc<File>,
    /// Its length.
    pub bytes: u64,
}

/// What an image is wanted of.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The tree.
    pub tree: &'a Kid,
    /// A tree that most of this one is probably the same as.
    pub like: Option<&'a Kid>,
    /// Others will follow it, and it will hardly be wanted again.
    pub passing: bool,
}

/// Images that show a tree when they lie on each other: the top one first, the full one last.
pub type Stack = Vec<Layer>;

impl Layer {
    /// Whether images are made that stand on this one.
    pub fn is_base(&self) -> bool {
        self.base.is_none_or(|base| base.compared > LARGE_COMPARED) || self.bytes > LARGE_DELTA
    }
}

impl Images {
    pub fn new(home: &Path) -> Self {
        let (dir, temporary, boot) = (home.join("img"), home.join("tmp"), machine::boot_id());
        Self { dir, temporary, boot, until_trim: Arc::default() }
    }

    /// The images of a tree, whole, made if need be. They may be deleted at any time after.
    pub fn stack_of(&self, objects: &dyn Objects, wanted: Wanted<'_>) -> Result<Stack, MountError> {
        match self.find(wanted.tree)? {
            Some(stack) => Ok(stack),
            None => self.make(objects, wanted),
        }
    }

    /// A tree that most of another one is probably the same as: the hint, or one that is noted.
    pub fn near(&self, objects: &dyn Objects, tree: &Kid, like: Option<&Kid>) -> Option<Kid> {
        like.copied().or_else(|| bases::nearest(objects, tree, &bases::read(&self.dir)))
    }

    /// The images of a tree, if all of them are there and whole.
    fn find(&self, tree: &Kid) -> Result<Option<Stack>, MountError> {
        let mut stack = Stack::new();
        let mut next = Some(*tree);
        while let Some(tree) = next {
            let path = self.path(&tree);
            let (header, file) = match self.usable(&path) {
                Ok(Some(usable)) if stack.len() < MAX_LAYERS => usable,
                Ok(_) => return Ok(None),
                Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(failed("read", &path)(source)),
            };
            let Header { bytes, base, .. } = header;
            stack.push(Layer { tree, base, path, file: Arc::new(file), bytes });
            next = base.map(|base| base.tree);
        }
        Ok(Some(stack))
    }

    fn path(&self, tree: &Kid) -> PathBuf {
        self.dir.join(format!("{}.erofs", tree.to_hex()))
    }

    /// The header of an image that is whole; it counts as just used.
    fn usable(&self, path: &Path) -> io::Result<Option<(Header, File)>> {
        let mut file = File::open(path)?;
        let Some(header) = Header::read(&mut file)? else { return Ok(None) };
        if !self.is_of_this_boot(&file) {
            if !header.matches(&mut BufReader::new(&file))? {
                return Ok(None);
            }
            self.mark(&file);
        }
        file.set_times(FileTimes::new().set_modified(SystemTime::now()))?;
        Ok(Some((header, file)))
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

    /// Makes the image of a tree: a delta on the deepest base from which little differs, so that
    /// large differences are not repeated in each image; otherwise a full one.
    fn make(&self, objects: &dyn Objects, wanted: Wanted<'_>) -> Result<Stack, MountError> {
        let tree = wanted.tree;
        // The kernel opens raw objects by itself, so they have to be in their places.
        objects
            .sync()
            .map_err(|source| MountError::Store { tree: *tree, source: source.into() })?;
        let below = self.base_for(objects, tree, wanted.like)?;
        let stack = match self.make_delta(objects, wanted, below)? {
            Some(stack) => stack,
            None => self.make_full(objects, tree)?,
        };
        let made = stack[0].bytes;
        if self.until_trim.load(Ordering::Relaxed) < made {
            let keep: Vec<&Path> = stack.iter().map(|layer| layer.path.as_path()).collect();
            self.trim(&keep, CACHE_MAX)?;
            self.until_trim.store(TRIM_EVERY, Ordering::Relaxed);
        } else {
            self.until_trim.fetch_sub(made, Ordering::Relaxed);
        }
        Ok(stack)
    }

    /// The images that the tree's own may stand on.
    fn base_for(
        &self,
        objects: &dyn Objects,
        tree: &Kid,
        like: Option<&Kid>,
    ) -> Result<Option<Stack>, MountError> {
        let noted = || bases::nearest(objects, tree, &bases::read(&self.dir));
        for base in like.copied().into_iter().chain(std::iter::once_with(noted).flatten()) {
            if bases::is_of_a_size(objects, &base, tree)
                && let Some(stack) = self.find(&base)?
            {
                return Ok(Some(stack));
            }
        }
        Ok(None)
    }

    fn make_delta(
        &self,
        objects: &dyn Objects,
        wanted: Wanted<'_>,
        below: Option<Stack>,
    ) -> Result<Option<Stack>, MountError> {
        let tree = wanted.tree;
        let Some(mut below) = below else { return Ok(None) };
        let full = below.last().map_or(0, |layer| layer.bytes);
        while full >= MIN_BASE && !below.is_empty() {
            let base = &below[0];
            let most = match base.base {
                None => (full / DELTA_PART, u64::MAX),
                Some(Base { compared, .. }) => (
                    (full / DELTA_PART).min(LARGE_DELTA.max(base.bytes / DELTA_PART)),
                    LARGE_COMPARED.max(compared / DELTA_PART),
                ),
            };
            let suits = below.len() < MAX_LAYERS && base.is_base();
            if suits && let Some(layer) = self.try_delta(objects, tree, &base.tree, most)? {
                if layer.is_base() && !wanted.passing {
                    bases::note(&self.dir, &self.temporary, tree);
                }
                below.insert(0, layer);
                return Ok(Some(below));
            }
            below.remove(0);
        }
        Ok(None)
    }

    /// Makes a delta, unless it would have more than `most` bytes, or compare more entries.
    fn try_delta(
        &self,
        objects: &dyn Objects,
        tree: &Kid,
        base: &Kid,
        (bytes, compared): (u64, u64),
    ) -> Result<Option<Layer>, MountError> {
        // MAX_IMAGE divided fits, and more entries than usize are in no memory.
        let inodes = (bytes / MIN_INODE) as usize;
        let most = Most { inodes, compared: usize::try_from(compared).unwrap_or(usize::MAX) };
        // A base that is not whole any more is none; what is wrong with the tree itself is found
        // when its full image is made.
        let Ok(Some(composed)) = erofs::compose_delta(objects, base, tree, most) else {
            return Ok(None);
        };
        let base = Base { tree: *base, compared: composed.compared as u64 };
        let file = self.draft()?;
        let written = erofs::write_delta(&composed.image, &base, &mut BufWriter::new(&file));
        let written = written.map_err(of(tree))?;
        if written.bytes > bytes {
            return Ok(None);
        }
        lacking::note(file.as_file(), composed.image.lacks);
        self.place(tree, Some(base), file, written.bytes).map(Some)
    }

    /// Deletes the images of a stack that is in passing and is followed by another, but those that
    /// other trees may well stand on.
    pub fn forget(&self, before: &[Layer], after: &[Layer]) {
        let kept = |layer: &&Layer| after.iter().any(|other| other.tree == layer.tree);
        let small = |layer: &&Layer| layer.base.is_some() || layer.bytes < MIN_BASE;
        for layer in before.iter().filter(small).filter(|layer| !kept(layer)) {
            // If it stays, it goes as the longest unused one.
            let _ = fs::remove_file(&layer.path);
        }
    }

    fn make_full(&self, objects: &dyn Objects, tree: &Kid) -> Result<Stack, MountError> {
        let composed = erofs::compose(objects, tree).map_err(of(tree))?;
        let file = self.draft()?;
        let written = erofs::write(&composed, &mut BufWriter::new(&file)).map_err(of(tree))?;
        lacking::note(file.as_file(), composed.lacks);
        let layer = self.place(tree, None, file, written.bytes)?;
        if written.bytes >= MIN_BASE {
            bases::note(&self.dir, &self.temporary, tree);
        }
        drop(composed);
        give_back();
        Ok(vec![layer])
    }

    fn draft(&self) -> Result<tempfile::NamedTempFile, MountError> {
        let made = tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.temporary);
        made.map_err(failed("make a file in", &self.temporary))
    }

    fn place(
        &self,
        tree: &Kid,
        base: Option<Base>,
        file: tempfile::NamedTempFile,
        bytes: u64,
    ) -> Result<Layer, MountError> {
        let path = self.path(tree);
        self.mark(file.as_file());
        let file = file.persist(&path).map_err(|error| failed("write", &path)(error.error))?;
        Ok(Layer { tree: *tree, base, path, file: Arc::new(file), bytes })
    }

    /// Deletes the longest unused images but `keep`, until the others take less than `max` bytes.
    /// The kernel keeps those that are mounted, so this disturbs nobody.
    pub fn trim(&self, keep: &[&Path], max: u64) -> Result<(), MountError> {
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
        for (_, bytes, path) in images.iter().filter(|(_, _, path)| !keep.contains(&&**path)) {
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

/// Removes what processes that were killed while they made images or mounts have left: files and
/// empty directories that nobody has touched for a while.
pub fn sweep_drafts(temporary: &Path) {
    let entries = fs::read_dir(temporary).into_iter().flatten().flatten().take(CACHE_FILES);
    for entry in entries {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let touched = entry.metadata().and_then(|meta| meta.modified());
        if !touched.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > DRAFT_AGE)) {
            continue;
        }
        // What is in use after all, such as a mount point, stays.
        if name.starts_with(DRAFT.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        } else if name.starts_with(ATTACHED.as_bytes()) {
            let _ = fs::remove_dir(entry.path());
        }
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

fn of(tree: &Kid) -> impl Fn(ErofsError) -> MountError {
    let tree = *tree;
    move |source| MountError::Image { tree, source: source.into() }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MountError {
    move |source| MountError::Io { action, path: path.to_owned(), source }
}
