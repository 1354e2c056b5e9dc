//! The system calls that change files: which they are, how they are met, how they are answered.

use libc::{c_long, sock_filter};

/// Which arguments say what a call is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A descriptor.
    Fd,
    /// A path.
    Path,
    /// A directory's descriptor and a path.
    At,
    /// Two paths.
    Two,
    /// Two directories' descriptors and paths.
    TwoAt,
}

/// Makes the child stop at every call that is about a file, also those that only look.
pub const EVERY: &str = "KEG_FAULTS_EVERY_CALL";

const CHANGING: [(c_long, &str, Shape); 40] = [
    (libc::SYS_write, "write", Shape::Fd),
    (libc::SYS_pwrite64, "pwrite", Shape::Fd),
    (libc::SYS_writev, "writev", Shape::Fd),
    (libc::SYS_pwritev, "pwritev", Shape::Fd),
    (libc::SYS_pwritev2, "pwritev2", Shape::Fd),
    (libc::SYS_copy_file_range, "copy_file_range", Shape::Fd),
    (libc::SYS_sendfile, "sendfile", Shape::Fd),
    (libc::SYS_ftruncate, "ftruncate", Shape::Fd),
    (libc::SYS_truncate, "truncate", Shape::Path),
    (libc::SYS_fallocate, "fallocate", Shape::Fd),
    (libc::SYS_fsync, "fsync", Shape::Fd),
    (libc::SYS_fdatasync, "fdatasync", Shape::Fd),
    (libc::SYS_sync_file_range, "sync_file_range", Shape::Fd),
    (libc::SYS_syncfs, "syncfs", Shape::Fd),
    (libc::SYS_open, "open", Shape::Path),
    (libc::SYS_openat, "openat", Shape::At),
    (libc::SYS_openat2, "openat2", Shape::At),
    (libc::SYS_creat, "creat", Shape::Path),
    (libc::SYS_rename, "rename", Shape::Two),
    (libc::SYS_renameat, "renameat", Shape::TwoAt),
    (libc::SYS_renameat2, "renameat2", Shape::TwoAt),
    (libc::SYS_link, "link", Shape::Two),
    (libc::SYS_linkat, "linkat", Shape::TwoAt),
    (libc::SYS_symlink, "symlink", Shape::Two),
    (libc::SYS_unlink, "unlink", Shape::Path),
    (libc::SYS_unlinkat, "unlinkat", Shape::At),
    (libc::SYS_mkdir, "mkdir", Shape::Path),
    (libc::SYS_mkdirat, "mkdirat", Shape::At),
    (libc::SYS_rmdir, "rmdir", Shape::Path),
    (libc::SYS_mknod, "mknod", Shape::Path),
    (libc::SYS_mknodat, "mknodat", Shape::At),
    (libc::SYS_chmod, "chmod", Shape::Path),
    (libc::SYS_fchmod, "fchmod", Shape::Fd),
    (libc::SYS_fchmodat, "fchmodat", Shape::At),
    (libc::SYS_fchown, "fchown", Shape::Fd),
    (libc::SYS_setxattr, "setxattr", Shape::Path),
    (libc::SYS_fsetxattr, "fsetxattr", Shape::Fd),
    (libc::SYS_utimensat, "utimensat", Shape::Fd),
    (libc::SYS_umount2, "umount2", Shape::Path),
    (libc::SYS_move_mount, "move_mount", Shape::TwoAt),
];

/// Calls that only look, stepped over with [`EVERY`].
const LOOKING: [(c_long, &str, Shape); 12] = [
    (libc::SYS_read, "read", Shape::Fd),
    (libc::SYS_pread64, "pread", Shape::Fd),
    (libc::SYS_fstat, "fstat", Shape::Fd),
    (libc::SYS_statx, "statx", Shape::At),
    (libc::SYS_newfstatat, "newfstatat", Shape::At),
    (libc::SYS_getdents64, "getdents", Shape::Fd),
    (libc::SYS_lseek, "lseek", Shape::Fd),
    (libc::SYS_flock, "flock", Shape::Fd),
    (libc::SYS_close, "close", Shape::Fd),
    (libc::SYS_readlink, "readlink", Shape::Path),
    (libc::SYS_fcntl, "fcntl", Shape::Fd),
    (libc::SYS_getxattr, "getxattr", Shape::Path),
];

fn all() -> impl Iterator<Item = (c_long, &'static str, Shape)> {
    CHANGING.into_iter().chain(LOOKING)
}

pub fn name(number: c_long) -> &'static str {
    all().find(|(other, ..)| *other == number).map_or("?", |(_, name, _)| name)
}

pub fn shape(number: c_long) -> Option<Shape> {
    all().find(|(other, ..)| *other == number).map(|(.., shape)| shape)
}

/// Whether a failure of this call can mean that the disk is full.
pub fn takes_space(number: c_long) -> bool {
    ["write", "pwrite", "openat", "open", "mkdir", "mkdirat", "link", "linkat", "rename"]
        .iter()
        .any(|taking| *taking == name(number))
        || [libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_ftruncate].contains(&number)
}

/// Whether it makes something durable.
pub fn is_sync(number: c_long) -> bool {
    [libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_syncfs].contains(&number)
}

/// The filter: stop at these calls, of the opening ones at those that make or empty a file; at
/// those that only look, too, if `every`.
pub fn filter(every: bool) -> Vec<sock_filter> {
    let every = every || std::env::var_os(EVERY).is_some();
    let op = |code: u32, jt: u8, jf: u8, k: u32| sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equal = |k: u32| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, k);
    let ret = |action| op(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    // O_CREAT, O_TRUNC, and O_TMPFILE without the O_DIRECTORY that is in it.
    let making = (libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32;
    let mut program = vec![load(0)];
    for (number, flags_at) in [(libc::SYS_openat, 32), (libc::SYS_open, 24)] {
        if !every {
            // The number, or over the next four.
            program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 4, number as u32));
            program.push(load(flags_at));
            program.push(op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, making));
            program.push(ret(libc::SECCOMP_RET_TRACE));
            program.push(ret(libc::SECCOMP_RET_ALLOW));
        }
    }
    for (number, ..) in all().take(if every { usize::MAX } else { CHANGING.len() }) {
        program.push(equal(number as u32));
        program.push(ret(libc::SECCOMP_RET_TRACE));
    }
    program.push(ret(libc::SECCOMP_RET_ALLOW));
    program
}

/// In the child, before it becomes the test: the next who waits for it traces it.
pub fn ask_to_be_traced(filter: &[sock_filter]) -> std::io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: plain calls; the kernel reads the program that lives until they return.
    let done = unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Says what of a child is to be followed: its calls, and its own children.
pub fn follow_all(pid: i32) {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE;
    // SAFETY: the child is stopped by its exec.
    let set = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// The number and arguments of the call that a stopped child is about to make.
pub fn entered(pid: i32) -> (c_long, [u64; 6]) {
    let regs = registers(pid);
    let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
    (regs.orig_rax as c_long, args)
}

/// What the call that a child returns from has answered.
pub fn result(pid: i32) -> i64 {
    registers(pid).rax as i64
}

/// Lets a call that a child is about to make not be made, but answer an error.
pub fn answer(pid: i32, errno: i32) {
    let mut regs = registers(pid);
    regs.orig_rax = u64::MAX;
    regs.rax = i64::from(-errno) as u64;
    set_registers(pid, &regs);
}

/// Lets a write that a child is about to make write half of its bytes.
pub fn halve(pid: i32) {
    let mut regs = registers(pid);
    regs.rdx /= 2;
    set_registers(pid, &regs);
}

fn registers(pid: i32) -> libc::user_regs_struct {
    // SAFETY: zeros are valid registers, and the child is stopped.
    unsafe {
        let mut regs: libc::user_regs_struct = std::mem::zeroed();
        let got = libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &mut regs);
        assert_eq!(got, 0, "{}", std::io::Error::last_os_error());
        regs
    }
}

fn set_registers(pid: i32, regs: &libc::user_regs_struct) {
    // SAFETY: the child is stopped.
    let set = unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, 0, regs) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}
