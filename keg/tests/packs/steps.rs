//! Killed at each system call that changes anything: a tracer stops the process before it.

use std::{os::unix::process::CommandExt, process::Command};

use super::{processes::CHILD, *};

/// More calls than packing the sample makes.
const MAX_STEPS: usize = 5000;
/// Of this many steps each is tried; with more, evenly spread ones.
const TRIES: usize = 120;

/// What a traced child did.
enum Ended {
    /// It was killed before the call.
    Killed,
    /// It made fewer calls, this many.
    Through(usize),
}

/// Whether a call changes files.
fn changes(number: i64) -> bool {
    [
        libc::SYS_write,
        libc::SYS_pwrite64,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_unlink,
        libc::SYS_unlinkat,
        libc::SYS_mkdir,
        libc::SYS_mkdirat,
        libc::SYS_rmdir,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_syncfs,
        libc::SYS_ftruncate,
        libc::SYS_openat,
    ]
    .contains(&number)
}

/// Runs a child that packs once, and kills it before its `step`-th call that changes anything.
fn run(home: &Path, step: usize) -> Ended {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // One thread, so that the test runs in the one that is traced.
    command.args(["--exact", "processes::child", "--ignored", "--test-threads=1", "--quiet"]);
    command.env(CHILD, format!("once {}", home.display()));
    command.stdout(std::process::Stdio::null());
    // SAFETY: only an async-signal-safe call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    #[allow(clippy::zombie_processes, reason = "waited for below, call by call")]
    let child = command.spawn().unwrap();
    let pid = child.id() as i32;
    let (mut calls, mut entering) = (0, true);
    let mut first = true;
    loop {
        let mut status = 0;
        // SAFETY: plain calls on a child of this process.
        unsafe { assert_eq!(libc::waitpid(pid, &mut status, 0), pid) };
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            return Ended::Through(calls);
        }
        let signal = libc::WSTOPSIG(status);
        let mut deliver = 0;
        if first {
            first = false;
            let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
            // SAFETY: the child is stopped by its exec.
            unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) };
        } else if signal == libc::SIGTRAP | 0x80 {
            if entering && changes(call_number(pid)) {
                calls += 1;
                if calls == step {
                    // SAFETY: the child is ours and stopped.
                    unsafe {
                        libc::kill(pid, libc::SIGKILL);
                        libc::waitpid(pid, &mut status, 0);
                    }
                    return Ended::Killed;
                }
            }
            entering = !entering;
        } else {
            deliver = signal;
        }
        // SAFETY: the child is stopped.
        unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, deliver) };
    }
}

/// The number of the call that a stopped child is about to make.
fn call_number(pid: i32) -> i64 {
    // SAFETY: zeros are valid, and the kernel writes at most the given size.
    unsafe {
        let mut info: libc::ptrace_syscall_info = std::mem::zeroed();
        let size = std::mem::size_of::<libc::ptrace_syscall_info>();
        let got = libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, &mut info);
        assert!(got > 0 && info.op == libc::PTRACE_SYSCALL_INFO_ENTRY, "{got} {}", info.op);
        info.u.entry.nr as i64
    }
}

#[test]
fn killed_before_any_call_every_object_is_somewhere() {
    let sample = small_sample();
    let Ended::Through(calls) = run(sample.home(), MAX_STEPS) else { panic!("too many calls") };
    assert!(calls > 60 && sample.loose() == 0, "it packs, traced: {calls} calls");
    let kids: Vec<Kid> = sample.objects.keys().copied().collect();
    let mut killed = 0;
    for step in (1..=calls).step_by(calls.div_ceil(TRIES)) {
        restore(&sample.keg, &kids).unwrap();
        std::fs::remove_dir_all(sample.home().join("packs")).unwrap();
        std::fs::create_dir(sample.home().join("packs")).unwrap();
        killed += usize::from(matches!(run(sample.home(), step), Ended::Killed));
        let keg = sample.reopened();
        sample.check_reads(&keg, &format!("killed before call {step}"));
        let report = check(&keg);
        assert!(report.is_clean(), "call {step}: {report:?}");
        assert_eq!(pack_all(&keg).damaged, [], "call {step}");
        assert_eq!(sample.loose(), 0, "call {step}");
        let report = check(&sample.reopened());
        assert!(report.is_clean(), "call {step}, packed again: {report:?}");
    }
    assert!(killed > 40, "{killed} of {calls}");
}

/// A few objects of each sort, two of them with predecessors.
fn small_sample() -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let keg = Keg::create(dir.path()).unwrap();
    let mut files = BTreeMap::new();
    files.insert("small".to_owned(), noise(1, 9000));
    files.insert("large".to_owned(), noise(2, 1 << 20));
    let (mut objects, mut trees) = (BTreeMap::new(), Vec::new());
    for version in 0..2 {
        for bytes in files.values_mut() {
            bytes[4000] = version;
            objects.insert(Kid::of_blob(bytes), bytes.clone());
        }
        let entry = put_tree(&keg, &files);
        trees.push(entry.kid().unwrap());
        keg.commit(Txn::new("t", "m").set(path("/app"), entry)).unwrap();
    }
    Sample { dir, keg, objects, trees }
}
