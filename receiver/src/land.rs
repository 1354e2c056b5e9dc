//! Storing a push: its pack, its refs and, for main, its source, in one transaction.

use std::collections::BTreeMap;

use gix_hash::ObjectId;
use gix_object::CommitRef;
use keg::{
    CommitError, Expected, Keg, Kid, NamePath, Txn,
    object::{Commit, Entry},
    path::PathError,
    store::StoreError,
    users::Author,
};
use serde_json::json;

use crate::{
    pack::{Budget, PackError, PackSet},
    policy,
    repo::{self, MAIN, Moved, Push, PushState, Repo, RepoError},
    request::{Command, Request},
};

/// How often a push that changes other refs than its competitors starts over.
const MAX_ATTEMPTS: usize = 32;
/// Most bytes of a commit's message that are kept with the source; git keeps it whole.
const MAX_MESSAGE: usize = 64 << 10;
/// Most bytes of an author's name and address.
const MAX_AUTHOR: usize = 1000;

/// Why a push was not stored; nothing of it is visible then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LandError {
    /// The repository cannot be read.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The commit's git object cannot be read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The commit is not one.
    #[error("commit {0} cannot be read")]
    Commit(ObjectId),
    /// The objects could not be stored.
    #[error("the push cannot be stored: {0}")]
    Store(#[from] StoreError),
    /// The names could not be set.
    #[error("the push cannot be stored: {0}")]
    Names(#[from] CommitError),
    /// A path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Others were always faster.
    #[error("too many pushes to this app at the same time; push again")]
    Busy,
}

/// The files of a push, stored as blobs already: extension and value, under one name.
pub(crate) struct Files {
    /// Their name without extension.
    pub(crate) name: String,
    /// Extension and blob.
    pub(crate) entries: Vec<(&'static str, Entry)>,
}

/// The source a push to main makes.
pub(crate) struct NewSource {
    /// The git commit.
    pub(crate) git: ObjectId,
    /// Its tree in the Keg.
    pub(crate) tree: Kid,
    /// Who wrote it.
    pub(crate) author: String,
    /// Why.
    pub(crate) message: String,
}

impl NewSource {
    /// What the commit says of itself.
    ///
    /// # Errors
    /// The commit cannot be read.
    pub(crate) fn of(packs: &mut PackSet, git: ObjectId, tree: Kid) -> Result<Self, LandError> {
        let object = packs.read(&git, &mut Budget::new())?.ok_or(LandError::Commit(git))?;
        let commit = CommitRef::from_bytes(&object.bytes, gix_hash::Kind::Sha1)
            .map_err(|_| LandError::Commit(git))?;
        let who = commit.author().map_err(|_| LandError::Commit(git))?;
        let author = format!("{} <{}>", who.name, who.email);
        let message = commit.message.to_string();
        Ok(Self { git, tree, author: cut(author, MAX_AUTHOR), message: cut(message, MAX_MESSAGE) })
    }
}

/// What was stored.
pub(crate) struct Landed {
    /// The outcome of each command, in their order.
    pub(crate) outcomes: Vec<Result<(), String>>,
    /// The commit at `/source/<app>`, if main was pushed.
    pub(crate) source: Option<Kid>,
}

/// Stores a push. `verdicts` are what was decided so far about each command; those that lose a race
/// are refused here, so that exactly one of several pushes to a ref wins.
///
/// # Errors
/// Nothing was stored.
pub(crate) fn land(
    keg: &Keg,
    repo: Repo,
    request: &Request,
    verdicts: Vec<Result<(), String>>,
    files: Option<Files>,
    source: Option<NewSource>,
) -> Result<Landed, LandError> {
    let mut repo = repo;
    for _ in 0..MAX_ATTEMPTS {
        let mut outcomes = verdicts.clone();
        for (command, outcome) in request.commands.iter().zip(&mut outcomes) {
            if outcome.is_ok() {
                *outcome = policy::not_moved(command, &repo.refs).map_err(|e| e.to_string());
            }
        }
        all_or_none(request, &mut outcomes);
        let accepted: Vec<&Command> = request
            .commands
            .iter()
            .zip(&outcomes)
            .filter_map(|(command, outcome)| outcome.is_ok().then_some(command))
            .filter(|command| command.old != command.new)
            .collect();
        if accepted.is_empty() {
            return Ok(Landed { outcomes, source: None });
        }
        let main = accepted.iter().any(|command| command.name == MAIN);
        let plan = Plan { keg, repo: &repo, request, accepted: &accepted, files: files.as_ref() };
        let (txn, kid) = plan.transaction(source.as_ref().filter(|_| main))?;
        match keg.commit(txn) {
            Ok(_) => return Ok(Landed { outcomes, source: kid }),
            Err(CommitError::Conflict { .. }) => repo = Repo::load(keg, &repo.app)?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(LandError::Busy)
}

/// With `--atomic`, one refused command refuses all.
pub(crate) fn all_or_none(request: &Request, outcomes: &mut [Result<(), String>]) {
    if request.atomic && outcomes.iter().any(Result::is_err) {
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
            *outcome = Err("another ref of this atomic push was refused".to_owned());
        }
    }
}

/// One attempt.
struct Plan<'a> {
    keg: &'a Keg,
    repo: &'a Repo,
    request: &'a Request,
    accepted: &'a [&'a Command],
    files: Option<&'a Files>,
}

impl Plan<'_> {
    /// The transaction, and the KID of the source it sets.
    fn transaction(&self, source: Option<&NewSource>) -> Result<(Txn, Option<Kid>), LandError> {
        let app = &self.repo.app;
        let mut refs = self.repo.refs.clone();
        for command in self.accepted {
            match command.new.is_null() {
                true => refs.remove(&command.name),
                false => refs.insert(command.name.clone(), command.new),
            };
        }
        let (author, message) = match source {
            Some(source) => (source.author.as_str(), format!("push to {app}: {}", source.title())),
            None => ("service/receiver", format!("push to {app}: {} refs", self.accepted.len())),
        };
        let author = Author::of(self.keg, author, None)?;
        let refs_path = repo::path(app, "refs.json")?;
        let mut txn = Txn::new(author.text(), &message)
            .expect(refs_path.clone(), expected(self.repo.refs_kid))
            .set_json(refs_path, repo::refs_json(&refs));
        if let Some(files) = self.files {
            for (extension, entry) in &files.entries {
                let path = repo::path(app, &format!("packs/{}.{extension}", files.name))?;
                txn = txn.set(path, entry.clone());
            }
        }
        let Some(source) = source else { return Ok((txn, None)) };
        let kid = self.source_commit(source, author.kid())?;
        let source_path: NamePath = repo::source_path(app)?;
        let push = self.push(source, kid);
        txn = txn
            .expect(source_path.clone(), expected(self.repo.source))
            .set(source_path, Entry::commit(kid))
            .set_json(repo::path(app, "push.json")?, json!(push));
        Ok((author.sign(txn), Some(kid)))
    }

    /// Stores the commit for `/source/<app>`. `user`: the document of whoever wrote it.
    fn source_commit(&self, source: &NewSource, user: Option<Kid>) -> Result<Kid, LandError> {
        let mut extra = json!({
            "git": source.git.to_string(), "ref": MAIN, "app": self.repo.app.as_str(),
        });
        if let Some(user) = user {
            extra["user"] = json!(user);
        }
        let commit = Commit {
            tree: source.tree,
            parents: self.repo.source.into_iter().collect(),
            author: source.author.clone(),
            time_ms: keg::time::now_ms(),
            message: source.message.clone(),
            extra: extra.as_object().cloned().unwrap_or_default(),
        };
        Ok(self.keg.objects().put_commit(&commit)?)
    }

    /// `push.json` for this push.
    fn push(&self, source: &NewSource, kid: Kid) -> Push {
        let text = |id: ObjectId| (!id.is_null()).then(|| id.to_string());
        let undone = |command: &&&Command| command.name == MAIN || self.request.atomic;
        let before = self.repo.push.as_ref().filter(|push| push.state == PushState::Deploying);
        let undo = self.accepted.iter().filter(undone).map(|command| {
            let old = text(command.old);
            // After a push whose deploy has no outcome yet, refs go back to before that one.
            let pending = before.and_then(|push| push.undo.get(&command.name));
            let from = match pending.filter(|moved| moved.to == old) {
                Some(moved) => moved.from.clone(),
                None => old,
            };
            (command.name.clone(), Moved { from, to: text(command.new) })
        });
        let waits = !self.request.no_wait;
        Push {
            state: if waits { PushState::Deploying } else { PushState::Done },
            git: source.git.to_string(),
            source: kid,
            undo: if waits { undo.collect() } else { BTreeMap::new() },
            more: self.repo.push.clone().map(|push| push.more).unwrap_or_default(),
        }
    }
}

impl NewSource {
    /// The first line of the message.
    fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// What must still be there.
pub(crate) fn expected(kid: Option<Kid>) -> Expected {
    kid.map_or(Expected::Absent, Expected::Kid)
}

/// The text, cut at a character.
fn cut(mut text: String, max: usize) -> String {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
