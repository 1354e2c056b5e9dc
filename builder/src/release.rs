//! A release: the commit under `/oci-images/<app>` by which an image becomes the app's current one.

use keg::{
    CommitError, Expected, Keg, Txn,
    kid::Kid,
    names::NamesError,
    object::{Commit, Entry, EntryName, Tree, Value},
    path::AppName,
    store::StoreError,
};
use serde_json::{Map, Value as Json, json};

use crate::{
    app::{Config, Source},
    documents::{AUTHOR, BuildDoc, DeployDoc, name, to_json},
};

/// Tries to set names that others set at the same time (a rollback while a build ends).
const MAX_TRIES: usize = 8;
/// Longest first line of a message that is repeated, in characters.
const MAX_SUBJECT: usize = 100;

/// Why a release cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The names could not be read.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The names could not be set.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What is at the app's name is no release.
    #[error("/oci-images/{0} is not a release")]
    NotARelease(AppName),
}

/// What a release is made of.
pub struct Parts<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The source.
    pub source: &'a Source,
    /// Its configuration.
    pub config: &'a Config,
    /// The build.
    pub build: &'a BuildDoc,
    /// The tree `image/`.
    pub image: Entry,
}

/// Makes the release, current from then on, together with the names in `txn` and the app's deploy
/// document; returns its KID.
///
/// # Errors
/// The Keg's.
pub fn release(
    keg: &Keg,
    parts: &Parts<'_>,
    txn: &Txn,
    deploy: &DeployDoc,
) -> Result<Kid, ReleaseError> {
    let objects = keg.objects();
    let document = |json: Json| objects.put_json(&json);
    let Parts { app, source, config, build, image } = parts;
    let about = json!({ "kid": source.kid, "git": source.git(), "author": source.commit.author,
        "user": source.commit.extra.get("user"), "message": source.commit.message, "app": app.as_str() });
    let entries = [
        ("image", image.clone()),
        ("source.json", document(about)?),
        ("build.json", document(to_json(build))?),
        ("config.json", document(config.json.clone())?),
        ("processes.json", document(Json::Object(build.processes.clone()))?),
    ];
    let entries = entries
        .map(|(file, entry)| (EntryName::new(file).expect("because it is a plain word"), entry));
    let tree = objects.put_tree(&Tree { entries: entries.into() })?;
    let extra = json!({ "app": app.as_str(), "image": image.kid(), "source": source.kid,
        "build": build.key });
    let subject: String = source
        .commit
        .message
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(MAX_SUBJECT)
        .collect();
    let draft = Draft { tree: kid_of(&tree), extra, message: format!("release: {subject}") };
    publish(keg, app, &draft, txn, deploy)
}

/// Releases the current image once more, with a new configuration.
///
/// # Errors
/// The Keg's; `None` where the app has no release.
pub fn reconfigure(
    keg: &Keg,
    app: &AppName,
    config: &Config,
    deploy: &DeployDoc,
) -> Result<Option<Kid>, ReleaseError> {
    let objects = keg.objects();
    let Some(entry) = keg.get(&name(&format!("/oci-images/{app}")))? else { return Ok(None) };
    let Value::Commit { kid } = entry.value else {
        return Err(ReleaseError::NotARelease(app.clone()));
    };
    let current = objects.commit(&kid)?;
    let mut tree = objects.tree(&current.tree)?;
    let file = EntryName::new("config.json").expect("because it is a plain word");
    tree.entries.insert(file, objects.put_json(&config.json)?);
    let tree = objects.put_tree(&tree)?;
    let mut extra = current.extra;
    extra.remove("rollback_of");
    let message = "release: new configuration".to_owned();
    let draft = Draft { tree: kid_of(&tree), extra: Json::Object(extra), message };
    publish(keg, app, &draft, &Txn::new(AUTHOR, ""), deploy).map(Some)
}

struct Draft {
    tree: Kid,
    extra: Json,
    message: String,
}

fn publish(
    keg: &Keg,
    app: &AppName,
    draft: &Draft,
    txn: &Txn,
    deploy: &DeployDoc,
) -> Result<Kid, ReleaseError> {
    let path = name(&format!("/oci-images/{app}"));
    let mut tries = 0;
    loop {
        let parent = keg.get(&path)?.and_then(|entry| entry.kid());
        let commit = Commit {
            tree: draft.tree,
            parents: parent.into_iter().collect(),
            author: AUTHOR.to_owned(),
            time_ms: keg::time::now_ms(),
            message: draft.message.clone(),
            extra: draft.extra.as_object().cloned().unwrap_or_else(Map::new),
        };
        let kid = keg.objects().put_commit(&commit)?;
        let deploy = DeployDoc { release: Some(kid), ..deploy.clone() };
        let done = txn
            .clone()
            .expect(path.clone(), parent.map_or(Expected::Absent, Expected::Kid))
            .set(path.clone(), Entry::commit(kid))
            .set_json(name(&format!("/deploys/{app}.json")), to_json(&deploy));
        tries += 1;
        match keg.commit(done) {
            Ok(_) => return Ok(kid),
            Err(CommitError::Conflict { .. }) if tries < MAX_TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn kid_of(tree: &Entry) -> Kid {
    tree.kid().expect("because a tree has a KID")
}
