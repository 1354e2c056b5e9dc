//! Streams: open logs that many may follow while one writes; sealed into a blob when they end.
//!
//! `streams/<id>` is the log; `streams/<id>.sealed` holds the KID of the blob it became and tells
//! followers that nothing more comes. Streams are not versioned and not synced while open.

use std::{
    fs::{self, File, OpenOptions},
    io::{self as stdio, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    Keg, Kid,
    inotify::Bell,
    object::Entry,
    store::{StoreError, durable::replace_file},
};

/// Longest name of a stream.
pub const MAX_ID: usize = 80;
/// Most bytes handed out at once.
const PIECE: usize = 64 << 10;
/// A log is not searched further back than this for the start of a line.
const MAX_TAIL: u64 = 16 << 20;

/// What can go wrong with a stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Not a name for a stream.
    #[error("{0:?} cannot name a stream: use 1 to 80 of a-z, 0-9, - and _")]
    Id(String),
    /// There is none with this name.
    #[error("there is no stream {0}")]
    Missing(String),
    /// It has ended, so nothing can be added.
    #[error("stream {0} is sealed; nothing can be added to it")]
    Sealed(String),
    /// The system failed.
    #[error("stream {id}: {source}")]
    Io {
        /// Which.
        id: String,
        /// The system's answer.
        source: stdio::Error,
    },
    /// It could not be stored as a blob.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The streams of a Keg.
#[derive(Clone)]
pub struct Streams {
    keg: Keg,
}

impl Streams {
    pub(crate) fn new(keg: Keg) -> Self {
        Self { keg }
    }

    /// Opens a stream for appending; makes it if it is not there. Several writers may have it
    /// open: each write is added as a whole.
    ///
    /// # Errors
    /// [`StreamError::Id`], [`StreamError::Sealed`], or the disk's.
    pub fn create(&self, id: &str) -> Result<StreamWriter, StreamError> {
        let path = self.path(id)?;
        if self.sealed(id)?.is_some() {
            return Err(StreamError::Sealed(id.to_owned()));
        }
        let opened = OpenOptions::new().create(true).append(true).open(path);
        Ok(StreamWriter { id: id.to_owned(), file: opened.map_err(failed(id))? })
    }

    /// Opens a stream for reading from its start.
    ///
    /// # Errors
    /// [`StreamError::Id`], [`StreamError::Missing`], or the disk's.
    pub fn open(&self, id: &str) -> Result<StreamReader, StreamError> {
        let path = self.path(id)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == stdio::ErrorKind::NotFound => {
                return Err(StreamError::Missing(id.to_owned()));
            }
            Err(error) => return Err(failed(id)(error)),
        };
        let bell = Bell::on(&path).map_err(failed(id))?;
        Ok(StreamReader { streams: self.clone(), id: id.to_owned(), file, offset: 0, bell })
    }

    /// Ends a stream: stores it as a blob, durably, and tells its followers. Sealing it again
    /// gives the same entry.
    ///
    /// # Errors
    /// [`StreamError::Id`], [`StreamError::Missing`], or the disk's.
    pub fn seal(&self, id: &str) -> Result<Entry, StreamError> {
        if let Some(kid) = self.sealed(id)? {
            return Ok(Entry::file(kid, self.keg.objects().blob_size(&kid)?));
        }
        let path = self.path(id)?;
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == stdio::ErrorKind::NotFound => {
                return Err(StreamError::Missing(id.to_owned()));
            }
            Err(error) => return Err(failed(id)(error)),
        };
        let objects = self.keg.objects();
        let (kid, size) = objects.put_blob(&mut file)?;
        objects.sync()?;
        replace_file(&self.marker(id)?, kid.to_string().as_bytes())?;
        // Followers watch the log itself: touching it makes them look for the marker.
        file.set_modified(SystemTime::now()).map_err(failed(id))?;
        Ok(Entry::file(kid, size))
    }

    /// The blob a stream became; `None`: it is open, or there is none with this name.
    ///
    /// # Errors
    /// [`StreamError::Id`], or the disk's.
    pub fn sealed(&self, id: &str) -> Result<Option<Kid>, StreamError> {
        match fs::read_to_string(self.marker(id)?) {
            Ok(text) => {
                let parsed = text.trim().parse::<Kid>();
                let invalid = |error| stdio::Error::new(stdio::ErrorKind::InvalidData, error);
                parsed.map(Some).map_err(invalid).map_err(failed(id))
            }
            Err(error) if error.kind() == stdio::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(id)(error)),
        }
    }

    /// The file of a stream, for child processes to append to.
    ///
    /// # Errors
    /// [`StreamError::Id`].
    pub fn path(&self, id: &str) -> Result<PathBuf, StreamError> {
        let sound = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(sound) {
            return Err(StreamError::Id(id.chars().take(200).collect()));
        }
        Ok(self.keg.home().join("streams").join(id))
    }

    /// The ids of the streams that start with `prefix`, sorted; none where there are none.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self, prefix: &str) -> Result<Vec<String>, StreamError> {
        let dir = self.keg.home().join("streams");
        let failed = |source| StreamError::Io { id: prefix.to_owned(), source };
        let mut ids = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(id) = name.to_str() else { continue };
            if id.starts_with(prefix) && self.path(id).is_ok() {
                ids.push(id.to_owned());
            }
        }
        ids.sort();
        Ok(ids)
    }

    fn marker(&self, id: &str) -> Result<PathBuf, StreamError> {
        Ok(self.path(id)?.with_extension("sealed"))
    }
}

fn failed(id: &str) -> impl Fn(stdio::Error) -> StreamError {
    move |source| StreamError::Io { id: id.to_owned(), source }
}

/// Appends to a stream.
pub struct StreamWriter {
    id: String,
    file: File,
}

impl StreamWriter {
    /// The stream's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Appends a line in one write; a line break is added.
    ///
    /// # Errors
    /// The disk's.
    pub fn line(&mut self, text: &str) -> Result<(), StreamError> {
        let written = self.file.write_all(format!("{text}\n").as_bytes());
        written.map_err(failed(&self.id))
    }

    /// The descriptor, for a child process's output.
    ///
    /// # Errors
    /// The system's.
    pub fn to_file(&self) -> Result<File, StreamError> {
        self.file.try_clone().map_err(failed(&self.id))
    }
}

impl Write for StreamWriter {
    fn write(&mut self, bytes: &[u8]) -> stdio::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> stdio::Result<()> {
        Ok(())
    }
}

/// What a reader finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// The next bytes, at least one.
    Bytes(Vec<u8>),
    /// Nothing yet; there may be more.
    Pending,
    /// Nothing more will come.
    End,
}

/// Follows a stream.
pub struct StreamReader {
    streams: Streams,
    id: String,
    file: File,
    offset: u64,
    bell: Bell,
}

impl StreamReader {
    /// Reads from `offset` on, in bytes from the start.
    #[must_use]
    pub fn from_offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// Reads from the start of the last `lines` lines on.
    ///
    /// # Errors
    /// The disk's.
    pub fn from_last_lines(mut self, lines: usize) -> Result<Self, StreamError> {
        self.offset = last_lines(&mut self.file, lines).map_err(failed(&self.id))?;
        Ok(self)
    }

    /// Where the next bytes come from.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What there is now. Never waits.
    ///
    /// # Errors
    /// The disk's.
    pub fn try_next(&mut self) -> Result<Piece, StreamError> {
        // Asked before reading: what was written before the seal is read before the end is told.
        let sealed = self.streams.sealed(&self.id)?.is_some();
        let mut bytes = vec![0; PIECE];
        self.file.seek(SeekFrom::Start(self.offset)).map_err(failed(&self.id))?;
        let read = loop {
            match self.file.read(&mut bytes) {
                Err(error) if error.kind() == stdio::ErrorKind::Interrupted => {}
                other => break other.map_err(failed(&self.id))?,
            }
        };
        if read == 0 {
            return Ok(if sealed { Piece::End } else { Piece::Pending });
        }
        bytes.truncate(read);
        self.offset += read as u64;
        Ok(Piece::Bytes(bytes))
    }

    /// Waits for more, at most `timeout`; [`Piece::Pending`] if it passes.
    ///
    /// # Errors
    /// As [`StreamReader::try_next`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Piece, StreamError> {
        let until = Instant::now().checked_add(timeout);
        loop {
            let piece = self.try_next()?;
            let left =
                until.map_or(timeout, |until| until.saturating_duration_since(Instant::now()));
            if piece != Piece::Pending || left.is_zero() {
                return Ok(piece);
            }
            self.bell.wait(self.bell.rings(), left).map_err(failed(&self.id))?;
        }
    }

    /// Waits for more; `None` when the stream has ended. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`StreamReader::try_next`].
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, StreamError> {
        loop {
            match self.try_next()? {
                Piece::Bytes(bytes) => return Ok(Some(bytes)),
                Piece::End => return Ok(None),
                Piece::Pending => {
                    self.bell.rung(self.bell.rings()).await.map_err(failed(&self.id))?;
                }
            }
        }
    }
}

fn last_lines(file: &mut File, lines: usize) -> stdio::Result<u64> {
    let size = file.seek(SeekFrom::End(0))?;
    let (mut start, mut found) = (size, 0);
    let floor = size.saturating_sub(MAX_TAIL);
    while start > floor {
        let from = start.saturating_sub(PIECE as u64).max(floor);
        let mut piece = vec![0; (start - from) as usize];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut piece)?;
        for (index, byte) in piece.iter().enumerate().rev() {
            let at = from + index as u64;
            // The break that ends the last line does not start another.
            if *byte == b'\n' && at + 1 < size {
                found += 1;
                if found == lines {
                    return Ok(at + 1);
                }
            }
        }
        start = from;
    }
    Ok(if lines == 0 { size } else { floor })
}
