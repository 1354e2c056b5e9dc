//! Extended attributes: which inode holds its own, and which are kept once for many.

use std::collections::HashMap;

use super::format::{XATTR_HEADER_LEN, xxh32};
use super::model::Inode;
use super::{ErofsError, MAX_XATTRS};

/// An inode can refer to this many shared attributes; more are written with the inode.
const MAX_SHARED: usize = 255;
/// Seed of the name filter (`EROFS_XATTR_FILTER_SEED`).
const FILTER_SEED: u32 = 0x25BB_E08F;

/// Prefixes of names, and their numbers in the format.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
/// Whole names that have a number.
const NAMES: [(&[u8], u8); 2] = [(b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3)];

/// Why the format cannot hold this attribute; `None` if it can.
pub fn refusal(name: &[u8], value: &[u8]) -> Option<&'static str> {
    let Some((_, suffix)) = split(name) else {
        return Some("it has an extended attribute outside user, trusted, security and POSIX ACLs");
    };
    if suffix.len() > 255 || value.len() > usize::from(u16::MAX) {
        return Some("it has an extended attribute that is too long");
    }
    None
}

fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    if let Some((_, index)) = NAMES.iter().find(|(whole, _)| *whole == name) {
        return Some((*index, b""));
    }
    let (prefix, index) = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
    Some((*index, &name[prefix.len()..])).filter(|(_, suffix)| !suffix.is_empty())
}

/// All attributes of an image, placed.
pub struct Xattrs {
    /// The shared ones, one after the other.
    pub shared: Vec<u8>,
    /// By inode.
    pub inodes: Vec<InodeXattrs>,
}

/// The attributes of one inode.
#[derive(Default)]
pub struct InodeXattrs {
    filter: u32,
    /// Offsets in the shared area, in units of 4 bytes.
    shared: Vec<u32>,
    own: Vec<u8>,
}

impl InodeXattrs {
    /// Length after the inode, 0 if it has none.
    pub fn len(&self) -> usize {
        if self.shared.is_empty() && self.own.is_empty() {
            0
        } else {
            XATTR_HEADER_LEN + 4 * self.shared.len() + self.own.len()
        }
    }

    /// The length as the inode states it.
    pub fn count(&self) -> u16 {
        match self.len() {
            0 => 0,
            // At most MAX_XATTRS, checked when the plan is made.
            len => ((len - XATTR_HEADER_LEN) / 4 + 1) as u16,
        }
    }

    /// Appends them; `base` is where the shared area starts, in units of 4 bytes from the block
    /// that the superblock names.
    pub fn encode(&self, base: u32, out: &mut Vec<u8>) {
        if self.len() == 0 {
            return;
        }
        out.extend(self.filter.to_le_bytes());
        // At most MAX_SHARED.
        out.push(self.shared.len() as u8);
        out.extend([0; 7]);
        for at in &self.shared {
            out.extend((base + at).to_le_bytes());
        }
        out.extend(&self.own);
    }
}

/// Decides for each attribute of each inode where it is kept.
///
/// # Errors
/// [`ErofsError::Model`] for an attribute the format cannot hold.
pub fn plan(inodes: &[Inode]) -> Result<Xattrs, ErofsError> {
    let mut uses: HashMap<(&[u8], &[u8]), u32> = HashMap::new();
    for (name, value) in inodes.iter().flat_map(|inode| &inode.xattrs) {
        *uses.entry((name, value)).or_default() += 1;
    }
    let mut often: Vec<_> =
        uses.iter().filter(|(_, count)| **count > 1).map(|(pair, _)| *pair).collect();
    often.sort_unstable();
    let mut shared = Vec::new();
    let mut places: HashMap<(&[u8], &[u8]), u32> = HashMap::with_capacity(often.len());
    for (name, value) in often {
        let at = u32::try_from(shared.len() / 4).map_err(|_| model(0, "too many attributes"))?;
        places.insert((name, value), at);
        encode_entry(name, value, &mut shared).ok_or_else(|| model(0, BAD))?;
    }
    let inodes = inodes
        .iter()
        .enumerate()
        .map(|(number, inode)| plan_inode(inode, &places).ok_or_else(|| model(number, BAD)))
        .collect::<Result<_, _>>()?;
    Ok(Xattrs { shared, inodes })
}

const BAD: &str = "its extended attributes do not fit the format";

fn model(inode: usize, reason: &'static str) -> ErofsError {
    ErofsError::Model { inode, reason }
}

fn plan_inode(inode: &Inode, places: &HashMap<(&[u8], &[u8]), u32>) -> Option<InodeXattrs> {
    let mut plan = InodeXattrs { filter: u32::MAX, ..InodeXattrs::default() };
    for (name, value) in &inode.xattrs {
        let (index, suffix) = split(name)?;
        plan.filter &= !(1 << (xxh32(suffix, FILTER_SEED + u32::from(index)) % 32));
        match places.get(&(name.as_slice(), value.as_slice())) {
            Some(at) if plan.shared.len() < MAX_SHARED => plan.shared.push(*at),
            _ => encode_entry(name, value, &mut plan.own)?,
        }
    }
    (plan.len() <= MAX_XATTRS).then_some(plan)
}

fn encode_entry(name: &[u8], value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (index, suffix) = split(name)?;
    out.push(u8::try_from(suffix.len()).ok()?);
    out.push(index);
    out.extend(u16::try_from(value.len()).ok()?.to_le_bytes());
    out.extend(suffix);
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_format_cannot_hold_is_refused() {
        let check = |name: &str, len: usize, good: bool| {
            let answer = refusal(name.as_bytes(), &vec![0; len]);
            assert_eq!(answer.is_none(), good, "{name} {len}: {answer:?}");
        };
        check("user.a", 0, true);
        check("user.", 0, false);
        check("security.capability", 20, true);
        check("system.posix_acl_access", 28, true);
        check("system.nfs4_acl", 28, false);
        check("btrfs.compression", 4, false);
        check("trusted.x", 65535, true);
        check("trusted.x", 65536, false);
    }
}
