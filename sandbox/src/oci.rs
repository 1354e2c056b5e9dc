//! From a [`Spec`] to the OCI runtime configuration that libcontainer reads.

use std::path::PathBuf;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxMemoryBuilder, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, Mount, MountBuilder, ProcessBuilder,
    RootBuilder, Spec as OciSpec, SpecBuilder, UserBuilder,
};

use crate::cgroup;
use crate::profile;
use crate::spec::Spec;

/// Hidden from every container: kernel memory, timers, firmware, hardware state.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Shown, but not to be written.
const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Most a container's tmpfs may hold.
const TMPFS_SIZE: &str = "size=256m";

/// The configuration of `spec`.
pub fn config(spec: &Spec) -> Result<OciSpec, OciSpecError> {
    let process = ProcessBuilder::default()
        .terminal(false)
        .user(UserBuilder::default().uid(spec.uid).gid(spec.gid).build()?)
        .args(spec.args.clone())
        .env(spec.env.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>())
        .cwd(PathBuf::from(&spec.cwd))
        .capabilities(profile::capabilities(spec.profile)?)
        .rlimits(profile::rlimits(spec.profile)?)
        // Given explicitly as true: the filter is installed without any privilege.
        .no_new_privileges(true)
        .build()?;
    SpecBuilder::default()
        .version("1.0.2")
        .root(
            RootBuilder::default()
                .path(spec.rootfs.clone())
                .readonly(spec.read_only_root)
                .build()?,
        )
        .process(process)
        .hostname(spec.hostname.clone())
        .mounts(mounts(spec)?)
        .linux(linux(spec)?)
        .build()
}

fn linux(spec: &Spec) -> Result<Linux, OciSpecError> {
    // The shim itself is in the container's network namespace, so none is listed here.
    let namespaces = [
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ]
    .into_iter()
    .map(|typ| LinuxNamespaceBuilder::default().typ(typ).build())
    .collect::<Result<Vec<_>, _>>()?;
    let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
    LinuxBuilder::default()
        .namespaces(namespaces)
        // Never empty: an empty path would be the caller's own group, killed on removal.
        .cgroups_path(cgroup::relative(&spec.id))
        .resources(resources(spec)?)
        .masked_paths(strings(MASKED))
        .readonly_paths(strings(READ_ONLY))
        .rootfs_propagation("private")
        .build()
}

/// Memory and process limits. The processor quota is set after set-up: see [`cgroup::set_cpus`].
fn resources(spec: &Spec) -> Result<LinuxResources, OciSpecError> {
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(bytes) = spec.limits.memory {
        let limit = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut memory = LinuxMemoryBuilder::default().limit(limit);
        if cgroup::limits_swap() {
            // Of memory and swap together: what is over the limit is ended, not swapped out.
            memory = memory.swap(limit);
        }
        resources = resources.memory(memory.build()?);
    }
    if let Some(pids) = spec.limits.pids {
        resources = resources.pids(LinuxPidsBuilder::default().limit(i64::from(pids)).build()?);
    }
    resources.build()
}

fn mounts(spec: &Spec) -> Result<Vec<Mount>, OciSpecError> {
    let mut mounts = vec![
        mount("proc", "/proc", "proc", &["nosuid", "noexec", "nodev"])?,
        mount("tmpfs", "/dev", "tmpfs", &["nosuid", "noexec", "mode=755", "size=64k"])?,
        mount(
            "devpts",
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        )?,
        mount("shm", "/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"])?,
        mount("mqueue", "/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
        mount("sysfs", "/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"])?,
    ];
    for path in &spec.tmpfs {
        let options = ["nosuid", "nodev", "mode=1777", TMPFS_SIZE];
        mounts.push(mount("tmpfs", path, "tmpfs", &options)?);
    }
    for bind in &spec.binds {
        let mode = if bind.read_only { "ro" } else { "rw" };
        let source = bind.source.to_string_lossy();
        mounts.push(mount(&source, &bind.target, "bind", &["bind", "nosuid", "nodev", mode])?);
    }
    Ok(mounts)
}

fn mount(source: &str, target: &str, typ: &str, options: &[&str]) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .source(source)
        .destination(target)
        .typ(typ)
        .options(options.iter().map(|o| o.to_string()).collect::<Vec<_>>())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Profile;

    fn config_of(profile: Profile) -> serde_json::Value {
        let spec = Spec {
            id: "x-1".into(),
            rootfs: "/r".into(),
            args: vec!["sh".into()],
            profile,
            ..Spec::default()
        };
        serde_json::to_value(config(&spec).unwrap()).unwrap()
    }

    #[test]
    fn applications_get_nothing_they_could_misuse() {
        let config = config_of(Profile::App);
        assert_eq!(config["process"]["noNewPrivileges"], true);
        assert_eq!(config["process"]["capabilities"]["bounding"], serde_json::json!([]));
        assert_eq!(config["linux"]["cgroupsPath"], "keg/x-1");
        let kinds: Vec<_> = config["linux"]["namespaces"].as_array().unwrap().iter().collect();
        assert_eq!(kinds.len(), 5);
        for mount in config["mounts"].as_array().unwrap() {
            let options = mount["options"].as_array().unwrap();
            assert!(options.contains(&"nosuid".into()), "{mount}");
        }
    }

    #[test]
    fn configuring_keeps_only_file_and_id_capabilities() {
        let config = config_of(Profile::Configure);
        let bounding = config["process"]["capabilities"]["bounding"].as_array().unwrap().clone();
        assert!(bounding.contains(&"CAP_CHOWN".into()));
        for never in ["CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_SYS_PTRACE"] {
            assert!(!bounding.contains(&never.into()), "{never}");
        }
    }
}
