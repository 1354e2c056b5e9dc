//! `keg rollback`: an earlier release back in service, by moving one name.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use keg::{
    Keg, Kid,
    names::{Expected, Txn},
    object::{Commit, Entry},
    path::{AppName, NamePath},
    users::Author,
};
use serde_json::{Value as Json, json};

use super::{locate, who};
use crate::{args::Output, error::CommandError, find, output};

/// How long the mayor may take to say what became of it.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// Releases looked back through.
const MAX_RELEASES: usize = 10_000;

/// Makes `release`, or the one before the current one, the current release, and waits for it.
pub fn run(app: &AppName, release: Option<&str>, how: Output) -> Result<(), CommandError> {
    let (keg, _) = find::running_keg()?;
    let path: NamePath = format!("/oci-images/{app}").parse()?;
    let current = keg.get(&path)?.and_then(|entry| entry.kid()).ok_or_else(|| {
        CommandError::user(format!("the app {app} has no release"))
            .hint("`keg apps` lists the apps; a release is made by `git push keg main`")
    })?;
    let wanted = choose(&keg, app, current, release)?;
    let by = Author::of(&keg, &who::author(), None)?;
    let new = put_release(&keg, app, current, wanted, &by)?;
    let outcome_path = outcome_path(app)?;
    let mut watch = keg.watch(&outcome_path, None)?;
    let txn = Txn::new(&who::author(), &format!("roll {app} back to {}", wanted.short()))
        .expect(path.clone(), Expected::Kid(current))
        .set(path, Entry::commit(new));
    who::commit(&keg, txn)?;
    let outcome = wait(&keg, &outcome_path, &mut watch, new)?;
    report(app, new, wanted, &outcome, how)
}

/// The asked-for release of this app, or the newest before the current one that ran and differs
/// from it: after a deploy that failed, the one that still serves.
fn choose(
    keg: &Keg,
    app: &AppName,
    current: Kid,
    release: Option<&str>,
) -> Result<Kid, CommandError> {
    let here = keg.objects().commit(&current)?;
    let asked = release.map(|text| locate::resolve(keg, text)).transpose()?;
    let ran = ran(keg, app)?;
    let earlier = |kid: Kid, tree: Kid| tree != here.tree && ran.contains(&kid);
    let mut next = here.parents.first().copied();
    for _ in 0..MAX_RELEASES {
        let Some(kid) = next else { break };
        let Some(commit) = keg.parent(&kid)? else { break };
        if asked.map_or_else(|| earlier(kid, commit.tree), |asked| asked == kid) {
            return Ok(kid);
        }
        next = commit.parents.first().copied();
    }
    let hint = format!("`keg log /oci-images/{app}` lists its releases");
    Err(match asked {
        Some(kid) if kid == current => {
            CommandError::user(format!("{} is the current release of {app}", kid.short()))
        }
        Some(kid) => CommandError::user(format!("{} is not a release of {app}", kid.short())),
        None => CommandError::user(format!("{app} has no earlier release that ran")),
    }
    .hint(hint))
}

/// The releases of the app that have served on this machine.
fn ran(keg: &Keg, app: &AppName) -> Result<HashSet<Kid>, CommandError> {
    let mut ran = HashSet::new();
    for change in keg.history(&outcome_path(app)?).take(MAX_RELEASES) {
        let Some(kid) = change?.new.and_then(|entry| entry.kid()) else { continue };
        let bytes = keg.objects().blob(&kid)?;
        let document: Json = serde_json::from_slice(&bytes).unwrap_or_default();
        ran.extend(document["live"].as_str().and_then(|text| text.parse::<Kid>().ok()));
    }
    Ok(ran)
}

/// Where the mayor of this machine says what became of the newest release.
fn outcome_path(app: &AppName) -> Result<NamePath, CommandError> {
    Ok(format!("/machines/{}/apps/{app}.json", keg::machine::name()).parse()?)
}

/// A new release commit with the old one's tree, so that history only grows.
fn put_release(
    keg: &Keg,
    app: &AppName,
    current: Kid,
    wanted: Kid,
    by: &Author,
) -> Result<Kid, CommandError> {
    let old = keg.objects().commit(&wanted)?;
    let mut extra = old.extra.clone();
    extra.insert("rollback_of".to_owned(), json!(wanted));
    extra.insert("user".to_owned(), json!(by.kid()));
    let commit = Commit {
        tree: old.tree,
        parents: vec![current],
        author: by.text().to_owned(),
        time_ms: keg::time::now_ms(),
        message: format!("roll {app} back to {}", wanted.short()),
        extra,
    };
    Ok(keg.objects().put_commit(&commit)?)
}

fn wait(
    keg: &Keg,
    path: &NamePath,
    watch: &mut keg::watch::Watch,
    release: Kid,
) -> Result<Json, CommandError> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    loop {
        if let Some(document) = keg.get_json(path)?
            && document["release"] == json!(release)
            && matches!(document["state"].as_str(), Some("live" | "failed"))
        {
            return Ok(document);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CommandError::user("the mayor has not answered in two minutes")
                .hint("`keg status` shows the services; the rollback stays in force"));
        }
        watch.wait(left)?;
    }
}

fn report(
    app: &AppName,
    release: Kid,
    wanted: Kid,
    outcome: &Json,
    how: Output,
) -> Result<(), CommandError> {
    if outcome["state"] == "failed" {
        let reason = outcome["error"]["message"].as_str().unwrap_or("no reason given");
        let text = format!("the release {} did not start: {reason}", wanted.short());
        let hint = outcome["error"]["hint"].as_str().unwrap_or("`keg logs` shows its output");
        return Err(CommandError::user(text).hint(hint));
    }
    if how.json {
        return output::json_line(&json!({
            "app": app.as_str(), "release": release, "rollback_of": wanted,
            "state": outcome["state"], "url": outcome["url"],
        }));
    }
    output::line(&format!(
        "{app} is back at {} (as release {}), live at {}",
        wanted.short(),
        release.short(),
        output::field(outcome, "url")
    ))
}
