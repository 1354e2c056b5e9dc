//! The same as data, changes as they happen, and the one way to write.

mod support;

use keg::{
    NamePath, Txn,
    object::{EntryName, Tree},
};
use serde_json::{Value as Json, json};
use support::World;

#[tokio::test]
async fn objects_directories_tables_and_bytes() {
    let world = World::new().await;
    let root = world.json("/").await;
    let names: Vec<&str> =
        root.as_array().expect("a list").iter().filter_map(|e| e["name"].as_str()).collect();
    assert_eq!(
        names,
        ["apps", "builds", "deploys", "machines", "oci-images", "packages", "source", "users"]
    );
    assert_eq!(root[0]["kind"], "tree");
    let deploys = world.json("/deploys?json").await;
    let apps: Vec<&str> =
        deploys.as_array().expect("rows").iter().filter_map(|r| r["app"].as_str()).collect();
    assert_eq!(apps, ["atlas", "blog", "shop"]);
    let config = world.json("/apps/blog/config.json").await;
    assert_eq!(config["scale"]["web"], 2);
    assert_eq!(world.json("/apps/blog/config").await, config, "a name without .json is enough");
    let processes = world.json(&format!("/machines/{}/processes", support::fixture::MACHINE)).await;
    assert_eq!(processes.as_array().map(Vec::len), Some(6));
    let release = world.json("/oci-images/blog").await;
    assert_eq!(release["kid"], world.filled.release.to_string());
    assert_eq!(release["extra"]["source"], world.filled.source.to_string());
    assert_eq!(release["entries"][0]["name"], "build.json");
    let file = world.json(&format!("/source/blog/app.py@{}", world.filled.former_source)).await;
    assert_eq!((file["kind"].as_str(), file["mode"].as_str()), (Some("file"), Some("0644")));
    let raw = world.get(&format!("/source/blog/app.py@{}?raw", world.filled.former_source)).await;
    assert_eq!(file["size"], raw.body.len());
    assert!(raw.text().starts_with("\"\"\"A small blog"));
    let tag = raw.header("etag").to_owned();
    let again = world.send("GET", "/source/blog/app.py?raw", &[("if-none-match", &tag)], b"").await;
    assert_eq!(again.status, 200, "it changed with the second push");
    let same = format!("/-/kid/{}?raw", file["kid"].as_str().expect("a KID"));
    let same = world.send("GET", &same, &[("if-none-match", &tag)], b"").await;
    assert_eq!((same.status, same.body.len()), (304, 0));
}

#[tokio::test]
async fn long_listings_come_in_pages() {
    let world = World::new().await;
    let mut tree = Tree::default();
    let file = world.keg.objects().put_bytes(b"x").expect("stored");
    for number in 0..2500 {
        let name = EntryName::new(format!("file {number:04}")).expect("a name");
        tree.entries.insert(name, file.clone());
    }
    let tree = world.keg.objects().put_tree(&tree).expect("stored");
    let path: NamePath = "/packages/many".parse().expect("a path");
    world.keg.commit(Txn::new("test", "many").set(path, tree)).expect("committed");
    let mut url = "/packages/many?json".to_owned();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let answer = world.get(&url).await;
        let page = answer.json();
        let page = page.as_array().expect("a list").clone();
        seen.extend(page.iter().filter_map(|e| e["name"].as_str().map(str::to_owned)));
        let link = answer.header("link");
        url = link.trim_start_matches('<').split('>').next().unwrap_or("").to_owned();
    }
    assert_eq!(url, "", "three pages are all");
    assert_eq!(seen.len(), 2500);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
    let page = world.page("/packages/many").await;
    assert!(page.contains("/packages/many?after=file%200999"), "the page links the next");
}

#[tokio::test]
async fn whoever_cannot_follow_any_more_is_told_so() {
    let keg = keg::Keg::in_memory();
    let filled = support::fixture::fill(&keg).expect("the fixture is valid");
    let world = World::serve_few(keg, filled, 2).await;
    let mut followers = Vec::new();
    for _ in 0..2 {
        let mut events = world.events("/apps?watch", &[]).await;
        events.until("from version").await;
        followers.push(events);
    }
    let stream = world.filled.running_stream.clone();
    for url in ["/apps?watch", &format!("/-/stream/{stream}?from=0")] {
        let answer = world.get(url).await;
        assert_eq!(answer.status, 503, "{url}: {}", answer.text());
        assert!(answer.text().contains("2 others follow changes already"), "{}", answer.text());
    }
    let path: NamePath = "/apps/atlas/new.json".parse().expect("a path");
    let txn = Txn::new("test", "change").set_json(path, json!({}));
    let seq = world.keg.commit(txn).expect("committed").seq;
    for events in &mut followers {
        events.until(&format!("id: {seq}\n")).await;
    }
}

#[tokio::test]
async fn writing_is_compare_and_swap_below_apps() {
    let world = World::new().await;
    let url = "/apps/atlas/config.json";
    let put =
        async |headers: &[(&str, &str)], body: &[u8]| world.send("PUT", url, headers, body).await;
    assert_eq!(put(&[], b"{}").await.status, 428);
    let created = put(&[("if-none-match", "*")], br#"{"scale":{"web":1},"x":[1]}"#).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let tag = created.header("etag").to_owned();
    assert_eq!(world.get(&format!("{url}?json")).await.header("etag"), tag);
    assert_eq!(put(&[("if-none-match", "*")], b"{}").await.status, 412);
    let changed = put(&[("if-match", &tag)], br#"{"scale":{"web":3}}"#).await;
    assert_eq!(changed.status, 200);
    let stale = put(&[("if-match", &tag)], b"{}").await;
    let error = &stale.json()["error"];
    assert_eq!(stale.status, 412);
    assert_eq!(error["expected"], tag.trim_matches('"'));
    assert_eq!(error["found"], changed.header("etag").trim_matches('"'));
    assert_eq!(world.json(url).await, json!({ "scale": { "web": 3 } }));
    for (url, body, status) in [
        (url, &b"[1]"[..], 422),
        (url, b"{", 422),
        (url, br#"{"scale":{"web":-1}}"#, 422),
        ("/source/atlas", b"{}", 403),
        ("/deploys/atlas.json", b"{}", 403),
        ("/apps/NO/config.json", b"{}", 403),
        ("/apps/atlas/../x.json", b"{}", 400),
    ] {
        let answer = world.send("PUT", url, &[("if-none-match", "*")], body).await;
        assert_eq!(answer.status, status, "{url}: {}", answer.text());
    }
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(put(&[("if-none-match", "*")], &large).await.status, 413);
    for method in ["DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(world.send(method, url, &[], b"").await.status, 405, "{method}");
    }
}

#[tokio::test]
async fn a_form_changes_a_configuration() {
    let world = World::new().await;
    let page = world.page("/apps/blog").await;
    let expected = page.split("name=\"expected\" value=\"").nth(1).expect("a form");
    let expected = expected.split('"').next().expect("a KID").to_owned();
    let origin = format!("http://{}", world.address);
    let post = async |origin: &[(&str, &str)], url: &str, body: &str| {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let headers: Vec<(&str, &str)> = origin.iter().copied().chain([form]).collect();
        world.send("POST", url, &headers, body.as_bytes()).await
    };
    let ours = [("origin", origin.as_str())];
    let url = "/apps/blog/config.json";
    let body =
        format!("expected={expected}&document=%7B%22scale%22%3A+%7B%22web%22%3A+4%7D%7D%0D%0A");
    assert_eq!(post(&[], url, &body).await.status, 403, "no origin");
    assert_eq!(post(&[("origin", "http://blog.localhost:8080")], url, &body).await.status, 403);
    let done = post(&ours, url, &body).await;
    assert_eq!((done.status, done.header("location")), (303, "/apps/blog"));
    assert_eq!(world.json(url).await, json!({ "scale": { "web": 4 } }));
    let stale = post(&ours, url, &body).await;
    assert!(stale.status == 412 && stale.text().contains("has changed"), "{}", stale.status);
    assert_eq!(post(&ours, "/source/blog", &body).await.status, 403);
    let broken = post(&ours, "/apps/shop/config.json", "expected=&document=%7B").await;
    assert_eq!(broken.status, 422);
    assert!(broken.text().contains("Nothing was changed. Go back"), "{}", broken.text());
    assert_eq!(
        post(&ours, "/apps/shop/config.json", "expected=&document=%7B%7D").await.status,
        303
    );
}

#[tokio::test]
async fn changes_are_told_as_they_happen_and_none_is_missed() {
    let world = World::new().await;
    let seq = world.keg.head().expect("a version").seq;
    let mut events = world.events(&format!("/apps?watch&since={seq}"), &[]).await;
    events.until("from version").await;
    let set = |name: &str, number: u64| {
        let path: NamePath = format!("/apps/{name}/config.json").parse().expect("a path");
        let txn = Txn::new("test", "set").set_json(path, json!({ "grace": number }));
        world.keg.commit(txn).expect("committed")
    };
    set("atlas", 1);
    let event = events.until("\n\n").await + &events.until("}\n\n").await;
    assert!(event.contains("event: change") && event.contains("/apps/atlas"), "{event}");
    assert!(event.contains(&format!("id: {}", seq + 1)), "{event}");
    drop(events);
    set("atlas", 2);
    set("shop", 3);
    // A browser reconnects with the last id it saw; that wins over the URL.
    let last = (seq + 1).to_string();
    let mut events =
        world.events(&format!("/apps?watch&since={seq}"), &[("last-event-id", &last)]).await;
    let missed = events.until(&format!("id: {}\n", seq + 3)).await + &events.until("}\n\n").await;
    assert!(
        missed.contains("/apps/atlas/config.json") && missed.contains("/apps/shop"),
        "{missed}"
    );
    assert!(!missed.contains(&format!("\"seq\":{},", seq + 1)), "{missed}");
    let mut ahead = world.events("/apps?watch&since=999999", &[]).await;
    assert!(ahead.until("}\n\n").await.contains("event: compacted"));
    assert_eq!(world.get("/apps?watch&since=x").await.status, 400);
}

#[tokio::test]
async fn streams_are_followed_to_their_end() {
    let world = World::new().await;
    let id = &world.filled.running_stream;
    let mut log = world.keg.streams().create(id).expect("it is open");
    let mut events = world.events(&format!("/-/stream/{id}"), &[]).await;
    events.until("data: -----> Static site").await;
    log.line("       \u{1b}[32mtile 1\u{1b}[0m").expect("written");
    events.until("data:        tile 1\n").await;
    let size = world.json(&format!("/-/stream/{id}?json")).await["size"].as_u64().expect("a size");
    std::io::Write::write_all(&mut log, b"half").expect("written");
    log.line(" a line").expect("written");
    events.until("data: half a line\n").await;
    world.keg.streams().seal(id).expect("sealed");
    events.until("event: end\n").await;
    let mut again = world
        .events(&format!("/-/stream/{id}?from=0"), &[("last-event-id", &size.to_string())])
        .await;
    let rest = again.until("event: end").await;
    assert!(rest.contains("data: half a line") && !rest.contains("tile 1"), "{rest}");
    assert!(world.page(&format!("/-/stream/{id}?raw")).await.ends_with("half a line\n"));
    for (url, status) in [("/-/stream/nothing", 404), ("/-/stream/..", 404), ("/-/stream/A", 404)] {
        assert_eq!(world.get(url).await.status, status, "{url}");
    }
}

#[tokio::test]
async fn apps_are_data_also_without_a_directory() {
    let world = World::new().await;
    let apps = world.json("/apps").await;
    let names: Vec<_> = apps.as_array().expect("a list").iter().map(|app| &app["app"]).collect();
    assert_eq!(names, ["atlas", "blog", "shop", "tavern"]);
    let blog = world.json("/apps/blog").await;
    assert_eq!(blog["live"], world.filled.release.to_string());
    assert_eq!(blog["serving"], world.filled.source.to_string());
    assert_eq!(blog["state"], json!(["live"]));
    let shop = world.json("/apps/shop").await;
    assert_eq!((&shop["live"], &shop["state"]), (&Json::Null, &json!(["build failed"])));
    assert!(shop["error"]["hint"].as_str().is_some_and(|hint| hint.contains("flask")), "{shop}");
}

#[tokio::test]
async fn an_unknown_version_is_not_the_current_one() {
    let world = World::new().await;
    for place in ["/apps", "/apps/blog", "/source", "/builds", "/"] {
        for form in ["", "?json"] {
            let url = format!("{place}@K-ffffffff{form}");
            let answer = world.get(&url).await;
            assert_eq!(answer.status, 404, "{url}");
            assert!(answer.text().contains("K-ffffffff"), "{url}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn search_finds_by_kid_number_key_git_and_name() {
    let world = World::new().await;
    let filled = &world.filled;
    let process =
        format!("/machines/{}/processes/{}", support::fixture::MACHINE, filled.process_id);
    for (query, want) in [
        (filled.process.short(), process.clone()),
        ("4242".to_owned(), process.clone()),
        (filled.process_id.clone(), process),
        (filled.release.to_string(), format!("/oci-images/blog@{}", filled.release)),
        (filled.source.short(), format!("/source/blog@{}", filled.source)),
        (filled.image.to_string(), format!("/oci-images/blog@{}#image", filled.release)),
        (filled.build.clone(), format!("/builds/{}", filled.build)),
        ("9b1e77d0".to_owned(), format!("/source/blog@{}", filled.source)),
        ("blog".to_owned(), "/apps/blog".to_owned()),
        ("http%3A%2F%2Fblog.localhost%3A8080%2Fx".to_owned(), "/apps/blog".to_owned()),
        ("%2Fdeploys".to_owned(), "/deploys".to_owned()),
        // A browser would take `//host` for another site.
        ("%2F%2Fevil.example%2Fx".to_owned(), "/evil.example/x".to_owned()),
        ("%2F%5Cevil.example".to_owned(), "/%5Cevil.example".to_owned()),
    ] {
        let answer = world.get(&format!("/-/search?q={query}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, want.as_str()), "{query}");
    }
    for nothing in ["K-00000000", "zzz", "999999", "K-0", "%00"] {
        assert_eq!(world.get(&format!("/-/search?q={nothing}")).await.status, 404, "{nothing}");
    }
    let found = world.json("/-/search?q=4242").await;
    assert_eq!(found["results"][0]["kind"], "process");
    assert_eq!(found["results"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn other_sites_and_hostile_requests_are_refused() {
    let world = World::new().await;
    let port = world.address.port();
    for (headers, status) in [
        (vec![("host", "evil.example".to_owned())], 421),
        (vec![("host", format!("evil.example:{port}"))], 421),
        (vec![("host", format!("localhost:{port}"))], 200),
        (vec![("origin", "http://evil.example".to_owned())], 403),
        (vec![("origin", format!("http://localhost:{port}"))], 403),
        (vec![("origin", format!("http://127.0.0.1:{port}"))], 200),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let answer = world.send("GET", "/apps/blog/config.json?json", &headers, b"").await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert!(status == 200 || !answer.text().contains("trixie"));
        let message = &answer.json()["error"]["message"];
        assert_eq!(message.is_string(), status != 200, "it was asked for as data");
    }
    let deep = "/a".repeat(600);
    for url in [
        "/%",
        "/%00",
        "/..%2f..%2fetc/passwd",
        "/../../etc/passwd",
        "/a%2fb",
        "/%ff%fe",
        "//",
        "/./x",
        "/source/blog/app.py/below",
        "/apps/blog@K-ffffffff",
        "/apps/blog@K-zz",
        "/-/kid/K-1",
        "/-/kid/x",
        "/-/kid/",
        "/-/",
        "/-/nothing.css",
        "/-/stream/",
        "/?after=%00",
        "/?after=..",
        "/builds/%C3%28",
        "/machines/cellar/processes/zzz",
        "/deploys/none",
        "/?log&after=x",
        &deep,
    ] {
        for form in ["", "json", "raw", "log"] {
            let joint = if url.contains('?') { "&" } else { "?" };
            let answer = world.get(&format!("{url}{joint}{form}")).await;
            assert!(answer.status < 500, "{url} {form}: {} {}", answer.status, answer.text());
        }
    }
}

#[tokio::test]
async fn errors_tell_the_outside_only() {
    let world = World::new().await;
    let missing = world.send("GET", "/apps/blgo", &[("accept", "application/json")], b"").await;
    assert_eq!(missing.status, 404);
    assert!(missing.json()["error"]["message"].as_str().is_some_and(|m| m.contains("/apps/blgo")));
    let page = world.get("/machines/celar").await.text();
    assert!(page.contains("nearest place") && page.contains("href=\"/machines/cellar\""), "{page}");
    let raw = world.get("/apps?raw").await;
    assert_eq!(raw.status, 400);
    assert!(matches!(raw.json()["error"]["hint"], Json::String(_)));
}
