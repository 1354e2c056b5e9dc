//! One push, from its first byte to its outcome: what `git receive-pack` does, and the deploy.

use std::{
    io::{Read, Write},
    time::Instant,
};

use gix_hash::ObjectId;
use keg::{Keg, Kid, path::AppName};

use crate::{
    answer::Answer,
    check::Checks,
    convert::ConvertError,
    deploy::deploy,
    land::{self, LandError, Landed},
    pack::{self, PackError},
    policy::{self, Refusal},
    repack,
    repo::{self, MAIN, Repo, RepoError},
    request::{Command, Request, RequestError},
    settle::{self, SettleError},
    taken::Taken,
};

/// Why a push was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// Its start.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The newest push before it.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// Its pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Its tree.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// Storing it.
    #[error(transparent)]
    Land(#[from] LandError),
    /// Storing its objects.
    #[error("the push cannot be stored: {0}")]
    Store(#[from] keg::store::StoreError),
}

/// Receives a push to `app` from `input` and answers to `output`.
pub(crate) fn push(keg: &Keg, app: &AppName, input: &mut dyn Read, output: &mut dyn Write) {
    let start = Instant::now();
    let mut answer = Answer::new(output);
    let mut request = Request::default();
    let read = request.read(input);
    answer.side_band = request.side_band;
    answer.report = request.report;
    let names: Vec<String> = request.commands.iter().map(|c| c.name.clone()).collect();
    let all = |reason: &str| -> Vec<(String, Result<(), String>)> {
        names.iter().map(|name| (name.clone(), Err(reason.to_owned()))).collect()
    };
    if let Err(error) = read {
        let reason = error.to_string();
        answer.say(&format!(" !     {reason}"));
        return answer.finish(Err(reason.clone()), &all(&reason));
    }
    if request.commands.is_empty() {
        return;
    }
    // A missing row in the process table is no reason to refuse a push.
    let _row = keg::process::register(keg, "work/receive", app.as_str()).ok();
    match store(keg, app, &mut request, input, &mut answer, start) {
        Ok(Landed { mut outcomes, source }) => {
            if let Some(source) = source {
                let deployed = deploy(keg, app, &request, &source, &mut answer);
                let main = names.iter().position(|name| name == MAIN);
                if let Some(outcome) = main.and_then(|main| outcomes.get_mut(main)) {
                    *outcome = deployed;
                }
                land::all_or_none(&request, &mut outcomes);
            }
            let outcomes: Vec<_> = names.into_iter().zip(outcomes).collect();
            answer.finish(Ok(()), &outcomes);
            // After the answer: nobody waits for it, and the next push may do it as well.
            if let Err(error) = repack::repack(keg, app) {
                eprintln!("merging the packs of {app}: {error}");
            }
        }
        Err(error) => {
            let reason = error.to_string();
            answer.say(&format!(" !     {reason}"));
            answer.finish(Err(reason.clone()), &all(&reason));
        }
    }
}

/// Takes the pack, checks it, and stores what the policy allows.
fn store(
    keg: &Keg,
    app: &AppName,
    request: &mut Request,
    input: &mut dyn Read,
    answer: &mut Answer<'_>,
    start: Instant,
) -> Result<Landed, PushError> {
    let repo = settle::settled(keg, app)?;
    let joined = as_told(&repo, request);
    let mut verdicts: Vec<Result<(), String>> = request
        .commands
        .iter()
        .map(|command| policy::before_pack(command, &request.commands, &repo.refs))
        .map(|verdict| verdict.map_err(|refusal| refusal.to_string()))
        .collect();
    land::all_or_none(request, &mut verdicts);
    if verdicts.iter().all(Result::is_err) {
        return Ok(Landed { outcomes: verdicts, source: None });
    }
    let mut packs = repo.packs(keg)?;
    let scratch = repo::scratch(keg);
    let mut checks = Checks::default();
    let mut received = None;
    if request.wants_pack() {
        received = pack::receive(input, &mut packs, &mut checks, &scratch)?;
    }
    let mut taken = Taken::new(keg, received, &mut packs)?;
    checks.finish(&mut packs, &mut taken.budget())?;
    for (command, verdict) in request.commands.iter().zip(&mut verdicts) {
        if verdict.is_ok() {
            *verdict = match policy::after_pack(command, &mut packs, request.force) {
                Err(Refusal::Pack(error)) => return Err(error.into()),
                other => other.map_err(|refusal| refusal.to_string()),
            };
        }
    }
    land::all_or_none(request, &mut verdicts);
    let new = |c: &Command| c.name == MAIN && c.old != c.new;
    let main = request.commands.iter().zip(&verdicts).find(|(c, v)| new(c) && v.is_ok());
    let source = match main {
        Some((command, _)) => Some(taken.convert(keg, &repo, &mut packs, command.new)?),
        None => None,
    };
    let accepted = verdicts.iter().any(Result::is_ok);
    let files = if accepted { taken.files(keg)? } else { None };
    let mut landed = land::land(keg, repo, request, verdicts, files, source)?;
    match (&landed.source, joined) {
        (Some(source), _) => taken.tell(source, start, answer),
        (None, Some(source)) => {
            answer.say("-----> This commit was pushed already; following that deploy");
            landed.source = Some(source);
        }
        (None, None) => {}
    }
    Ok(landed)
}

/// Corrects what the client took for the refs' values, where it was told those from before a push
/// that is being deployed, or they have moved to what it wants since. The source of the push it
/// joins, if it wants main to be what that one made it: that one may have been live by now, so
/// this one hears where.
fn as_told(repo: &Repo, request: &mut Request) -> Option<Kid> {
    let null = ObjectId::null(gix_hash::Kind::Sha1);
    let mut joined = None;
    for command in &mut request.commands {
        let pending = repo.pending(&command.name);
        if repo.refs.get(&command.name) == Some(&command.new) {
            if command.name == MAIN && command.old != command.new {
                joined = repo.push.as_ref().map(|push| push.source);
            }
            command.old = command.new;
        } else if let Some(pending) = pending
            && pending.from.unwrap_or(null) == command.old
        {
            command.old = pending.to;
        }
    }
    joined
}
