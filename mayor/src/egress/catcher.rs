//! A program of eighteen instructions in the kernel that hands connections to our socket.
//!
//! It is of the type `SK_LOOKUP` (Linux 5.9): asked whenever a packet that opens a connection
//! arrives in the namespace, it names the socket that is to get it. See the kernel's
//! `Documentation/bpf/prog_sk_lookup.rst`; there is no library for so little.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Commands of `bpf(2)`.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
/// A map that holds sockets.
const SOCKMAP: u32 = 15;
/// The type of program, and the place it is attached to.
const PROGRAM_SK_LOOKUP: u32 = 30;
const ATTACH_SK_LOOKUP: u32 = 36;
/// Functions of the kernel that a program may call.
const MAP_LOOKUP: i32 = 1;
const SK_RELEASE: i32 = 86;
const SK_ASSIGN: i32 = 124;
/// Fields of `struct bpf_sk_lookup`: the family, the protocol, and where the packet is to go.
const FAMILY: i16 = 8;
const PROTOCOL: i16 = 12;
const DESTINATION: i16 = 40;
/// The first octet of addresses that an app has to itself.
const OWN_NET: i32 = 127;

#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the low, source in the high four bits.
    registers: u8,
    offset: i16,
    immediate: i32,
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 4],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// Gives all TCP connections in a namespace to `listener`, but for those to 127.0.0.0/8, for as
/// long as the descriptor that is returned is open somewhere.
///
/// # Errors
/// The kernel is too old, or the right is missing.
pub fn attach(listener: &OwnedFd, namespace: &OwnedFd) -> io::Result<OwnedFd> {
    let sockets = MapCreate { map_type: SOCKMAP, key_size: 4, value_size: 4, max_entries: 1 };
    // SAFETY: the attributes are those of the command, here and below.
    let map = descriptor(unsafe { bpf(MAP_CREATE, &sockets) })?;
    let (key, value) = (0u32, listener.as_raw_fd());
    let update = MapUpdate {
        map: number(&map),
        pad: 0,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    // SAFETY: key and value outlive the call.
    unsafe { bpf(MAP_UPDATE, &update) }?;
    let program = program(map.as_raw_fd());
    let load = ProgLoad {
        prog_type: PROGRAM_SK_LOOKUP,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log: [0; 4],
        kernel_version: 0,
        flags: 0,
        name: *b"keg_egress\0\0\0\0\0\0",
        interface: 0,
        expected_attach_type: ATTACH_SK_LOOKUP,
    };
    // SAFETY: the instructions and the license outlive the call.
    let program = descriptor(unsafe { bpf(PROG_LOAD, &load) })?;
    let link = LinkCreate {
        program: number(&program),
        target: number(namespace),
        attach_type: ATTACH_SK_LOOKUP,
        flags: 0,
    };
    // SAFETY: as above.
    descriptor(unsafe { bpf(LINK_CREATE, &link) })
}

/// ```text
///   r6 = context
///   if protocol != TCP or family != IPv4 or destination[0] == 127: pass
///   r0 = map_lookup(map, &0); if none: pass
///   r7 = r0; sk_assign(r6, r7, 0); sk_release(r7)
/// pass:
///   return SK_PASS
/// ```
fn program(map: i32) -> [Instruction; 24] {
    const LOAD_WORD: u8 = 0x61;
    const LOAD_BYTE: u8 = 0x71;
    const STORE_WORD: u8 = 0x62;
    const LOAD_MAP: u8 = 0x18;
    const MOVE: u8 = 0xbf;
    const SET: u8 = 0xb7;
    const ADD: u8 = 0x07;
    const IF_EQUAL: u8 = 0x15;
    const IF_DIFFERENT: u8 = 0x55;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    const STACK: u8 = 10;
    const SK_PASS: i32 = 1;
    let op = |code, to: u8, from: u8, offset, immediate| Instruction {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    };
    // Jumps count from the instruction after them.
    [
        op(MOVE, 6, 1, 0, 0),
        op(LOAD_WORD, 2, 6, PROTOCOL, 0),
        op(IF_DIFFERENT, 2, 0, 19, libc::IPPROTO_TCP),
        op(LOAD_WORD, 2, 6, FAMILY, 0),
        op(IF_DIFFERENT, 2, 0, 17, libc::AF_INET),
        op(LOAD_BYTE, 2, 6, DESTINATION, 0),
        op(IF_EQUAL, 2, 0, 15, OWN_NET),
        op(STORE_WORD, STACK, 0, -4, 0),
        op(MOVE, 2, STACK, 0, 0),
        op(ADD, 2, 0, 0, -4),
        // Two instructions' room: a number of 64 bits, here that of a map.
        op(LOAD_MAP, 1, 1, 0, map),
        op(0, 0, 0, 0, 0),
        op(CALL, 0, 0, 0, MAP_LOOKUP),
        op(IF_EQUAL, 0, 0, 8, 0),
        op(MOVE, 7, 0, 0, 0),
        op(MOVE, 1, 6, 0, 0),
        op(MOVE, 2, 7, 0, 0),
        op(SET, 3, 0, 0, 0),
        op(CALL, 0, 0, 0, SK_ASSIGN),
        op(MOVE, 1, 7, 0, 0),
        op(CALL, 0, 0, 0, SK_RELEASE),
        op(SET, 0, 0, 0, SK_PASS),
        op(SET, 0, 0, 0, SK_PASS),
        op(EXIT, 0, 0, 0, 0),
    ]
}

/// # Safety
/// `attributes` must be those that the kernel defines for `command`, its pointers valid.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

fn descriptor(number: io::Result<libc::c_int>) -> io::Result<OwnedFd> {
    // SAFETY: the kernel has just made it, closed on exec, for us alone.
    number.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}
