//! One entry's bytes before its content: a ustar header, after a PAX header where ustar is not
//! enough.
//!
//! Formats: POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Extended Header". Numbers that
//! do not fit in octal are written in base 256 too, for readers that ignore PAX records.

use std::collections::BTreeMap;

use keg::object::Attrs;
use tar::{EntryType, Header};

/// Bytes of a tar block.
pub const BLOCK: usize = 512;
/// Longest name or link target that a ustar header holds (we do not use its `prefix`).
const USTAR_NAME: usize = 100;
/// Largest uid or gid in seven octal digits.
const USTAR_MAX_ID: u32 = 0o7_777_777;
/// Largest size or time in eleven octal digits.
const USTAR_MAX_NUMBER: u64 = 0o77_777_777_777;
/// Name of every PAX header; readers never show it.
const PAX_NAME: &[u8] = b"././@PaxHeader";

/// What an entry is, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// A regular file of so many bytes; the content follows.
    File(u64),
    /// A directory; its path ends in `/`.
    Dir,
    /// A symbolic link to a target.
    Symlink(&'a [u8]),
    /// One more name of the file that came earlier under this path.
    Hardlink(&'a [u8]),
    /// A device node: block or character, major, minor.
    Device(bool, u32, u32),
    /// A named pipe.
    Fifo,
}

/// The header bytes of an entry, a whole number of blocks. Depends on its arguments alone.
pub fn encode(path: &[u8], node: &Node<'_>, attrs: &Attrs) -> Vec<u8> {
    let size = if let Node::File(size) = node { *size } else { 0 };
    let target = match node {
        Node::Symlink(target) | Node::Hardlink(target) => *target,
        _ => b"",
    };
    let records = records(path, target, size, attrs);
    let mut out = Vec::with_capacity(BLOCK * 3);
    if !records.is_empty() {
        let mut header = Header::new_ustar();
        put_name(&mut header.as_old_mut().name, PAX_NAME);
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_size(records.len() as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&records);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    let mut header = Header::new_ustar();
    put_name(&mut header.as_old_mut().name, path);
    put_name(&mut header.as_old_mut().linkname, target);
    header.set_entry_type(entry_type(node));
    header.set_mode(attrs.mode & 0o7777);
    header.set_uid(u64::from(attrs.uid));
    header.set_gid(u64::from(attrs.gid));
    header.set_size(size);
    header.set_mtime(u64::try_from(attrs.mtime).unwrap_or(0));
    if let (Node::Device(_, major, minor), Some(ustar)) = (node, header.as_ustar_mut()) {
        ustar.set_device_major(*major);
        ustar.set_device_minor(*minor);
    }
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out
}

fn entry_type(node: &Node<'_>) -> EntryType {
    match node {
        Node::File(_) => EntryType::Regular,
        Node::Dir => EntryType::Directory,
        Node::Symlink(_) => EntryType::Symlink,
        Node::Hardlink(_) => EntryType::Link,
        Node::Device(true, ..) => EntryType::Block,
        Node::Device(false, ..) => EntryType::Char,
        Node::Fifo => EntryType::Fifo,
    }
}

/// Copies as much of `name` as the field holds; a PAX record carries the whole when it is cut.
fn put_name(field: &mut [u8; USTAR_NAME], name: &[u8]) {
    let len = name.len().min(USTAR_NAME);
    field[..len].copy_from_slice(&name[..len]);
}

/// The PAX records an entry needs, sorted by key; empty when ustar says it all.
fn records(path: &[u8], target: &[u8], size: u64, attrs: &Attrs) -> Vec<u8> {
    let mut map: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut put = |key: &[u8], value: Vec<u8>| map.insert(key.to_vec(), value);
    if path.len() > USTAR_NAME || !path.is_ascii() {
        put(b"path", path.to_vec());
    }
    if target.len() > USTAR_NAME || !target.is_ascii() {
        put(b"linkpath", target.to_vec());
    }
    if size > USTAR_MAX_NUMBER {
        put(b"size", size.to_string().into_bytes());
    }
    if attrs.uid > USTAR_MAX_ID {
        put(b"uid", attrs.uid.to_string().into_bytes());
    }
    if attrs.gid > USTAR_MAX_ID {
        put(b"gid", attrs.gid.to_string().into_bytes());
    }
    let plain_time = u64::try_from(attrs.mtime).is_ok_and(|t| t <= USTAR_MAX_NUMBER);
    if attrs.mtime_nsec != 0 || !plain_time {
        put(b"mtime", pax_time(attrs.mtime, attrs.mtime_nsec).into_bytes());
    }
    for (name, value) in &attrs.xattrs {
        let mut key = b"SCHILY.xattr.".to_vec();
        // A key ends at the first `=`; GNU tar escapes it, and `%`, in such names.
        if name.contains(&b'=') {
            for byte in name {
                match byte {
                    b'=' => key.extend_from_slice(b"%3D"),
                    b'%' => key.extend_from_slice(b"%25"),
                    other => key.push(*other),
                }
            }
        } else {
            key.extend_from_slice(name);
        }
        put(&key, value.clone());
    }
    let mut out = Vec::new();
    for (key, value) in map {
        push_record(&mut out, &key, &value);
    }
    out
}

/// Seconds and nanoseconds as a PAX decimal, without trailing zeros; times before 1970 count
/// downwards.
fn pax_time(seconds: i64, nanos: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, part) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    let text = format!("{sign}{whole}.{part:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn push_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + decimal_digits(len) {
        len = rest + decimal_digits(len);
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn decimal_digits(number: usize) -> usize {
    number.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_lengths_count_their_own_digits() {
        for (value, want) in [("x", "6 k=x\n"), ("xxxx", "9 k=xxxx\n"), ("xxxxx", "11 k=xxxxx\n")] {
            let mut out = Vec::new();
            push_record(&mut out, b"k", value.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
        for len in [90, 91, 92, 93, 94, 95, 990, 991, 992, 993, 994, 995] {
            let mut out = Vec::new();
            push_record(&mut out, b"k", &vec![b'v'; len]);
            let digits = out.iter().take_while(|b| b.is_ascii_digit()).count();
            let said: usize = String::from_utf8_lossy(&out[..digits]).parse().expect("a number");
            assert_eq!(said, out.len());
        }
    }

    /// Another reader finds the same in the bytes, also what ustar alone cannot say.
    #[test]
    fn other_readers_agree() {
        let attrs = Attrs { uid: 3_000_000, mtime: 1_700_000_000, ..Attrs::with_mode(0o640) };
        let long = [b'a'; 300];
        for (path, size) in [(&b"a"[..], 5), (&long, 8_589_934_593), (b"big", 1 << 40)] {
            let bytes = encode(path, &Node::File(size), &attrs);
            let mut archive = tar::Archive::new(bytes.as_slice());
            let entry = archive.entries().expect("readable").next().expect("one").expect("valid");
            assert_eq!((&*entry.path_bytes(), entry.size()), (path, size));
            let header = entry.header();
            assert_eq!(header.uid().ok(), Some(3_000_000));
            assert_eq!(
                (header.mode().ok(), header.mtime().ok()),
                (Some(0o640), Some(1_700_000_000))
            );
        }
    }

    #[test]
    fn times() {
        for (seconds, nanos, want) in [
            (0, 0, "0"),
            (10, 0, "10"),
            (1, 500_000_000, "1.5"),
            (1, 1, "1.000000001"),
            (-1, 0, "-1"),
            (-1, 250_000_000, "-0.75"),
        ] {
            assert_eq!(pax_time(seconds, nanos), want);
        }
    }

    #[test]
    fn only_what_does_not_fit_gets_a_pax_header() {
        let plain = Attrs::with_mode(0o755);
        let blocks =
            |path: &[u8], node: &Node<'_>, attrs: &Attrs| encode(path, node, attrs).len() / BLOCK;
        assert_eq!(blocks(b"usr/", &Node::Dir, &plain), 1);
        assert_eq!(blocks(&[b'a'; 100], &Node::File(0), &plain), 1);
        assert_eq!(blocks(&[b'a'; 101], &Node::File(0), &plain), 3);
        assert_eq!(blocks("é".as_bytes(), &Node::File(0), &plain), 3);
        assert_eq!(blocks(b"big", &Node::File(USTAR_MAX_NUMBER), &plain), 1);
        assert_eq!(blocks(b"big", &Node::File(USTAR_MAX_NUMBER + 1), &plain), 3);
        assert_eq!(blocks(b"a", &Node::Symlink(&[b't'; 300]), &plain), 3);
        let capability = Attrs {
            xattrs: vec![(b"security.capability".to_vec(), vec![0, 1, 2])],
            ..plain.clone()
        };
        assert_eq!(blocks(b"ping", &Node::File(1), &capability), 3);
        assert_eq!(blocks(b"old", &Node::File(1), &Attrs { mtime: -5, ..plain }), 3);
    }
}
