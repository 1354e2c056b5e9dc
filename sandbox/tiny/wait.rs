//! The supervisor of a container: stops it when told, writes its log, records how it ended.
//!
//! Arguments: directory of the records; process id; grace in seconds; file of the out-of-memory
//! count; descriptor of PID 1's report; the log's limit in bytes; twice pipe, path and tag of an
//! output stream (pipe -1: none); then the control groups to remove.

use crate::lines::Lines;
use crate::sys::{self, PollFd, Str, Time};
use crate::text::{Text, bytes, number};

/// What is listened to; the shim holds these back before the exec.
const SIGNALS: [i32; 5] = [sys::SIGHUP, sys::SIGINT, sys::SIGQUIT, sys::SIGTERM, sys::SIGCHLD];
/// Attempts to remove a control group, and milliseconds between them.
const TRIES: usize = 40;
const TRY_MS: i64 = 5;
/// Chunks of output moved before signals are looked at again.
const BURST: usize = 64;
/// Milliseconds between one SIGKILL and the next.
const KILL_AGAIN_MS: i64 = 1000;
const POLLIN: i16 = 1;

static mut STREAMS: [Lines; 2] = [Lines::zero(), Lines::zero()];

pub fn main(args: &[Str]) -> ! {
    let [dir, pid, grace, oom, report, limit, streams @ ..] = args else { sys::exit(2) };
    let Some((streams, groups)) = streams.split_at_checked(6) else { sys::exit(2) };
    sys::name(c"keg-wait".as_ptr().cast());
    // SAFETY: there is one thread, and this is the only reference.
    let logs = unsafe { &mut *(&raw mut STREAMS) };
    for (log, args) in logs.iter_mut().zip(streams.chunks_exact(3)) {
        log.open(number(args[0]) as i32, args[1], args[2], number(*limit));
    }
    let status = supervise(number(*pid) as i32, number(*grace), logs);
    for log in logs.iter_mut() {
        while log.pump() {}
        log.finish();
    }
    let status = reported(number(*report) as i32).unwrap_or(status);
    record(bytes(*dir), status, oom_kills(*oom) > 0);
    for group in groups {
        for _ in 0..TRIES {
            match sys::rmdir(*group) {
                0 | sys::ENOENT => break,
                _ => sys::sleep_ms(TRY_MS),
            }
        }
    }
    sys::exit(0)
}

/// Waits for the end of `pid` and gives its wait status.
fn supervise(pid: i32, grace: i64, logs: &mut [Lines; 2]) -> i32 {
    let set = SIGNALS.iter().fold(0u64, |set, signal| set | 1 << (signal - 1));
    let signals = sys::signal_fd(set);
    let mut deadline: Option<i64> = None;
    loop {
        // Looked at before waiting: the end may have come before the descriptor was there.
        if let Some((_, status)) = sys::reap(pid) {
            return status;
        }
        let timeout = deadline.map(|d| {
            let left = (d - milliseconds()).max(0);
            Time { sec: left / 1000, nsec: left % 1000 * 1_000_000 }
        });
        let mut fds = [signals, logs[0].pipe, logs[1].pipe].map(|fd| PollFd {
            fd,
            events: POLLIN,
            revents: 0,
        });
        let ready = sys::poll(&mut fds, timeout);
        if ready == 0 {
            // Once more and not only once: the kernel may still be ending it.
            sys::kill(pid, sys::SIGKILL);
            deadline = Some(milliseconds() + KILL_AGAIN_MS);
            continue;
        }
        for (log, fd) in logs.iter_mut().zip(&fds[1..]) {
            let mut burst = BURST;
            while fd.revents != 0 && burst > 0 && log.pump() {
                burst -= 1;
            }
        }
        while let Some(signal) = taken(signals) {
            match signal {
                sys::SIGCHLD => {}
                sys::SIGQUIT => sys::kill(pid, sys::SIGKILL),
                _ => {
                    sys::kill(pid, sys::SIGTERM);
                    let until = milliseconds() + grace * 1000;
                    deadline = Some(deadline.map_or(until, |d| d.min(until)));
                }
            }
        }
    }
}

fn milliseconds() -> i64 {
    let now = sys::now(sys::MONOTONIC);
    now.sec * 1000 + now.nsec / 1_000_000
}

/// The next signal that has come.
fn taken(fd: i32) -> Option<i32> {
    const INFO_BYTES: usize = 128;
    let mut info = [0u8; INFO_BYTES];
    let whole = sys::read(fd, &mut info) == INFO_BYTES as isize;
    whole.then(|| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
}

/// How the command ended, as PID 1 saw it: it cannot die of the same signal itself.
fn reported(fd: i32) -> Option<i32> {
    let mut status = [0u8; 4];
    (fd >= 0 && sys::read(fd, &mut status) == 4).then(|| i32::from_ne_bytes(status))
}

/// The number on the line `oom_kill <n>`.
fn oom_kills(file: Str) -> u64 {
    let mut room = [0u8; 1024];
    let fd = sys::open(file, sys::RDONLY) as i32;
    let len = sys::read(fd, &mut room).max(0) as usize;
    sys::close(fd);
    let mut lines = room[..len].split(|b| *b == b'\n');
    let count = lines.find_map(|line| line.strip_prefix(b"oom_kill ")).unwrap_or(b"0");
    count.iter().fold(0, |sum, d| sum * 10 + u64::from(d.wrapping_sub(b'0')))
}

/// Writes `exit.json` durably: temporary file, sync, rename, sync of the directory. On a full
/// disk there is no record, and the end counts as unknown, never as success.
fn record(dir: &[u8], status: i32, oom: bool) {
    let signal = (status & 0x7f) as u64;
    let mut json = Text::<128>::new();
    match signal {
        0 => {
            json.put(b"{\"code\":").number((status >> 8 & 0xff) as u64, 1).put(b",\"signal\":null")
        }
        _ => json.put(b"{\"code\":null,\"signal\":").number(signal, 1),
    };
    json.put(b",\"oom\":").put(if oom { b"true" } else { b"false" }).put(b"}");
    let mut temp = Text::<4096>::new();
    let mut path = Text::<4096>::new();
    let mut parent = Text::<4096>::new();
    temp.put(dir).put(b"/.exit.json.new");
    path.put(dir).put(b"/exit.json");
    parent.put(dir);
    let file = sys::open(temp.terminated(), sys::REPLACE) as i32;
    if sys::write(file, json.as_bytes()).is_ok() && sys::sys!(FSYNC, file) == 0 {
        sys::rename(temp.terminated(), path.terminated());
        let fd = sys::open(parent.terminated(), sys::RDONLY) as i32;
        sys::sys!(FSYNC, fd);
        sys::close(fd);
    }
    sys::close(file);
}
