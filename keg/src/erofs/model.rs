//! An image before it has bytes: inodes and names, free of Keg and of the format.

/// A file system: inodes by number; 0 is the root directory.
#[derive(Debug, Default)]
pub struct Image {
    /// In the order they are laid out.
    pub inodes: Vec<Inode>,
    /// Identity, shown as the file system's UUID.
    pub uuid: [u8; 16],
    /// A pointer is only a link in it, because its value is not here.
    pub lacks: bool,
}

/// Extended attributes: names and values.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// One inode.
#[derive(Clone, Debug)]
pub struct Inode {
    /// What it is, with its data.
    pub kind: InodeKind,
    /// Permission bits, `mode & 0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds, below 1e9.
    pub mtime_nsec: u32,
    /// How many names it has (directories: 2 + subdirectories).
    pub nlink: u32,
    /// Attributes exactly as the image holds them, sorted by name.
    pub xattrs: Attributes,
}

/// What an inode is.
#[derive(Clone, Debug)]
pub enum InodeKind {
    /// A directory; entries without `.` and `..`, sorted by name.
    Directory {
        /// The names in it.
        entries: Vec<Dirent>,
        /// Number of the directory above (the root's is the root).
        parent: u32,
    },
    /// A file whose bytes are in the image, at most [`super::INLINE_MAX`].
    Inline(Vec<u8>),
    /// A file of this size without data of its own: all of it is a hole.
    Hole(u64),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A device.
    Device {
        /// Block rather than character.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub struct Dirent {
    /// The name.
    pub name: Vec<u8>,
    /// The inode's number in [`Image::inodes`].
    pub inode: u32,
}

impl InodeKind {
    /// The type bits of `st_mode`.
    pub fn type_bits(&self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::Device { block: false, .. } => 0o020_000,
            Self::Directory { .. } => 0o040_000,
            Self::Device { block: true, .. } => 0o060_000,
            Self::Inline(_) | Self::Hole(_) => 0o100_000,
            Self::Symlink(_) => 0o120_000,
        }
    }

    /// The type in a directory entry.
    pub fn file_type(&self) -> u8 {
        match self {
            Self::Inline(_) | Self::Hole(_) => 1,
            Self::Directory { .. } => 2,
            Self::Device { block: false, .. } => 3,
            Self::Device { block: true, .. } => 4,
            Self::Fifo => 5,
            Self::Symlink(_) => 7,
        }
    }
}
