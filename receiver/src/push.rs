//! One push, from its first byte to its outcome: what `git receive-pack` does, and the deploy.

use std::{
    collections::HashMap,
    io::{Read, Write},
    time::Instant,
};

use gix_hash::ObjectId;
use keg::{Keg, Kid, path::AppName};

use crate::{
    answer::Answer,
    check::Checks,
    convert::{ConvertError, Converter, Remarks},
    follow::{self, FollowError, Outcome},
    kids::{self, Known},
    land::{self, Files, LandError, Landed, NewSource},
    pack::{self, Budget, PackError, PackSet, Received},
    policy::{self, Refusal},
    repo::{self, MAIN, Repo, RepoError},
    request::{Request, RequestError},
    settle::{self, Failure, SettleError},
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
    match store(keg, app, &request, input, &mut answer, start) {
        Ok(Landed { mut outcomes, source }) => {
            if let Some(source) = source {
                let deployed = deploy(keg, app, &request, &source, &mut answer);
                let main = names.iter().position(|name| name == MAIN);
                if let Some(outcome) = main.and_then(|main| outcomes.get_mut(main)) {
                    *outcome = deployed;
                }
            }
            let outcomes: Vec<_> = names.into_iter().zip(outcomes).collect();
            answer.finish(Ok(()), &outcomes);
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
    request: &Request,
    input: &mut dyn Read,
    answer: &mut Answer<'_>,
    start: Instant,
) -> Result<Landed, PushError> {
    let repo = settle::settled(keg, app)?;
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
    let main = request.commands.iter().zip(&verdicts).find(|(c, v)| c.name == MAIN && v.is_ok());
    let source = match main {
        Some((command, _)) => Some(taken.convert(keg, &repo, &mut packs, command.new)?),
        None => None,
    };
    let accepted = verdicts.iter().any(Result::is_ok);
    let files = if accepted { taken.files(keg)? } else { None };
    let landed = land::land(keg, repo, request, verdicts, files, source)?;
    if let Some(source) = &landed.source {
        taken.tell(source, start, answer);
    }
    Ok(landed)
}

/// What a push brought, on its way into the Keg.
struct Taken {
    /// The pack's file in the Keg, its index, its size and number of objects.
    pack: Option<(keg::object::Entry, Vec<u8>)>,
    objects: usize,
    bytes: u64,
    known: HashMap<ObjectId, Known>,
    remarks: Remarks,
    tree: Option<Known>,
    git: Option<ObjectId>,
}

impl Taken {
    /// Stores the pack, so that it can be read like the others. Nothing names it yet.
    fn new(keg: &Keg, received: Option<Received>, packs: &mut PackSet) -> Result<Self, PushError> {
        let mut taken = Self {
            pack: None,
            objects: 0,
            bytes: 0,
            known: HashMap::new(),
            remarks: Remarks::default(),
            tree: None,
            git: None,
        };
        let Some(Received { pack, items, index, cache }) = received else { return Ok(taken) };
        let (kid, size) = keg.objects().put_blob(&mut &pack.data[..])?;
        taken.pack = Some((keg::object::Entry::file(kid, size), index));
        taken.objects = items.len();
        taken.bytes = size;
        let blobs = items.iter().filter(|item| item.kind == gix_object::Kind::Blob);
        taken.known = blobs
            .map(|item| {
                let flags = if item.lfs { kids::LFS } else { 0 };
                let (kid, bytes) = (item.kid, item.size);
                (item.id, Known { is_tree: false, flags, kid, bytes, entries: 0 })
            })
            .collect();
        packs.add_received(pack, cache);
        Ok(taken)
    }

    /// The work that reading this push back may cause.
    fn budget(&self) -> Budget {
        Budget::for_bytes(self.bytes)
    }

    /// Converts the tree of the commit pushed to main.
    fn convert(
        &mut self,
        keg: &Keg,
        repo: &Repo,
        packs: &mut PackSet,
        git: ObjectId,
    ) -> Result<NewSource, PushError> {
        let earlier = repo.kids(keg)?;
        let object = packs.read(&git, &mut self.budget())?.ok_or(LandError::Commit(git))?;
        let commit = gix_object::CommitRef::from_bytes(&object.bytes, gix_hash::Kind::Sha1)
            .map_err(|_| LandError::Commit(git))?;
        let known = std::mem::take(&mut self.known);
        // The whole tree may lie in earlier packs.
        let budget = Budget::for_bytes(self.bytes + packs.bytes());
        let mut converter = Converter::new(keg.objects(), packs, &earlier, known, budget);
        let tree = converter.run(commit.tree())?;
        self.known = converter.known;
        self.remarks = converter.remarks;
        self.tree = Some(tree);
        self.git = Some(git);
        Ok(NewSource::of(packs, git, tree.kid)?)
    }

    /// Stores index and sidecar; `None`: there is nothing new to keep.
    fn files(&mut self, keg: &Keg) -> Result<Option<Files>, PushError> {
        if self.pack.is_none() && self.known.is_empty() {
            return Ok(None);
        }
        let sidecar = kids::encode(self.known.iter().map(|(id, known)| (*id, *known)));
        let (kids, size) = keg.objects().put_blob(&mut &sidecar[..])?;
        let mut entries = vec![("kids", keg::object::Entry::file(kids, size))];
        let mut name = kids;
        if let Some((pack, index)) = self.pack.take() {
            let (index, size) = keg.objects().put_blob(&mut &index[..])?;
            name = pack.kid().unwrap_or(name);
            entries.push(("pack", pack));
            entries.push(("idx", keg::object::Entry::file(index, size)));
        }
        Ok(Some(Files { name: name.to_hex()[..16].to_owned(), entries }))
    }

    /// Tells what was stored.
    fn tell(&self, source: &Kid, start: Instant, answer: &mut Answer<'_>) {
        let git = self.git.as_ref().map(policy::short).unwrap_or_default();
        let took = start.elapsed().as_millis();
        answer.say(&format!("-----> Source stored {} (git {git}) in {took} ms", source.short()));
        if let Some(tree) = self.tree {
            let (files, size) = (tree.entries, human(tree.bytes));
            let (objects, sent) = (self.objects, human(self.bytes));
            let converted = self.remarks.converted;
            answer.say(&format!(
                "       {files} files and directories, {size}; {converted} converted, \
                 received {objects} objects in {sent}"
            ));
        }
        let Remarks { submodules, submodule_count, lfs, lfs_count, .. } = &self.remarks;
        for (path, url) in submodules {
            let from = if url.is_empty() { "no address in .gitmodules" } else { url };
            answer.say(&format!(
                " !     submodule {path} ({from}) is kept as a pointer: the build sees an empty \
                 directory there. Add its files to this repository instead: git subtree add"
            ));
        }
        for path in lfs {
            answer.say(&format!(
                " !     {path} is a Git LFS pointer: the build sees the pointer, not the file. \
                 Commit the file itself: git lfs migrate export --include={path:?}"
            ));
        }
        let more = (submodule_count - submodules.len()) + (lfs_count - lfs.len());
        if more > 0 {
            answer.say(&format!(" !     and {more} more of these"));
        }
    }
}

/// Follows the deploy and settles the refs; why main is not deployed.
fn deploy(
    keg: &Keg,
    app: &AppName,
    request: &Request,
    source: &Kid,
    answer: &mut Answer<'_>,
) -> Result<(), String> {
    if request.no_wait {
        answer.say(&format!("       not waiting for the deploy; see keg log /deploys/{app}.json"));
        return Ok(());
    }
    let outcome = match watched(keg, app, source, answer) {
        Ok(outcome) => outcome,
        Err(error) => {
            return Err(format!("stored as {}, but not watched: {error}", source.short()));
        }
    };
    let failed = matches!(outcome, Outcome::Failed(_));
    if matches!(outcome, Outcome::Live(_) | Outcome::Failed(_) | Outcome::Superseded)
        && let Err(error) = settle::settle(keg, app, source, failed)
    {
        answer.say(&format!(" !     {error}"));
    }
    told(keg, app, source, outcome, answer)
}

/// Runs the watching.
fn watched(
    keg: &Keg,
    app: &AppName,
    source: &Kid,
    answer: &mut Answer<'_>,
) -> Result<Outcome, FollowError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(FollowError::Runtime)?;
    runtime.block_on(follow::follow(keg, app, source, answer))
}

/// Says how a deploy ended, in full to the person and in one line to git.
fn told(
    keg: &Keg,
    app: &AppName,
    source: &Kid,
    outcome: Outcome,
    answer: &mut Answer<'_>,
) -> Result<(), String> {
    let kept = format!("the source is kept as {}", source.short());
    match outcome {
        Outcome::Live(running) => {
            let release = keg.objects().commit(&running.release).ok();
            let image = release.and_then(|commit| {
                commit.extra.get("image")?.as_str()?.parse::<Kid>().ok().map(|kid| kid.short())
            });
            answer.say(&format!("=====> live at {}", running.url));
            answer.say(&format!(
                "       source {}  image {}  release {}",
                source.short(),
                image.unwrap_or_else(|| "unknown".to_owned()),
                running.release.short()
            ));
            Ok(())
        }
        Outcome::Failed(Failure { step, message, hint }) => {
            let what = if step == "start" {
                "start failed".to_owned()
            } else {
                format!("build failed: {step}")
            };
            answer.say(&format!(" !     {what}: {message}"));
            if let Some(hint) = hint {
                answer.say(&format!("       {hint}"));
            }
            answer.say(&format!("       {kept}; what ran before still runs; push again to retry"));
            Err(format!("{what}: {message}"))
        }
        Outcome::Superseded => {
            answer.say("       a newer push took over; this one was not waited for");
            Ok(())
        }
        Outcome::NoBuilder => {
            answer.say(
                " !     no builder answered: is keg up running? It builds this source by itself",
            );
            Err(format!("not deployed: no builder answered; {kept}; start keg up"))
        }
        Outcome::NoMayor(release) => {
            let release = release.short();
            answer.say(&format!(
                " !     release {release} is built, but nothing started it: is keg up running?"
            ));
            Err(format!("release {release} is built, but nothing started it; start keg up"))
        }
        Outcome::TooLong => Err(format!(
            "the deploy takes too long to watch; see keg log /deploys/{app}.json; {kept}"
        )),
    }
}

/// Bytes for people.
fn human(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
