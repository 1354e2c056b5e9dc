//! The structures of the format, as bytes (`fs/erofs/erofs_fs.h`). All integers little-endian.

/// log2 of the block size.
pub const BLOCK_BITS: u8 = 12;
/// Bytes in a block.
pub const BLOCK: u64 = 1 << BLOCK_BITS;
/// Where the superblock starts.
pub const SUPER_OFFSET: u64 = 1024;
/// Length of the superblock.
pub const SUPER_LEN: u64 = 128;
/// Inodes lie on multiples of this; an inode's number is its offset in these units.
pub const SLOT: u64 = 32;
/// Length of a compact inode.
pub const COMPACT_LEN: u64 = 32;
/// Length of an extended inode.
pub const EXTENDED_LEN: u64 = 64;
/// Length of a directory entry without its name.
pub const DIRENT_LEN: usize = 12;
/// Length of the header before an inode's extended attributes.
pub const XATTR_HEADER_LEN: usize = 12;

const MAGIC: u32 = 0xE0F5_E1E2;
const COMPAT_CHECKSUM: u32 = 0x1;
const COMPAT_MTIME: u32 = 0x2;
const COMPAT_XATTR_FILTER: u32 = 0x4;
const INCOMPAT_CHUNKED: u32 = 0x4;

/// How an inode's data is stored (`i_format`, bits 1 to 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataLayout {
    /// Whole blocks elsewhere, or nothing.
    Plain = 0,
    /// Whole blocks elsewhere, the tail right after the inode.
    Inline = 2,
    /// Chunks by an index after the inode; here the single entry "hole".
    Chunked = 4,
}

/// What the superblock says.
pub struct Super {
    /// Number of the root inode.
    pub root: u16,
    /// Number of inodes.
    pub inodes: u64,
    /// Modification time of all compact inodes, seconds.
    pub epoch: i64,
    /// Its nanoseconds.
    pub epoch_nsec: u32,
    /// Length of the image in blocks.
    pub blocks: u32,
    /// First block of the shared attributes.
    pub xattr_block: u32,
    /// Identity of the image.
    pub uuid: [u8; 16],
    /// Whether there are chunked inodes.
    pub chunked: bool,
}

impl Super {
    /// The 128 bytes, with the checksum field zero (see [`checksum`]).
    pub fn encode(&self) -> [u8; SUPER_LEN as usize] {
        let mut out = [0; SUPER_LEN as usize];
        put(&mut out, 0, &MAGIC.to_le_bytes());
        let compat = COMPAT_CHECKSUM | COMPAT_MTIME | COMPAT_XATTR_FILTER;
        put(&mut out, 8, &compat.to_le_bytes());
        out[12] = BLOCK_BITS;
        put(&mut out, 14, &self.root.to_le_bytes());
        put(&mut out, 16, &self.inodes.to_le_bytes());
        put(&mut out, 24, &self.epoch.to_le_bytes());
        put(&mut out, 32, &self.epoch_nsec.to_le_bytes());
        put(&mut out, 36, &self.blocks.to_le_bytes());
        // Offset 40, meta_blkaddr, stays 0: inode numbers count from the start of the image.
        put(&mut out, 44, &self.xattr_block.to_le_bytes());
        put(&mut out, 48, &self.uuid);
        put(&mut out, 64, b"keg");
        let incompat = if self.chunked { INCOMPAT_CHUNKED } else { 0 };
        put(&mut out, 80, &incompat.to_le_bytes());
        out
    }
}

/// Where the checksum is in the superblock.
pub const CHECKSUM_OFFSET: usize = 4;

/// CRC-32C without the final inversion, over the first block from the superblock on.
pub fn checksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
        }
    }
    crc
}

/// The fields of an on-disk inode.
pub struct DiskInode {
    /// 64 bytes rather than 32.
    pub extended: bool,
    /// How the data is stored.
    pub layout: DataLayout,
    /// Length of the attributes after it, in the format's odd count.
    pub xattr_count: u16,
    /// Type and permissions.
    pub mode: u16,
    /// Bytes.
    pub size: u64,
    /// Block, device number or chunk format.
    pub union: u32,
    /// A number for 32-bit `stat`.
    pub ino: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds.
    pub mtime: i64,
    /// Nanoseconds.
    pub mtime_nsec: u32,
    /// Links.
    pub nlink: u32,
}

impl DiskInode {
    /// Appends the inode's 32 or 64 bytes.
    ///
    /// A compact inode keeps the low bits only: the layout chose it because they suffice.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let format = u16::from(self.extended) | ((self.layout as u16) << 1);
        out.extend(format.to_le_bytes());
        out.extend(self.xattr_count.to_le_bytes());
        out.extend(self.mode.to_le_bytes());
        if self.extended {
            out.extend([0; 2]);
            out.extend(self.size.to_le_bytes());
            out.extend(self.union.to_le_bytes());
            out.extend(self.ino.to_le_bytes());
            out.extend(self.uid.to_le_bytes());
            out.extend(self.gid.to_le_bytes());
            out.extend(self.mtime.to_le_bytes());
            out.extend(self.mtime_nsec.to_le_bytes());
            out.extend(self.nlink.to_le_bytes());
            out.extend([0; 16]);
        } else {
            out.extend((self.nlink as u16).to_le_bytes());
            out.extend((self.size as u32).to_le_bytes());
            // Newer kernels add this to the epoch, older ones ignore it: 0 suits both.
            out.extend([0; 4]);
            out.extend(self.union.to_le_bytes());
            out.extend(self.ino.to_le_bytes());
            out.extend((self.uid as u16).to_le_bytes());
            out.extend((self.gid as u16).to_le_bytes());
            out.extend([0; 4]);
        }
    }
}

/// The kernel's device number (`new_encode_dev`).
pub fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Largest major and minor numbers that fit.
pub const MAX_MAJOR: u32 = 0xfff;
/// See [`MAX_MAJOR`].
pub const MAX_MINOR: u32 = 0xf_ffff;

/// The chunk size, as log2 of blocks, with which `size` bytes are the fewest chunks.
pub fn chunk_bits(size: u64) -> u32 {
    const MAX_CHUNK_BITS: u32 = 31;
    let blocks = size.div_ceil(BLOCK).max(1);
    blocks.next_power_of_two().trailing_zeros().min(MAX_CHUNK_BITS)
}

/// Number of chunks of `size` bytes at [`chunk_bits`].
pub fn chunk_count(size: u64) -> u64 {
    let chunk = BLOCK << chunk_bits(size);
    size.div_ceil(chunk)
}

/// XXH32, by which the format finds quickly that an attribute is absent.
pub fn xxh32(bytes: &[u8], seed: u32) -> u32 {
    const P1: u32 = 0x9E37_79B1;
    const P2: u32 = 0x85EB_CA77;
    const P3: u32 = 0xC2B2_AE3D;
    const P4: u32 = 0x27D4_EB2F;
    const P5: u32 = 0x1656_67B1;
    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let stripes = bytes.chunks_exact(16);
    let mut rest = stripes.remainder();
    let mut hash = if bytes.len() >= 16 {
        let mut lanes = [
            seed.wrapping_add(P1).wrapping_add(P2),
            seed.wrapping_add(P2),
            seed,
            seed.wrapping_sub(P1),
        ];
        for stripe in stripes {
            for (lane, part) in lanes.iter_mut().zip(stripe.chunks_exact(4)) {
                *lane =
                    lane.wrapping_add(word(part).wrapping_mul(P2)).rotate_left(13).wrapping_mul(P1);
            }
        }
        let [a, b, c, d] = lanes;
        a.rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18))
    } else {
        seed.wrapping_add(P5)
    };
    hash = hash.wrapping_add(bytes.len() as u32);
    while rest.len() >= 4 {
        hash = hash.wrapping_add(word(rest).wrapping_mul(P3)).rotate_left(17).wrapping_mul(P4);
        rest = &rest[4..];
    }
    for byte in rest {
        hash =
            hash.wrapping_add(u32::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(P2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(P3);
    hash ^ (hash >> 16)
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_published_vectors() {
        // CRC-32C of "123456789" is E3069283 with the final inversion.
        assert_eq!(!checksum(b"123456789"), 0xE306_9283);
        for (text, seed, want) in [
            ("", 0, 0x02CC_5D05),
            ("a", 0, 0x550D_7456),
            ("abc", 0, 0x32D1_53FF),
            ("Nobody inspects the spammish repetition", 0, 0xE229_3B2F),
        ] {
            assert_eq!(xxh32(text.as_bytes(), seed), want, "{text}");
        }
    }

    #[test]
    fn chunks_cover_any_size() {
        for (size, bits, count) in [
            (1, 0, 1),
            (4096, 0, 1),
            (4097, 1, 1),
            (100 << 20, 15, 1),
            (u64::MAX >> 1, 31, 1 << 20),
        ] {
            assert_eq!((chunk_bits(size), chunk_count(size)), (bits, count), "{size}");
        }
    }
}
