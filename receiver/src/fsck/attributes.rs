//! `.gitattributes`: bounded, since git clients have overflowed on long ones.

use super::Fault;

/// Longest line git reads.
const MAX_LINE: usize = 2048;
/// Largest file git reads.
const MAX_FILE: usize = 100 << 20;

/// Checks a `.gitattributes` file.
///
/// # Errors
/// It, or a line of it, is too long.
pub(crate) fn gitattributes(bytes: &[u8]) -> Result<(), Fault> {
    if bytes.len() > MAX_FILE {
        return Err(Fault::new("gitattributesLarge", "a .gitattributes file is above 100 MiB"));
    }
    // Git reads it as a C string: a NUL ends it.
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.split(|&byte| byte == b'\n').any(|line| line.len() >= MAX_LINE) {
        let words = "a line of a .gitattributes file has 2048 bytes or more";
        return Err(Fault::new("gitattributesLineLength", words));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_lines_are_refused() {
        assert!(super::gitattributes(&b"* text\n".repeat(1000)).is_ok());
        assert!(super::gitattributes(&[b'a'; 2047]).is_ok());
        assert!(super::gitattributes(&[b'a'; 2048]).is_err());
    }
}
