//! The API: what each endpoint answers, which digests stay, what is refused.

use hyper::Method;
use keg::{NamePath, Txn, object::Entry};

use crate::{
    fixture::{file, odd_layer, release, tree},
    world::{World, sha256},
};

/// Manifest, configuration and layers by tag, KID and digest, the same after a restart and without
/// any record.
pub async fn digests_stay_the_same() {
    let world = World::new().await;
    let base = odd_layer(&world.keg);
    let app = tree(&world.keg, vec![(b"app.py", file(&world.keg, b"print('hi')\n"))]);
    let kid = release(&world.keg, "blog", &[base, app], "one");
    let (manifest, digest) = world.manifest("blog", "latest").await;
    let parsed: oci_spec::image::ImageManifest =
        serde_json::from_value(manifest.clone()).expect("a manifest of the specification");
    assert_eq!(parsed.layers().len(), 2);
    let config = world.get(&format!("/v2/blog/blobs/{}", parsed.config().digest())).await;
    assert_eq!(sha256(&config.body), parsed.config().digest().to_string());
    let parsed_config = oci_spec::image::ImageConfiguration::from_reader(config.body.as_slice());
    let parsed_config = parsed_config.expect("a configuration of the specification");
    assert_eq!(parsed_config.rootfs().diff_ids().len(), 2);
    assert_eq!(config.json()["config"]["Labels"]["note"], "é", "unknown fields are kept");
    assert_eq!(manifest["annotations"]["keg.release"], kid.to_string());
    for (reference, hint) in
        [(kid.to_string(), "whole"), (kid.short(), "short"), (digest.clone(), "digest")]
    {
        assert_eq!(world.manifest("blog", &reference).await.1, digest, "{hint}");
    }
    let again = world.restart().await;
    let layer = manifest["layers"][1]["digest"].as_str().expect("a digest");
    assert_eq!(
        again.get(&format!("/v2/blog/blobs/{layer}")).await.status,
        200,
        "the first request"
    );
    assert_eq!(again.manifest("blog", "latest").await.1, digest);
    let derived: NamePath = "/derived".parse().expect("a path");
    world.keg.commit(Txn::new("test", "forget").remove(derived)).expect("kept");
    let blob = world.restart().await.get(&format!("/v2/blog/blobs/{layer}")).await;
    assert_eq!((blob.status.as_u16(), sha256(&blob.body)), (200, layer.to_owned()));
    assert_eq!(world.restart().await.manifest("blog", &digest).await.1, digest);
}

/// A rollback to an earlier image is that image: same configuration, same layers.
pub async fn releases_share_what_is_the_same() {
    let world = World::new().await;
    let layer = |text: &[u8]| tree(&world.keg, vec![(b"app", file(&world.keg, text))]);
    let first = release(&world.keg, "blog", &[layer(b"1")], "one");
    let second = release(&world.keg, "blog", &[layer(b"2")], "two");
    let third = release(&world.keg, "blog", &[layer(b"1")], "back to one");
    let (one, _) = world.manifest("blog", &first.short()).await;
    let (two, _) = world.manifest("blog", &second.short()).await;
    let (three, _) = world.manifest("blog", "latest").await;
    assert_eq!(one["config"], three["config"]);
    assert_ne!(one["config"], two["config"]);
    let tags = world.get("/v2/blog/tags/list").await.json();
    let mut want = vec![first.short(), second.short(), third.short()];
    want.sort();
    want.push("latest".to_owned());
    assert_eq!(tags["tags"], serde_json::json!(want));
    let page = world.get("/v2/blog/tags/list?n=2").await;
    assert_eq!(page.json()["tags"], serde_json::json!(want[..2]));
    let next = format!("</v2/blog/tags/list?n=2&last={}>; rel=\"next\"", want[1]);
    assert_eq!(page.header("link"), next);
    let rest = world.get(&format!("/v2/blog/tags/list?n=2&last={}", want[1])).await;
    assert_eq!(rest.json()["tags"], serde_json::json!(want[2..]));
    assert_eq!(rest.header("link"), "");
    assert_eq!(world.get("/v2/blog/tags/list?n=0").await.json()["tags"], serde_json::json!([]));
    // A new release shows at once, without a restart.
    let fourth = release(&world.keg, "blog", &[layer(b"4")], "four");
    assert_eq!(
        world.manifest("blog", "latest").await.0["annotations"]["keg.release"],
        fourth.to_string()
    );
    world.manifest("blog", &first.to_string()).await;
}

/// A layer that no record knows is computed once, however many ask for it.
pub async fn many_clients_make_one_computation() {
    let world = World::new().await;
    release(&world.keg, "blog", &[odd_layer(&world.keg)], "one");
    let before = world.keg.head().expect("a version").seq;
    let pulls = (0..8).map(|_| world.get("/v2/blog/manifests/latest"));
    let answers = futures_util::future::join_all(pulls).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!(world.keg.head().expect("a version").seq, before + 1, "one record was written");
}

/// Endpoints, methods, heads, and everything that is refused.
pub async fn the_api_is_the_specification() {
    let world = World::new().await;
    release(&world.keg, "blog", &[tree(&world.keg, vec![])], "one");
    let not_a_release: NamePath = "/oci-images/odd".parse().expect("a path");
    let entry: Entry = file(&world.keg, b"x");
    world.keg.commit(Txn::new("test", "odd").set(not_a_release, entry)).expect("kept");
    let base = world.get("/v2/").await;
    assert_eq!((base.status.as_u16(), base.body.as_slice()), (200, &b"{}"[..]));
    assert_eq!(base.header("docker-distribution-api-version"), "registry/2.0");
    let get = world.get("/v2/blog/manifests/latest").await;
    let head = world.send(Method::HEAD, "/v2/blog/manifests/latest", &[]).await;
    assert!(head.body.is_empty());
    for name in ["content-length", "content-type", "docker-content-digest", "etag"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    assert_eq!(get.header("content-type"), "application/vnd.oci.image.manifest.v1+json");
    let fresh = [("if-none-match", get.header("etag"))];
    assert_eq!(world.send(Method::GET, "/v2/blog/manifests/latest", &fresh).await.status, 304);
    let none = format!("sha256:{}", "0".repeat(64));
    let sha512 = format!("sha512:{}", "0".repeat(128));
    let long = "a".repeat(300);
    for (url, status, code) in [
        ("/v2/none/manifests/latest".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/odd/manifests/latest".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/none/tags/list".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/Blog/manifests/latest".to_owned(), 400, "NAME_INVALID"),
        ("/v2/../manifests/latest".to_owned(), 400, "NAME_INVALID"),
        ("/v2/a%2fb/manifests/latest".to_owned(), 400, "NAME_INVALID"),
        ("/v2/a%00/blobs/x".to_owned(), 400, "NAME_INVALID"),
        (format!("/v2/{long}/tags/list"), 400, "NAME_INVALID"),
        (format!("/v2/{}/tags/list", long.repeat(5)), 414, "NAME_INVALID"),
        ("/v2/blog/manifests/nothing".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("/v2/blog/manifests/K-00000000".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/blog/manifests/{none}"), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/blog/blobs/{none}"), 404, "BLOB_UNKNOWN"),
        (format!("/v2/blog/blobs/{sha512}"), 404, "BLOB_UNKNOWN"),
        ("/v2/blog/blobs/sha256:zz".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/blog/blobs/x".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/blog/tags/list?n=x".to_owned(), 400, "UNSUPPORTED"),
        ("/v2/_catalog".to_owned(), 404, "UNSUPPORTED"),
        ("/v2/blog/referrers".to_owned(), 404, "UNSUPPORTED"),
    ] {
        let answer = world.get(&url).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{url}");
    }
    for (method, url) in [
        (Method::POST, "/v2/blog/blobs/uploads/"),
        (Method::PUT, "/v2/blog/manifests/latest"),
        (Method::DELETE, "/v2/blog/manifests/latest"),
        (Method::PATCH, "/v2/blog/blobs/uploads/1"),
    ] {
        let answer = world.send(method, url, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (405, "UNSUPPORTED"), "{url}");
    }
    // A manifest is no blob's media type, and a blob is no manifest.
    let config = get.json()["config"]["digest"].as_str().expect("a digest").to_owned();
    assert_eq!(world.get(&format!("/v2/blog/manifests/{config}")).await.status, 404);
}
