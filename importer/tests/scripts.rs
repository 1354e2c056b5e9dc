//! Packages with scripts, configured in real containers: what is told of it, and what a kill in the
//! middle leaves. The packages are a shell of this machine and a `dpkg` of a few lines; needs root.

mod debian;
mod world;

use std::{
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use debian::testing::{DebMaker, TarItem, TestMirror, file, symlink};
use tar::EntryType;
use world::World;

/// `dpkg --configure -a`, as far as these packages need it.
const DPKG: &str = r#"#!/bin/sh
db=/var/lib/dpkg
while IFS= read -r line; do
    case $line in
        "Package: "*) package=${line#Package: } ;;
        "Status: install ok unpacked")
            echo "Setting up $package (1) ..." >&2
            script=$db/info/$package.postinst
            if [ -x "$script" ] && ! "$script" configure >&2; then
                echo "dpkg: error processing package $package (--configure)" >&2
                exit 1
            fi
            line="Status: install ok installed" ;;
    esac
    printf '%s\n' "$line"
done <$db/status >$db/status-new
while IFS= read -r line; do printf '%s\n' "$line"; done <$db/status-new >$db/status
"#;
/// Fails, after it has said more than an error shows.
const BAD: &str =
    "#!/bin/sh\nn=0\nwhile [ $n -lt 50 ]; do n=$((n+1)); echo line $n; done\nexit 3\n";
/// Times that an import is killed.
const KILLS: u32 = 10;

fn executable(path: &str, bytes: &[u8]) -> TarItem {
    TarItem { mode: 0o755, ..TarItem::new(path, EntryType::Regular, "", bytes) }
}

/// A shell of this machine, with what it is linked to.
fn shell() -> DebMaker {
    let dash = std::fs::canonicalize("/bin/sh").expect("a shell");
    let linked = Command::new("ldd").arg(&dash).output().expect("ldd is part of libc-bin");
    let linked = String::from_utf8(linked.stdout).expect("text");
    let mut items = vec![
        executable("./usr/bin/dash", &std::fs::read(&dash).expect("readable")),
        symlink("./usr/bin/sh", "dash"),
    ];
    for path in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        items.push(executable(&format!(".{path}"), &std::fs::read(path).expect("readable")));
    }
    let mut maker = DebMaker::new("shell", "1", items);
    maker.fields = "Essential: yes\nInstalled-Size: 4000\n".into();
    maker
}

fn with_script(name: &str, script: &str) -> DebMaker {
    let mut maker = DebMaker::new(name, "1", vec![file(&format!("./usr/{name}"), name)]);
    maker.control = vec![executable("./postinst", script.as_bytes())];
    maker
}

struct Site {
    mirror: TestMirror,
}

impl Site {
    fn new() -> Self {
        let mirror = TestMirror::new();
        let mut dpkg =
            DebMaker::new("dpkg", "1", vec![executable("./usr/bin/dpkg", DPKG.as_bytes())]);
        dpkg.fields = "Essential: yes\n".into();
        let good = with_script(
            "good",
            "#!/bin/sh\necho made >/usr/made\nn=0\nwhile [ $n -lt 20000 ]; do n=$((n+1)); done\n",
        );
        mirror.publish("demo", &[shell(), dpkg, good, with_script("bad", BAD)]);
        debian::configure(&mirror, "demo");
        Self { mirror }
    }

    fn env(&self) -> (&'static str, PathBuf) {
        ("APT_CONFIG", self.mirror.path("apt.conf"))
    }

    fn import(&self, world: &World, packages: &[&str]) -> Result<serde_json::Value, String> {
        let (name, value) = self.env();
        world.import_with("demo", packages, &[(name, value.to_str().expect("text"))])
    }

    /// Starts an import of `good`.
    fn start(&self, world: &World) -> Child {
        let (name, value) = self.env();
        let mut command = world.command(&["debian", "demo", "good"]);
        command.env(name, value).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("started")
    }
}

fn log(world: &World, lock: &serde_json::Value) -> String {
    let kid = lock["log"].as_str().expect("a KID").parse().expect("a KID");
    String::from_utf8(world.keg().objects().blob(&kid).expect("read")).expect("text")
}

#[test]
fn scripts_change_the_root_file_system_and_are_kept_in_the_log() {
    let (site, world) = (Site::new(), World::new());
    let lock = site.import(&world, &["good"]).expect("imported");
    let rootfs = lock["debian"]["rootfs"].as_str().expect("text").parse().expect("a KID");
    let made = world.keg().objects().walk(&rootfs, "usr/made").expect("read");
    assert!(made.is_some(), "what the script made is there");
    let log = log(&world, &lock);
    for want in [
        "\nConfiguring 2 essential packages\n",
        "\n| Setting up dpkg (1) ...\n",
        "\n  2 packages configured in ",
        "\nConfiguring 1 package\n",
        "\n| Setting up good (1) ...\n",
        "\n  1 package configured in ",
    ] {
        assert!(log.contains(want), "{want:?} in\n{log}");
    }
}

#[test]
fn a_script_that_fails_shows_its_last_lines() {
    let (site, world) = (Site::new(), World::new());
    let error = site.import(&world, &["bad"]).expect_err("its script fails");
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("line ")).collect();
    assert_eq!((lines.len(), lines.last()), (19, Some(&"line 50")), "{error}");
    assert!(error.contains("dpkg: error processing package bad"), "{error}");
    assert!(error.contains("configuring the packages failed (exit code 1)"), "{error}");
    assert!(error.contains("Hint: all that the packages' scripts printed"), "{error}");
    let lock = world.lock("demo", &["bad"]);
    assert_eq!(lock["state"], "failed");
    assert!(log(&world, &lock).contains("| line 1\n"), "all of it is in the log");
    site.import(&world, &["good"]).expect("others are not hindered");
}

#[test]
fn a_kill_at_any_moment_leaves_a_clean_keg_and_the_next_import_succeeds() {
    let site = Site::new();
    let mut whole = {
        let world = World::new();
        let began = Instant::now();
        assert!(site.start(&world).wait().expect("ended").success());
        began.elapsed()
    };
    let mut killed = 0;
    for round in 0..KILLS {
        let world = World::new();
        let mut child = site.start(&world);
        std::thread::sleep(whole * (2 * round + 1) / (2 * KILLS));
        child.kill().expect("sent");
        match child.wait().expect("ended").signal() {
            Some(9) => killed += 1,
            // The machine is less busy than it was when the time was taken.
            _ => whole = whole * 2 / 3,
        }
        if world.has_keg() {
            let report = keg::fsck::fsck(&world.keg(), &mut |_| {}).expect("checked");
            assert!(report.is_clean(), "round {round}: {report:?}");
        }
        let lock = site.import(&world, &["good"]).unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_eq!(lock["state"], "done", "round {round}");
        let report = keg::fsck::fsck(&world.keg(), &mut |_| {}).expect("checked");
        assert!(report.is_clean(), "round {round}: {report:?}");
        await_end_of_containers(&world.keg().run_dir());
    }
    assert!(killed >= KILLS / 2, "only {killed} imports were killed before they ended");
}

/// Containers of a killed import end by themselves.
fn await_end_of_containers(run: &Path) {
    let until = Instant::now() + Duration::from_secs(10);
    let ours = run.to_string_lossy().into_owned();
    let uses = || {
        let processes = std::fs::read_dir("/proc").expect("readable").flatten();
        let mut roots = processes.filter_map(|p| std::fs::read_link(p.path().join("root")).ok());
        roots.any(|root| root.to_string_lossy().starts_with(&ours))
    };
    while uses() {
        assert!(Instant::now() < until, "a container outlives its import");
        std::thread::sleep(Duration::from_millis(20));
    }
}
