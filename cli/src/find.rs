//! Finding the Keg a command is about: `$KEG_HOME`, `$KEG_URL`, or the default address.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use keg::Keg;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::CommandError;

/// Where `keg up` listens unless told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:7070";
/// How long the front may take to say which Keg it serves.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer to that question, bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// What `keg up` leaves in `run/up.json`, and what `/-/keg.json` answers.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Running {
    /// Of `keg up`.
    pub pid: u32,
    /// The Keg's directory.
    pub home: PathBuf,
    /// The machine's name in the namespace.
    pub machine: String,
    /// Git, registry, REST, web.
    pub url: String,
    /// Apps; `{app}` stands for the name.
    pub apps_url: String,
    /// When it started, RFC 3339.
    pub started: String,
}

/// The file whose lock says that a Keg is running.
pub fn lock_path(home: &Path) -> PathBuf {
    home.join("run").join("up.lock")
}

/// The file that says how to reach it.
pub fn running_path(home: &Path) -> PathBuf {
    home.join("run").join("up.json")
}

/// The Keg's directory, from the environment or from whoever listens at `$KEG_URL`.
pub fn home() -> Result<PathBuf, CommandError> {
    if let Some(home) = std::env::var_os("KEG_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home));
    }
    let url = std::env::var("KEG_URL").ok().filter(|url| !url.is_empty());
    let asked = ask(url.as_deref().unwrap_or(DEFAULT_URL));
    match (asked, url) {
        (Ok(running), _) => Ok(running.home),
        (Err(error), Some(url)) => Err(CommandError::config(format!("no Keg answers at {url}"))
            .because(error)
            .hint("start one with `keg up`, or set KEG_HOME to its directory")),
        (Err(_), None) => Err(no_keg()),
    }
}

/// Opens the Keg the command is about, running or not.
pub fn keg() -> Result<Arc<Keg>, CommandError> {
    open(&home()?)
}

/// Opens the Keg and insists that `keg up` is running on it.
pub fn running_keg() -> Result<(Arc<Keg>, Running), CommandError> {
    let home = home()?;
    let keg = open(&home)?;
    let running = running(&home)?.ok_or_else(|| {
        CommandError::config(format!("no Keg is running in {}", home.display()))
            .hint(format!("start it with `keg up --home {}`", home.display()))
    })?;
    Ok((keg, running))
}

/// How to reach the Keg running in `home`, if one is.
pub fn running(home: &Path) -> Result<Option<Running>, CommandError> {
    let Ok(lock) = fs::File::open(lock_path(home)) else { return Ok(None) };
    if flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(None);
    }
    let Ok(text) = fs::read(running_path(home)) else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        CommandError::internal("run/up.json cannot be read", error)
            .hint("stop `keg up` and start it again")
    })
}

fn open(home: &Path) -> Result<Arc<Keg>, CommandError> {
    if !home.join("format.json").exists() {
        return Err(CommandError::config(format!("{} is not a Keg", home.display()))
            .hint("`keg up --home DIR` makes one; set KEG_HOME to its directory"));
    }
    Keg::open(home).map(Arc::new).map_err(|error| {
        CommandError::config(format!("the Keg in {} cannot be opened", home.display()))
            .because(error)
            .hint("it belongs to the user who ran `keg up`; run the command as that user")
    })
}

fn no_keg() -> CommandError {
    CommandError::config("no Keg is running here")
        .hint("start one with `keg up --home DIR`, or set KEG_HOME or KEG_URL to reach another")
}

fn ask(url: &str) -> Result<Running, Box<dyn std::error::Error + Send + Sync>> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(ASK_TIMEOUT)).proxy(None).build().into();
    let mut answer = agent.get(format!("{}/-/keg.json", url.trim_end_matches('/'))).call()?;
    let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?;
    Ok(serde_json::from_slice(&text)?)
}
