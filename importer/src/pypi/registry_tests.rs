//! Against the package index that this machine's pip is configured for; only with
//! `KEG_TEST_NETWORK=1`.

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use keg::Keg;
use serde_json::Value as Json;

use super::name::PackageName;
use crate::{Progress, Request, request::PypiWant};

/// Whether tests may use the network.
fn network() -> bool {
    std::env::var("KEG_TEST_NETWORK").is_ok_and(|value| value == "1")
}

/// The suite whose Python this machine's `python3` is, and that Python: pip reads markers for the
/// Python it runs in, whatever it is told.
fn suite() -> (&'static str, &'static str, bool) {
    let print = "import sys; print('%d.%d' % sys.version_info[:2])";
    let output = Command::new("python3").args(["-c", print]).output();
    let version = output.map(|output| output.stdout).unwrap_or_default();
    match version.trim_ascii() {
        b"3.11" => ("bookworm", "3.11", true),
        b"3.13" => ("trixie", "3.13", true),
        _ => ("trixie", "3.13", false),
    }
}

/// Imports and tells how long it took.
fn import(keg: &Keg, requirements: &str) -> (Json, Duration) {
    let (suite, python, _) = suite();
    let want = PypiWant {
        requirements: requirements.to_owned(),
        python: python.to_owned(),
        suite: suite.to_owned(),
    };
    let start = Instant::now();
    let done =
        super::import(keg, &want, "0123456789abcdef", crate::import::Anew::No, &mut |news| {
            if let Progress::Phase(text) = news {
                println!("{text}");
            }
        });
    (done.expect("imported").lock, start.elapsed())
}

/// Names and versions that pip would install; `None` without a pip to compare with.
fn pip(requirements: &str) -> Option<BTreeSet<(String, String)>> {
    let (.., true) = suite() else { return None };
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--dry-run", "--quiet", "--report", "-"])
        .args(["--ignore-installed", "--only-binary=:all:"])
        .args(requirements.split_whitespace())
        .env_remove("PIP_FIND_LINKS")
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let report: Json = serde_json::from_slice(&output.stdout).ok()?;
    let rows = report["install"].as_array()?;
    rows.iter()
        .map(|row| {
            let text = |name: &str| row["metadata"][name].as_str().map(str::to_owned);
            let name = PackageName::new(&text("name")?).ok()?.to_string();
            Some((name, text("version")?))
        })
        .collect()
}

fn chosen(lock: &Json) -> BTreeSet<(String, String)> {
    let rows = lock["packages"].as_array().expect("a list");
    let text = |row: &Json, name: &str| row[name].as_str().expect("text").to_owned();
    rows.iter().map(|row| (text(row, "name"), text(row, "version"))).collect()
}

#[test]
fn registry_sets_are_those_that_pip_chooses() {
    if !network() {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let keg = Keg::open_or_create(home.path()).expect("a keg");
    for (number, set) in [
        "flask gunicorn",
        "django==5.* psycopg[binary]",
        "fastapi uvicorn[standard]",
        "requests<2.32 urllib3<2",
        // (Not redis: what it needs depends on the patch release of Python.)
        "sqlalchemy alembic celery",
    ]
    .into_iter()
    .enumerate()
    {
        let (lock, cold) = import(&keg, &set.replace(' ', "\n"));
        let (again, warm) = import(&keg, &format!("# again\n{}", set.replace(' ', "\n")));
        println!("{set}: {} packages, {cold:?}, again {warm:?}", chosen(&lock).len());
        assert_eq!(lock, again);
        assert!(warm < Duration::from_millis(200), "{warm:?}");
        assert!(number > 0 || cold < Duration::from_secs(5), "{cold:?}");
        if let Some(pip) = pip(set) {
            assert_eq!(chosen(&lock), pip, "{set}");
            println!("{set}: as pip");
        }
    }
}

/// What was imported runs: with this machine's Python, if it is a Debian's.
#[test]
fn registry_packages_run() {
    let (_, python, same) = suite();
    let interpreter = format!("/usr/bin/python{python}");
    if !network() || !same || !std::path::Path::new(&interpreter).exists() {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let keg = Keg::open_or_create(home.path()).expect("a keg");
    let (suite, ..) = suite();
    let request = Request::pypi("flask\ngunicorn", python, suite);
    let lock = crate::import_now(&keg, &request, &mut |_| {}).expect("imported");
    assert_eq!(lock["state"], "done");
    let tree = lock["pypi"]["tree"].as_str().expect("text").parse().expect("a KID");
    let root = home.path().join("root");
    keg::ingest::checkout(keg.objects(), &tree, &root).expect("checked out");
    let modules = root.join(format!("usr/local/lib/python{python}/dist-packages"));
    let run = |args: &[&str]| {
        let mut command = Command::new(&interpreter);
        command.args(["-s", "-B"]).args(args).env("PYTHONPATH", &modules);
        let output = command.output().expect("run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let check = "import flask, markupsafe._speedups, importlib.metadata as m; \
                 print(flask.__file__); print(m.version('flask')); \
                 print(all(f.locate().exists() for f in m.files('gunicorn')))";
    let printed = run(&["-c", check]);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with(modules.to_str().expect("text")), "{printed}");
    assert_eq!(lines[2], "True", "every file of RECORD is there");
    let gunicorn = root.join("usr/local/bin/gunicorn");
    assert!(run(&[gunicorn.to_str().expect("text"), "--version"]).contains("gunicorn"));
}
