//! ASCII armour of OpenPGP keys (RFC 9580, 6.2).

use std::io;

/// The bytes of all armoured blocks in `text`, one after the other.
///
/// # Errors
/// It has no block, or a block that is not base64.
pub fn decode(text: &[u8]) -> io::Result<Vec<u8>> {
    let bad = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let text = std::str::from_utf8(text).map_err(|_| bad("the armour is not ASCII"))?;
    let mut out = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if !line.starts_with("-----BEGIN PGP ") {
            continue;
        }
        // Headers end at an empty line.
        if !lines.by_ref().any(str::is_empty) {
            return Err(bad("the armour has no empty line after its headers"));
        }
        let body: String =
            lines.by_ref().take_while(|l| !l.starts_with('=') && !l.starts_with("-----")).collect();
        base64(&body, &mut out).ok_or_else(|| bad("the armour is not base64"))?;
    }
    if out.is_empty() { Err(bad("the armour is empty")) } else { Ok(out) }
}

fn base64(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let mut bits = 0_u32;
    let mut count = 0;
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_decoded_one_after_the_other() {
        let text = "x\n-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: c\n\naGVs\nbG8=\n=AbCd\n\
                    -----END PGP PUBLIC KEY BLOCK-----\n\
                    -----BEGIN PGP X-----\n\nIQ==\n-----END PGP X-----\n";
        assert_eq!(decode(text.as_bytes()).expect("good"), b"hello!");
        for bad in ["", "-----BEGIN PGP X-----\nabc", "-----BEGIN PGP X-----\n\n!!!\n"] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
