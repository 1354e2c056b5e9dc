//! The real clients: skopeo and podman.

use std::path::Path;

use crate::{
    Outcome,
    fixture::{file, odd_layer, release, tree},
    installed, run,
    world::{World, sha256},
};

/// `skopeo copy` fetches `latest` and a release by KID; every blob is what its name says.
pub async fn skopeo_copies() -> Outcome {
    if !installed("skopeo") {
        return Outcome::Skipped("skopeo is not installed");
    }
    let world = World::new().await;
    let app = tree(&world.keg, vec![(b"app.py", file(&world.keg, b"print('hi')\n"))]);
    let kid = release(&world.keg, "blog", &[odd_layer(&world.keg), app], "one");
    for tag in ["latest", &kid.short(), &kid.to_string()] {
        let out = world.scratch().join(tag);
        let from = format!("docker://{}/blog:{tag}", world.address);
        let to = format!("dir:{}", out.display());
        run("skopeo", &["copy", "--src-tls-verify=false", &from, &to]).await;
        let manifest = std::fs::read(out.join("manifest.json")).expect("a manifest");
        assert_eq!(world.manifest("blog", tag).await.1, sha256(&manifest));
        let blobs = blobs(&out);
        assert_eq!(blobs, 3, "a configuration and two layers");
    }
    let repository = format!("docker://{}/blog", world.address);
    let listed = run("skopeo", &["list-tags", "--tls-verify=false", &repository]).await;
    assert!(listed.contains(&kid.short()) && listed.contains("latest"), "{listed}");
    Outcome::Passed
}

/// The blobs of a `dir:` image; each is named by its digest.
fn blobs(dir: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.len() == 64 {
            let bytes = std::fs::read(entry.path()).expect("read");
            assert_eq!(sha256(&bytes), format!("sha256:{name}"));
            count += 1;
        }
    }
    count
}

/// `podman pull` takes the image into a store of its own, and sees its files and configuration.
pub async fn podman_pulls() -> Outcome {
    if !installed("podman") {
        return Outcome::Skipped("podman is not installed");
    }
    let world = World::new().await;
    let etc = tree(&world.keg, vec![(b"passwd", file(&world.keg, b"root:x:0:0::/:/bin/sh\n"))]);
    let base = tree(&world.keg, vec![(b"etc", etc)]);
    let app = tree(&world.keg, vec![(b"app.py", file(&world.keg, b"print('hi')\n"))]);
    release(&world.keg, "blog", &[base, app], "one");
    let store = world.scratch().join("store");
    let (root, state) = (store.join("root"), store.join("run"));
    let (root, state) = (root.to_string_lossy().into_owned(), state.to_string_lossy().into_owned());
    let podman = async |args: &[&str]| {
        let own = ["--root", &root, "--runroot", &state, "--storage-driver", "vfs"];
        run("podman", &own.into_iter().chain(args.iter().copied()).collect::<Vec<_>>()).await
    };
    let image = format!("{}/blog:latest", world.address);
    podman(&["pull", "--quiet", "--tls-verify=false", &image]).await;
    let about = podman(&["image", "inspect", &image]).await;
    let about: serde_json::Value = serde_json::from_str(&about).expect("JSON");
    assert_eq!(about[0]["Config"]["WorkingDir"], "/app");
    assert_eq!(about[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
    let mounted = podman(&["image", "mount", &image]).await;
    let passwd = Path::new(mounted.trim()).join("etc/passwd");
    assert_eq!(std::fs::read(passwd).expect("it is there"), b"root:x:0:0::/:/bin/sh\n");
    podman(&["image", "unmount", &image]).await;
    Outcome::Passed
}
