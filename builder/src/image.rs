//! The image: layers that are trees, the root they make, and the configuration of OCI.
//!
//! ```text
//! image/config.json      OCI image configuration, without digests
//! image/layers/00-base   the suite's base
//! image/layers/10-packages, 20-wheels, 30-app   what each adds, by the OCI layer rules
//! image/rootfs           all of them applied: what is mounted
//! ```
//!
//! A layer is the difference of two roots (see [`crate::trees::delta`]), so the layers always make
//! the root. Nothing in an image depends on the clock or on which machine built it.

use std::collections::HashMap;

use keg::{
    kid::Kid,
    object::{Entry, EntryName, Tree, Value, canonical_json},
    store::{Objects, StoreError},
    union::{Edit, UnionError, edit, union},
};
use oci_spec::image::{ConfigBuilder, ImageConfigurationBuilder, RootFsBuilder};
use serde_json::{Map, Value as Json, json};

use crate::{
    build::{Layer, Output},
    failure::{Failure, KEG_HINT, OrFail as _, Step},
    launch::{self, Env, Process},
    procfile,
    run::APP_UID,
    stage::PATH,
    trees,
};

/// The port an app listens on where nobody gives another.
pub const DEFAULT_PORT: u16 = 8080;
/// Largest `/etc/passwd` or `/etc/group` that is added to, in bytes.
const MAX_ACCOUNTS: usize = 1 << 20;

/// An image and what its layers hold.
pub struct Image {
    /// The tree `image/`.
    pub tree: Entry,
    /// The layers' names and trees, lowest first.
    pub layers: Vec<(&'static str, Entry)>,
}

/// What an image is made of.
pub struct Parts<'a> {
    /// The root file system of the suite's base.
    pub base: Kid,
    /// The same with all Debian packages.
    pub packages: Kid,
    /// The tree of Python packages.
    pub wheels: Option<Kid>,
    /// What the build left.
    pub output: &'a Output,
    /// Process types as in `processes.json`.
    pub processes: &'a Map<String, Json>,
    /// When the source was committed, in milliseconds since 1970.
    pub created_ms: i64,
    /// Labels of the platform.
    pub labels: Vec<(String, String)>,
}

/// Puts an image together.
///
/// # Errors
/// The store's, or a layer has what images cannot have.
pub fn assemble(objects: &dyn Objects, parts: &Parts<'_>) -> Result<Image, Failure> {
    let step = Step::Image;
    let get = |kid: &Kid| objects.tree_entry(kid).or_fail(step, KEG_HINT);
    let base = get(&parts.base)?;
    let packages = get(&parts.packages)?;
    let wheels = with_wheels(objects, parts)?;
    let app = with_app(objects, &wheels, parts.output).or_fail(step, KEG_HINT)?;
    let mut layers = vec![("00-base", base.clone())];
    let steps = [
        ("10-packages", &base, &packages),
        ("20-wheels", &packages, &wheels),
        ("30-app", &wheels, &app),
    ];
    for (name, lower, upper) in steps {
        let hint = "rename that file, commit and push again";
        if let Some(layer) = trees::delta(objects, lower, upper).or_fail(step, hint)? {
            layers.push((name, layer));
        }
    }
    let tree = put(objects, parts, &layers, app).or_fail(step, KEG_HINT)?;
    Ok(Image { tree, layers })
}

/// The configured root with the Python packages and all layers that depend on packages alone.
fn with_wheels(objects: &dyn Objects, parts: &Parts<'_>) -> Result<Entry, Failure> {
    let output = parts.output;
    let kept = |layer: &&Layer| layer.toml.types.launch && layer.toml.types.cache;
    let layers: Vec<Layer> = output.layers.iter().filter(kept).cloned().collect();
    let root = if output.reused {
        output.root.clone()
    } else {
        let mut roots = vec![parts.packages];
        roots.extend(parts.wheels);
        roots.extend(crate::build::at_root(&layers));
        crate::build::join(objects, &roots)?
    };
    let root = root.kid().expect("because a tree has a KID");
    edit(objects, &root, own_directories(&output.directory, &layers)).or_fail(Step::Image, KEG_HINT)
}

/// The same with the app, the layers made for it, and its user.
fn with_app(objects: &dyn Objects, root: &Entry, output: &Output) -> Result<Entry, UnionError> {
    let fresh = |layer: &&Layer| layer.toml.types.launch && !layer.toml.types.cache;
    let layers: Vec<Layer> = output.layers.iter().filter(fresh).cloned().collect();
    let root = root.kid().expect("because a tree has a KID");
    let mut edits = own_directories(&output.directory, &layers);
    edits.push(("app".to_owned(), Edit::Set(output.app.clone())));
    let stored = |source| UnionError::Store { path: "/etc".to_owned(), source };
    edits.extend(accounts(objects, &root).map_err(stored)?);
    let root = edit(objects, &root, edits)?;
    let over: Vec<Kid> = crate::build::at_root(&layers).collect();
    if over.is_empty() {
        return Ok(root);
    }
    let all = [&[root.kid().expect("because a tree has a KID")], &over[..]].concat();
    union(objects, &all, &|_| keg::union::Resolution::TakeUpper)
}

/// The layers that stay in their own directories below `/layers`.
fn own_directories(directory: &str, layers: &[Layer]) -> Vec<(String, Edit)> {
    let own = layers.iter().filter(|layer| !layer.toml.at_root());
    own.filter_map(|layer| {
        let path = format!("layers/{directory}/{}", layer.name);
        Some((path, Edit::Set(layer.content.clone()?)))
    })
    .collect()
}

/// The user `app` for programs that look themselves up, where the root has accounts at all.
fn accounts(objects: &dyn Objects, root: &Kid) -> Result<Vec<(String, Edit)>, StoreError> {
    let lines = [
        ("etc/passwd", format!("app:x:{APP_UID}:{APP_UID}::/app:/bin/sh\n")),
        ("etc/group", format!("app:x:{APP_UID}:\n")),
    ];
    let mut edits = Vec::new();
    for (path, line) in lines {
        let Some(entry) = objects.walk(root, path)? else { continue };
        let Value::File { kid, size } = entry.value else { continue };
        if size > MAX_ACCOUNTS as u64 {
            continue;
        }
        let mut text = objects.blob(&kid)?;
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(line.as_bytes());
        let value = objects.put_bytes(&text)?.value;
        edits.push((path.to_owned(), Edit::Set(Entry { value, attrs: entry.attrs })));
    }
    Ok(edits)
}

fn put(
    objects: &dyn Objects,
    parts: &Parts<'_>,
    layers: &[(&'static str, Entry)],
    rootfs: Entry,
) -> Result<Entry, StoreError> {
    let name = |name: &str| EntryName::new(name).expect("because it is a plain word");
    let layers = layers.iter().map(|(layer, entry)| (name(layer), entry.clone())).collect();
    let layers = objects.put_tree(&Tree { entries: layers })?;
    let config = canonical_json(&config(parts, objects)?);
    let config = objects.put_bytes(config.as_bytes())?;
    let entries =
        [(name("config.json"), config), (name("layers"), layers), (name("rootfs"), rootfs)];
    objects.put_tree(&Tree { entries: entries.into() })
}

/// The OCI image configuration, without the digests that only a registry knows.
fn config(parts: &Parts<'_>, objects: &dyn Objects) -> Result<Json, StoreError> {
    let env = launch_env(objects, parts.output)?;
    let labels = &parts.output.launch.labels;
    let labels = labels.iter().map(|label| (label.key.clone(), label.value.clone()));
    let labels: HashMap<String, String> = labels.chain(parts.labels.iter().cloned()).collect();
    let mut inner = ConfigBuilder::default()
        .user(format!("{APP_UID}:{APP_UID}"))
        .working_dir("/app")
        .env(env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
        .exposed_ports(vec![format!("{DEFAULT_PORT}/tcp")])
        .labels(labels);
    if let Some(command) = parts.processes.get("web").and_then(command_line) {
        inner = inner.cmd(command);
    }
    let because = "because every required field is set";
    let image = ImageConfigurationBuilder::default()
        .created(keg::time::rfc3339(parts.created_ms))
        .architecture(architecture())
        .os("linux")
        .config(inner.build().expect(because))
        .rootfs(RootFsBuilder::default().diff_ids(Vec::<String>::new()).build().expect(because))
        .build()
        .expect(because);
    let mut json = serde_json::to_value(image).expect("because it is plain data");
    if let Some(fields) = json.as_object_mut() {
        fields.shift_remove("rootfs");
        fields.shift_remove("history");
    }
    Ok(json)
}

/// A process of `processes.json` as the words to execute.
fn command_line(process: &Json) -> Option<Vec<String>> {
    match &process["command"] {
        Json::String(command) => Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), command.clone()]),
        Json::Array(words) => words.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// The environment of the app: the platform's, changed by the launch layers in their order.
fn launch_env(objects: &dyn Objects, output: &Output) -> Result<Env, StoreError> {
    let port = DEFAULT_PORT.to_string();
    let platform = [("PATH", PATH), ("HOME", "/app"), ("LANG", "C.UTF-8"), ("PORT", &port)];
    let mut env: Env =
        platform.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for layer in output.layers.iter().filter(|layer| layer.toml.types.launch) {
        let Some(tree) = layer.content.as_ref().and_then(Entry::kid) else { continue };
        let place = format!("/layers/{}/{}", output.directory, layer.name);
        for (directory, variable) in [("bin", "PATH"), ("lib", "LD_LIBRARY_PATH")] {
            if objects.walk(&tree, directory)?.is_some() && !layer.toml.at_root() {
                launch::prepend_path(&mut env, variable, &format!("{place}/{directory}"));
            }
        }
        for directory in ["env", "env.launch"] {
            launch::apply_env(&mut env, &env_files(objects, &tree, directory)?);
        }
    }
    Ok(env)
}

/// The files of an environment directory of a layer, by name.
fn env_files(objects: &dyn Objects, layer: &Kid, directory: &str) -> Result<Env, StoreError> {
    let mut files = Env::new();
    let Some(entry) = objects.walk(layer, directory)? else { return Ok(files) };
    let Value::Tree { kid, .. } = entry.value else { return Ok(files) };
    for (name, entry) in objects.tree(&kid)?.entries {
        let Value::File { kid, size } = entry.value else { continue };
        if size <= launch::MAX_ENV_VALUE {
            let text = String::from_utf8_lossy(&objects.blob(&kid)?).into_owned();
            files.insert(name.to_string_lossy(), text);
        }
    }
    Ok(files)
}

/// Process types as `processes.json` has them: the pack's, replaced and joined by the Procfile's.
pub fn processes(launch: &launch::Launch, procfile: &[procfile::Line]) -> Map<String, Json> {
    let mut all = Map::new();
    for process in &launch.processes {
        all.insert(process.process.clone(), process_json(process));
    }
    for line in procfile {
        let command = procfile::shell_command(&line.command);
        all.insert(line.process.clone(), json!({ "command": command, "shell": true }));
    }
    all
}

fn process_json(process: &Process) -> Json {
    match process.command.as_slice() {
        [sh, c, command] if sh == "/bin/sh" && c == "-c" && process.args.is_empty() => {
            json!({ "command": command, "shell": true })
        }
        words => {
            let words: Vec<&String> = words.iter().chain(&process.args).collect();
            json!({ "command": words, "shell": false })
        }
    }
}

/// This machine's architecture in the words of OCI.
pub const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

#[cfg(test)]
mod tests;
