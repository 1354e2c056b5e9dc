//! Running maintainer scripts: in a container without network, on a writable overlay of the merged
//! packages; what it changed is captured as a tree.

mod follow;

use std::io;

use keg::{
    Keg, Kid,
    ingest::{IngestError, IngestOptions, ingest_overlay_upper},
    mount::{MountError, MountOptions, Mounts, unmount},
    object::Entry,
    store::StoreError,
};

use super::database::{self, Named};
use crate::{
    debian::{deb822, pool::Pooled},
    progress::{Progress, Report},
};
use follow::{Tail, follow};

/// Keeps scripts from starting services (Debian's `invoke-rc.d(8)`).
pub const POLICY: &[u8] = b"#!/bin/sh\nexit 101\n";
/// Where scripts look for it.
pub const POLICY_PATH: &str = "usr/sbin/policy-rc.d";

/// Answers given in advance: where this package is, this file has this text.
pub const ANSWERS: [(&str, &str, &str); 1] = [(
    "postgresql-common",
    "etc/postgresql-common/createcluster.conf",
    // A cluster belongs to an app's data, and one made here would be shared with its secrets.
    "create_main_cluster = false\n",
)];

/// `$@`: packages that have a `preinst`, as the database names them.
const SCRIPT: &str = r#"
for key do
    script=/var/lib/dpkg/info/$key.preinst
    export DPKG_MAINTSCRIPT_PACKAGE="${key%%:*}" DPKG_MAINTSCRIPT_NAME=preinst
    "$script" install || { echo "the preinst script of $key failed"; exit 1; }
done
unset DPKG_MAINTSCRIPT_PACKAGE DPKG_MAINTSCRIPT_NAME
exec dpkg --force-confdef --force-confold --configure -a
"#;
/// Begins what dpkg prints of each package.
const SETTING_UP: &str = "Setting up ";
/// Lines of the scripts' output that an error shows.
const TAIL_LINES: usize = 20;
/// Memory and processes that scripts may take.
const LIMITS: sandbox::Limits =
    sandbox::Limits { memory: Some(4 << 30), cpus: None, pids: Some(4096) };

/// Why packages could not be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// A script failed.
    #[error("configuring the packages failed ({how}):\n{tail}")]
    Script {
        /// How it ended.
        how: String,
        /// The last lines it printed.
        tail: String,
    },
    /// Scripts that do not end.
    #[error("the packages' scripts {0} and were stopped")]
    Endless(&'static str),
    /// dpkg left packages in another state than installed.
    #[error("these packages could not be configured: {0}")]
    Left(String),
    /// No container.
    #[error("no container to configure packages in")]
    Sandbox(#[from] sandbox::SandboxError),
    /// No mount.
    #[error("the packages cannot be mounted to be configured")]
    Mount(#[from] MountError),
    /// What was changed cannot be kept.
    #[error("what configuring changed cannot be kept")]
    Ingest(#[from] IngestError),
    /// The disk's.
    #[error("configuring packages failed")]
    Io(#[from] io::Error),
    /// The Keg's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Configures `packages` in the root file system `unpacked`; times become at most `epoch`.
///
/// # Errors
/// A script fails, or there is no container or mount.
pub fn run(
    keg: &Keg,
    unpacked: &Kid,
    packages: &[Pooled],
    epoch: i64,
    report: &mut Report<'_>,
) -> Result<Entry, ConfigureError> {
    keg.objects().sync()?;
    let names = database::named(keg.objects(), packages)?;
    let place = Place::new(keg, unpacked)?;
    let spec = spec(&place, &names, epoch);
    let (mut tail, mut done, total) = (Tail::default(), 0, names.len() as u64);
    let exit = follow(&spec, &place.dir.path().join("log"), &mut |line| {
        tail.push(line, TAIL_LINES);
        done += u64::from(line.starts_with(SETTING_UP) && done < total);
        report(Progress::Output(line.to_owned()));
        report(Progress::Count { done, total, bytes: 0, total_bytes: 0 });
    })?;
    if !exit.success() {
        let how = match (exit.oom, exit.code, exit.signal) {
            (true, ..) => "out of memory".to_owned(),
            (_, Some(code), _) => format!("exit code {code}"),
            (_, _, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        return Err(ConfigureError::Script { how, tail: tail.text() });
    }
    place.unmount()?;
    let options = IngestOptions { clamp_mtime: Some(epoch), ..IngestOptions::default() };
    let upper = place.dir.path().join("upper");
    let captured = ingest_overlay_upper(keg.objects(), unpacked, &upper, &options)?;
    check(keg, &captured)?;
    Ok(captured)
}

fn spec(place: &Place, names: &[Named<'_>], epoch: i64) -> sandbox::Spec {
    let with_preinst = names.iter().filter(|n| n.has("preinst")).map(|n| n.key.clone());
    let script = ["/bin/sh", "-c", SCRIPT, "configure"].map(str::to_owned);
    let env = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("DPKG_ADMINDIR", "/var/lib/dpkg"),
        ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
        ("DPKG_RUNNING_VERSION", "1.21.0"),
        ("PYTHONHASHSEED", "0"),
    ];
    let mut env: Vec<_> = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    env.push(("SOURCE_DATE_EPOCH".into(), epoch.to_string()));
    env.push(("DPKG_MAINTSCRIPT_ARCH".into(), crate::debian::native_arch().into()));
    let log = place.dir.path().join("log");
    sandbox::Spec {
        id: place.id.clone(),
        rootfs: place.root(),
        args: script.into_iter().chain(with_preinst).collect(),
        env,
        hostname: "localhost".into(),
        tmpfs: vec!["/tmp".into(), "/run".into()],
        profile: sandbox::Profile::Configure,
        limits: LIMITS,
        stdout: sandbox::Output::Path(log.clone()),
        stderr: sandbox::Output::Path(log),
        state_dir: place.dir.path().join("state"),
        init: true,
        ..sandbox::Spec::default()
    }
}

/// A directory with a mount in it, cleaned up when it is dropped.
struct Place {
    dir: tempfile::TempDir,
    id: String,
}

impl Place {
    fn new(keg: &Keg, tree: &Kid) -> Result<Self, ConfigureError> {
        let dir = tempfile::Builder::new().prefix("configure-").tempdir_in(keg.run_dir())?;
        let id = format!("configure-{}-{}", std::process::id(), tree.to_hex().split_at(12).0);
        let place = Self { dir, id };
        for name in ["root", "state"] {
            std::fs::create_dir(place.dir.path().join(name))?;
        }
        let options = MountOptions { nodev: true, volatile: true, ..MountOptions::default() };
        Mounts::new(keg).writable_with(tree, place.dir.path(), &place.root(), options)?;
        Ok(place)
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    fn unmount(&self) -> Result<(), MountError> {
        unmount(&self.root())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // After a success it is away already; a mount that stays is found by the next `keg up`.
        drop(self.unmount());
    }
}

/// All packages must be installed now.
fn check(keg: &Keg, captured: &Entry) -> Result<(), ConfigureError> {
    let objects = keg.objects();
    let kid = captured.kid().expect("because trees have KIDs");
    let status = objects.walk(&kid, "var/lib/dpkg/status")?.and_then(|entry| entry.kid());
    let status = status.map(|kid| objects.blob(&kid)).transpose()?.unwrap_or_default();
    let left: Vec<String> = deb822::stanzas(&status)
        .filter(|stanza| stanza.get("Status") != Some("install ok installed"))
        .map(|stanza| {
            let get = |field| stanza.get(field).unwrap_or("?");
            format!("{} ({})", get("Package"), get("Status"))
        })
        .collect();
    if status.is_empty() || !left.is_empty() {
        return Err(ConfigureError::Left(left.join(", ")));
    }
    Ok(())
}
