//! The build itself: the pack's `bin/build` in its sandbox, and what it leaves, as trees.

use std::{fs, io, os::unix::fs::chown, path::Path, time::Duration};

use keg::{
    NamePath,
    ingest::{IngestOptions, ingest, ingest_overlay_upper},
    kid::Kid,
    object::{Entry, Value},
    store::{Objects, StoreError},
    union::{Conflict, Resolution, union},
};
use sandbox::Bind;
use serde_json::json;

use crate::{
    app::{Config, RECIPE, Source, key_of},
    detect::Detected,
    documents::name,
    failure::{Failure, KEG_HINT, OrFail as _, Step},
    halt::{Halt, Wanted},
    launch::{self, Launch, LayerToml},
    log::{Log, Sink},
    packs::{Pack, Packs},
    plan,
    run::{APP_UID, Program, Said, run},
    stage::{self, Stage},
    trees::{self, FIRST_TIME, Stamp},
};

/// Longest build.
const TIMEOUT: Duration = Duration::from_secs(900);
/// Most layers of one pack.
const MAX_LAYERS: usize = 64;
/// A mistake of the pack.
const PACK_HINT: &str = "this is a mistake in the buildpack, not in the app";

/// The values a build stands on.
pub struct Base {
    /// The configured root file system with all Debian packages.
    pub rootfs: Kid,
    /// What is laid over it: the tree of Python packages.
    pub wheels: Option<Kid>,
}

/// What a build is given.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The mounted app.
    pub stage: &'a Stage<'a>,
    /// The root below it.
    pub base: &'a Base,
    /// All packs.
    pub packs: &'a Packs,
    /// The one that builds, and what it asked for.
    pub detected: &'a Detected,
    /// The source.
    pub source: &'a Source,
    /// The app's configuration.
    pub config: &'a Config,
}

/// A layer as a build leaves it, or as an earlier build of the same packages left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub toml: LayerToml,
    /// Its files, if it has any.
    pub content: Option<Entry>,
}

/// What a build leaves.
pub struct Output {
    /// The pack's directory below `/layers`.
    pub directory: String,
    /// Process types and labels.
    pub launch: Launch,
    /// The layers, by name.
    pub layers: Vec<Layer>,
    /// The app's directory.
    pub app: Entry,
    /// The root with wheels and the layers of earlier builds over it, as the build saw it.
    pub root: Entry,
    /// Names under which new layers are kept for later builds.
    pub kept: Vec<(NamePath, Entry)>,
    /// Whether every layer that is kept was there already.
    pub reused: bool,
}

/// Runs the pack's build.
///
/// # Errors
/// The build fails, what it leaves is not on the contract, or it is no longer wanted.
pub fn build<S: Sink>(
    inputs: &Inputs<'_>,
    wanted: &mut Wanted<'_>,
    log: &mut Log<S>,
) -> Result<Output, Halt> {
    let Inputs { stage, base, packs, detected, source, config } = *inputs;
    let (step, pack, objects) = (Step::Build, &detected.pack, stage.keg.objects());
    let shelf = shelf(pack, base);
    let restored = restore(stage.keg, &shelf)?;
    let root = root_with(objects, base, &restored)?;
    let plan = plan::entries(&detected.wanted.requires);
    let suite = config.suite.as_deref();
    let below = root.kid().expect("because a tree has a KID");
    let seen = stage::with_platform(objects, &below, packs, suite, Some(&plan));
    let seen = seen.or_fail(step, KEG_HINT)?;
    let mounted = stage.mount_root(step, "build-root", &seen)?;
    let layers = stage.work.dir("layers").or_fail(step, KEG_HINT)?;
    let ours = stage.work.writable_dir(&format!("layers/{}", pack.directory()));
    let ours = ours.or_fail(step, KEG_HINT)?;
    put_back(objects, &restored, &ours).or_fail(step, KEG_HINT)?;
    let what = format!("bin/build of {}", pack.id);
    let program = program(stage, pack, source, &what, &mounted, &layers)?;
    let mut said = Said::default();
    let exit = run(program, wanted, &mut |line| {
        if !said.hear(line) {
            log.copy(line);
        }
    })?;
    if !exit.success() {
        return Err(said.failure(step, &what, &exit).into());
    }
    let (launch, found) = read_layers(objects, &ours, &restored)?;
    let kept = to_keep(objects, &shelf, &found, &restored)?;
    let app = capture_app(stage, source)?;
    let reused = kept.is_empty();
    let directory = pack.directory();
    Ok(Output { directory, launch, layers: found, app, root, kept, reused })
}

fn program<'a>(
    stage: &Stage<'_>,
    pack: &Pack,
    source: &Source,
    what: &'a str,
    root: &'a Path,
    layers: &Path,
) -> Result<Program<'a>, Failure> {
    let buildpack = format!("/cnb/buildpacks/{}", pack.directory());
    let mut env = stage::platform_env();
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
    set("CNB_BUILDPACK_DIR", buildpack.clone());
    set("CNB_LAYERS_DIR", format!("/layers/{}", pack.directory()));
    set("CNB_BP_PLAN_PATH", "/cnb/plan.toml".to_owned());
    set("SOURCE_DATE_EPOCH", source.seconds().to_string());
    Ok(Program {
        step: Step::Build,
        what,
        id: stage.container("build"),
        root,
        args: vec![format!("{buildpack}/bin/build")],
        env,
        binds: vec![
            Bind { source: stage.app.clone(), target: "/app".to_owned(), read_only: false },
            Bind { source: layers.to_owned(), target: "/layers".to_owned(), read_only: false },
        ],
        dir: stage.work.dir("build-run").or_fail(Step::Build, KEG_HINT)?,
        timeout: TIMEOUT,
    })
}

/// Where layers are kept that depend on the pack and the packages alone.
fn shelf(pack: &Pack, base: &Base) -> NamePath {
    let key = key_of(&json!({
        "pack": pack.kid, "rootfs": base.rootfs, "wheels": base.wheels, "recipe": RECIPE,
    }));
    name(&format!("/builds/layers/{key}"))
}

/// The layers that earlier builds left on the shelf.
fn restore(keg: &keg::Keg, shelf: &NamePath) -> Result<Vec<Layer>, Failure> {
    let step = Step::Build;
    let mut layers = Vec::new();
    for (layer, entry) in keg.list(shelf).or_fail(step, KEG_HINT)?.into_iter().take(MAX_LAYERS) {
        let Value::Tree { kid, .. } = entry.value else { continue };
        let objects = keg.objects();
        let Some(toml) = text(objects, &kid, "layer.toml")? else { continue };
        let content = objects.walk(&kid, "content").or_fail(step, KEG_HINT)?;
        let toml = launch::parse_layer(&layer, &toml).or_fail(step, PACK_HINT)?;
        layers.push(Layer { name: layer, toml, content });
    }
    Ok(layers)
}

/// Gives the pack what it kept: each `<layer>.toml`, and the files of those that are not laid over
/// the root already.
fn put_back(objects: &dyn Objects, restored: &[Layer], dir: &Path) -> Result<(), io::Error> {
    for layer in restored {
        let path = dir.join(format!("{}.toml", layer.name));
        // Without the types, by the Buildpack API: a pack says anew what a layer is for.
        let metadata = toml::Value::from(layer.toml.metadata.clone());
        let text = toml::Table::from_iter([("metadata".to_owned(), metadata)]);
        fs::write(&path, text.to_string())?;
        chown(&path, Some(APP_UID), Some(APP_UID))?;
        let tree = layer.content.as_ref().and_then(Entry::kid);
        if let Some(tree) = tree.filter(|_| !layer.toml.at_root()) {
            let target = dir.join(&layer.name);
            keg::ingest::checkout(objects, &tree, &target).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// The root file system, the wheels, and the layers that belong at the root, in one tree.
///
/// # Errors
/// Two of them have different files at one path.
pub fn root_with(objects: &dyn Objects, base: &Base, layers: &[Layer]) -> Result<Entry, Failure> {
    let mut trees = vec![base.rootfs];
    trees.extend(base.wheels);
    trees.extend(at_root(layers));
    join(objects, &trees)
}

/// The trees of layers that belong at the root.
pub fn at_root(layers: &[Layer]) -> impl Iterator<Item = Kid> + '_ {
    let layers = layers.iter().filter(|layer| layer.toml.at_root());
    layers.filter_map(|layer| layer.content.as_ref()?.kid())
}

/// The union of trees in which nothing may differ.
///
/// # Errors
/// Something does.
pub fn join(objects: &dyn Objects, trees: &[Kid]) -> Result<Entry, Failure> {
    let hint = "two packages have different files at one path; require only one of them";
    union(objects, trees, &|_: &Conflict| Resolution::Fail).or_fail(Step::Build, hint)
}

/// Reads what the pack left below its layers directory.
fn read_layers(
    objects: &dyn Objects,
    dir: &Path,
    restored: &[Layer],
) -> Result<(Launch, Vec<Layer>), Failure> {
    let step = Step::Build;
    let tree = ingest(objects, dir, &IngestOptions::default()).or_fail(step, KEG_HINT)?;
    // Not older nor younger than any other build's: these depend on the packages alone.
    let stamp = Stamp { uid: 0, gid: 0, mtime: FIRST_TIME };
    let tree = trees::stamp(objects, &tree, stamp).or_fail(step, PACK_HINT)?;
    let kid = tree.kid().expect("because a directory becomes a tree");
    let launch = match text(objects, &kid, "launch.toml")? {
        Some(text) => launch::parse_launch(&text).or_fail(step, PACK_HINT)?,
        None => Launch::default(),
    };
    let mut layers = Vec::new();
    for file in objects.tree(&kid).or_fail(step, KEG_HINT)?.entries.keys() {
        let file = file.to_string_lossy();
        let Some(layer) = file.strip_suffix(".toml") else { continue };
        if matches!(layer, "launch" | "build" | "store") {
            continue;
        }
        if layers.len() == MAX_LAYERS {
            let message = format!("the pack left more than {MAX_LAYERS} layers");
            return Err(Failure::new(step, message, PACK_HINT));
        }
        let toml = text(objects, &kid, &file)?.unwrap_or_default();
        let toml = launch::parse_layer(layer, &toml).or_fail(step, PACK_HINT)?;
        let mut content = objects.walk(&kid, layer).or_fail(step, KEG_HINT)?;
        if content.is_none() && toml.at_root() {
            let before = restored.iter().find(|before| before.name == layer);
            content = before.and_then(|before| before.content.clone());
        }
        layers.push(Layer { name: layer.to_owned(), toml, content });
    }
    Ok((launch, layers))
}

/// New or changed layers that the pack wants kept, with the names to keep them by.
fn to_keep(
    objects: &dyn Objects,
    shelf: &NamePath,
    layers: &[Layer],
    restored: &[Layer],
) -> Result<Vec<(NamePath, Entry)>, Failure> {
    let step = Step::Build;
    let mut kept = Vec::new();
    for layer in layers.iter().filter(|layer| layer.toml.types.cache) {
        if restored.contains(layer) {
            continue;
        }
        let place = shelf.join(&layer.name).or_fail(step, PACK_HINT)?;
        let types = layer.toml.types;
        let mut toml = toml::Table::new();
        let flags = [("launch", types.launch), ("build", types.build), ("cache", types.cache)];
        let flags = flags.map(|(name, on)| (name.to_owned(), toml::Value::Boolean(on)));
        toml.insert("types".to_owned(), toml::Table::from_iter(flags).into());
        toml.insert("metadata".to_owned(), layer.toml.metadata.clone().into());
        let toml = objects.put_bytes(toml.to_string().as_bytes()).or_fail(step, KEG_HINT)?;
        kept.push((place.join("layer.toml").or_fail(step, PACK_HINT)?, toml));
        if let Some(content) = &layer.content {
            kept.push((place.join("content").or_fail(step, PACK_HINT)?, content.clone()));
        }
    }
    Ok(kept)
}

/// The app's directory with what the build wrote into it.
fn capture_app(stage: &Stage<'_>, source: &Source) -> Result<Entry, Failure> {
    let step = Step::Build;
    let objects = stage.keg.objects();
    let lower = stage.app_tree.kid().expect("because a tree has a KID");
    let upper = stage.app_upper.join("upper");
    let options = IngestOptions::default();
    let entry = ingest_overlay_upper(objects, &lower, &upper, &options);
    let entry = entry.or_fail(step, "the build left something that cannot be kept")?;
    trees::stamp(objects, &entry, stage::stamp_of(source)).or_fail(step, KEG_HINT)
}

/// A small text file below a tree; `None` where there is none.
fn text(objects: &dyn Objects, tree: &Kid, path: &str) -> Result<Option<String>, Failure> {
    let step = Step::Build;
    let entry = objects.walk(tree, path).or_fail(step, KEG_HINT)?;
    let Some(Value::File { kid, size }) = entry.map(|entry| entry.value) else { return Ok(None) };
    if size > launch::MAX_TOML {
        let message = format!("the pack left {path} with {size} bytes");
        return Err(Failure::new(step, message, PACK_HINT));
    }
    let bytes: Result<Vec<u8>, StoreError> = objects.blob(&kid);
    Ok(Some(String::from_utf8_lossy(&bytes.or_fail(step, KEG_HINT)?).into_owned()))
}
