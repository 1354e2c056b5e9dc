//! What becomes of apps that do not build.

use crate::{releases::app, world::World};
use builder::failure::Step;

const APP: &str = "def app():\n    return 'hello'\n";

/// Files, the configuration, and what must be said: step, part of the message, part of the hint.
struct Case {
    files: &'static [(&'static str, &'static str)],
    config: Option<&'static str>,
    step: Step,
    message: &'static str,
    hint: &'static str,
}

const CASES: &[Case] = &[
    Case {
        files: &[("README", "nothing")],
        config: None,
        step: Step::Detect,
        message: "no buildpack takes this app",
        hint: "python (requirements.txt",
    },
    Case {
        files: &[("app.py", APP), ("Procfile", "web: python app.py\n\nworker python\n")],
        config: None,
        step: Step::Detect,
        message: "Procfile line 3: \"worker python\" has no \":\"",
        hint: "correct that line",
    },
    Case {
        files: &[("app.py", APP), (".python-version", "3.9\n"), ("Procfile", "web: x")],
        config: None,
        step: Step::Detect,
        message: ".python-version asks for Python 3.9, which is not available",
        hint: "3.13 (Debian trixie) or 3.11 (Debian bookworm)",
    },
    Case {
        files: &[("app.py", APP)],
        config: None,
        step: Step::Detect,
        message: "there is no Procfile",
        hint: "web: python app.py",
    },
    Case {
        files: &[("requirements.txt", "gunicorn==1.0\n"), ("main.py", APP)],
        config: None,
        step: Step::Detect,
        message: "neither app.py nor wsgi.py",
        hint: "web: gunicorn package.module:app",
    },
    Case {
        files: &[("pyproject.toml", "[project]\n"), ("Procfile", "web: x")],
        config: None,
        step: Step::Detect,
        message: "a pyproject.toml but no requirements.txt",
        hint: "pip freeze",
    },
    Case {
        files: &[("requirements.txt", "-r more.txt\n"), ("Procfile", "web: x")],
        config: None,
        step: Step::Detect,
        message: "requirements.txt line 1 includes \"more.txt\"",
        hint: "correct requirements.txt",
    },
    Case {
        files: &[("app.py", APP), ("Procfile", "web: python app.py")],
        config: Some("{\"suite\": }"),
        step: Step::Detect,
        message: "(/apps/blog/config.json) is not JSON",
        hint: "correct /apps/blog/config.json",
    },
    Case {
        files: &[("app.py", APP), ("Procfile", "web: python app.py")],
        config: Some("{\"suite\": \"../sid\"}"),
        step: Step::Detect,
        message: "names the suite \"../sid\"",
        hint: "correct /apps/blog/config.json",
    },
];

pub fn each_says_what_to_do() {
    let world = World::new();
    for case in CASES {
        if let Some(config) = case.config {
            world.configure("blog", config);
        }
        world.push("blog", case.files, "a push");
        assert_eq!(world.build("blog"), builder::FAILED, "{}", case.message);
        world.assert_clean();
        let deploy = world.deploy("blog");
        let error = deploy.error.expect("it says why");
        assert_eq!(error.step, case.step, "{error}");
        assert!(error.message.contains(case.message), "{:?} in {error:?}", case.message);
        assert!(error.hint.contains(case.hint), "{:?} in {error:?}", case.hint);
        let log = world.log(&deploy.build);
        assert!(log.contains(&error.message) && log.contains(" !     "), "{log}");
        // Tried and told: not again until something changes.
        assert!(builder::pending(&world.keg).expect("readable").is_empty());
    }
}

pub fn leaves_the_release() {
    let world = World::new();
    world.push("blog", &app(&world, APP), "good");
    assert_eq!(world.build("blog"), builder::RELEASED);
    let good = world.kid("blog", "image");
    let mut files = app(&world, APP);
    files.retain(|(path, _)| *path != "Procfile");
    world.push("blog", &files, "bad");
    assert_eq!(world.build("blog"), builder::FAILED);
    assert_eq!(world.kid("blog", "image"), good);
    // A syntax error in a module is told, but only the app can say whether it matters.
    let broken = "def app(:\n";
    world.push("blog", &app(&world, broken), "broken");
    assert_eq!(world.build("blog"), builder::RELEASED);
    let log = world.log(&world.deploy("blog").build);
    assert!(log.contains("warning: app.py:"), "{log}");
}

/// What a build can see and do, asked by a module of the library that the Python pack runs.
const PROBE: &str = r"
def _probe():
    import os, socket
    out = ['uid=%d' % os.getuid(), 'net=' + ','.join(n for _, n in socket.if_nameindex())]
    out.append('root=' + ' '.join(sorted(os.listdir('/'))))
    for path in ('/new', '/etc/new', '/cnb/new', '/layers/new', '/usr/local/new'):
        try:
            open(path, 'w')
            out.append('wrote ' + path)
        except OSError:
            pass
    open('/app/probe.txt', 'w').write('\n'.join(out))
_probe()
";

/// A build sees declared values only, has no network, and writes to its own places only.
pub fn isolation() {
    let world = World::new();
    let objects = world.keg.objects();
    let path = format!("usr/lib/python{}/py_compile.py", world.python.version);
    let module = objects.walk(&world.rootfs, &path).expect("readable").expect("there");
    let mut text = objects.blob(&module.kid().expect("a file")).expect("readable");
    text.extend_from_slice(PROBE.as_bytes());
    let edit = keg::union::Edit::Set(objects.put_bytes(&text).expect("stored"));
    let rootfs = keg::union::edit(objects, &world.rootfs, [(path, edit)]).expect("a tree");
    world.import_python(rootfs.kid().expect("a tree"));
    world.push("blog", &app(&world, APP), "probing");
    assert_eq!(world.build("blog"), builder::RELEASED, "{:?}", world.deploy("blog").error);
    let found = world.released_text("blog", "image/rootfs/app/probe.txt");
    assert!(found.contains("uid=1000"), "{found}");
    assert!(found.contains("net=lo\n"), "{found}");
    assert!(!found.contains("wrote"), "{found}");
    let root = "root=app bin cnb dev etc layers lib lib64 platform proc sbin sys tmp usr";
    assert!(found.contains(root), "{found}");
}
