//! Capabilities and resource limits of each profile.

use oci_spec::runtime::{
    Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType,
};

use crate::spec::Profile;

/// Open files an application or build may have.
const NOFILE: u64 = 65_536;
/// Most that set-up scripts may have: some programs close every number up to the limit.
const NOFILE_CONFIGURE: u64 = 4096;

/// What maintainer scripts of packages need: owners, modes, ids, file capabilities, a root
/// directory of their own. Neither devices, mounts, networks nor the kernel.
const CONFIGURE: &[Capability] = &[
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setuid,
    Capability::SysChroot,
];

/// The capability sets of a profile.
pub fn capabilities(profile: Profile) -> Result<LinuxCapabilities, oci_spec::OciSpecError> {
    let keep: std::collections::HashSet<Capability> = match profile {
        Profile::App | Profile::Build => Default::default(),
        Profile::Configure => CONFIGURE.iter().copied().collect(),
    };
    LinuxCapabilitiesBuilder::default()
        .bounding(keep.clone())
        .effective(keep.clone())
        .permitted(keep)
        .inheritable(std::collections::HashSet::new())
        .ambient(std::collections::HashSet::new())
        .build()
}

/// The resource limits of a profile, clamped to what this process may grant.
pub fn rlimits(profile: Profile) -> Result<Vec<PosixRlimit>, oci_spec::OciSpecError> {
    let nofile = match profile {
        Profile::App | Profile::Build => NOFILE,
        Profile::Configure => NOFILE_CONFIGURE,
    };
    let nofile = nofile.min(hard_limit(libc::RLIMIT_NOFILE));
    [(PosixRlimitType::RlimitNofile, nofile), (PosixRlimitType::RlimitCore, 0)]
        .into_iter()
        .map(|(typ, value)| PosixRlimitBuilder::default().typ(typ).hard(value).soft(value).build())
        .collect()
}

fn hard_limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    match unsafe { libc::getrlimit(resource, &mut limit) } {
        0 => limit.rlim_max,
        _ => u64::MAX,
    }
}
