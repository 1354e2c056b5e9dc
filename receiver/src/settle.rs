//! What a deploy comes to, as the namespace tells it, and what then becomes of the refs.
//!
//! While a push is deployed its refs are moved already, so that a second push meets the first.
//! If the deploy fails they go back: main always names what was deployed last, and pushing the same
//! commit again is a new attempt. Whoever looks next does this for a push process that was killed.

use gix_hash::ObjectId;
use keg::{CommitError, Keg, Kid, NamesError, Txn, path::AppName};
use serde_json::{Value as Json, json};

use crate::{
    land::expected,
    repo::{self, PushState, Repo, RepoError},
};

/// How often settling starts over when others push.
const MAX_ATTEMPTS: usize = 32;

/// Why a deploy could not be settled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The names.
    #[error("the outcome of the deploy cannot be stored: {0}")]
    Commit(#[from] CommitError),
    /// The namespace.
    #[error("the outcome of the deploy cannot be read: {0}")]
    Names(#[from] NamesError),
    /// A path.
    #[error(transparent)]
    Path(#[from] keg::path::PathError),
}

/// Why a deploy failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// `detect`, `import`, `build`, `image`, or `start`.
    pub(crate) step: String,
    /// What happened.
    pub(crate) message: String,
    /// What to do next, if known.
    pub(crate) hint: Option<String>,
}

/// What runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Running {
    /// Where.
    pub(crate) url: String,
    /// The release.
    pub(crate) release: Kid,
}

/// How far the deploy of a source is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// No builder has taken it.
    Waiting,
    /// An earlier source of this app is being built; ours is next.
    Queued,
    /// It is built; the log is this stream.
    Building(Option<String>),
    /// It is built; no mayor has taken the release.
    Built(Option<String>, Kid),
    /// It is being started.
    Starting(Option<String>, Kid),
    /// It runs.
    Live(Option<String>, Running),
    /// It was not built, or does not run.
    Failed(Option<String>, Failure),
    /// A newer source or release took its place.
    Superseded,
}

/// How far the deploy of `source` is.
///
/// # Errors
/// The Keg's.
pub(crate) fn stage(keg: &Keg, app: &AppName, source: &Kid) -> Result<Stage, SettleError> {
    let deploy = keg.get_json(&format!("/deploys/{app}.json").parse()?)?;
    let busy = deploy.as_ref().is_some_and(|deploy| deploy["state"] == "building");
    let ours = deploy.filter(|deploy| kid(deploy, "source") == Some(*source));
    let Some(deploy) = ours else {
        let newest = keg.get(&repo::source_path(app)?)?.and_then(|entry| entry.kid());
        return Ok(match busy {
            _ if newest != Some(*source) => Stage::Superseded,
            true => Stage::Queued,
            false => Stage::Waiting,
        });
    };
    let stream = deploy["stream"].as_str().map(str::to_owned);
    match (deploy["state"].as_str(), kid(&deploy, "release")) {
        (Some("failed"), _) => Ok(Stage::Failed(stream, failure(&deploy["error"], "build"))),
        (Some("built"), Some(release)) => on_machines(keg, app, stream, release),
        _ => Ok(Stage::Building(stream)),
    }
}

/// How far the machines are with a release.
fn on_machines(
    keg: &Keg,
    app: &AppName,
    stream: Option<String>,
    release: Kid,
) -> Result<Stage, SettleError> {
    let mut stage = Stage::Built(stream.clone(), release);
    for (machine, _) in keg.list(&"/machines".parse()?)? {
        let path = format!("/machines/{machine}/apps/{app}.json").parse()?;
        let Some(state) = keg.get_json(&path)? else { continue };
        if kid(&state, "release") != Some(release) {
            continue;
        }
        match state["state"].as_str() {
            Some("failed") => {
                return Ok(Stage::Failed(stream, failure(&state["error"], "start")));
            }
            Some("live") => {
                let url = state["url"].as_str().unwrap_or_default().to_owned();
                stage = Stage::Live(stream.clone(), Running { url, release });
            }
            _ if !matches!(stage, Stage::Live(..)) => {
                stage = Stage::Starting(stream.clone(), release);
            }
            _ => {}
        }
    }
    if matches!(stage, Stage::Built(..)) {
        let current = keg.get(&format!("/oci-images/{app}").parse()?)?.and_then(|e| e.kid());
        if current.is_some_and(|current| current != release) {
            return Ok(Stage::Superseded);
        }
    }
    Ok(stage)
}

/// Stores what became of the push of `source`: its refs go back if it failed.
///
/// # Errors
/// The Keg's.
pub(crate) fn settle(
    keg: &Keg,
    app: &AppName,
    source: &Kid,
    failed: bool,
) -> Result<(), SettleError> {
    for _ in 0..MAX_ATTEMPTS {
        let repo = Repo::load(keg, app)?;
        let Some(mut push) = repo.push.clone() else { return Ok(()) };
        if push.source != *source || push.state != PushState::Deploying {
            return Ok(());
        }
        let mut refs = repo.refs.clone();
        for (name, moved) in std::mem::take(&mut push.undo) {
            let now = refs.get(&name).map(ToString::to_string);
            if !failed || now != moved.to {
                continue;
            }
            match moved.from.and_then(|id| ObjectId::from_hex(id.as_bytes()).ok()) {
                Some(id) => refs.insert(name, id),
                None => refs.remove(&name),
            };
        }
        push.state = if failed { PushState::Failed } else { PushState::Done };
        let outcome = if failed { "failed" } else { "succeeded" };
        let (refs_path, push_path) = (repo::path(app, "refs.json")?, repo::path(app, "push.json")?);
        let txn = Txn::new("service/receiver", &format!("the deploy of {app} {outcome}"))
            .expect(refs_path.clone(), expected(repo.refs_kid))
            .expect(push_path.clone(), expected(repo.push_kid))
            .set_json(refs_path, repo::refs_json(&refs))
            .set_json(push_path, json!(push));
        match keg.commit(txn) {
            Err(CommitError::Conflict { .. }) => {}
            other => return Ok(other.map(drop)?),
        }
    }
    Ok(())
}

/// Settles the newest push if its process is gone and the namespace tells the outcome; the
/// repository as it is then.
///
/// # Errors
/// The Keg's.
pub(crate) fn settled(keg: &Keg, app: &AppName) -> Result<Repo, SettleError> {
    let repo = Repo::load(keg, app)?;
    let pending = repo.push.as_ref().filter(|push| push.state == PushState::Deploying);
    let Some(source) = pending.map(|push| push.source) else { return Ok(repo) };
    let failed = match stage(keg, app, &source)? {
        Stage::Failed(..) => true,
        Stage::Live(..) | Stage::Superseded => false,
        _ => return Ok(repo),
    };
    settle(keg, app, &source, failed)?;
    Ok(Repo::load(keg, app)?)
}

/// A KID in a document.
fn kid(document: &Json, field: &str) -> Option<Kid> {
    document[field].as_str()?.parse().ok()
}

/// An error in a document.
fn failure(error: &Json, step: &str) -> Failure {
    let text = |field: &str| error[field].as_str().map(str::to_owned);
    Failure {
        step: text("step").unwrap_or_else(|| step.to_owned()),
        message: text("message").unwrap_or_else(|| "no reason was given".to_owned()),
        hint: text("hint").filter(|hint| !hint.is_empty()),
    }
}
