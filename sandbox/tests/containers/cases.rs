//! What a container can and cannot do.

use std::fs;

use sandbox::record::{self, Outcome};
use sandbox::{Exit, Output, Profile, SandboxError};

use crate::Case;
use crate::world::{World, eventually};

pub const CASES: &[Case] = &[
    ("exit_codes", exit_codes),
    ("isolation", isolation),
    ("no_privileges", no_privileges),
    ("configure_profile", configure_profile),
    ("setup_errors", setup_errors),
    ("stopping", stopping),
];

fn exit_codes(world: &World) {
    let code = |code| Exit { code: Some(code), ..Exit::default() };
    assert_eq!(world.run(&world.spec("echo hi")), (code(0), "hi\n".into()));
    assert_eq!(world.run(&world.spec("exit 3")).0, code(3));
}

fn isolation(world: &World) {
    let cases = [
        ("one process", "echo $$", "1\n"),
        ("own user", "id -u; id -g; id -G", "20001\n20001\n20001\n"),
        ("own host name", "cat /proc/sys/kernel/hostname", "keg\n"),
        ("only loopback", "ls /sys/class/net", "lo\n"),
        ("loopback is up", "cat /sys/class/net/lo/operstate", "unknown\n"),
        ("no host processes", "ls /proc | grep -c '^[0-9]'", "3\n"),
        ("minimal /dev", "ls /dev | tr '\\n' ' '", DEV),
        ("/dev/null can be written", "echo x >/dev/null && echo yes", "yes\n"),
        ("standard input is empty", "cat; echo done", "done\n"),
        ("no stray descriptors", "ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 "),
        ("masked", "cat /proc/keys; wc -c </proc/timer_list", "0\n"),
        ("/sys is read-only", "touch /sys/x 2>/dev/null || echo no", "no\n"),
        ("/proc/sys is read-only", "echo x >/proc/sys/kernel/hostname || echo no", NO_WRITE),
    ];
    for (what, script, want) in cases {
        assert_eq!(world.sh(script), want, "{what}");
    }
}

const DEV: &str = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ";
const NO_WRITE: &str =
    "/bin/sh: 1: cannot create /proc/sys/kernel/hostname: Read-only file system\nno\n";

fn no_privileges(world: &World) {
    let status = world.sh("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status");
    for line in status.lines() {
        let (name, value) = line.split_once(":\t").expect("name and value");
        let want = match name {
            "NoNewPrivs" => "1",
            "Seccomp" => "2",
            _ => "0000000000000000",
        };
        assert_eq!(value, want, "{name}");
    }
    let refused = [
        "unshare -U true",
        "unshare -n true",
        "mount -t tmpfs x /tmp",
        "chroot / true",
        "mknod /tmp/disk b 8 0",
    ];
    for command in refused {
        let text = world.sh(&format!("{command} 2>/dev/null && echo allowed || echo refused"));
        assert_eq!(text, "refused\n", "{command}");
    }
}

fn configure_profile(world: &World) {
    let mut spec = world.spec(
        "cd /work && touch a && chown 33:44 a && chmod 4755 a && stat -c '%u %g %a' a; \
         mknod b b 8 0 2>/dev/null || echo no device; mkfifo f && echo fifo; \
         mount -t tmpfs x /work 2>/dev/null || echo no mount; chroot / echo chroot",
    );
    (spec.uid, spec.gid, spec.profile) = (0, 0, Profile::Configure);
    let (exit, text) = world.run(&spec);
    assert_eq!(text, "33 44 4755\nno device\nfifo\nno mount\nchroot\n");
    assert!(exit.success());
}

fn setup_errors(world: &World) {
    let mut absent = world.spec("");
    absent.args = vec!["gunicorm".into()];
    let mut not_executable = world.spec("");
    not_executable.args = vec!["/etc/plain".into()];
    fs::write(world.path("root/etc/plain"), "x").expect("it works");
    let mut cwd = world.spec("true");
    cwd.cwd = "/nowhere".into();
    let mut rootless = world.spec("true");
    rootless.rootfs = world.path("nothing");
    let table = [
        (absent, "the command gunicorm is not in the PATH"),
        (not_executable, "the command /etc/plain is not executable by all"),
        (cwd, "the working directory /nowhere does not exist"),
        (rootless, "No such file or directory"),
    ];
    for (spec, want) in table {
        match sandbox::run(&spec) {
            Err(SandboxError::Setup(error)) => {
                assert!(error.message.contains(want), "{want}: {error:?}");
            }
            other => panic!("{want}: {other:?}"),
        }
        assert!(sandbox::cgroup::dirs(&spec.id).is_empty(), "{want}: no groups left");
        match sandbox::run(&spec) {
            Err(SandboxError::Exists { .. }) => {}
            other => panic!("an id is used once: {other:?}"),
        }
    }
}

fn stopping(world: &World) {
    let mut spec = world.spec("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done");
    spec.stderr = Output::Inherit;
    let mut shim = sandbox::spawn(&spec).expect("it starts");
    eventually("output", || world.output() == "up\n");
    let Outcome::Started(record) = record::outcome(&spec.dir()).expect("records") else {
        panic!("a started container has a pid record");
    };
    assert!(record.alive() && record.shim_alive());
    // SAFETY: plain system call; the child is ours and not reaped.
    unsafe { libc::kill(shim.id() as i32, libc::SIGTERM) };
    shim.wait().expect("it works");
    let want = Exit { code: Some(5), ..Exit::default() };
    assert_eq!(record::outcome(&spec.dir()).expect("records"), Outcome::Exited(want));
    assert_eq!(world.output(), "up\nbye\n");
    assert!(!record.alive());
}
