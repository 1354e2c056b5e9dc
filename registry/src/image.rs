//! The OCI configuration and manifest of a release, made from its `image/` tree.
//!
//! Both are functions of the release's objects alone, so their digests are the same after every
//! restart and on every machine. Two releases of one image share configuration and layers. (The
//! manifest is serialised here rather than by `oci-spec`, whose annotations are a `HashMap` and so
//! come out in another order each time.)

use std::collections::BTreeMap;

use keg::{
    Keg, Kid,
    object::{Entry, Tree, Value},
    store::StoreError,
};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::{digest::OciDigest, layer::Layer};

/// Media type of the manifests.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of the configurations.
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of the layers: tars that are not compressed.
pub const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// Most layers of an image; builders make four.
const MAX_LAYERS: usize = 128;

/// Why a release is not an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// An object is missing or damaged.
    #[error("cannot read the release {release}")]
    Store {
        /// The release.
        release: Kid,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// The release's tree lacks something or has it in another form.
    #[error("the release {release} has no usable {part}")]
    Part {
        /// The release.
        release: Kid,
        /// What is missing.
        part: &'static str,
    },
}

/// A release as found in the store: what an image needs.
#[derive(Debug, Clone)]
pub struct Release {
    /// The layers' trees, lowest first.
    pub layers: Vec<Kid>,
    /// `image/config.json`.
    config: Map<String, Json>,
    /// When the image was made, RFC 3339.
    created: String,
    annotations: BTreeMap<&'static str, String>,
}

impl Release {
    /// Reads a release.
    ///
    /// # Errors
    /// An object is missing, or the commit is not a release.
    pub fn read(keg: &Keg, kid: Kid) -> Result<Self, ImageError> {
        let objects = keg.objects();
        let store = |source| ImageError::Store { release: kid, source };
        let part = |part| ImageError::Part { release: kid, part };
        let commit = objects.commit(&kid).map_err(store)?;
        let tree = objects.tree(&commit.tree).map_err(store)?;
        let image = tree_of(child(&tree, "image")).ok_or_else(|| part("image/"))?;
        let image_tree = objects.tree(&image).map_err(store)?;
        let read_json = |tree: &Tree, name: &str| -> Result<Option<Json>, ImageError> {
            let Some(Entry { value: Value::File { kid, .. }, .. }) = child(tree, name) else {
                return Ok(None);
            };
            let bytes = objects.blob(kid).map_err(store)?;
            Ok(serde_json::from_slice(&bytes).ok())
        };
        let Some(Json::Object(config)) = read_json(&image_tree, "config.json")? else {
            return Err(part("image/config.json"));
        };
        let layers_tree = tree_of(child(&image_tree, "layers")).ok_or_else(|| part("layers/"))?;
        let layers_tree = objects.tree(&layers_tree).map_err(store)?;
        let layers: Vec<Kid> =
            layers_tree.entries.values().filter_map(|e| tree_of(Some(e))).collect();
        if layers.len() != layers_tree.entries.len() || layers.len() > MAX_LAYERS {
            return Err(part("layers/ of at most 128 trees"));
        }
        // Of the build, not of the release: a rollback to this image is this image.
        let build = read_json(&tree, "build.json")?.unwrap_or_default();
        let created = match build.get("finished").and_then(Json::as_str) {
            Some(finished) => finished.to_owned(),
            None => keg::time::rfc3339(commit.time_ms),
        };
        let source = read_json(&tree, "source.json")?.unwrap_or_default();
        let text = |json: &Json, key| json.get(key).and_then(Json::as_str).map(str::to_owned);
        let annotations = [
            ("keg.image", Some(image.to_string())),
            ("keg.release", Some(kid.to_string())),
            ("keg.source", text(&source, "kid")),
            ("org.opencontainers.image.created", Some(created.clone())),
            ("org.opencontainers.image.revision", text(&source, "git")),
            ("org.opencontainers.image.title", text(&source, "app")),
        ];
        let annotations =
            annotations.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Ok(Self { layers, config, created, annotations })
    }

    /// The configuration's bytes, given the layers (in the order of [`Self::layers`]).
    pub fn config(&self, layers: &[Layer]) -> Vec<u8> {
        let mut config = self.config.clone();
        // A document with only the inner part is taken as that part.
        if !config.contains_key("config") && config.contains_key("Env") {
            config = Map::from_iter([("config".to_owned(), Json::Object(config))]);
        }
        config.entry("created").or_insert_with(|| json!(self.created));
        config.entry("architecture").or_insert_with(|| json!(architecture()));
        config.entry("os").or_insert_with(|| json!("linux"));
        let diff_ids: Vec<String> = layers.iter().map(|l| l.digest.to_string()).collect();
        config.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
        let history: Vec<Json> = layers
            .iter()
            .map(|l| json!({ "created": self.created, "created_by": format!("keg {}", l.tree) }))
            .collect();
        config.insert("history".to_owned(), Json::Array(history));
        Json::Object(config).to_string().into_bytes()
    }

    /// The manifest's bytes, given the layers.
    pub fn manifest(&self, layers: &[Layer]) -> Vec<u8> {
        let config = self.config(layers);
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            config: Descriptor {
                media_type: CONFIG_TYPE,
                digest: OciDigest::of(&config).to_string(),
                size: config.len() as u64,
            },
            layers: layers
                .iter()
                .map(|layer| Descriptor {
                    media_type: LAYER_TYPE,
                    digest: layer.digest.to_string(),
                    size: layer.size,
                })
                .collect(),
            annotations: &self.annotations,
        };
        serde_json::to_vec(&manifest).expect("because a manifest has only text and numbers")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: &'a BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
}

fn child<'a>(tree: &'a Tree, name: &str) -> Option<&'a Entry> {
    tree.entries.get(name.as_bytes())
}

fn tree_of(entry: Option<&Entry>) -> Option<Kid> {
    match entry?.value {
        Value::Tree { kid, .. } => Some(kid),
        _ => None,
    }
}

/// This machine's architecture in Go's words, which OCI uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
