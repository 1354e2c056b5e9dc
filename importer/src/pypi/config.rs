//! Where this machine's pip gets packages: read at run time, never written down here.

use std::process::{Command, Stdio};

/// Longest output of pip that is read.
const MAX_OUTPUT: usize = 64 * 1024;
/// Asks pip for the index it uses when nothing is configured.
const DEFAULT_INDEX: &str = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";

/// What pip is configured to do.
#[derive(Clone, PartialEq, Eq)]
pub struct PipConfig {
    /// The index's address (PEP 503/691), which may hold a password.
    pub index: String,
    /// A proxy, if one is configured.
    pub proxy: Option<String>,
}

/// Why pip's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// pip is not there, and nothing else says where packages are.
    #[error("nothing says where Python packages come from: python3 has no pip here")]
    NoPip,
    /// `no-index`.
    #[error("pip is configured to use no index (no-index)")]
    NoIndex,
    /// An address that is none.
    #[error("the index that pip is configured to use is not an http or https address")]
    BadIndex,
}

impl PipConfig {
    /// `PIP_INDEX_URL`, else pip's configuration files, else pip's own default.
    ///
    /// # Errors
    /// There is no pip, or what it is configured with cannot be used.
    pub fn read() -> Result<Self, ConfigError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let settings = match variable("PIP_INDEX_URL") {
            Some(index) => format!(":env:.index-url='{index}'"),
            None => python(&["-m", "pip", "config", "list"]).unwrap_or_default(),
        };
        let proxy = setting(&settings, "proxy").or_else(|| {
            ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"].into_iter().find_map(variable)
        });
        Self::choose(&settings, proxy, || python(&["-c", DEFAULT_INDEX]))
    }

    fn choose(
        settings: &str,
        proxy: Option<String>,
        default: impl FnOnce() -> Option<String>,
    ) -> Result<Self, ConfigError> {
        if setting(settings, "no-index").is_some_and(|v| matches!(v.as_str(), "1" | "true")) {
            return Err(ConfigError::NoIndex);
        }
        let index = match setting(settings, "index-url") {
            Some(index) => index,
            None => default().ok_or(ConfigError::NoPip)?,
        };
        let index = index.trim().trim_end_matches('/').to_owned();
        let scheme = index.starts_with("https://") || index.starts_with("http://");
        if !scheme || index.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(ConfigError::BadIndex);
        }
        Ok(Self { index, proxy })
    }
}

/// A value in what `pip config list` prints: `global.index-url='https://…'`. The environment wins
/// over commands' own sections, and those over `global`, as in pip.
fn setting(settings: &str, name: &str) -> Option<String> {
    [":env:", "install", "global"].into_iter().find_map(|section| {
        let key = format!("{section}.{name}=");
        let value = settings.lines().find_map(|line| line.trim().strip_prefix(key.as_str()))?;
        Some(value.trim().trim_matches(['\'', '"']).to_owned())
    })
}

/// What `python3 ARGS` prints, if it ends well.
fn python(args: &[&str]) -> Option<String> {
    let output = Command::new("python3")
        .args(args)
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let good = output.status.success() && text.len() <= MAX_OUTPUT;
    good.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(settings: &str, default: Option<&str>) -> Result<String, String> {
        PipConfig::choose(settings, None, || default.map(str::to_owned))
            .map(|config| config.index)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_index_is_the_one_pip_would_use() {
        let default = Some("https://default.example/simple\n");
        for (settings, want) in [
            ("", "https://default.example/simple"),
            ("global.index-url='https://a.example/s/'\n", "https://a.example/s"),
            ("global.index-url='http://a'\ninstall.index-url='http://b'\n", "http://b"),
            ("install.index-url='http://b'\n:env:.index-url='http://c'\n", "http://c"),
            ("global.timeout='3'\n", "https://default.example/simple"),
        ] {
            assert_eq!(choose(settings, default).as_deref(), Ok(want), "{settings}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        for (settings, want) in [
            ("", "has no pip"),
            ("global.no-index='true'", "no-index"),
            ("global.index-url='file:///x'", "not an http"),
        ] {
            let error = choose(settings, None).expect_err(want);
            assert!(error.contains(want), "{error}");
        }
    }
}
