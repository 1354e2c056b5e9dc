//! What each command prints, against facts.

use serde_json::{Value as Json, json};

use super::{blog, lines, text};

#[test]
fn state() {
    let (world, _repo) = blog();
    let status = world.json(&["status"]);
    assert_eq!(status["running"], true);
    assert_eq!(status["url"], json!(world.url));
    assert_eq!(status["pid"], json!(world.pid()));
    assert!(status["version"]["seq"].as_u64().is_some_and(|seq| seq > 1), "{status}");
    let types = |rows: &Json| -> Vec<String> {
        let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut types: Vec<_> = rows.iter().map(|row| text(row, "type").to_owned()).collect();
        types.sort();
        types
    };
    let services = ["service/front", "service/mayor", "service/router"];
    assert_eq!(types(&status["services"]), services);
    assert_eq!(types(&status["processes"]), ["web"]);
    let words = world.keg(&["status"]).ok();
    assert!(words.starts_with(&format!("Keg is up at {}", world.url)), "{words}");

    let all = world.json(&["ps", "--all"]);
    assert_eq!(types(&all), [&services[..], &["web"]].concat());
    assert_eq!(types(&world.json(&["ps"])), ["web"]);
    let words = world.keg(&["ps"]).ok();
    let pid = world.ps("blog")[0]["pid"].to_string();
    assert!(words.starts_with("PROCESS") && words.contains(&format!("  {pid}  ")), "{words}");

    let apps = world.json(&["apps"]);
    let row = &world.ps("blog")[0];
    let want = json!([{
        "app": "blog", "state": "live", "live": row["release"], "release": row["release"],
        "source": row["source"], "url": world.app_url("blog"), "error": null,
    }]);
    assert_eq!(apps, want);
    let words = world.keg(&["apps"]).ok();
    assert!(words.contains(&world.app_url("blog")) && words.contains("live"), "{words}");
}

#[test]
fn values() {
    let (world, repo) = blog();
    let app = std::fs::read_to_string(repo.path().join("app.py")).expect("there");

    let root = world.json(&["ls"]);
    let names = |rows: &Json| -> Vec<String> {
        let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
        rows.iter().map(|row| text(row, "name").to_owned()).collect()
    };
    for name in ["source", "oci-images", "machines", "builds", "deploys", "git"] {
        assert!(names(&root).iter().any(|found| found == name), "{name} in {root}");
    }
    let listed = world.json(&["ls", "/source/blog"]);
    assert_eq!(names(&listed), [".python-version", "Procfile", "app.py"]);
    let row = &listed[2];
    assert_eq!((&row["kind"], &row["mode"]), (&json!("blob"), &json!("0644")));
    assert_eq!(row["size"], json!(app.len()));
    let words = world.keg(&["ls", "/source/blog"]).ok();
    assert!(words.starts_with("KIND") && words.contains("app.py"), "{words}");

    // Bytes by path, by KID, by the start of a KID, and at a version.
    let kid = text(row, "kid");
    assert_eq!(world.keg(&["cat", "/source/blog/app.py"]).ok(), app);
    assert_eq!(world.keg(&["cat", kid]).ok(), app);
    assert_eq!(world.keg(&["cat", &kid[..12]]).ok(), app);
    let value = world.json(&["cat", "/source/blog/app.py"]);
    assert_eq!((&value["kid"], &value["value"]), (&json!(kid), &json!(app)));
    let deploy = world.json(&["cat", "/deploys/blog.json"]);
    assert_eq!(deploy["value"]["state"], "built", "documents are parsed: {deploy}");

    // A source's history: the newest first, each a value that can be read.
    let log = lines(&world.keg(&["log", "/source/blog", "--json"]).ok());
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log[0]["seq"].as_u64() > log[1]["seq"].as_u64());
    assert_eq!(
        (text(&log[0], "author"), text(&log[0], "message")),
        ("Ada <ada@example.org>", "push to blog: Two",)
    );
    assert_eq!((&log[0]["old"], &log[1]["old"]), (&log[1]["new"], &Json::Null));
    assert_eq!(log[0]["new"], world.ps("blog")[0]["source"]);
    assert_eq!(world.keg(&["log", "/source/blog", "-n", "1"]).ok().lines().count(), 1);
    let words = world.keg(&["log", "/source/blog"]).ok();
    assert!(words.contains("Ada <ada@example.org>: push to blog: Two"), "{words}");
    let (first, version) = (text(&log[1], "new"), text(&log[1], "version"));
    for at in [first, version] {
        let old = world.keg(&["cat", &format!("/source/blog/app.py@{at}")]).ok();
        assert_eq!(old, app.replace("WORD = \"two\"", "WORD = \"one\""), "{at}");
    }

    let sources = [format!("/source/blog@{first}"), "/source/blog".to_owned()];
    let diff = world.keg(&["diff", &sources[0], &sources[1]]).ok();
    for line in ["changed  app.py", "--- a/app.py", "-WORD = \"one\"", "+WORD = \"two\""] {
        assert!(diff.contains(line), "{line:?} in\n{diff}");
    }
    let rows = world.json(&["diff", &sources[0], &sources[1]]);
    assert_eq!((rows.as_array().map(Vec::len), &rows[0]["path"]), (Some(1), &json!("app.py")));
    assert_eq!((&rows[0]["change"], &rows[0]["new"]["kid"]), (&json!("changed"), &json!(kid)));
    assert_eq!(world.json(&["diff", "/source/blog", "/source/blog"]), json!([]));
    assert_eq!(world.keg(&["diff", "/source/blog", "/source/blog"]).ok(), "");

    let report = world.json(&["fsck"]);
    assert_eq!(report["damaged"], json!([]));
    assert!(report["objects"].as_u64().is_some_and(|count| count > 100), "{report}");
    assert!(world.keg(&["fsck"]).ok().starts_with("clean: "));
}

#[test]
fn processes_are_explained_and_rolled_back() {
    let (world, repo) = blog();
    let row = world.ps("blog").remove(0);
    let words = world.keg(&["why", "blog"]).ok();
    let git = repo.git(&["rev-parse", "HEAD"]).ok();
    for word in ["process  K-", "release  K-", "image    K-", "build    ", "packages ", &git[..12]]
    {
        assert!(words.contains(word), "{word:?} in\n{words}");
    }
    assert!(words.contains("Two") && words.contains("libc6"), "{words}");

    // Back, as JSON; forth, in words; a release by its KID.
    let back = world.json(&["rollback", "blog"]);
    assert_eq!((&back["app"], &back["state"]), (&json!("blog"), &json!("live")));
    assert_eq!(back["url"], json!(world.app_url("blog")));
    assert_eq!(world.get("blog", "/").body, "one");
    let now = world.json(&["why", "blog"]);
    assert_eq!(now["release"], back["release"]);
    assert_eq!(now["source"]["message"], "The probe");
    let words = world.keg(&["rollback", "blog"]).ok();
    assert!(words.contains("blog is back at K-") && words.contains("live at http"), "{words}");
    assert_eq!(world.get("blog", "/").body, "two");
    world.keg(&["rollback", "blog", text(&back, "rollback_of")]).ok();
    assert_eq!(world.get("blog", "/").body, "one");
    assert_eq!(world.keg(&["log", "/oci-images/blog"]).ok().lines().count(), 5);
    let done = world.keg(&["rollback", "blog", text(&row, "source")]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains("is not a release of blog"), "{done:?}");

    // After a deploy that failed: what served before, not another failure.
    for attempt in ["web: false\n", "web: sh -c 'exit 3'\n"] {
        repo.write("Procfile", attempt);
        repo.commit("Broken");
        repo.push().refused(&["start failed"]);
    }
    world.keg(&["rollback", "blog"]).ok();
    assert_eq!(world.get("blog", "/").body, "one");
    assert_eq!(world.json(&["apps"])[0]["state"], "live");
    world.assert_clean();
}

#[test]
fn what_is_imported_already_needs_no_network() {
    let (world, _repo) = blog();
    let suite = world.json(&["cat", "/deploys/blog.json"]);
    let key = text(&suite["value"], "build").to_owned();
    let build = world.json(&["cat", &format!("/builds/{key}/build.json")]);
    let suite = text(&build["value"]["inputs"], "suite").to_owned();
    let packages = ["python3", "python-is-python3", "ca-certificates"];
    let args = [&["import", "debian", suite.as_str()][..], &packages].concat();
    let lock = world.json(&args);
    assert_eq!(lock["state"], "done", "{lock}");
    assert_eq!(text(&lock["debian"], "rootfs").len(), 66);
    let words = world.keg(&args).ok();
    assert!(words.starts_with("debian: ") && words.contains("K-"), "{words}");

    for (args, words) in [
        (&["import", "pypi", "-r", "/nowhere/requirements.txt"][..], "cannot read /nowhere"),
        (&["import", "pypi", "--suite", "warty", "flask"], "no Python known for the suite warty"),
        (&["import", "pypi", "flask ==="], "flask"),
    ] {
        let done = world.keg(args);
        assert_eq!(done.code, 1, "{args:?}: {done:?}");
        assert!(done.err.contains(words), "{args:?}: {done:?}");
    }
}
