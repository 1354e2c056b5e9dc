//! Git LFS: files that are stored elsewhere and stand as small pointers in the tree.
//!
//! Format: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.

/// Pointers are smaller than this.
const MAX_POINTER: usize = 1024;

/// Whether a blob is a pointer of Git LFS.
pub(crate) fn is_pointer(bytes: &[u8]) -> bool {
    bytes.len() < MAX_POINTER
        && (bytes.starts_with(b"version https://git-lfs.github.com/spec/v1\n")
            || bytes.starts_with(b"version https://hawser.github.com/spec/v1\n"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn pointers_are_known_by_their_first_line() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
        assert!(super::is_pointer(pointer));
        assert!(!super::is_pointer(b"version 1\n"));
        assert!(!super::is_pointer(&[pointer.as_slice(), &[b' '; 2000]].concat()));
    }
}
