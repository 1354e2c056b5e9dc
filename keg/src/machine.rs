//! The machine this process runs on: its name, its KID, its boot.

use std::fs;

use crate::{Kid, path::MAX_APP_NAME};

/// `derive_key` context of machines.
const CONTEXT: &str = "keg 2026 machine v1";

/// The host's name, made to fit the rule for `<m>`: `a-z`, `0-9`, `-`, at most 40, starting with a
/// letter, not ending in `-`.
pub fn name() -> String {
    named(rustix::system::uname().nodename().to_str().unwrap_or_default())
}

/// The machine's identity: from `/etc/machine-id`, or from the host's name where there is none.
pub fn kid() -> Kid {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let id = if id.trim().is_empty() { name() } else { id.trim().to_owned() };
    Kid::from_bytes(blake3::derive_key(CONTEXT, id.as_bytes()))
}

/// Changes with every start of the kernel.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn named(host: &str) -> String {
    fit(host.split('.').next().unwrap_or_default(), "m-")
}

/// A text made to fit the rule for names; `prefix` where it does not start with a letter.
pub(crate) fn fit(text: &str, prefix: &str) -> String {
    let text = text.to_ascii_lowercase();
    let mut name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.insert_str(0, prefix);
    }
    name.truncate(MAX_APP_NAME);
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::AppName;

    #[test]
    fn every_host_name_gives_a_name_that_fits() {
        for (host, want) in [
            ("web1", "web1"),
            ("Web_1.example.org", "web-1"),
            ("3f2a", "m-3f2a"),
            ("", "m"),
            ("-", "m"),
            ("größe", "gr--e"),
        ] {
            assert_eq!(named(host), want, "{host:?}");
            assert!(named(host).parse::<AppName>().is_ok(), "{host:?}");
        }
        assert_eq!(named(&"a".repeat(80)).len(), 40);
        assert!(name().parse::<AppName>().is_ok());
    }
}
