//! What becomes of apps that build.

use builder::documents::{BuildState, DeployState};
use keg::{
    object::Value,
    union::{Edit, edit},
};
use serde_json::json;

use crate::world::{COMMITTED_MS, World};

const APP: &str = "import greeting\n\ndef app():\n    return greeting.HELLO\n";
const PROCFILE: &str = "web: python app.py --port $PORT\nworker: python -m greeting && true\n";

/// The files of an app for this machine's Python.
pub fn app<'a>(world: &'a World, app: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("app.py", app),
        ("pages/about.py", "TITLE = 'about'\n"),
        ("requirements.txt", "greeting==1.0\n"),
        (".python-version", &world.python.version),
        ("Procfile", PROCFILE),
    ]
}

fn layer_names(world: &World, app: &str) -> Vec<String> {
    let path = builder::documents::name(&format!("/oci-images/{app}/image/layers"));
    world.keg.list(&path).expect("readable").into_iter().map(|(name, _)| name).collect()
}

pub fn python_app() {
    let world = World::new();
    let source = world.push("blog", &app(&world, APP), "first\n\nwith more words");
    assert_eq!(builder::pending(&world.keg).expect("readable").len(), 1);
    assert_eq!(world.build("blog"), builder::RELEASED);
    assert!(builder::pending(&world.keg).expect("readable").is_empty());
    world.assert_clean();

    let deploy = world.deploy("blog");
    assert_eq!((deploy.state, deploy.cached, deploy.source), (DeployState::Built, false, source));
    let build = world.build_doc(&deploy.build);
    assert_eq!(build.state, BuildState::Done);
    assert_eq!(build.inputs["pack_name"], "python");
    assert_eq!(build.inputs["suite"], world.python.suite);
    assert_eq!(build.inputs["packages"][1]["name"], "greeting");
    for step in ["detect", "import", "build", "image"] {
        assert!(build.seconds[step].as_f64().is_some(), "{step} is timed: {:?}", build.seconds);
    }
    println!("  seconds: {}", serde_json::to_string(&build.seconds).expect("JSON"));

    let names = layer_names(&world, "blog");
    assert_eq!(names, ["00-base", "10-packages", "20-wheels", "30-app"]);
    let removed = world.released("blog", "image/layers/10-packages/etc/.wh.removed");
    assert!(removed.is_some(), "what a package removes is whited out");
    assert!(world.released("blog", "image/rootfs/etc/removed").is_none());

    let (version, tag) = (&world.python.version, world.python.version.replace('.', ""));
    let packages = format!("usr/local/lib/python{version}/dist-packages/greeting");
    for path in [
        format!("image/layers/20-wheels/{packages}/__pycache__/words.cpython-{tag}.pyc"),
        format!("image/layers/30-app/app/__pycache__/app.cpython-{tag}.pyc"),
        format!("image/rootfs/app/pages/__pycache__/about.cpython-{tag}.pyc"),
        format!("image/rootfs/{packages}/words.py"),
    ] {
        assert!(world.released("blog", &path).is_some(), "{path}");
    }
    let file = world.released("blog", "image/rootfs/app/app.py").expect("there");
    assert_eq!((file.attrs.uid, file.attrs.mtime), (1000, COMMITTED_MS / 1000));
    let passwd = world.released_text("blog", "image/rootfs/etc/passwd");
    assert!(passwd.ends_with("\napp:x:1000:1000::/app:/bin/sh\n"), "{passwd}");

    documents(&world, source, &deploy.build);
    log_of_a_build(&world, &deploy.build, &source.to_string());
}

/// The documents of the release.
fn documents(world: &World, source: keg::Kid, build: &str) {
    let processes = world.released_json("blog", "processes.json");
    let want = json!({
        "web": {"command": "exec python app.py --port $PORT", "shell": true},
        "worker": {"command": "python -m greeting && true", "shell": true},
    });
    assert_eq!(processes, want);
    let about = world.released_json("blog", "source.json");
    assert_eq!(about["kid"], json!(source));
    assert_eq!(about["author"], "Ada <ada@example.org>");
    assert_eq!(about["git"].as_str().map(str::len), Some(40));
    assert_eq!(world.released_json("blog", "build.json")["key"], build);
    assert_eq!(world.released_json("blog", "config.json"), json!({}));
    let config = world.released_json("blog", "image/config.json");
    assert_eq!(config["created"], keg::time::rfc3339(COMMITTED_MS));
    assert_eq!(
        config["config"]["Cmd"],
        json!(["/bin/sh", "-c", "exec python app.py --port $PORT"])
    );
    assert_eq!(config["config"]["User"], "1000:1000");
    assert_eq!(config["config"]["WorkingDir"], "/app");
    assert_eq!(config["config"]["Labels"]["keg.build"], build);
    let env: Vec<&str> = config["config"]["Env"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|e| e.as_str())
        .collect();
    for want in ["PORT=8080", "HOME=/app", "PYTHONUNBUFFERED=1"] {
        assert!(env.contains(&want), "{want} in {env:?}");
    }
    assert!(config.get("rootfs").is_none(), "digests are the registry's");
    let image = world.kid("blog", "image");
    assert_eq!(world.build_doc(build).image, image);
}

fn log_of_a_build(world: &World, key: &str, source: &str) {
    let log = world.log(key);
    println!("{}", log.lines().map(|line| format!("  | {line}\n")).collect::<String>());
    let mut rest = log.as_str();
    for want in ["-----> Python app detected\n", "compiled in", "-----> Processes\n", source] {
        let at = rest.find(want).unwrap_or_else(|| panic!("{want:?} in order in:\n{log}"));
        rest = &rest[at..];
    }
}

pub fn deterministic() {
    let (one, two) = (World::new(), World::new());
    let images = [&one, &two].map(|world| {
        world.push("blog", &app(world, APP), "first");
        assert_eq!(world.build("blog"), builder::RELEASED);
        world.kid("blog", "image").expect("an image")
    });
    assert_eq!(one.rootfs, two.rootfs, "the fixture itself");
    assert_eq!(images[0], images[1]);
}

pub fn one_line_edit() {
    let world = World::new();
    world.push("blog", &app(&world, APP), "first");
    assert_eq!(world.build("blog"), builder::RELEASED);
    let before = ["00-base", "10-packages", "20-wheels", "30-app"]
        .map(|layer| world.kid("blog", &format!("image/layers/{layer}")));
    let edited = APP.replace("greeting.HELLO", "greeting.HELLO + '!'");
    world.push("blog", &app(&world, &edited), "second");
    assert_eq!(world.build("blog"), builder::RELEASED);
    let after = ["00-base", "10-packages", "20-wheels", "30-app"]
        .map(|layer| world.kid("blog", &format!("image/layers/{layer}")));
    assert_eq!(before[..3], after[..3]);
    assert_ne!(before[3], after[3]);
    let deploy = world.deploy("blog");
    let log = world.log(&deploy.build);
    assert!(!log.contains("dist-packages compiled"), "the wheels' layer is reused:\n{log}");
    assert!(log.contains(" of /app compiled"), "{log}");
    println!("  seconds: {:?}", world.build_doc(&deploy.build).seconds);
    let release = world.keg.objects().commit(&deploy.release.expect("a release")).expect("there");
    assert_eq!(release.parents.len(), 1, "releases follow one another");
}

pub fn cached() {
    let world = World::new();
    world.push("blog", &app(&world, APP), "first");
    assert_eq!(world.build("blog"), builder::RELEASED);
    let first = world.deploy("blog");
    let image = world.kid("blog", "image");
    world.push("blog", &app(&world, APP), "the same files again");
    assert_eq!(world.build("blog"), builder::RELEASED);
    let second = world.deploy("blog");
    assert!(second.cached && second.build == first.build && second.release != first.release);
    assert_eq!(world.kid("blog", "image"), image);
    assert_eq!(world.released_json("blog", "source.json")["message"], "the same files again");
    assert!(world.keg.streams().sealed(&second.stream).expect("readable").is_some());
    // Another app with the same files shares the build, too.
    world.push("copy", &app(&world, APP), "a copy");
    assert_eq!(world.build("copy"), builder::RELEASED);
    assert!(world.deploy("copy").cached);
    assert_eq!(world.kid("copy", "image"), image);
    // Nothing new: nothing is done.
    let before = world.keg.head().expect("a version").seq;
    assert_eq!(world.build("blog"), builder::RELEASED);
    assert_eq!(world.keg.head().expect("a version").seq, before);
}

pub fn refreshed() {
    let world = World::new();
    world.push("blog", &app(&world, APP), "first");
    assert_eq!(world.build("blog"), builder::RELEASED);
    let (first, image) = (world.deploy("blog"), world.kid("blog", "image"));
    // Imported again, and nothing was newer: the lock is another, its tree is not.
    world.import_wheels(world.wheels);
    world.push("blog", &app(&world, APP), "again");
    assert_eq!(world.build("blog"), builder::RELEASED);
    assert!(world.deploy("blog").cached);
    // Now something was.
    let objects = world.keg.objects();
    let added = Edit::Set(objects.put_bytes(b"").expect("stored"));
    let newer = edit(objects, &world.wheels, [("usr/local/newer", added)]).expect("edited");
    world.import_wheels(newer.kid().expect("a tree"));
    world.push("blog", &app(&world, APP), "with newer packages");
    assert_eq!(world.build("blog"), builder::RELEASED);
    let last = world.deploy("blog");
    assert!(!last.cached && last.build == first.build);
    assert!(world.released("blog", "image/rootfs/usr/local/newer").is_some());
    assert_ne!(world.kid("blog", "image"), image);
    world.push("blog", &app(&world, APP), "and again");
    assert_eq!(world.build("blog"), builder::RELEASED);
    assert!(world.deploy("blog").cached);
}

pub fn static_site() {
    let world = World::new();
    let files = [("public/index.html", "<h1>hi</h1>"), ("public/404.html", "no"), ("notes", "x")];
    world.push("site", &files, "a site");
    world.configure("site", &format!(r#"{{"suite": "{}"}}"#, world.python.suite));
    assert_eq!(world.build("site"), builder::RELEASED, "{:?}", world.deploy("site").error);
    let conf = "/layers/keg_static/site/lighttpd.conf";
    let processes = world.released_json("site", "processes.json");
    let want = json!({"web": {"command": ["lighttpd", "-D", "-f", conf], "shell": false}});
    assert_eq!(processes, want);
    let text = world.released_text("site", &format!("image/rootfs{conf}"));
    assert!(text.contains("server.document-root = \"/app/public\""), "{text}");
    assert!(text.contains("server.errorfile-prefix = \"/app/public/\""), "{text}");
    assert_eq!(layer_names(&world, "site"), ["00-base", "30-app"]);
}

pub fn configuration() {
    let world = World::new();
    world.push("blog", &app(&world, APP), "first");
    assert_eq!(world.build("blog"), builder::RELEASED);
    let (image, build) = (world.kid("blog", "image"), world.deploy("blog").build);
    world.configure("blog", r#"{"env": {"GREETING": "hi"}}"#);
    assert_eq!(builder::pending(&world.keg).expect("readable").len(), 1);
    assert_eq!(world.build("blog"), builder::RELEASED);
    assert!(builder::pending(&world.keg).expect("readable").is_empty());
    assert_eq!(world.released_json("blog", "config.json")["env"]["GREETING"], "hi");
    assert_eq!(world.kid("blog", "image"), image);
    let release = world.released("blog", "").or_else(|| {
        world.keg.get(&builder::documents::name("/oci-images/blog")).expect("readable")
    });
    let Some(Value::Commit { kid }) = release.map(|entry| entry.value) else { panic!("a release") };
    assert_eq!(world.deploy("blog").release, Some(kid));
    // A suite is part of the build.
    let suite = if world.python.suite == "trixie" { "bookworm" } else { "trixie" };
    world.configure("blog", &format!(r#"{{"suite": "{suite}"}}"#));
    assert_eq!(world.build("blog"), builder::FAILED);
    let deploy = world.deploy("blog");
    assert_ne!(deploy.build, build);
    let error = deploy.error.expect("it failed");
    assert!(error.message.contains(".python-version asks for Python"), "{error}");
    assert_eq!(world.kid("blog", "image"), image, "the release stands");
}

pub fn image_runs() {
    let world = World::new();
    world.push("blog", &app(&world, APP), "first");
    assert_eq!(world.build("blog"), builder::RELEASED);
    let target = world.scratch().join("root");
    std::fs::create_dir(&target).expect("made");
    let rootfs = world.kid("blog", "image/rootfs").expect("a root");
    keg::mount::Mounts::new(&world.keg).read_only(&rootfs, &target).expect("mounted");
    let output = world.scratch().join("output");
    let code = "import app, greeting.words as w, pwd, os; print(app.app(), app.__cached__, \
                w.__cached__, pwd.getpwuid(os.getuid()).pw_name)";
    let spec = sandbox::Spec {
        id: "builder-test-image".to_owned(),
        rootfs: target.clone(),
        args: ["python3", "-v", "-c", code].map(str::to_owned).into(),
        env: vec![("PATH".to_owned(), "/usr/bin".to_owned())],
        cwd: "/app".to_owned(),
        uid: 1000,
        gid: 1000,
        read_only_root: true,
        stdout: sandbox::Output::Path(output.clone()),
        stderr: sandbox::Output::Path(output.clone()),
        state_dir: world.scratch().join("state"),
        ..sandbox::Spec::default()
    };
    std::fs::write(&output, "").expect("written");
    let exit = sandbox::run(&spec).expect("it runs");
    let text = std::fs::read_to_string(&output).expect("readable");
    keg::mount::unmount(&target).expect("unmounted");
    assert!(exit.success(), "{exit}:\n{text}");
    assert!(text.contains("hello from a wheel"), "{text}");
    assert!(text.contains("app/__pycache__/app.cpython"), "{text}");
    assert!(text.lines().any(|line| line.ends_with(" app")), "it has a name:\n{text}");
    for module in ["/app/__pycache__/app", "greeting/__pycache__/words"] {
        let used = text.lines().any(|line| line.contains("matches") && line.contains(module));
        assert!(used, "the byte code of {module} is used:\n{text}");
    }
}
