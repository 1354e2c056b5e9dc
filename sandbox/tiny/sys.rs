//! System calls, by number, and the four memory functions that compilers take for granted.

use core::arch::asm;

/// A zero-terminated string that lives as long as the process.
pub type Str = *const u8;

macro_rules! numbers {
    ($($name:ident $x86:literal $arm:literal)*) => {
        $(pub const $name: usize = if cfg!(target_arch = "x86_64") { $x86 } else { $arm };)*
    };
}

numbers! {
    READ 0 63
    WRITE 1 64
    CLOSE 3 57
    FSTAT 5 80
    NEWFSTATAT 262 79
    RT_SIGPROCMASK 14 135
    NANOSLEEP 35 101
    CLONE 56 220
    EXECVE 59 221
    WAIT4 61 260
    KILL 62 129
    FCNTL 72 25
    FSYNC 74 82
    PRCTL 157 167
    RT_SIGTIMEDWAIT 128 137
    CLOCK_GETTIME 228 113
    EXIT_GROUP 231 94
    OPENAT 257 56
    UNLINKAT 263 35
    RENAMEAT2 316 276
    PPOLL 271 73
    SIGNALFD4 289 74
    CLOSE_RANGE 436 436
}

pub const EINTR: isize = -4;
pub const ENOENT: isize = -2;

pub const SIGHUP: i32 = 1;
pub const SIGINT: i32 = 2;
pub const SIGQUIT: i32 = 3;
pub const SIGKILL: i32 = 9;
pub const SIGTERM: i32 = 15;
pub const SIGCHLD: i32 = 17;

const AT_FDCWD: usize = -100isize as usize;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Time {
    pub sec: i64,
    pub nsec: i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct PollFd {
    pub fd: i32,
    pub events: i16,
    pub revents: i16,
}

/// One raw system call; the answer is negative for an error.
///
/// # Safety
/// The arguments must be what the call expects.
pub unsafe fn call(nr: usize, a: [usize; 6]) -> isize {
    let ret: isize;
    // SAFETY: the caller's; the clobbers are the kernel's convention.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") nr => ret, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("svc 0", in("x8") nr, inlateout("x0") a[0] => ret, in("x1") a[1], in("x2") a[2],
            in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    ret
}

/// A system call of up to six numbers and pointers.
macro_rules! sys {
    ($nr:ident $(, $arg:expr)*) => {{
        let mut args = [0usize; 6];
        let mut _at = 0;
        $(args[_at] = $arg as usize; _at += 1;)*
        // SAFETY: every use in this program passes live pointers and right numbers.
        unsafe { $crate::sys::call($crate::sys::$nr, args) }
    }};
}
pub(crate) use sys;

pub fn exit(code: i32) -> ! {
    loop {
        sys!(EXIT_GROUP, code);
    }
}

pub fn read(fd: i32, into: &mut [u8]) -> isize {
    sys!(READ, fd, into.as_mut_ptr(), into.len())
}

/// Writes all of it; the error, if that fails.
pub fn write(fd: i32, mut from: &[u8]) -> Result<(), isize> {
    while !from.is_empty() {
        match sys!(WRITE, fd, from.as_ptr(), from.len()) {
            EINTR => {}
            n if n > 0 => from = &from[n as usize..],
            error => return Err(error),
        }
    }
    Ok(())
}

pub fn close(fd: i32) {
    sys!(CLOSE, fd);
}

pub const RDONLY: usize = 0;
pub const CLOEXEC: usize = 0o2000000;
/// Write, make, empty.
pub const REPLACE: usize = 0o1 | 0o100 | 0o1000;
/// Write, make, append.
pub const APPEND: usize = 0o1 | 0o100 | 0o2000;
const NONBLOCK: usize = 0o4000;

/// `path` must be zero-terminated.
pub fn open(path: Str, flags: usize) -> isize {
    sys!(OPENAT, AT_FDCWD, path, flags | CLOEXEC, 0o644)
}

pub fn rename(from: Str, to: Str) -> isize {
    sys!(RENAMEAT2, AT_FDCWD, from, AT_FDCWD, to)
}

pub fn rmdir(path: Str) -> isize {
    const AT_REMOVEDIR: usize = 0x200;
    sys!(UNLINKAT, AT_FDCWD, path, AT_REMOVEDIR)
}

pub fn nonblocking(fd: i32) {
    const F_SETFL: usize = 4;
    sys!(FCNTL, fd, F_SETFL, NONBLOCK);
}

/// Inode number and size.
pub struct Stat {
    pub inode: u64,
    pub size: i64,
}

pub fn stat(path: Str) -> Result<Stat, isize> {
    let mut raw = [0u64; 32];
    match sys!(NEWFSTATAT, AT_FDCWD, path, raw.as_mut_ptr()) {
        // The inode is the second word and the size the seventh, on both architectures.
        0 => Ok(Stat { inode: raw[1], size: raw[6] as i64 }),
        error => Err(error),
    }
}

pub fn fstat(fd: i32) -> Result<Stat, isize> {
    let mut raw = [0u64; 32];
    match sys!(FSTAT, fd, raw.as_mut_ptr()) {
        0 => Ok(Stat { inode: raw[1], size: raw[6] as i64 }),
        error => Err(error),
    }
}

/// Since 1970.
pub const REALTIME: usize = 0;
/// Since boot, unmoved by clock changes.
pub const MONOTONIC: usize = 1;

pub fn now(clock: usize) -> Time {
    let mut time = Time { sec: 0, nsec: 0 };
    sys!(CLOCK_GETTIME, clock, &mut time as *mut Time);
    time
}

pub fn sleep_ms(ms: i64) {
    let time = Time { sec: 0, nsec: ms * 1_000_000 };
    sys!(NANOSLEEP, &time as *const Time, 0);
}

/// Names the process for `ps`.
pub fn name(name: Str) {
    const PR_SET_NAME: usize = 15;
    sys!(PRCTL, PR_SET_NAME, name);
}

/// Closes its memory, environment and descriptors in `/proc` to processes of the same user.
pub fn close_to_others() {
    const PR_SET_DUMPABLE: usize = 4;
    sys!(PRCTL, PR_SET_DUMPABLE, 0);
}

pub fn kill(pid: i32, signal: i32) {
    sys!(KILL, pid, signal);
}

/// Reaps `pid` (-1: any child) if it has ended: its id and wait status.
pub fn reap(pid: i32) -> Option<(i32, i32)> {
    const WNOHANG: usize = 1;
    let mut status = 0i32;
    let found = sys!(WAIT4, pid, &mut status as *mut i32, WNOHANG, 0);
    (found > 0).then_some((found as i32, status))
}

const SIG_SETMASK: usize = 2;
const SIGSET_BYTES: usize = 8;

pub fn mask(signals: u64) {
    sys!(RT_SIGPROCMASK, SIG_SETMASK, &signals as *const u64, 0, SIGSET_BYTES);
}

/// Waits for one of the signals.
pub fn next_signal(signals: u64) -> i32 {
    sys!(RT_SIGTIMEDWAIT, &signals as *const u64, 0, 0, SIGSET_BYTES) as i32
}

/// A descriptor that becomes readable with the signals.
pub fn signal_fd(signals: u64) -> i32 {
    sys!(SIGNALFD4, -1isize, &signals as *const u64, SIGSET_BYTES, CLOEXEC | NONBLOCK) as i32
}

pub fn poll(fds: &mut [PollFd], timeout: Option<Time>) -> isize {
    let time = timeout.as_ref().map_or(core::ptr::null(), |t| t as *const Time);
    sys!(PPOLL, fds.as_mut_ptr(), fds.len(), time, 0, SIGSET_BYTES)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    let mut at = 0;
    while at < len {
        // SAFETY: the caller's: both reach `len` bytes.
        unsafe { *to.add(at) = *from.add(at) };
        at += 1;
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    let mut at = len;
    if (to as usize) <= (from as usize) {
        // SAFETY: the caller's; copying upwards never overwrites what is still to be read.
        return unsafe { memcpy(to, from, len) };
    }
    while at > 0 {
        at -= 1;
        // SAFETY: the caller's: both reach `len` bytes.
        unsafe { *to.add(at) = *from.add(at) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    let mut at = 0;
    while at < len {
        // SAFETY: the caller's: it reaches `len` bytes.
        unsafe { *to.add(at) = byte as u8 };
        at += 1;
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    let mut at = 0;
    while at < len {
        // SAFETY: the caller's: both reach `len` bytes.
        let (x, y) = unsafe { (*a.add(at), *b.add(at)) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        at += 1;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { memcmp(a, b, len) }
}
