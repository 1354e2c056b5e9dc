//! A layer's digest: computed once by a child process, remembered under `/derived/oci`.
//!
//! `/derived/oci/<first 16 digits of the tree's KID>.json` is
//! `{"tree": "K-…", "recipe": 1, "digest": "sha256:…", "diff_id": "sha256:…", "size": bytes}`.
//! It is a cache: whoever removes it makes the next pull slower, nothing else.

use std::{
    collections::HashMap,
    future::Future,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use keg::{
    Keg, Kid,
    names::{CommitError, NamesError, Txn},
    path::NamePath,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::{
    digest::OciDigest,
    tar::{LayerReader, RECIPE, Step, TarError},
};

/// Most layers that may wait for their digest at once; more pulls are told to come back.
const MAX_WAITING: usize = 64;
/// Hex digits of a tree's KID in the name of its record.
const RECORD_DIGITS: usize = 16;

/// What a layer made from a tree is in the OCI world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The tree.
    pub tree: Kid,
    /// Digest of the uncompressed tar; as nothing is compressed, its diff id too.
    pub digest: OciDigest,
    /// Bytes of the tar.
    pub size: u64,
}

/// The record as it is stored.
#[derive(Serialize, Deserialize)]
struct Record {
    tree: Kid,
    recipe: u64,
    digest: String,
    diff_id: String,
    size: u64,
}

/// Why a layer has no digest.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The names could not be read.
    #[error("cannot read the layer's record")]
    Names(#[from] NamesError),
    /// The record could not be kept.
    #[error("cannot keep the layer's record")]
    Commit(#[from] CommitError),
    /// The tree cannot be written as a tar.
    #[error("cannot make a layer of {tree}")]
    Tar {
        /// The tree.
        tree: Kid,
        /// Why.
        #[source]
        source: TarError,
    },
    /// The child process could not be started.
    #[error("cannot start the process that computes a layer's digest")]
    Spawn(#[source] std::io::Error),
    /// The child process failed; what it printed is in the service's log.
    #[error("computing the digest of {tree} failed; the cause is in the log of `keg up`")]
    Child {
        /// The tree.
        tree: Kid,
    },
    /// Too many layers wait already.
    #[error("{MAX_WAITING} layers are being prepared; try again in a moment")]
    Busy,
}

/// Where a tree's record is kept.
fn record_path(tree: &Kid) -> NamePath {
    let name = &tree.to_hex()[..RECORD_DIGITS];
    format!("/derived/oci/{name}.json").parse().expect("because hex digits make a valid name")
}

/// The remembered layer of a tree, if there is one of this recipe.
pub fn remembered(keg: &Keg, tree: &Kid) -> Result<Option<Layer>, NamesError> {
    let Some(json) = keg.get_json(&record_path(tree))? else { return Ok(None) };
    // A record that does not parse is a damaged cache: computed anew.
    let Ok(record) = serde_json::from_value::<Record>(json) else { return Ok(None) };
    let fits = record.tree == *tree && record.recipe == RECIPE;
    let digest = record.digest.parse().ok().filter(|_| fits);
    Ok(digest.map(|digest| Layer { tree: *tree, digest, size: record.size }))
}

/// Computes a tree's layer in this process (seconds for a large one) and remembers it.
pub fn compute(keg: &Keg, tree: &Kid) -> Result<Layer, LayerError> {
    let failed = |source| LayerError::Tar { tree: *tree, source };
    let mut reader = LayerReader::whole(keg.objects(), tree).map_err(failed)?;
    let (mut hasher, mut size) = (Sha256::new(), 0);
    while let Step::Data(bytes) = reader.step(keg.objects()).map_err(failed)? {
        hasher.update(&bytes);
        size += bytes.len() as u64;
    }
    let layer = Layer { tree: *tree, digest: OciDigest::from_hasher(hasher), size };
    let digest = layer.digest.to_string();
    let record = Record { tree: *tree, recipe: RECIPE, diff_id: digest.clone(), digest, size };
    let json = serde_json::to_value(record).expect("because the record has only plain fields");
    let message = format!("layer of {}", tree.short());
    keg.commit(Txn::new("service/registry", &message).set_json(record_path(tree), json))?;
    Ok(layer)
}

type Outcome = Option<Result<Layer, Arc<LayerError>>>;

/// Gets layers' digests by child processes, one at a time, each tree once.
#[derive(Default)]
pub struct Layers {
    running: Mutex<HashMap<Kid, watch::Receiver<Outcome>>>,
    turn: Arc<AsyncMutex<()>>,
}

impl Layers {
    /// The layer of a tree: remembered, or computed by a child that goes on when the client who
    /// asked goes away.
    pub async fn get(
        self: &Arc<Self>,
        keg: &Arc<Keg>,
        tree: Kid,
    ) -> Result<Layer, Arc<LayerError>> {
        if let Some(layer) = remembered(keg, &tree).map_err(|e| Arc::new(e.into()))? {
            return Ok(layer);
        }
        let mut outcome = self.start(keg, tree)?;
        let done = outcome.wait_for(Option::is_some).await;
        match done.as_deref() {
            Ok(Some(result)) => result.clone(),
            _ => Err(Arc::new(LayerError::Child { tree })),
        }
    }

    /// Joins the running computation of this tree, or starts one.
    fn start(
        self: &Arc<Self>,
        keg: &Arc<Keg>,
        tree: Kid,
    ) -> Result<watch::Receiver<Outcome>, Arc<LayerError>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = running.get(&tree) {
            return Ok(outcome.clone());
        }
        if running.len() >= MAX_WAITING {
            return Err(Arc::new(LayerError::Busy));
        }
        let (send, receive) = watch::channel(None);
        running.insert(tree, receive.clone());
        let (layers, keg) = (Arc::clone(self), Arc::clone(keg));
        tokio::spawn(async move {
            let turn = layers.turn.lock().await;
            let result = by_child(&keg, tree).await.map_err(Arc::new);
            drop(turn);
            layers.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&tree);
            // Nobody may be waiting any more; the record is kept all the same.
            let _ = send.send(Some(result));
        });
        Ok(receive)
    }
}

/// Runs `keg work layer KID`, which is [`crate::work_layer`], and reads what it remembered.
fn by_child(keg: &Keg, tree: Kid) -> impl Future<Output = Result<Layer, LayerError>> + '_ {
    let mut command =
        tokio::process::Command::from(keg::spawn::command(&["work", "layer", &tree.to_string()]));
    command.env("KEG_HOME", keg.home()).stdin(Stdio::null()).kill_on_drop(true);
    async move {
        let status = command.status().await.map_err(LayerError::Spawn)?;
        match remembered(keg, &tree)? {
            Some(layer) if status.success() => Ok(layer),
            _ => Err(LayerError::Child { tree }),
        }
    }
}
