//! What has come of a large blob when the connection breaks: a file that grows by verified groups,
//! and becomes the object as it is.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use blake3::hazmat::ChainingValue;
use rustix::fs::{FlockOperation, flock};

use super::{
    MAX_FRAME,
    error::{SyncError, local, protocol},
    large::Coming,
    walk::Listed,
};
use crate::{
    Keg, Kid,
    groups::{GroupHasher, group_size},
    store::pending::{HOLD, write_sparse},
};

/// From this size on the verified part of a blob is kept when the connection breaks.
const PART_FROM: u64 = 8 << 20;
/// Parts that nobody has come back for are removed after a week.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// What has come of a blob: `tmp/sync-K-….part`, locked while it is written.
pub(super) struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    /// How many bytes of a blob are in its part, in whole groups.
    pub(super) fn there(keg: &Keg, kid: &Kid, size: u64) -> u64 {
        if size < PART_FROM {
            return 0;
        }
        let len = fs::metadata(part_path(keg, kid)).map_or(0, |meta| meta.len());
        let group = group_size(size);
        (len.min(size - 1) / group) * group
    }

    /// Opens the part of a blob that is large enough for one; `None`: it is not, or somebody else
    /// is writing it.
    pub(super) fn open(keg: &Keg, blob: &Listed) -> Result<Option<Self>, SyncError> {
        if blob.size < PART_FROM {
            return Ok(None);
        }
        let path = part_path(keg, &blob.kid);
        let what = || format!("opening {}", path.display());
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(local(what()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { path, file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(local(what())(error.into())),
        }
    }

    /// Goes on at byte `start`. What is before was written by another process, maybe before a
    /// power cut: it must be what the groups say.
    pub(super) fn begin_at(
        &mut self,
        start: u64,
        blob: &Listed,
        groups: &[ChainingValue],
    ) -> Result<(), SyncError> {
        let len = self.file.metadata().map_err(self.reading())?.len();
        if len < start {
            return Err(protocol("a blob that starts after what is here of it"));
        }
        if !self.holds(start, blob, groups).map_err(self.reading())? {
            // Right or wrong, it is not needed any more.
            let _ = fs::remove_file(&self.path);
            let what = "the part that was here was damaged; it is removed, run it again".into();
            return Err(SyncError::Wrong { kid: blob.kid, what });
        }
        self.cut(start)
    }

    fn holds(
        &mut self,
        start: u64,
        blob: &Listed,
        groups: &[ChainingValue],
    ) -> std::io::Result<bool> {
        let mut hasher = GroupHasher::new(group_size(blob.size), 0);
        let (mut left, mut groups, mut chunk) = (start, groups.iter(), vec![0; HOLD]);
        self.file.seek(SeekFrom::Start(0))?;
        while left > 0 {
            let len = hasher.room().min(chunk.len());
            self.file.read_exact(&mut chunk[..len])?;
            left -= len as u64;
            if hasher.update(&chunk[..len]).is_some_and(|hash| groups.next() != Some(&hash)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the blob as it comes, and tells of each piece how long it was. When that fails the
    /// verified groups stay.
    pub(super) fn fill(
        &mut self,
        coming: &mut Coming<'_, '_, '_>,
        told: &mut dyn FnMut(u64),
    ) -> Result<(), SyncError> {
        let mut verified = coming.at();
        let filled = loop {
            match coming.more(MAX_FRAME) {
                Ok(([], _)) => break Ok(()),
                Ok((bytes, sound)) => {
                    let written = write_sparse(&mut self.file, bytes);
                    if let Err(error) = written {
                        break Err(local(format!("writing {}", self.path.display()))(error));
                    }
                    verified = sound;
                    told(bytes.len() as u64);
                }
                Err(error) => break Err(error),
            }
        };
        // Also where it ends in a hole.
        self.cut(verified).and(filled)
    }

    /// Makes the whole blob an object, without writing it again.
    pub(super) fn keep(self, keg: &Keg, blob: &Listed) -> Result<(), SyncError> {
        match keg.master().files() {
            Some(store) => store.adopt(&self.path, &self.file, blob.kid, blob.size)?,
            None => {
                let mut file = &self.file;
                file.seek(SeekFrom::Start(0)).map_err(self.reading())?;
                keg.objects().put_blob(&mut file)?;
                let _ = fs::remove_file(&self.path);
            }
        }
        Ok(())
    }

    fn cut(&mut self, at: u64) -> Result<(), SyncError> {
        let cut = self.file.set_len(at).and_then(|()| self.file.seek(SeekFrom::Start(at)));
        cut.map(drop).map_err(local(format!("writing {}", self.path.display())))
    }

    fn reading(&self) -> impl FnOnce(std::io::Error) -> SyncError + use<> {
        local(format!("reading {}", self.path.display()))
    }
}

fn part_path(keg: &Keg, kid: &Kid) -> PathBuf {
    keg.home().join("tmp").join(format!("sync-{kid}.part"))
}

/// Removes parts that nobody has come back for. Best effort: they only take space.
pub(crate) fn remove_old_parts(keg: &Keg) {
    let Ok(list) = fs::read_dir(keg.home().join("tmp")) else { return };
    for entry in list.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with("sync-"));
        if ours && is_old(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_old(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEEP))
}
