//! `RECORD`: the list of a wheel's files with their hashes.

use std::{collections::BTreeMap, fmt::Write};

/// Largest `RECORD` taken, in bytes.
pub const MAX_RECORD: u64 = 32 * 1024 * 1024;
/// Letters of URL-safe base64 in order (RFC 4648, section 5).
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a `RECORD` says: path → hash as written (`sha256=…`), empty for none.
pub type Rows = BTreeMap<String, String>;

/// Reads the rows.
///
/// # Errors
/// Which row is not `path,hash,size`, or comes twice.
pub fn parse(bytes: &[u8]) -> Result<Rows, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut rows = Rows::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let fields = fields(line).ok_or_else(|| format!("row {number} is no CSV"))?;
        let [path, hash, _size] = fields.as_slice() else {
            return Err(format!("row {number} has {} fields, not 3", fields.len()));
        };
        // Some tools write `./`.
        let path = path.strip_prefix("./").unwrap_or(path).to_owned();
        if let Some(other) = rows.insert(path.clone(), hash.clone())
            && other != *hash
        {
            return Err(format!("it lists {path:?} twice, with different hashes"));
        }
    }
    Ok(rows)
}

/// The fields of a CSV line; quotes are doubled inside quotes.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    (!quoted).then_some(fields)
}

/// `sha256=` and the digest in URL-safe base64 without padding.
pub fn digest_text(digest: &[u8]) -> String {
    let mut text = String::from("sha256=");
    for chunk in digest.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * place)) & 63;
            text.push(LETTERS[index as usize] as char);
        }
    }
    text
}

/// One row, quoted where needed.
pub fn write_row(into: &mut String, path: &str, digest: &str, size: u64) {
    let written = match path.contains([',', '"']) {
        true => write!(into, "\"{}\"", path.replace('"', "\"\"")),
        false => write!(into, "{path}"),
    };
    let size = if digest.is_empty() { String::new() } else { size.to_string() };
    written
        .and_then(|()| writeln!(into, ",{digest},{size}"))
        .expect("because writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn rows_round_trip() {
        let mut text = String::new();
        write_row(&mut text, "a/b.py", "sha256=x", 3);
        write_row(&mut text, "a/\"odd\", name", "sha256=y", 4);
        write_row(&mut text, "a.dist-info/RECORD", "", 0);
        let rows = parse(text.as_bytes()).expect("good");
        assert_eq!(rows["a/\"odd\", name"], "sha256=y");
        assert_eq!(rows["a.dist-info/RECORD"], "");
        assert!(text.ends_with("RECORD,,\n"));
    }

    #[test]
    fn digests_are_url_safe_base64() {
        // The SHA-256 of nothing.
        let want = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(digest_text(&Sha256::digest(b"")), want);
    }

    #[test]
    fn bad_records_say_which_row() {
        for (text, want) in [
            ("a,b\n", "row 1 has 2 fields"),
            ("a,,\n\"b,,\n", "row 2 is no CSV"),
            ("a,sha256=x,1\na,sha256=y,1\n", "twice"),
        ] {
            let error = parse(text.as_bytes()).expect_err(want);
            assert!(error.contains(want), "{error}");
        }
    }
}
