//! Signatures of `InRelease`, checked by the machine's OpenPGP verifier: `gpgv`, else `sqv`.
//!
//! Only the keyrings given count. What is returned is the text that the verifier saw signed, so
//! nothing around the signed part can be taken for it.

mod armor;
mod clearsign;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::apt::SignedBy;

/// Largest keyring.
const MAX_KEYRING: u64 = 16 << 20;

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No verifier.
    #[error("neither gpgv nor sqv is installed, so signatures cannot be checked")]
    NoVerifier,
    /// No keyring.
    #[error("no keyring for the archive was found (is debian-archive-keyring installed?)")]
    NoKeyring,
    /// A keyring cannot be used.
    #[error("the keyring {} cannot be used", path.display())]
    Keyring {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The signature is bad, missing or by someone else.
    #[error("the signature does not count: {0}")]
    Bad(String),
    /// The verifier could not be run.
    #[error("the signature could not be checked")]
    Io(#[from] io::Error),
}

/// A signed text and who signed it.
#[derive(Debug)]
pub struct Verified {
    /// The text that was signed.
    pub text: Vec<u8>,
    /// Fingerprints of the primary keys whose signatures are good, sorted.
    pub signers: Vec<String>,
    /// The same and their subkeys that signed, as far as the verifier tells.
    keys: Vec<String>,
}

/// Checks the signatures of a clear-signed message. At least one must be good and none bad.
///
/// # Errors
/// No signature counts, or the check cannot be made.
pub fn verify(
    message: &[u8],
    keyrings: &[PathBuf],
    by: &SignedBy,
) -> Result<Verified, VerifyError> {
    let dir = tempfile::tempdir()?;
    let own = !by.keyrings.is_empty() || by.embedded.is_some();
    let mut paths = prepare(if own { &by.keyrings } else { keyrings }, dir.path())?;
    if let Some(key) = &by.embedded {
        let path = dir.path().join("embedded.gpg");
        std::fs::write(&path, armor::decode(key.as_bytes())?)?;
        paths.push(path);
    }
    if paths.is_empty() {
        return Err(VerifyError::NoKeyring);
    }
    let verified = match gpgv(message, &paths, dir.path()) {
        Err(VerifyError::Io(e)) if e.kind() == io::ErrorKind::NotFound => {
            sqv(message, &paths, dir.path())?
        }
        done => done?,
    };
    // A fingerprint may be given with `!`: exactly this key; ours are exact anyway.
    let wanted = |signer: &String| {
        by.fingerprints.iter().any(|f| signer.eq_ignore_ascii_case(f.trim_end_matches('!')))
    };
    if !by.fingerprints.is_empty() && !verified.keys.iter().any(wanted) {
        return Err(VerifyError::Bad("it is by none of the keys in Signed-By".into()));
    }
    Ok(verified)
}

/// Keyrings in the binary form that verifiers take; armoured ones are copied to `dir`.
fn prepare(keyrings: &[PathBuf], dir: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    let mut paths = Vec::new();
    for (number, path) in keyrings.iter().enumerate() {
        let fail = |source| VerifyError::Keyring { path: path.clone(), source };
        let size = std::fs::metadata(path).map_err(fail)?.len();
        if size > MAX_KEYRING {
            return Err(fail(io::Error::other("it is larger than 16 MiB")));
        }
        let bytes = std::fs::read(path).map_err(fail)?;
        if bytes.starts_with(b"-----BEGIN") {
            let copy = dir.join(format!("{number}.gpg"));
            std::fs::write(&copy, armor::decode(&bytes).map_err(fail)?)?;
            paths.push(copy);
        } else if !bytes.is_empty() {
            paths.push(path.clone());
        }
    }
    Ok(paths)
}

/// Runs `gpgv`; its status lines tell, its standard output is the signed text.
fn gpgv(message: &[u8], keyrings: &[PathBuf], dir: &Path) -> Result<Verified, VerifyError> {
    let path = dir.join("message");
    std::fs::File::create(&path)?.write_all(message)?;
    let mut command = Command::new("gpgv");
    // The log goes nowhere, so that only status lines are on standard error.
    command.args(["--status-fd", "2", "--log-file", "/dev/null", "--weak-digest", "SHA1"]);
    command.arg("--homedir").arg(dir).args(["--output", "-"]);
    for keyring in keyrings {
        command.arg("--keyring").arg(keyring);
    }
    command.arg("--").arg(&path).stdin(Stdio::null()).env_clear();
    let output = with_path(&mut command).output()?;
    let status = String::from_utf8_lossy(&output.stderr);
    let (signers, keys) = signers_of_status(&status)?;
    Ok(Verified { text: output.stdout, signers, keys })
}

/// Reads gpgv's status lines (GnuPG `doc/DETAILS`): primary keys, and all keys.
fn signers_of_status(status: &str) -> Result<(Vec<String>, Vec<String>), VerifyError> {
    let mut signers = Vec::new();
    let mut keys = Vec::new();
    let mut doubt = None;
    for line in status.lines() {
        let line = line.strip_prefix("[GNUPG:] ").unwrap_or_default();
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let key = words.next().unwrap_or_default();
        match word {
            "VALIDSIG" => {
                let primary = words.next_back().unwrap_or(key);
                signers.push(primary.to_owned());
                keys.extend([key.to_owned(), primary.to_owned()]);
            }
            "BADSIG" => return Err(VerifyError::Bad(format!("the one by key {key} is wrong"))),
            "NO_PUBKEY" => doubt = Some(format!("it is by key {key}, which is in no keyring")),
            "EXPKEYSIG" => doubt = Some(format!("key {key} has expired")),
            "REVKEYSIG" => doubt = Some(format!("key {key} was revoked")),
            "EXPSIG" => doubt = Some(format!("the one by key {key} has expired")),
            _ => {}
        }
    }
    if signers.is_empty() {
        let reason = doubt.unwrap_or_else(|| "there is none".into());
        return Err(VerifyError::Bad(reason));
    }
    // VALIDSIG is told for expired and revoked keys as well.
    match doubt.filter(|_| !status.contains("[GNUPG:] GOODSIG ")) {
        Some(reason) => Err(VerifyError::Bad(reason)),
        None => {
            signers.sort();
            signers.dedup();
            Ok((signers, keys))
        }
    }
}

/// Runs `sqv` on the signed text and its detached signature.
fn sqv(message: &[u8], keyrings: &[PathBuf], dir: &Path) -> Result<Verified, VerifyError> {
    let split = clearsign::split(message).map_err(|reason| VerifyError::Bad(reason.into()))?;
    let (text, signature) = (dir.join("text"), dir.join("signature"));
    std::fs::write(&text, &split.signed)?;
    std::fs::write(&signature, split.signature)?;
    let mut command = Command::new("sqv");
    command.arg(&signature).arg(&text).stdin(Stdio::null()).env_clear();
    for keyring in keyrings {
        command.arg("--keyring").arg(keyring);
    }
    let output = match with_path(&mut command).output() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(VerifyError::NoVerifier),
        output => output?,
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    let mut signers: Vec<String> = printed.split_whitespace().map(str::to_owned).collect();
    if !output.status.success() || signers.is_empty() {
        let log = String::from_utf8_lossy(&output.stderr);
        let reason = log.lines().next().unwrap_or("sqv refuses it").chars().take(200).collect();
        return Err(VerifyError::Bad(reason));
    }
    signers.sort();
    signers.dedup();
    Ok(Verified { text: split.text, keys: signers.clone(), signers })
}

fn with_path(command: &mut Command) -> &mut Command {
    match std::env::var_os("PATH") {
        Some(path) => command.env("PATH", path),
        None => command,
    }
}
