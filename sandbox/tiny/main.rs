//! The smallest things that live as long as a container does: its supervisor outside (`wait`) and
//! its PID 1 inside (`init`). No library, no heap: tens of kilobytes of memory each.
//!
//! Arguments come from the `sandbox` crate alone and are trusted to be well formed.
#![no_std]
#![no_main]
#![no_builtins]

mod init;
mod lines;
mod sys;
mod text;
mod wait;

use core::arch::global_asm;

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call entry"
);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x0, sp", "bl entry");

/// What the kernel put on the stack: argument count, arguments, null, environment, null.
#[unsafe(no_mangle)]
unsafe extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: the layout of the initial stack is the kernel's promise.
    let (args, env) = unsafe {
        let count = *stack;
        let args = core::slice::from_raw_parts(stack.add(1).cast::<sys::Str>(), count);
        (args, stack.add(count + 2).cast::<sys::Str>())
    };
    match args.get(1).map(|mode| text::bytes(*mode)) {
        Some(b"wait") => wait::main(&args[2..]),
        Some(b"init") => init::main(&args[2..], env),
        _ => sys::exit(2),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(101)
}

/// Named by the unwind tables of `core`; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
