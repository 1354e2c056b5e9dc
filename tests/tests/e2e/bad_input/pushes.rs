//! Pushes that are not what is deployed, and deploys that fail: what git then says, and keeps.

use keg_tests::{Repo, World, until};
use serde_json::json;

/// A Procfile that no build takes.
const BAD_PROCFILE: &str = "web python app.py\n";

#[test]
fn pushes_of_nothing() {
    let world = World::with_python();
    let repo = world.repo("blog");
    // Zero commits: git itself knows of nothing to push, and no app is made.
    repo.push().refused(&["src refspec main does not match any"]);
    assert_eq!(world.json(&["apps"]), json!([]));
    // A commit without files is stored, and not taken by any buildpack.
    repo.commit("Nothing");
    let push = repo.push().refused(&[
        "0 files and directories",
        "no buildpack takes this app",
        "at its root there must be",
        "the source is kept as K-",
        "[remote rejected] main -> main (build failed: detect:",
    ]);
    assert!(!push.said.contains("still runs"), "nothing ran: {}", push.said);
    let apps = world.json(&["apps"]);
    assert_eq!((&apps[0]["app"], &apps[0]["state"]), (&json!("blog"), &json!("failed")));
    assert!(apps[0]["error"]["message"].as_str().is_some_and(|m| m.contains("no buildpack")));
    world.assert_clean();
}

#[test]
fn only_main_is_deployed_and_only_forward() {
    let world = World::with_python();
    let repo = world.probe("blog");
    repo.push().ok();
    let head = || repo.git(&["ls-remote", "keg", "refs/heads/main"]).ok();
    let before = head();

    let push = repo.push_with(&["keg", "HEAD:feature"]);
    push.refused(&["only main is deployed; to deploy this branch: git push keg feature:main"]);
    repo.push_with(&["keg", "HEAD:refs/notes/x"]).refused(&["only the branch main and tags"]);
    repo.push_with(&["keg", ":main"]).refused(&["main cannot be deleted", "push another commit"]);
    repo.push_with(&["-o", "colour", "keg", "HEAD:refs/tags/x"])
        .refused(&["unknown push option \"colour\"; known are"]);

    // Tags are kept, and deploy nothing.
    repo.git(&["tag", "v1"]).ok();
    let push = repo.push_with(&["keg", "v1"]).ok();
    assert!(push.said.contains("[new tag]") && !push.said.contains("----->"), "{}", push.said);
    repo.push_with(&["keg", ":v1"]).ok();
    repo.push_with(&["keg", ":v1"]).refused(&["remote ref does not exist"]);

    // What would lose commits is refused by git, with --force by Keg, and with -o force it is done.
    rewrite(&repo);
    repo.push().refused(&["[rejected]", "non-fast-forward"]);
    let push = repo.push_with(&["--force", "keg", "main"]);
    push.refused(&["not a fast-forward", "git push --force -o force keg main"]);
    assert_eq!(head(), before);
    assert_eq!(world.get("blog", "/").body, "one");
    repo.push_with(&["--force", "-o", "force", "keg", "main"]).ok();
    assert_eq!(world.get("blog", "/").body, "two");
    world.assert_clean();
}

/// Replaces the newest commit.
fn rewrite(repo: &Repo) {
    let app = std::fs::read_to_string(repo.path().join("app.py")).expect("there");
    repo.write("app.py", &app.replace("WORD = \"one\"", "WORD = \"two\""));
    repo.git(&["commit", "-q", "-a", "--amend", "-m", "Another"]).ok();
}

#[test]
fn a_failed_deploy_is_tried_again_by_pushing_again() {
    let world = World::with_python();
    let repo = world.probe("blog");
    let good = std::fs::read_to_string(repo.path().join("Procfile")).expect("there");
    repo.write("Procfile", BAD_PROCFILE);
    let first = repo.commit("Bad");
    let words = ["Procfile line 1", "the source is kept as K-", "[remote rejected] main -> main"];
    // Not "Everything up-to-date": nothing of it is live.
    for _ in 0..2 {
        repo.push().refused(&words);
        assert_eq!(repo.git(&["ls-remote", "keg", "refs/heads/main"]).ok(), "");
    }
    assert_eq!(world.json(&["cat", "/source/blog"])["extra"]["git"], json!(first));

    repo.write("Procfile", &good);
    let second = repo.commit("Good");
    repo.push().ok();
    assert!(repo.push().ok().said.contains("Everything up-to-date"));

    // Once something is live, a failure leaves it there, and main where it was.
    repo.write("Procfile", BAD_PROCFILE);
    repo.commit("Bad again");
    for _ in 0..2 {
        repo.push().refused(&words).refused(&["what ran before still runs; push again to retry"]);
        assert_eq!(world.get("blog", "/").body, "one");
        let main = repo.git(&["ls-remote", "keg", "refs/heads/main"]).ok();
        assert!(main.starts_with(&second), "{main}");
    }
    world.assert_clean();
}

#[test]
fn the_same_push_twice_at_once_is_one_deploy() {
    let mut world = World::with_python();
    let repo = world.probe("blog");
    repo.write("Procfile", "web: sleep 2; python app.py\n");
    repo.commit("Slow to start");
    let first = repo.start_push(&["keg", "main"]);
    until("the first push to be stored", || {
        (world.keg(&["cat", "/git/blog/push.json"]).code == 0).then_some(())
    });
    let second = keg_tests::repo::told(repo.start_push(&["keg", "main"]).wait()).ok();
    keg_tests::repo::told(first.wait()).ok();
    for line in ["was pushed already", "=====> live at"] {
        assert!(second.said.contains(line), "{}", second.said);
    }
    assert_eq!(world.keg(&["log", "/source/blog"]).ok().lines().count(), 1);
    assert_eq!(world.ps("blog").len(), 1);

    // Told to stop, a Keg lets a push that is under way come to its end, and leaves nothing behind.
    rewrite_procfile(&repo, "web: sleep 3; python app.py\n");
    let push = repo.start_push(&["keg", "main"]);
    let newest = repo.git(&["rev-parse", "HEAD"]).ok();
    until("the push to be stored", || {
        let done = world.keg(&["cat", "/git/blog/push.json"]);
        done.out.contains(newest.trim()).then_some(())
    });
    assert_eq!(world.stop().code, 0);
    keg_tests::repo::told(push.wait()).ok();
    world.assert_gone();
    world.assert_clean();
    world.start();
    until("the app to be back", || (world.get("blog", "/").status == 200).then_some(()));
    assert!(repo.push().ok().said.contains("Everything up-to-date"));
}

#[test]
fn a_push_cut_off_by_a_stop_is_tried_again() {
    let mut world = World::with_python();
    world.configure("blog", &json!({"check": {"timeout": 14}}));
    let repo = world.probe("blog");
    repo.write("Procfile", "web: sleep 1000\n");
    repo.commit("Never listens");
    let push = repo.start_push(&["keg", "main"]);
    until("the app to be starting", || (!world.ps("blog").is_empty()).then_some(()));
    // It is waited for, but not for long.
    assert_eq!(world.stop().code, 0);
    let push = keg_tests::repo::told(push.wait());
    assert_ne!(push.code, 0, "{}", push.said);
    world.assert_gone();
    world.assert_clean();
    world.start();
    // Nothing of it is live, so this is no "Everything up-to-date", whatever has happened by now.
    let words = ["start failed: web.0 did not answer", "[remote rejected] main -> main"];
    repo.push().refused(&words);
    world.assert_clean();
}

fn rewrite_procfile(repo: &Repo, text: &str) {
    repo.write("Procfile", text);
    repo.commit("Another Procfile");
}
