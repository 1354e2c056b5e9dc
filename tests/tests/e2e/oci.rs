//! Images fetched and run by skopeo and podman.

use std::{path::Path, process::Command};

use keg_tests::{Done, World, process::run, until};
use serde_json::Value as Json;

#[test]
fn skopeo_fetches_any_release_and_digests_stay() {
    let mut world = World::with_python();
    let repo = world.probe("blog");
    repo.push().ok();
    let first = world.ps("blog")[0]["release"].as_str().expect("a KID").to_owned();
    repo.write("note.txt", "more\n").commit("Second");
    repo.push().ok();

    let inspect = |world: &World, tag: &str| -> Json {
        let image = format!("docker://{}/blog:{tag}", world.front);
        let done = run(Command::new("skopeo").args(["inspect", "--tls-verify=false", &image]));
        serde_json::from_str(&done.ok()).expect("JSON")
    };
    let (old, new) = (inspect(&world, &first), inspect(&world, "latest"));
    assert_ne!(old["Digest"], new["Digest"]);
    let (old_layers, new_layers) = (layers(&old), layers(&new));
    assert_eq!(old_layers[..2], new_layers[..2], "base and packages are shared");
    assert_ne!(old_layers.last(), new_layers.last(), "the app's layer is new");

    let copy = world.scratch().join("layout");
    let target = format!("oci:{}:latest", copy.display());
    let image = format!("docker://{}/blog:latest", world.front);
    run(Command::new("skopeo").args(["copy", "--src-tls-verify=false", &image, &target])).ok();
    assert!(copy.join("index.json").exists());

    world.stop();
    world.start();
    assert_eq!(inspect(&world, "latest")["Digest"], new["Digest"], "the same after a restart");
    assert_eq!(inspect(&world, &first)["Digest"], old["Digest"]);
}

#[test]
fn podman_runs_what_was_pushed() {
    let world = World::with_python();
    world.probe("blog").push().ok();
    let podman = Podman::new(world.scratch());
    let image = format!("{}/blog:latest", world.front);
    podman.run(&["pull", "--quiet", "--tls-verify=false", &image]).ok();
    let port = "18080";
    // Limits that any caller may set, whatever its own are.
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=512:512"];
    let mut begin = vec!["run", "--detach", "--network=none"];
    begin.extend(limits);
    let port_variable = format!("PORT={port}");
    begin.extend(["--env", &port_variable, "--pull=never", &image]);
    let container = podman.run(&begin).ok().trim().to_owned();
    // With no network of its own, it is asked from inside.
    let ask = format!(
        "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{port}/').read())"
    );
    let answer = until("the container to answer", || {
        let done = podman.run(&["exec", &container, "python3", "-c", &ask]);
        (done.code == 0).then_some(done.out)
    });
    let log = podman.run(&["logs", &container]);
    podman.run(&["rm", "--force", "--time=1", &container]).ok();
    assert_eq!(answer.trim(), "b'one'");
    assert!(log.out.contains("serving one"), "{log:?}");
}

fn layers(inspected: &Json) -> Vec<&str> {
    let layers = inspected["Layers"].as_array().expect("layers");
    layers.iter().filter_map(Json::as_str).collect()
}

/// podman with storage of its own.
struct Podman<'a> {
    dir: &'a Path,
}

impl<'a> Podman<'a> {
    fn new(dir: &'a Path) -> Self {
        Self { dir }
    }

    fn run(&self, args: &[&str]) -> Done {
        let place = |name: &str| self.dir.join("podman").join(name).display().to_string();
        let (root, runroot) = (place("root"), place("run"));
        let own = ["--root", &root, "--runroot", &runroot, "--storage-driver=vfs"];
        run(Command::new("podman")
            .args(own)
            .args(["--cgroup-manager=cgroupfs", "--runtime=runc"])
            .args(args))
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        self.run(&["rm", "--all", "--force", "--time=0"]);
        self.run(&["rmi", "--all", "--force"]);
    }
}
