//! From a push to a process that can be explained.

use keg_tests::{World, until};
use serde_json::json;

#[test]
fn a_push_becomes_a_process_that_can_be_explained() {
    let world = World::with_python();
    let repo = world.probe("blog");
    let git = repo.git(&["rev-parse", "HEAD"]).ok().trim().to_owned();
    let push = repo.push().ok();
    for line in ["-----> Source stored K-", "-----> Image", "=====> live at http://blog.localhost:"]
    {
        assert!(push.said.contains(line), "{line:?} in\n{}", push.said);
    }
    assert_eq!(world.get("blog", "/").body, "one");

    let rows = world.ps("blog");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    for field in [
        "process", "pid", "app", "type", "state", "image", "release", "source", "user", "author",
        "started", "restarts",
    ] {
        assert!(!row[field].is_null(), "{field} in {row}");
    }
    assert_eq!(
        (&row["type"], &row["state"], &row["restarts"]),
        (&json!("web"), &json!("running"), &json!(0))
    );

    // Who wrote it is somebody, from the push on.
    let users = world.json(&["ls", "/users"]);
    let ada = users.as_array().and_then(|users| users.iter().find(|u| u["name"] == "ada.json"));
    let ada = ada.unwrap_or_else(|| panic!("{users}"));
    assert_eq!((&row["user"], &row["author"]), (&ada["kid"], &json!("Ada <ada@example.org>")));
    for page in [
        "/apps/blog".to_owned(),
        "/source/blog".to_owned(),
        "/source/blog?log".to_owned(),
        format!("/-/search?q={}", row["process"].as_str().expect("a KID")),
    ] {
        let mut answer = world.page(&page);
        if answer.status == 303 {
            let to = answer.head.lines().find_map(|line| line.strip_prefix("location: "));
            answer = world.page(to.expect("where").trim());
        }
        assert!(answer.body.contains(r#"href="/users/ada""#), "{page}: {}", answer.body);
    }
    assert!(world.page("/users/ada").body.contains("ada@example.org"));

    // The same answer from the host's PID, the container's, the URL, the app's name and each KID.
    let inside = world.get("blog", "/pid").body;
    let inside: serde_json::Value = serde_json::from_str(&inside).expect("JSON");
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for target in [
        text(&row["pid"]),
        text(&inside["pid"]),
        world.app_url("blog"),
        text(&row["process"]),
        text(&row["release"]),
        text(&row["image"]),
        text(&row["source"]),
    ] {
        let why = world.json(&["why", &target]);
        assert_eq!(why["process"], row["process"], "{target}: {why}");
        assert_eq!(why["source"]["git"], json!(git), "{target}: {why}");
        assert_eq!(why["source"]["author"], "Ada <ada@example.org>");
        assert_eq!(why["source"]["user"], ada["kid"]);
        assert_eq!(why["source"]["message"].as_str().map(str::trim), Some("The probe"));
        assert_eq!((&why["release"], &why["image"]), (&row["release"], &row["image"]));
        assert!(why["build"].is_string() || why["build"].is_object(), "{why}");
        assert!(why["packages"].as_array().is_some_and(|p| !p.is_empty()), "{why}");
    }
    world.assert_clean();
}

#[test]
fn an_edit_takes_over_without_a_refused_request() {
    let world = World::with_python();
    let repo = world.probe("blog");
    repo.push().ok();
    let first = world.ps("blog").remove(0);
    let app = std::fs::read_to_string(repo.path().join("app.py")).expect("there");
    repo.write("app.py", &app.replace("WORD = \"one\"", "WORD = \"two\""));
    repo.commit("Two");
    let mut push = repo.start_push(&["keg", "main"]);
    let mut answers = Vec::new();
    while push.runs() {
        let answer = world.get("blog", "/");
        assert_eq!(answer.status, 200, "{answer:?}");
        answers.push(answer.body);
    }
    keg_tests::repo::told(push.wait()).ok();
    assert_eq!(world.get("blog", "/").body, "two");
    assert!(answers.windows(2).all(|pair| pair != ["two", "one"]), "never back: {answers:?}");
    until("the old process to be gone", || {
        let rows = world.ps("blog");
        (rows.len() == 1 && rows[0]["process"] != first["process"]).then_some(())
    });
    // Only what changed was converted.
    let push = repo.push().ok();
    assert!(push.said.contains("Everything up-to-date"), "{}", push.said);
}
