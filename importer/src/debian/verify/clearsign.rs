//! The cleartext signature framework (RFC 9580, 7), strictly: one message and nothing around it.

/// A message taken apart.
pub struct Split {
    /// The text, with `\n` line ends.
    pub text: Vec<u8>,
    /// The bytes that are signed: the same with `\r\n`, no blanks at line ends and no last one.
    pub signed: Vec<u8>,
    /// The armoured signature.
    pub signature: String,
}

/// Takes a message apart.
///
/// # Errors
/// What is wrong with it, in words.
pub fn split(message: &[u8]) -> Result<Split, &'static str> {
    let message = std::str::from_utf8(message).map_err(|_| "the message is not UTF-8")?;
    let mut lines = message.lines();
    if lines.next() != Some("-----BEGIN PGP SIGNED MESSAGE-----") {
        return Err("it is no clear-signed message");
    }
    for line in lines.by_ref() {
        match line {
            "" => break,
            _ if line.starts_with("Hash: ") => {}
            _ => return Err("the message has a header that is not known"),
        }
    }
    let mut text = Vec::new();
    let mut signed: Vec<u8> = Vec::new();
    let (mut first, mut began) = (true, false);
    for line in lines.by_ref() {
        if line == "-----BEGIN PGP SIGNATURE-----" {
            began = true;
            break;
        }
        let line = match line.strip_prefix("- ") {
            Some(line) => line,
            None if line.starts_with('-') => {
                return Err("the message has a line that is not escaped");
            }
            None => line,
        };
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
        if !std::mem::take(&mut first) {
            signed.extend_from_slice(b"\r\n");
        }
        signed.extend_from_slice(line.trim_end_matches([' ', '\t', '\r']).as_bytes());
    }
    let mut signature = String::from("-----BEGIN PGP SIGNATURE-----\n");
    let mut ended = false;
    for line in lines.by_ref() {
        signature += line;
        signature.push('\n');
        if line == "-----END PGP SIGNATURE-----" {
            ended = true;
            break;
        }
    }
    if !began || !ended || lines.any(|line| !line.is_empty()) {
        return Err("the message is not followed by exactly one signature");
    }
    Ok(Split { text, signed, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: x \n- -dash\n\
                        -----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn one_message_is_taken_apart() {
        let split = split(GOOD.as_bytes()).expect("good");
        assert_eq!(split.text, b"Origin: x \n-dash\n");
        assert_eq!(split.signed, b"Origin: x\r\n-dash");
        assert!(split.signature.ends_with("AAAA\n-----END PGP SIGNATURE-----\n"));
    }

    #[test]
    fn anything_around_it_is_refused() {
        for bad in [
            format!("Origin: evil\n{GOOD}"),
            format!("{GOOD}Origin: evil\n"),
            format!("{GOOD}{GOOD}"),
            GOOD.replace("- -dash", "-dash"),
            GOOD.replace("Hash:", "Origin: evil\nHash:"),
            GOOD.replace("-----END PGP SIGNATURE-----\n", ""),
            String::new(),
        ] {
            assert!(split(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
