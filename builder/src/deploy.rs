//! From an app's newest source to its release: what is to be done, and the states written.

use std::time::Instant;

use keg::{
    CommitError, Keg, NamePath, Txn,
    kid::Kid,
    names::NamesError,
    object::Entry,
    path::AppName,
    store::StoreError,
    stream::{StreamError, StreamWriter},
};
use serde_json::{Map, Value as Json, json};

use crate::{
    app::{self, Config, Source, build_key},
    documents::{AUTHOR, BuildDoc, BuildState, DeployDoc, DeployState, name, to_json},
    failure::{Failure, KEG_HINT, Step},
    halt::Halt,
    import::changed_since,
    log::{Log, seconds},
    make::{self, Made},
    packs::{self, Packs, PacksError},
    release::{self, ReleaseError},
    workdir::Lock,
};

/// Most attempts of one build.
const MAX_ATTEMPTS: u32 = 1_000_000;

/// Why the state of a deploy cannot even be written.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The names could not be read.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The names could not be set.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log could not be opened or sealed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The packs of this program.
    #[error(transparent)]
    Packs(#[from] PacksError),
    /// The release.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The lock of the app's builds.
    #[error("cannot lock the builds of the app")]
    Lock {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// More than [`MAX_ATTEMPTS`].
    #[error("build {0} was tried more than {MAX_ATTEMPTS} times")]
    Attempts(String),
}

/// What is to be done for an app.
#[derive(Debug)]
pub enum Task {
    /// Build (or find) and release this source.
    Build(Source),
    /// The source stands; only the configuration is new.
    Reconfigure(DeployDoc),
}

/// What is to be done for an app now; `None`: its newest source and configuration are deployed, or
/// were tried.
///
/// # Errors
/// The Keg's.
pub fn next(keg: &Keg, app: &AppName) -> Result<Option<Task>, NamesError> {
    let Some(source) = app::source(keg, app)? else { return Ok(None) };
    let deploy: Option<DeployDoc> = match keg.read_json(&name(&format!("/deploys/{app}.json"))) {
        // Unreadable, as if it were not there: it is written anew.
        Err(NamesError::Json { .. } | NamesError::NotADocument { .. }) => None,
        other => other?,
    };
    let Some(deploy) = deploy else { return Ok(Some(Task::Build(source))) };
    if deploy.source != source.kid || deploy.state == DeployState::Building {
        return Ok(Some(Task::Build(source)));
    }
    if deploy.config == app::config_kid(keg, app)? {
        return Ok(None);
    }
    Ok(Some(Task::Reconfigure(deploy)))
}

/// Does a task; true if it ended in a release (or had nothing to release).
///
/// # Errors
/// The outcome could not be written into the Keg. What fails in the build itself is an outcome.
pub fn perform(keg: &Keg, app: &AppName, lock: &Lock, task: Task) -> Result<bool, DeployError> {
    let config_kid = app::config_kid(keg, app)?;
    match task {
        Task::Build(source) => Deploy::new(keg, app, source, config_kid)?.run(lock),
        Task::Reconfigure(deploy) => reconfigure(keg, app, lock, config_kid, deploy),
    }
}

/// A new configuration: where it changes the build, the source is built again; else what runs is
/// released with it.
fn reconfigure(
    keg: &Keg,
    app: &AppName,
    lock: &Lock,
    config_kid: Option<Kid>,
    old: DeployDoc,
) -> Result<bool, DeployError> {
    let Some(source) = app::source(keg, app)? else { return Ok(true) };
    let packs = packs::load(keg.objects())?;
    let config = match app::config(keg, app, config_kid) {
        Ok(config) if build_key(&source, &config, &packs_kid(&packs)) == old.build => config,
        _ => return Deploy::new(keg, app, source, config_kid)?.run(lock),
    };
    let deploy = DeployDoc { config: config_kid, ..old };
    if release::reconfigure(keg, app, &config, &deploy)?.is_none() {
        let path = name(&format!("/deploys/{app}.json"));
        keg.commit(Txn::new(AUTHOR, "new configuration").set_json(path, to_json(&deploy)))?;
    }
    Ok(true)
}

/// One deploy of one source.
struct Deploy<'a> {
    keg: &'a Keg,
    app: &'a AppName,
    source: Source,
    config: Config,
    packs: Packs,
    key: String,
    started: Instant,
    log: Log<StreamWriter>,
    build: BuildDoc,
    deploy: DeployDoc,
}

impl<'a> Deploy<'a> {
    fn new(
        keg: &'a Keg,
        app: &'a AppName,
        source: Source,
        config_kid: Option<Kid>,
    ) -> Result<Self, DeployError> {
        let packs = packs::load(keg.objects())?;
        // A configuration that cannot be read gets a build of its own, which fails and says so.
        let (config, error) = match app::config(keg, app, config_kid) {
            Ok(config) => (config, None),
            Err(failure) => {
                let suite = config_kid.map(|kid| kid.to_string());
                (Config { suite, ..Config::default() }, Some(failure))
            }
        };
        let key = build_key(&source, &config, &packs_kid(&packs));
        let stream = open_stream(keg, &key)?;
        let now = keg::time::now();
        let build = BuildDoc {
            key: key.clone(),
            app: app.to_string(),
            state: BuildState::Running,
            stream: stream.id().to_owned(),
            inputs: inputs(&source, &config),
            image: None,
            processes: Map::new(),
            error,
            started: now.clone(),
            finished: None,
            seconds: Map::new(),
            log: None,
            rest: Map::new(),
        };
        let deploy = DeployDoc {
            app: app.to_string(),
            source: source.kid,
            config: config_kid,
            build: key.clone(),
            stream: stream.id().to_owned(),
            cached: false,
            state: DeployState::Building,
            release: None,
            error: None,
            started: now,
            finished: None,
            rest: Map::new(),
        };
        let (started, log) = (Instant::now(), Log::new(stream));
        Ok(Self { keg, app, source, config, packs, key, started, log, build, deploy })
    }

    fn run(mut self, lock: &Lock) -> Result<bool, DeployError> {
        if let Some((build, image)) = self.finished_before()? {
            return self.reuse(build, image);
        }
        let mut txn = self.txn("start a build");
        for pack in &self.packs.order {
            let objects = self.keg.objects();
            let path = name(&format!("/builds/packs/{}", pack.directory()));
            txn = txn.set(path, objects.tree_entry(&pack.kid)?);
        }
        txn = txn.set_json(self.build_path(), to_json(&self.build));
        self.keg.commit(txn.set_json(self.deploy_path(), to_json(&self.deploy)))?;
        if let Some(failure) = self.build.error.take() {
            return self.fail(failure);
        }
        let order = make::Order {
            keg: self.keg,
            app: self.app,
            source: &self.source,
            config: &self.config,
            packs: &self.packs,
            key: &self.key,
            lock,
        };
        match make::make(&order, &mut self.build, &mut self.log) {
            Ok(made) => self.succeed(made),
            Err(Halt::Failed(failure)) => self.fail(failure),
            Err(Halt::Superseded) => {
                let message = "a newer push came in before this one was built";
                self.fail(Failure::new(Step::Detect, message, "the newer one is being built"))
            }
        }
    }

    /// The finished build of the same inputs, if there is one.
    fn finished_before(&self) -> Result<Option<(BuildDoc, Entry)>, DeployError> {
        let done: Option<BuildDoc> = match self.keg.read_json(&self.build_path()) {
            Err(NamesError::Json { .. } | NamesError::NotADocument { .. }) => None,
            other => other?,
        };
        let Some(done) = done.filter(|done| done.state == BuildState::Done) else {
            return Ok(None);
        };
        let trees = done.inputs.get("trees").and_then(Json::as_object);
        if let Some(trees) = trees {
            // What cannot be read is found by the build that then follows.
            if changed_since(self.keg, trees).unwrap_or(true) {
                return Ok(None);
            }
        }
        let image = self.keg.get(&name(&format!("/builds/{}/image", self.key)))?;
        Ok(image.filter(|image| image.kid() == done.image).map(|image| (done, image)))
    }

    /// Releases what an earlier build of the same inputs made.
    fn reuse(mut self, build: BuildDoc, image: Entry) -> Result<bool, DeployError> {
        self.log.step("Built before from the same source and packages");
        self.tell(&image);
        self.log.step(&format!("Done in {}", seconds(self.started.elapsed())));
        self.keg.streams().seal(&self.build.stream)?;
        let deploy = DeployDoc { cached: true, ..self.built() };
        let parts = release::Parts {
            app: self.app,
            source: &self.source,
            config: &self.config,
            build: &build,
            image,
        };
        release::release(self.keg, &parts, &self.txn("release an image built before"), &deploy)?;
        Ok(true)
    }

    fn succeed(mut self, made: Made) -> Result<bool, DeployError> {
        self.tell(&made.image);
        self.log.step(&format!("Built in {}", seconds(self.started.elapsed())));
        if let Some(error) = self.log.take_error() {
            let failure = Failure::from_error(Step::Image, &error, KEG_HINT);
            return self.fail(failure);
        }
        let log = self.keg.streams().seal(&self.build.stream)?;
        self.build.state = BuildState::Done;
        self.build.image = made.image.kid();
        self.build.processes = made.processes;
        self.build.log = log.kid();
        self.build.finished = Some(keg::time::now());
        let mut txn = self
            .txn("release a new image")
            .set_json(self.build_path(), to_json(&self.build))
            .set(name(&format!("/builds/{}/log", self.key)), log)
            .set(name(&format!("/builds/{}/image", self.key)), made.image.clone());
        for (path, entry) in made.kept {
            txn = txn.set(path, entry);
        }
        let deploy = self.built();
        let parts = release::Parts {
            app: self.app,
            source: &self.source,
            config: &self.config,
            build: &self.build,
            image: made.image,
        };
        release::release(self.keg, &parts, &txn, &deploy)?;
        Ok(true)
    }

    fn fail(mut self, failure: Failure) -> Result<bool, DeployError> {
        self.log.failure(&failure.message, &failure.hint);
        let log = self.keg.streams().seal(&self.build.stream)?;
        let finished = Some(keg::time::now());
        self.build.state = BuildState::Failed;
        self.build.error = Some(failure.clone());
        self.build.log = log.kid();
        self.build.finished.clone_from(&finished);
        self.deploy.state = DeployState::Failed;
        self.deploy.error = Some(failure);
        self.deploy.finished = finished;
        let txn = self
            .txn("a build failed")
            .set_json(self.build_path(), to_json(&self.build))
            .set(name(&format!("/builds/{}/log", self.key)), log)
            .set_json(self.deploy_path(), to_json(&self.deploy));
        self.keg.commit(txn)?;
        Ok(false)
    }

    /// The values at the end of the log, by which everything can be found.
    fn tell(&mut self, image: &Entry) {
        let image = image.kid().map_or_else(String::new, |kid| kid.to_string());
        self.log.step("Image");
        self.log.detail(&format!("image   {image}"));
        self.log.detail(&format!("source  {}", self.source.kid));
        self.log.detail(&format!("build   {}", self.key));
    }

    fn built(&self) -> DeployDoc {
        let finished = Some(keg::time::now());
        DeployDoc { state: DeployState::Built, finished, ..self.deploy.clone() }
    }

    fn txn(&self, what: &str) -> Txn {
        Txn::new(AUTHOR, &format!("{}: {what} ({})", self.app, self.key))
    }

    fn build_path(&self) -> NamePath {
        name(&format!("/builds/{}/build.json", self.key))
    }

    fn deploy_path(&self) -> NamePath {
        name(&format!("/deploys/{}.json", self.app))
    }
}

fn packs_kid(packs: &Packs) -> Kid {
    packs.tree.kid().expect("because a tree has a KID")
}

fn inputs(source: &Source, config: &Config) -> Map<String, Json> {
    let inputs = json!({ "source": source.kid, "tree": source.commit.tree,
        "suite": config.suite.as_deref().unwrap_or(app::DEFAULT_SUITE) });
    inputs.as_object().cloned().unwrap_or_default()
}

/// A new stream for an attempt of this build: `build-<key>-<n>`.
fn open_stream(keg: &Keg, key: &str) -> Result<StreamWriter, DeployError> {
    let streams = keg.streams();
    for attempt in 1..=MAX_ATTEMPTS {
        let id = format!("build-{key}-{attempt}");
        if !streams.path(&id)?.exists() {
            return Ok(streams.create(&id)?);
        }
    }
    Err(DeployError::Attempts(key.to_owned()))
}

/// Marks a deploy that stopped in the middle of its work as failed, where a bug ended it.
///
/// # Errors
/// The Keg's.
pub fn give_up(keg: &Keg, app: &AppName) -> Result<(), DeployError> {
    let path = name(&format!("/deploys/{app}.json"));
    let Some(deploy) = keg.read_json::<DeployDoc>(&path)? else { return Ok(()) };
    if deploy.state != DeployState::Building {
        return Ok(());
    }
    let hint = "push again; if it happens again, report it with the output of `keg up`";
    let error = Failure::new(Step::Build, "the builder stopped by an error of its own", hint);
    keg.streams().seal(&deploy.stream)?;
    let (state, finished) = (DeployState::Failed, Some(keg::time::now()));
    let deploy = DeployDoc { state, error: Some(error), finished, ..deploy };
    keg.commit(Txn::new(AUTHOR, "the builder stopped").set_json(path, to_json(&deploy)))?;
    Ok(())
}
