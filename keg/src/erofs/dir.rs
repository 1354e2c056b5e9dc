//! Directories as blocks: in each block the fixed entries, then their names. Names are sorted by
//! bytes over all blocks, `.` and `..` among them, so that the kernel can search by halves.

use super::format::{BLOCK, DIRENT_LEN};

/// One line of a directory.
pub struct Line<'a> {
    /// The name, `.` and `..` included.
    pub name: &'a [u8],
    /// The inode it leads to: its on-disk number.
    pub nid: u64,
    /// Its type in the format's numbering.
    pub file_type: u8,
}

/// The names of a directory in order, with `.` and `..` at their places.
pub fn with_dots<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    let mut all: Vec<&[u8]> = names.collect();
    for dots in [b".".as_slice(), b"..".as_slice()] {
        let at = all.partition_point(|name| *name < dots);
        all.insert(at, dots);
    }
    all
}

/// Length in bytes of a directory with these names, in order.
pub fn size<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut blocks = 0;
    let mut used = 0;
    for name in names {
        let need = (DIRENT_LEN + name.len()) as u64;
        if used + need > BLOCK {
            blocks += 1;
            used = 0;
        }
        used += need;
    }
    blocks * BLOCK + used
}

/// The bytes of a directory: every block but the last is padded to the block size.
pub fn encode(lines: &[Line<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let mut used = 0;
        let fits = rest.iter().take_while(|line| {
            used += DIRENT_LEN + line.name.len();
            used as u64 <= BLOCK
        });
        let (block, more) = rest.split_at(fits.count());
        encode_block(block, &mut out);
        if !more.is_empty() {
            out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        }
        rest = more;
    }
    out
}

fn encode_block(lines: &[Line<'_>], out: &mut Vec<u8>) {
    let mut name_offset = DIRENT_LEN * lines.len();
    for line in lines {
        out.extend(line.nid.to_le_bytes());
        // At most 4096, which fits.
        out.extend((name_offset as u16).to_le_bytes());
        out.extend([line.file_type, 0]);
        name_offset += line.name.len();
    }
    for line in lines {
        out.extend(line.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_agrees_with_the_bytes() {
        for count in [0, 1, 14, 15, 16, 300, 5000] {
            let names: Vec<Vec<u8>> =
                (0..count).map(|i| format!("{i:05}{}", "x".repeat(i % 251)).into_bytes()).collect();
            let names = with_dots(names.iter().map(Vec::as_slice));
            let lines: Vec<Line<'_>> =
                names.iter().map(|name| Line { name, nid: 1, file_type: 1 }).collect();
            assert_eq!(size(names.iter().copied()), encode(&lines).len() as u64, "{count}");
        }
    }

    #[test]
    fn dots_are_sorted_among_the_names() {
        let names: [&[u8]; 4] = [b"!", b"-", b"...", b"a"];
        let got = with_dots(names.into_iter());
        assert!(got.is_sorted(), "{got:?}");
        assert_eq!(got.len(), 6);
    }
}
