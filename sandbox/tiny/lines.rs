//! Output of a container as lines of a log: `<time> <tag> <text>`.

use crate::sys::{self, Str};
use crate::text::Text;

/// Longest line; longer ones are split.
const MAX_LINE: usize = 8192;
/// Read at once.
const CHUNK: usize = 16_384;
/// Written at once.
const BATCH: usize = 32_768;
/// Room a time and a tag take at most.
const PREFIX: usize = 256;

static mut CHUNK_ROOM: [u8; CHUNK] = [0; CHUNK];
static mut BATCH_ROOM: Text<BATCH> = Text::new();

/// One output stream, from a pipe to a file.
pub struct Lines {
    /// The pipe's end; -1 once it is closed.
    pub pipe: i32,
    path: Str,
    tag: Str,
    limit: i64,
    file: i32,
    inode: u64,
    /// The beginning of a line whose end has not come yet.
    begun: Text<MAX_LINE>,
    /// Batches that could not be written, e.g. to a full disk.
    lost: u64,
}

impl Lines {
    /// All zeroes, so that it takes no room in the program; to be opened before use.
    pub const fn zero() -> Lines {
        Lines {
            pipe: 0,
            path: core::ptr::null(),
            tag: core::ptr::null(),
            limit: 0,
            file: 0,
            inode: 0,
            begun: Text::new(),
            lost: 0,
        }
    }

    pub fn open(&mut self, pipe: i32, path: Str, tag: Str, limit: i64) {
        (self.pipe, self.path, self.tag, self.limit) = (pipe, path, tag, limit);
        self.file = -1;
        if pipe >= 0 {
            sys::nonblocking(pipe);
        }
    }

    /// Moves what is there on: at most one chunk. `false` once there is nothing (any more).
    pub fn pump(&mut self) -> bool {
        if self.pipe < 0 {
            return false;
        }
        // SAFETY: there is one thread, and no other use of the room in this function.
        let chunk = unsafe { &mut *(&raw mut CHUNK_ROOM) };
        match sys::read(self.pipe, chunk) {
            0 => {
                sys::close(self.pipe);
                self.pipe = -1;
                false
            }
            len if len > 0 => {
                self.take(&chunk[..len as usize]);
                true
            }
            sys::EINTR => true,
            _ => false,
        }
    }

    /// Writes a last line that has no end.
    pub fn finish(&mut self) {
        if !self.begun.as_bytes().is_empty() {
            self.take(b"\n");
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        // SAFETY: there is one thread; `flush` gets the room passed and does not look for it.
        let batch = unsafe { &mut *(&raw mut BATCH_ROOM) };
        batch.clear();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|b| *b == b'\n');
            let len = end.unwrap_or(bytes.len()).min(self.begun.free());
            self.begun.put(&bytes[..len]);
            let ended = end == Some(len);
            bytes = &bytes[len + usize::from(ended)..];
            if ended || self.begun.free() == 0 {
                if batch.free() < MAX_LINE + PREFIX {
                    self.flush(batch);
                }
                let tag = crate::text::bytes(self.tag);
                batch.time().put(b" ").put(&tag[..tag.len().min(200)]).put(b" ");
                batch.put(self.begun.as_bytes()).put(b"\n");
                self.begun.clear();
            }
        }
        self.flush(batch);
    }

    fn flush(&mut self, batch: &mut Text<BATCH>) {
        if batch.as_bytes().is_empty() {
            return;
        }
        self.turn();
        if self.lost > 0 && self.file >= 0 {
            let mut note = Text::<PREFIX>::new();
            note.time().put(b" keg: ").number(self.lost, 1);
            note.put(b" pieces of the log are missing here: they could not be written\n");
            if sys::write(self.file, note.as_bytes()).is_ok() {
                self.lost = 0;
            }
        }
        if self.file < 0 || sys::write(self.file, batch.as_bytes()).is_err() {
            self.lost += 1;
        }
        batch.clear();
    }

    /// Opens the file where it is not open, was replaced, or has grown too long and is turned.
    fn turn(&mut self) {
        match sys::stat(self.path) {
            Ok(stat) if stat.size > self.limit => {
                let mut old = Text::<4096>::new();
                old.put(crate::text::bytes(self.path)).put(b".1");
                sys::rename(self.path, old.terminated());
            }
            Ok(stat) if self.file >= 0 && stat.inode == self.inode => return,
            _ => {}
        }
        if self.file >= 0 {
            sys::close(self.file);
        }
        self.file = sys::open(self.path, sys::APPEND) as i32;
        self.inode = sys::fstat(self.file).map_or(0, |stat| stat.inode);
    }
}
