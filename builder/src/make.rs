//! Making an image: detect, import, build, assemble; each step timed and told in the log.

use std::time::{Duration, Instant};

use keg::{Keg, NamePath, kid::Kid, object::Entry, path::AppName};
use serde_json::{Map, Value as Json, json};

use crate::{
    app::{Config, DEFAULT_SUITE, Source},
    build::{self, Base, Output},
    detect::{Detected, detect},
    documents::BuildDoc,
    failure::{Failure, KEG_HINT, OrFail as _, Step},
    halt::{Halt, Wanted},
    image::{self, Image},
    import::{Lock as ImportLock, Request, obtain},
    log::{Log, Sink, counted, size},
    packs::Packs,
    plan::Pypi,
    procfile, requirements,
    stage::Stage,
    workdir::{Lock, WorkDir},
};

/// What an image is to be made of.
pub struct Order<'a> {
    /// The Keg.
    pub keg: &'a Keg,
    /// The app.
    pub app: &'a AppName,
    /// Its source.
    pub source: &'a Source,
    /// Its configuration.
    pub config: &'a Config,
    /// The packs.
    pub packs: &'a Packs,
    /// The build's key.
    pub key: &'a str,
    /// Shows that no other process builds the app.
    pub lock: &'a Lock,
}

/// What was made.
pub struct Made {
    /// The tree `image/`.
    pub image: Entry,
    /// Process types as in `processes.json`.
    pub processes: Map<String, Json>,
    /// Names under which layers are kept for later builds.
    pub kept: Vec<(NamePath, Entry)>,
}

/// Makes an image; fills in the inputs and times of `doc` on the way.
///
/// # Errors
/// A step fails, or the source is no longer the app's newest.
pub fn make<S: Sink>(
    order: &Order<'_>,
    doc: &mut BuildDoc,
    log: &mut Log<S>,
) -> Result<Made, Halt> {
    let Order { keg, app, source, config, packs, .. } = *order;
    let mut wanted = Wanted::new(keg, app, source.kid);
    let procfile = read_procfile(keg, source)?;

    let started = Instant::now();
    let suite = config.suite.as_deref().unwrap_or(DEFAULT_SUITE);
    let base = import(order, vec![Request::debian(suite, &[])], &mut wanted, log)?;
    let imported = started.elapsed();

    let started = Instant::now();
    let work = WorkDir::create(keg, app, order.lock).or_fail(Step::Detect, KEG_HINT)?;
    let stage = Stage::set(keg, work, app, source)?;
    let rootfs = base.first().map_or_else(|| Err(no_rootfs()), rootfs_of)?;
    let detected = detect(&stage, &rootfs, packs, source, config, &mut wanted)?;
    time(doc, "detect", started.elapsed());
    log.step(&format!("{} app detected", detected.pack.name));

    let started = Instant::now();
    let requests = requests(keg, source, &detected, log)?;
    let locks = import(order, requests.clone(), &mut wanted, log)?;
    note_locks(doc, &requests, &locks);
    let packages = Packages::from(locks)?;
    time(doc, "import", imported + started.elapsed());
    note_inputs(doc, &detected, &packages);

    let started = Instant::now();
    let base = Base { rootfs: packages.rootfs, wheels: packages.wheels };
    let inputs =
        build::Inputs { stage: &stage, base: &base, packs, detected: &detected, source, config };
    let output = build::build(&inputs, &mut wanted, log)?;
    time(doc, "build", started.elapsed());

    let started = Instant::now();
    let processes = processes(&output, &procfile, log)?;
    let parts = image::Parts {
        base: packages.base,
        packages: packages.rootfs,
        wheels: packages.wheels,
        output: &output,
        processes: &processes,
        created_ms: source.commit.time_ms,
        labels: labels(order, &detected),
    };
    let image = image::assemble(keg.objects(), &parts)?;
    time(doc, "image", started.elapsed());
    tell(&image, log);
    Ok(Made { image: image.tree, processes, kept: output.kept })
}

/// The packages of a build.
struct Packages {
    base: Kid,
    rootfs: Kid,
    wheels: Option<Kid>,
    /// For `inputs.packages`.
    list: Vec<Json>,
}

impl Packages {
    /// From the locks of [`requests`], in their order.
    fn from(locks: Vec<ImportLock>) -> Result<Self, Failure> {
        let [base, debian, rest @ ..] = locks.as_slice() else { return Err(no_rootfs()) };
        let mut list = Vec::new();
        let mut add = |packages: &[Json], from: &str| {
            for package in packages {
                let field = |name: &str| package.get(name).cloned().unwrap_or_default();
                list.push(json!({ "name": field("name"), "version": field("version"),
                    "kid": field("kid"), "from": from }));
            }
        };
        add(debian.debian.as_ref().map_or(&[], |lock| &lock.packages), "debian");
        let pypi = match rest.first() {
            Some(lock) => Some(lock.pypi.as_ref().ok_or_else(no_wheels)?),
            None => None,
        };
        add(pypi.map_or(&[], |lock| &lock.packages), "pypi");
        let wheels = pypi.map(|lock| lock.tree);
        Ok(Self { base: rootfs_of(base)?, rootfs: rootfs_of(debian)?, wheels, list })
    }
}

fn rootfs_of(lock: &ImportLock) -> Result<Kid, Failure> {
    lock.debian.as_ref().map(|debian| debian.rootfs).ok_or_else(no_rootfs)
}

fn no_rootfs() -> Failure {
    let hint = "remove the lock below /packages/locks and push again";
    Failure::new(Step::Import, "the importer's lock names no root file system", hint)
}

fn no_wheels() -> Failure {
    let hint = "remove the lock below /packages/locks and push again";
    Failure::new(Step::Import, "the importer's lock names no Python packages", hint)
}

fn import<S: Sink>(
    order: &Order<'_>,
    requests: Vec<Request>,
    wanted: &mut Wanted<'_>,
    log: &mut Log<S>,
) -> Result<Vec<ImportLock>, Halt> {
    let by = format!("build {} {}", order.app, order.source.kid);
    obtain(order.keg, &by, &requests, wanted, log)
}

fn read_procfile(keg: &Keg, source: &Source) -> Result<Vec<procfile::Line>, Failure> {
    let hint = "correct that line of the Procfile, commit and push again";
    let text = source.text(keg, "Procfile")?.unwrap_or_default();
    if text.len() as u64 > procfile::MAX_PROCFILE {
        let message = format!("the Procfile has {} bytes", text.len());
        return Err(Failure::new(Step::Detect, message, "keep only the lines TYPE: COMMAND"));
    }
    procfile::parse(&text).or_fail(Step::Detect, hint)
}

/// What a build needs: the base of its suite, all its Debian packages, its Python packages.
fn requests<S: Sink>(
    keg: &Keg,
    source: &Source,
    detected: &Detected,
    log: &mut Log<S>,
) -> Result<Vec<Request>, Failure> {
    let wanted = &detected.wanted;
    log.detail(&format!("Debian {}: {}", wanted.suite, wanted.packages.join(", ")));
    let mut requests =
        vec![Request::debian(&wanted.suite, &[]), Request::debian(&wanted.suite, &wanted.packages)];
    let Some(Pypi { python, suite, requirements: Some(path) }) = &wanted.pypi else {
        return Ok(requests);
    };
    let read = |path: &str| {
        let entry = keg.objects().walk(&source.commit.tree, path)?;
        match entry.map(|entry| entry.value) {
            Some(keg::object::Value::File { kid, .. }) => keg.objects().blob(&kid).map(Some),
            _ => Ok(None),
        }
    };
    let hint = format!("correct {path}, commit and push again");
    let text = requirements::flatten(path, &read).or_fail(Step::Detect, &hint)?;
    let count = requirements::count(&text);
    log.detail(&format!("Python {python}: {} required by {path}", counted(count, "package")));
    if count > 0 {
        requests.push(Request::pypi(&text, python, suite));
    }
    Ok(requests)
}

/// The locks, and the trees that they name: where one names another tree later, the build is done
/// again.
fn note_locks(doc: &mut BuildDoc, requests: &[Request], locks: &[ImportLock]) {
    let named = requests.iter().zip(locks);
    let trees: Map<String, Json> =
        named.map(|(request, lock)| (request.key(), json!(lock.tree()))).collect();
    doc.inputs.insert("locks".to_owned(), json!(trees.keys().collect::<Vec<_>>()));
    doc.inputs.insert("trees".to_owned(), trees.into());
}

fn note_inputs(doc: &mut BuildDoc, detected: &Detected, packages: &Packages) {
    let mut note = |name: &str, value: Json| doc.inputs.insert(name.to_owned(), value);
    note("pack", json!(detected.pack.kid));
    note("pack_name", json!(detected.pack.short_name()));
    note("suite", json!(detected.wanted.suite));
    note("packages", json!(packages.list));
}

fn processes<S: Sink>(
    output: &Output,
    procfile: &[procfile::Line],
    log: &mut Log<S>,
) -> Result<Map<String, Json>, Failure> {
    let processes = image::processes(&output.launch, procfile);
    if processes.is_empty() {
        let hint = "add a file named Procfile with a line such as: web: python app.py";
        return Err(Failure::new(Step::Build, "nothing says how the app starts", hint));
    }
    log.step("Processes");
    for (name, process) in &processes {
        let command = match &process["command"] {
            Json::Array(words) => {
                words.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" ")
            }
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        log.detail(&format!("{name}: {command}"));
    }
    if !processes.contains_key("web") {
        log.detail("none is named web: nothing will answer at the app's address");
    }
    Ok(processes)
}

fn labels(order: &Order<'_>, detected: &Detected) -> Vec<(String, String)> {
    [
        ("keg.build", order.key.to_owned()),
        ("keg.tree", order.source.commit.tree.to_string()),
        ("keg.pack", detected.pack.kid.to_string()),
        ("org.opencontainers.image.base.name", format!("debian:{}", detected.wanted.suite)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn tell<S: Sink>(image: &Image, log: &mut Log<S>) {
    log.step("Layers");
    for (name, entry) in &image.layers {
        if let keg::object::Value::Tree { kid, bytes, entries } = &entry.value {
            let files = if *entries == 1 { "file " } else { "files" };
            let size = size(*bytes);
            log.detail(&format!("{name:<12} {} {entries:>6} {files} {size:>9}", kid.short()));
        }
    }
}

fn time(doc: &mut BuildDoc, step: &str, time: Duration) {
    let rounded = (time.as_secs_f64() * 1e4).round() / 1e4;
    doc.seconds.insert(step.to_owned(), json!(rounded));
}
