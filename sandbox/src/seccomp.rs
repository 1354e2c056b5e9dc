//! The system call filters, compiled to BPF programs before the container exists.
//!
//! Two programs are stacked. The first allows what [`syscalls`] lists, some calls only with
//! harmless arguments, and answers ENOSYS to the rest. The second answers EPERM to what is
//! refused on purpose. Of two errors the kernel returns the one of the program installed last.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use crate::error::SandboxError;
use crate::spec::Profile;
use crate::syscalls::{ALLOWED, ALLOWED_HERE, ALLOWED_NEW, REFUSED};

/// Clone flags that make namespaces.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// `personality(2)` values: Linux, 32-bit Linux, both with UNAME26, and the query.
const PERSONALITIES: &[u64] = &[0, 8, 0x20000, 0x20008, 0xffff_ffff];

/// Socket families: no VSOCK (reaches the hypervisor), ALG, packet, or exotic protocols.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Programs in the order in which they must be installed.
pub type Programs = Vec<BpfProgram>;

/// Compiles the filters of a profile.
pub fn compile(profile: Profile) -> Result<Programs, SandboxError> {
    build(profile).map_err(|e| SandboxError::System {
        what: "compile the system call filter",
        source: std::io::Error::other(e),
    })
}

fn build(profile: Profile) -> Result<Programs, BackendError> {
    let chroot = profile == Profile::Configure;
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = [ALLOWED, ALLOWED_NEW, ALLOWED_HERE]
        .concat()
        .into_iter()
        .map(|nr| (nr, Vec::new()))
        .collect();
    if chroot {
        allowed.insert(libc::SYS_chroot, Vec::new());
    }
    allowed.insert(libc::SYS_clone, vec![rule(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)?]);
    allowed.insert(libc::SYS_personality, any_of(0, PERSONALITIES.iter().copied())?);
    allowed.insert(libc::SYS_socket, any_of(0, FAMILIES.iter().map(|f| *f as u64))?);
    let refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED
        .iter()
        .filter(|nr| !(chroot && **nr == libc::SYS_chroot))
        .map(|nr| (*nr, Vec::new()))
        .collect();
    let errno = |e: libc::c_int| SeccompAction::Errno(e as u32);
    let first = filter(allowed, errno(libc::ENOSYS), SeccompAction::Allow)?;
    let second = filter(refused, SeccompAction::Allow, errno(libc::EPERM))?;
    Ok(vec![first, second])
}

fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()
}

fn rule(arg: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(arg, SeccompCmpArgLen::Dword, op, value)?])
}

fn any_of(arg: u8, values: impl Iterator<Item = u64>) -> Result<Vec<SeccompRule>, BackendError> {
    values.map(|value| rule(arg, SeccompCmpOp::Eq, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_fit_the_kernel() {
        for profile in [Profile::App, Profile::Build, Profile::Configure] {
            let programs = compile(profile).unwrap();
            assert_eq!(programs.len(), 2);
            for program in programs {
                assert!(program.len() < 4096, "{} instructions", program.len());
            }
        }
    }
}
