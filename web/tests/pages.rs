//! Every page: reachable, whole, safe; and the way from a process to its source.

mod support;

use std::collections::{BTreeMap, VecDeque};

use keg::{NamePath, Txn, object::Entry};
use support::World;

/// Most pages the crawl visits.
const MAX_PAGES: usize = 1200;

/// The links of a page, without those to other hosts and without the anchors.
fn links(page: &str) -> Vec<String> {
    let mut links = Vec::new();
    for quoted in page.split(" href=\"").skip(1).chain(page.split(" src=\"").skip(1)) {
        let link = quoted.split('"').next().unwrap_or("").replace("&amp;", "&");
        let link = link.split('#').next().unwrap_or("").to_owned();
        if link.starts_with('/') {
            links.push(link);
        }
    }
    links
}

/// What every page must hold to, whatever was pushed.
fn check_page(url: &str, page: &str) {
    for wanted in ["<!DOCTYPE html>", "<html lang=\"en\">", "<main id=\"main\"", "<h1", "<title>"] {
        assert!(page.contains(wanted), "{url} lacks {wanted}");
    }
    assert_eq!(page.matches("<h1").count(), 1, "{url} has one h1");
    for forbidden in [" style=", " onclick=", " onload=", "javascript:", "<script>", "<iframe"] {
        assert!(!page.contains(forbidden), "{url} holds {forbidden}");
    }
    let mut ids = BTreeMap::new();
    for id in page.split(" id=\"").skip(1) {
        let id = id.split('"').next().unwrap_or("").to_owned();
        *ids.entry(id).or_insert(0) += 1;
    }
    let twice: Vec<&String> =
        ids.iter().filter(|(_, count)| **count > 1).map(|(id, _)| id).collect();
    assert!(twice.is_empty(), "{url}: ids that occur twice: {twice:?}");
}

#[tokio::test]
async fn people_are_linked_to_their_documents() {
    let world = World::new().await;
    let process =
        format!("/machines/{}/processes/{}", support::fixture::MACHINE, world.filled.process_id);
    for url in ["/", "/apps/blog", "/source/blog", "/source/blog?log", &process] {
        let page = world.page(url).await;
        assert!(page.contains(r#"<a href="/users/ada" title="Ada Byron"#), "{url}: {page}");
    }
    // A service is nobody.
    let page = world.page("/deploys?log").await;
    assert!(page.contains("service/builder") && !page.contains("/users/service"), "{page}");
    let page = world.page("/users").await;
    assert!(page.contains("Ada Byron") && page.matches(">Name<").count() == 1, "{page}");
    assert!(world.page("/users/ada").await.contains("ada@example.org"));
}

#[tokio::test]
async fn every_link_leads_somewhere() {
    let world = World::new().await;
    let mut queue = VecDeque::from([("/".to_owned(), "start".to_owned())]);
    let mut seen = BTreeMap::from([("/".to_owned(), ())]);
    let mut pages = 0;
    while let Some((url, from)) = queue.pop_front() {
        let answer = world.get(&url).await;
        assert!(matches!(answer.status, 200 | 303), "{url} (on {from}): {}", answer.status);
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{url}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{url}");
        let next = match answer.status {
            303 => vec![answer.header("location").to_owned()],
            _ if answer.header("content-type").starts_with("text/html") => {
                check_page(&url, &answer.text());
                links(&answer.text())
            }
            _ => Vec::new(),
        };
        for link in next {
            let link = link.split('#').next().unwrap_or("").to_owned();
            if seen.len() < MAX_PAGES && seen.insert(link.clone(), ()).is_none() {
                queue.push_back((link, url.clone()));
            }
        }
        pages += 1;
    }
    assert!(pages > 150, "only {pages} pages are linked");
}

#[tokio::test]
async fn from_a_process_two_clicks_lead_to_its_source() {
    let world = World::new().await;
    let filled = &world.filled;
    let url = format!("/machines/{}/processes/{}", support::fixture::MACHINE, filled.process_id);
    let process = world.page(&url).await;
    for wanted in [
        "blog web.0",
        "gunicorn --bind 0.0.0.0:5000 app:app",
        "Greet readers by name",
        "Ada Byron",
        &filled.process.to_string(),
        &format!("/oci-images/blog@{}", filled.release),
        &format!("/builds/{}", filled.build),
    ] {
        assert!(process.contains(wanted), "the process page lacks {wanted}");
    }
    let source = format!("/source/blog@{}", filled.source);
    assert!(links(&process).contains(&source), "one click to the source");
    let file = format!("/source/blog/app.py@{}", filled.source);
    assert!(links(&world.page(&source).await).contains(&file), "two clicks to the file");
    let code = world.page(&file).await;
    assert!(code.contains("id=\"L14\"") && code.contains("href=\"#L14\""));
    assert!(code.contains("<span class=\"hk\">def</span>"), "it is highlighted");
}

#[tokio::test]
async fn what_was_pushed_is_shown_and_never_obeyed() {
    let world = World::new().await;
    let tavern = world.page("/source/tavern").await;
    assert!(tavern.contains("Opening &lt;hours&gt; &amp; directions"));
    let odd = "/source/tavern/caf%E9%20%22%3Cb%3E%22.txt";
    assert!(tavern.contains(odd), "{tavern}");
    assert!(world.page(odd).await.contains("any bytes may be a name"));
    let html = world.page("/source/tavern/index.html").await;
    assert!(!html.contains("<script>alert") && html.contains("alert"));
    let raw = world.get("/source/tavern/index.html?raw").await;
    assert_eq!(raw.header("content-type"), "text/plain; charset=utf-8");
    assert!(raw.header("content-security-policy").starts_with("sandbox"));
    let binary = world.get("/source/atlas/data/tiles.bin?raw").await;
    assert_eq!(binary.header("content-type"), "application/octet-stream");
    assert_eq!(binary.header("content-disposition"), "attachment; filename*=UTF-8''tiles.bin");
    let process =
        format!("/machines/{}/processes/{}", support::fixture::MACHINE, world.filled.process_id);
    assert!(world.page(&process).await.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[tokio::test]
async fn pages_show_what_was_and_what_went_wrong() {
    let world = World::new().await;
    let shop = world.page("/apps/shop").await;
    for wanted in ["build failed", "no package called", "Did you mean flask?", "/git/shop"] {
        assert!(shop.contains(wanted), "{wanted}");
    }
    let running = world.page(&format!("/builds/{}", world.filled.running_build)).await;
    let stream = format!("data-stream=\"{}\" data-from=\"", world.filled.running_stream);
    assert!(running.contains("index.html, 1 other file") && running.contains(&stream));
    let log = world.page(&format!("/builds/{}", world.filled.build)).await;
    assert!(log.contains("-----&gt; Python 3.13") && !log.contains("data-stream"));
    let release = world.page(&format!("/oci-images/blog@{}", world.filled.former_release)).await;
    assert!(release.contains("earlier") && release.contains("30-app"));
    let history = world.json("/oci-images/blog?log").await;
    let changes = history.as_array().expect("an array");
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[1]["old"], serde_json::Value::Null);
    assert_eq!(changes[0]["new"]["kid"], world.filled.release.to_string());
    // The version of the first release: the app as it was then.
    let version = changes[1]["version"].as_str().expect("a KID").to_owned();
    let then = world.page(&format!("/apps/blog@{version}")).await;
    assert!(then.contains("You see this as it was") && then.contains("List posts by date"));
    assert!(!then.contains("Greet readers by name"), "the second push had not come");
}

#[tokio::test]
async fn what_serves_is_told_from_what_was_pushed_last() {
    let world = World::new().await;
    let objects = world.keg.objects();
    let mut commit = objects.commit(&world.filled.source).expect("it is there");
    "Rewrite everything".clone_into(&mut commit.message);
    commit.parents = vec![world.filled.source];
    let source = objects.put_commit(&commit).expect("stored");
    let path = |text: &str| text.parse::<NamePath>().expect("a path");
    let mut deploy = world.keg.get_json(&path("/deploys/blog.json")).expect("read").expect("there");
    for (field, value) in [("state", "failed"), ("started", "2100-01-01T00:00:00.000Z")] {
        deploy[field] = value.into();
    }
    deploy["source"] = source.to_string().into();
    deploy["error"] = serde_json::json!({ "step": "build", "message": "it does not compile" });
    let txn = Txn::new("test", "a push that fails")
        .set(path("/source/blog"), Entry::commit(source))
        .set_json(path("/deploys/blog.json"), deploy);
    world.keg.commit(txn).expect("committed");
    let home = world.page("/").await;
    let card = home.split("href=\"/apps/blog\"").nth(1).expect("a card").split("</li>").next();
    let card = card.expect("its end");
    let at = |text: &str| card.find(text).unwrap_or_else(|| panic!("{text} is not in {card}"));
    assert!(at("Greet readers by name") < at("Newest push"));
    assert!(at("Newest push") < at("Rewrite everything"));
    let page = world.page("/apps/blog").await;
    let lead = page.split("<p class=\"lead\">").nth(1).and_then(|rest| rest.split("</p>").next());
    assert!(lead.is_some_and(|lead| lead.contains("Greet readers by name")), "{lead:?}");
    assert!(page.contains("It does not compile") && page.contains("Rewrite everything"));
    // Both deploys are told, on the home page, too.
    for page in [&page, &home, &world.page("/deploys").await] {
        assert!(page.contains(">failed<") && page.contains("List posts by date"));
    }
}

#[tokio::test]
async fn a_release_that_does_not_start_is_not_called_well() {
    let world = World::new().await;
    let (newest, former) = (world.filled.release, world.filled.former_release);
    let path = format!("/machines/{}/apps/blog.json", support::fixture::MACHINE);
    let state = serde_json::json!({
        "app": "blog", "release": newest, "live": former, "state": "failed",
        "error": { "message": "web.0 ended:\nno DATABASE_URL", "hint": "set it" },
        "url": "http://blog.localhost:8080",
    });
    let txn = Txn::new("test", "it fails").set_json(path.parse().expect("a path"), state);
    world.keg.commit(txn).expect("committed");
    let release = world.page(&format!("/oci-images/blog@{newest}")).await;
    assert!(release.contains(">failed to start</span>") && release.contains("no DATABASE_URL"));
    let release = world.page(&format!("/oci-images/blog@{former}")).await;
    assert!(release.contains(">live</span>") && !release.contains("DATABASE_URL"));
    for url in ["/", "/deploys", "/apps/blog"] {
        let page = world.page(url).await;
        let row = page.split("<tr>").find(|row| row.contains("Greet readers by name"));
        assert!(row.is_some_and(|row| row.contains(">failed to start</span>")), "{url}: {row:?}");
    }
}

#[tokio::test]
async fn builds_tell_how_long_they_took_and_what_runs_of_them() {
    let world = World::new().await;
    let filled = &world.filled;
    let build = world.page(&format!("/builds/{}", filled.build)).await;
    for wanted in [
        format!("/machines/{}/processes/{}", support::fixture::MACHINE, filled.process_id),
        format!("/oci-images/blog@{}", filled.release),
        "/packages/pypi/wheels/flask-3.1.2-py3-none-any.whl".to_owned(),
        "/packages/debian/trixie/pool/diffutils_1%253a3.10-4_amd64".to_owned(),
        "href=\"/apps/blog\"".to_owned(),
    ] {
        assert!(build.contains(&wanted), "the build's page lacks {wanted}");
    }
    let path: NamePath = "/builds/0123456789abcdef/build.json".parse().expect("a path");
    let failed = serde_json::json!({
        "key": "0123456789abcdef", "app": "blog", "state": "failed",
        "error": { "step": "import", "message": "no such package", "hint": "check the name" },
        "started": "2026-11-23T10:00:00.000Z", "finished": "2026-11-23T10:00:00.500Z",
        "seconds": { "detect": 0.1 },
    });
    world.keg.commit(Txn::new("test", "failed").set_json(path, failed)).expect("committed");
    let page = world.page("/builds/0123456789abcdef").await;
    for wanted in [
        "failed after 500 ms",
        "import <b>400 ms</b>",
        "total <b>500 ms</b>",
        "No such package",
        "Check the name",
    ] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    let builds = world.page("/builds").await;
    assert!(!builds.contains("are shown"), "all builds are on the page: {builds}");
}

#[tokio::test]
async fn builds_come_newest_first_in_pages() {
    const BUILDS: usize = 230;
    let world = World::new().await;
    let keys: Vec<String> = (0..BUILDS)
        .map(|n| keg::Kid::of_blob(&n.to_le_bytes()).to_hex()[..16].to_owned())
        .collect();
    let mut txn = Txn::new("test", "many");
    for (n, key) in keys.iter().enumerate() {
        let path: NamePath = format!("/builds/{key}/build.json").parse().expect("a path");
        // Later than those that are there; two begin at the same time.
        let (hour, minute) = (n / 2 / 60, n / 2 % 60);
        let started = format!("2999-01-01T{hour:02}:{minute:02}:00.000Z");
        let build = serde_json::json!({ "key": key, "app": "blog", "started": started });
        txn = txn.set_json(path, build);
    }
    world.keg.commit(txn).expect("committed");
    let (mut next, mut seen, mut pages) = (Some("/builds".to_owned()), Vec::new(), 0);
    while let Some(url) = next {
        let page = world.page(&url).await;
        let links = page.split("class=\"kid\" href=\"/builds/").skip(1);
        let here: Vec<String> = links.map(|link| link[..16].to_owned()).collect();
        assert!(here.len() <= 100, "{url}: {}", here.len());
        seen.extend(here);
        let more = page.split("href=\"/builds?after=").nth(1);
        next = more.map(|rest| format!("/builds?after={}", &rest[..16]));
        pages += 1;
    }
    let mut want = keys.clone();
    want.reverse();
    want.chunks_mut(2).for_each(<[String]>::sort);
    assert_eq!(seen[..BUILDS], want);
    assert!(seen[BUILDS..].contains(&world.filled.build), "the older ones follow");
    let once: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert_eq!((once.len(), pages), (seen.len(), 3));
    for wrong in ["0123456789abcdef", "nonsense", "../apps"] {
        let answer = world.get(&format!("/builds?after={wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
    }
}

#[tokio::test]
async fn packages_are_listed_with_who_uses_them() {
    let world = World::new().await;
    let packages = world.page("/packages").await;
    for wanted in ["Debian trixie", "PyPI", "libssl3t64", "gunicorn", "Debian trixie: python3"] {
        assert!(packages.contains(wanted), "{wanted}");
    }
    let package = world.page("/packages/debian/trixie/pool/libc6_2.41-12_amd64").await;
    let used = format!("/oci-images/blog@{}", world.filled.release);
    assert!(package.contains("Used by") && package.contains(&used), "{package}");
    let kid = world.json("/packages/pypi/wheels").await[2]["kid"].clone();
    let found = world.get(&format!("/-/search?q={}", kid.as_str().expect("a KID"))).await;
    assert_eq!(found.header("location"), "/packages/pypi/wheels/flask-3.1.2-py3-none-any.whl");
}

#[tokio::test]
async fn a_new_keg_says_how_to_begin() {
    let keg = keg::Keg::in_memory();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let routes = web::guard(web::router(std::sync::Arc::new(keg.clone()), 256));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let filled = support::fixture::Filled::none();
    let world = World { keg, filled, address };
    let home = world.page("/").await;
    assert!(home.contains(&format!("git remote add keg http://{address}/git/hello")), "{home}");
    for section in ["apps", "builds", "packages", "machines", "source", "deploys"] {
        check_page(section, &world.page(&format!("/{section}")).await);
    }
    assert_eq!(world.get("/nothing").await.status, 404);
    assert_eq!(world.get("/apps/hello").await.status, 404);
}
