//! Where apt keeps its configuration, and its proxies, as `apt-config dump` tells.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

/// Debian's keyring for its archive, wherever its package puts it.
const ARCHIVE_KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `sources.list`.
    pub source_list: PathBuf,
    /// `sources.list.d`.
    pub source_parts: PathBuf,
    /// `trusted.gpg.d`.
    pub trusted_parts: PathBuf,
    /// Keyrings besides.
    pub keyrings: Vec<PathBuf>,
    /// Ways to the network.
    pub proxies: Proxies,
}

/// Proxies by scheme and host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    /// (`http` or `https`, a host or nothing) → address, or `DIRECT`.
    entries: Vec<(String, Option<String>, String)>,
}

impl Proxies {
    /// The proxy for `url`, if it is not to be fetched directly.
    pub fn of(&self, url: &str) -> Option<&str> {
        let (scheme, rest) = url.split_once("://")?;
        let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
        let of_host = |h: Option<&str>| {
            let mut fitting = self.entries.iter();
            fitting.find(|(s, entry, _)| s == scheme && entry.as_deref() == h)
        };
        let (_, _, address) = of_host(Some(host)).or_else(|| of_host(None))?;
        Some(address.as_str()).filter(|a| !a.is_empty() && *a != "DIRECT")
    }
}

impl Config {
    /// What the machine's apt says; its defaults where there is no apt.
    pub fn of_machine() -> Self {
        let output = Command::new("apt-config").arg("dump").stderr(Stdio::null()).output();
        let dump = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        let mut config = Self::of_dump(&dump.unwrap_or_default());
        for (scheme, variable) in [("http", "http_proxy"), ("https", "https_proxy")] {
            let known =
                config.proxies.entries.iter().any(|(s, host, _)| s == scheme && host.is_none());
            let value = std::env::var(variable).ok().filter(|v| !v.is_empty() && !known);
            config.proxies.entries.extend(value.map(|v| (scheme.to_owned(), None, v)));
        }
        config
    }

    /// Reads lines `Name::Of::Option "value";`.
    pub fn of_dump(dump: &str) -> Self {
        let line = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            let value = value.strip_suffix(';')?.strip_prefix('"')?.strip_suffix('"')?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        };
        let options: HashMap<String, String> = dump.lines().filter_map(line).collect();
        let get = |name: &str, default: &str| match options.get(name) {
            Some(value) if !value.is_empty() => value.clone(),
            _ => default.to_owned(),
        };
        let root = PathBuf::from(get("dir", "/"));
        let etc = below(&root, &get("dir::etc", "etc/apt"));
        let mut keyrings: Vec<PathBuf> = ARCHIVE_KEYRINGS.iter().map(PathBuf::from).collect();
        keyrings.push(below(&etc, &get("dir::etc::trusted", "trusted.gpg")));
        Self {
            source_list: below(&etc, &get("dir::etc::sourcelist", "sources.list")),
            source_parts: below(&etc, &get("dir::etc::sourceparts", "sources.list.d")),
            trusted_parts: below(&etc, &get("dir::etc::trustedparts", "trusted.gpg.d")),
            keyrings,
            proxies: proxies(&options),
        }
    }
}

fn below(dir: &Path, name: &str) -> PathBuf {
    // `join` takes an absolute name as it is, as apt does.
    dir.join(name)
}

fn proxies(options: &HashMap<String, String>) -> Proxies {
    let mut entries = Vec::new();
    for (name, value) in options {
        let Some(rest) = name.strip_prefix("acquire::") else { continue };
        let mut parts = rest.splitn(3, "::");
        let (Some(scheme @ ("http" | "https")), Some("proxy")) = (parts.next(), parts.next())
        else {
            continue;
        };
        entries.push((scheme.to_owned(), parts.next().map(str::to_owned), value.clone()));
    }
    entries.sort();
    Proxies { entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_proxies_of_a_dump() {
        let config = Config::of_dump(
            "Dir \"/\";\nDir::Etc \"/tmp/x/apt\";\nDir::Etc::sourceparts \"parts\";\n\
             Acquire::http::Proxy \"http://proxy.test:3128\";\n\
             Acquire::http::Proxy::near.test \"DIRECT\";\nAcquire::https::Timeout \"5\";\n\
             nonsense\n",
        );
        assert_eq!(config.source_list, Path::new("/tmp/x/apt/sources.list"));
        assert_eq!(config.source_parts, Path::new("/tmp/x/apt/parts"));
        for (url, want) in [
            ("http://far.test/debian", Some("http://proxy.test:3128")),
            ("http://near.test:80/debian", None),
            ("https://far.test/debian", None),
            ("file:///srv", None),
        ] {
            assert_eq!(config.proxies.of(url), want, "{url}");
        }
    }

    #[test]
    fn defaults_without_apt() {
        let config = Config::of_dump("");
        assert_eq!(config.source_list, Path::new("/etc/apt/sources.list"));
        assert_eq!(config.trusted_parts, Path::new("/etc/apt/trusted.gpg.d"));
        assert_eq!(config.proxies, Proxies::default());
    }
}
