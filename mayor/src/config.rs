//! An app's configuration, as far as running it goes: `/apps/<app>/config.json` and the copy of it
//! in every release. Fields that are not named here are others' and ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

/// Most processes of one type.
pub const MAX_SCALE: u32 = 32;
/// Longest `check.timeout` and `grace`, in seconds.
const MAX_SECONDS: f64 = 3600.0;
/// Least memory an app can be given, in bytes: below it nothing starts.
const MIN_MEMORY: u64 = 4 << 20;

/// How an app is run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct AppConfig {
    /// Environment variables, over those of the image.
    pub env: BTreeMap<String, String>,
    /// Processes by type; see [`AppConfig::count`].
    pub scale: BTreeMap<String, u32>,
    /// Whether it may reach other machines.
    pub egress: bool,
    /// What it may use.
    pub limits: AppLimits,
    /// When it counts as ready.
    pub check: Check,
    /// Whether it is given a listening socket instead of a port to bind.
    pub socket: bool,
    /// Seconds it gets to end its work after SIGTERM.
    pub grace: f64,
}

/// What an app may use.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct AppLimits {
    /// Bytes of memory.
    pub memory: u64,
    /// Processors.
    pub cpus: f64,
    /// Processes and threads.
    pub pids: u32,
}

/// When a web process counts as ready: any answer below 500 to `GET path`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Check {
    /// What is asked for.
    pub path: String,
    /// Seconds after which a release that has not answered has failed.
    pub timeout: f64,
}

impl Default for AppConfig {
    fn default() -> Self {
        AppConfig {
            env: BTreeMap::new(),
            scale: BTreeMap::new(),
            egress: false,
            limits: AppLimits::default(),
            check: Check::default(),
            socket: false,
            grace: 10.0,
        }
    }
}

impl Default for AppLimits {
    fn default() -> Self {
        AppLimits { memory: 512 << 20, cpus: 1.0, pids: 256 }
    }
}

impl Default for Check {
    fn default() -> Self {
        Check { path: "/".into(), timeout: 30.0 }
    }
}

impl AppConfig {
    /// From the document; the error says in plain words which field cannot be used.
    pub fn parse(document: &Json) -> Result<AppConfig, String> {
        if !document.is_object() && !document.is_null() {
            return Err("it is not a JSON object".to_owned());
        }
        let config: AppConfig = match document {
            Json::Null => AppConfig::default(),
            other => AppConfig::deserialize(other).map_err(|e| e.to_string())?,
        };
        let seconds = |value: f64| value.is_finite() && (0.0..=MAX_SECONDS).contains(&value);
        let checks = [
            (seconds(config.grace), "grace: 0 to 3600 seconds"),
            (
                seconds(config.check.timeout) && config.check.timeout > 0.0,
                "check.timeout: more than 0, at most 3600 seconds",
            ),
            (is_path(&config.check.path), "check.path: a path that begins with /"),
            (config.limits.memory >= MIN_MEMORY, "limits.memory: at least 4194304 bytes"),
            ((0.01..=4096.0).contains(&config.limits.cpus), "limits.cpus: 0.01 to 4096"),
            (config.limits.pids >= 2, "limits.pids: at least 2"),
            (config.scale.values().all(|n| *n <= MAX_SCALE), "scale: at most 32 of each type"),
            (
                config.env.iter().all(|(name, value)| is_variable(name) && !value.contains('\0')),
                "env: names without `=`, and no zero bytes",
            ),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(rule.to_owned()),
            None => Ok(config),
        }
    }

    /// How many processes of a type there are to be: one `web`, none of others unless scaled.
    pub fn count(&self, kind: &str) -> u32 {
        self.scale.get(kind).copied().unwrap_or(u32::from(kind == "web"))
    }

    /// Seconds between SIGTERM and SIGKILL, whole ones.
    pub fn grace_seconds(&self) -> u32 {
        self.grace.ceil() as u32
    }

    /// How long a release may take to answer.
    pub fn ready_within(&self) -> Duration {
        Duration::from_secs_f64(self.check.timeout)
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Whether it can stand in a request line as it is.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 2048 && path.bytes().all(|b| (0x21..0x7f).contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_those_of_the_contract() {
        for empty in [json!(null), json!({}), json!({"suite": "trixie", "other": [1]})] {
            let config = AppConfig::parse(&empty).unwrap();
            assert_eq!(config, AppConfig::default());
        }
        let config = AppConfig::default();
        assert_eq!((config.count("web"), config.count("worker")), (1, 0));
        assert_eq!(config.limits, AppLimits { memory: 536_870_912, cpus: 1.0, pids: 256 });
        assert_eq!((config.check.path.as_str(), config.check.timeout), ("/", 30.0));
        assert_eq!((config.grace_seconds(), config.socket, config.egress), (10, false, false));
    }

    #[test]
    fn some_fields_leave_the_others() {
        let document =
            json!({"limits": {"pids": 9}, "scale": {"web": 2, "worker": 1}, "grace": 1.5});
        let config = AppConfig::parse(&document).unwrap();
        assert_eq!((config.limits.pids, config.limits.memory), (9, 512 << 20));
        assert_eq!((config.count("web"), config.count("worker")), (2, 1));
        assert_eq!(config.grace_seconds(), 2);
    }

    #[test]
    fn wrong_fields_are_named() {
        let table = [
            (json!([]), "not a JSON object"),
            (json!({"env": {"A": 1}}), "invalid type"),
            (json!({"env": {"A=B": "x"}}), "env"),
            (json!({"scale": {"web": 1000}}), "scale"),
            (json!({"limits": {"memory": 1}}), "limits.memory"),
            (json!({"limits": {"cpus": 0}}), "limits.cpus"),
            (json!({"check": {"path": "x"}}), "check.path"),
            (json!({"check": {"path": "/ HTTP/1.1\r\n"}}), "check.path"),
            (json!({"check": {"timeout": 0}}), "check.timeout"),
            (json!({"grace": -1}), "grace"),
        ];
        for (document, want) in table {
            let error = AppConfig::parse(&document).unwrap_err();
            assert!(error.contains(want), "{document}: {error}");
        }
    }
}
