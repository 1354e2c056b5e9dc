//! PID 1 of a container: starts the command, hands every signal on, reaps whatever is left to it.
//!
//! Arguments: descriptor for the report; path of the command; its arguments, the name first.
//! Then, if any, what the report descriptor is not: every other descriptor is the command's.

use crate::sys::{self, Str};
use crate::text::{Text, bytes, number};

const ALL: u64 = u64::MAX;

pub fn main(args: &[Str], env: *const Str) -> ! {
    let [report, program, argv @ ..] = args else { sys::exit(2) };
    let report = number(*report) as i32;
    sys::name(c"keg-init".as_ptr().cast());
    // The command runs as the same user, and is not to forge its own end.
    sys::close_to_others();
    sys::mask(ALL);
    // A clone without flags is a fork.
    let command = sys::sys!(CLONE, sys::SIGCHLD) as i32;
    if command == 0 {
        sys::mask(0);
        sys::close(report);
        // The kernel put a null after the last argument.
        let error = sys::sys!(EXECVE, *program, argv.as_ptr(), env);
        let mut text = Text::<4352>::new();
        text.put(b"keg: cannot run ").put(bytes(*program)).put(b": error ");
        text.number(error.unsigned_abs() as u64, 1).put(b"\n");
        let _ = sys::write(2, text.as_bytes());
        sys::exit(if error == sys::ENOENT { 127 } else { 126 });
    }
    if command < 0 {
        let _ = sys::write(2, b"keg: cannot start the command: too many processes\n");
        sys::exit(126);
    }
    // Sockets passed to the command must close when it closes them.
    sys::sys!(CLOSE_RANGE, 3, report - 1, 0);
    sys::sys!(CLOSE_RANGE, report + 1, u32::MAX, 0);
    loop {
        match sys::next_signal(ALL) {
            sys::SIGCHLD => {
                while let Some((pid, status)) = sys::reap(-1) {
                    if pid == command {
                        end(report, status);
                    }
                }
            }
            signal if signal > 0 => sys::kill(command, signal),
            _ => {}
        }
    }
}

/// Reports the wait status and leaves; the kernel kills whatever is still there.
fn end(report: i32, status: i32) -> ! {
    let _ = sys::write(report, &status.to_ne_bytes());
    let signal = status & 0x7f;
    sys::exit(if signal == 0 { status >> 8 & 0xff } else { 128 + signal })
}
