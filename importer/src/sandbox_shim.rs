#![allow(missing_docs, clippy::all)]
use std::path::PathBuf;
#[derive(Default, Clone)]
pub struct Limits {
    pub memory: Option<u64>,
    pub cpus: Option<f64>,
    pub pids: Option<u32>,
}
#[derive(Default, Clone)]
pub enum Output {
    #[default]
    Inherit,
    Path(PathBuf),
}
#[derive(Default, Clone)]
pub enum Profile {
    #[default]
    App,
    Configure,
}
#[derive(Debug, thiserror::Error)]
#[error("shim {0}")]
pub struct SandboxError(#[from] std::io::Error);
#[derive(Default, Clone)]
pub struct Spec {
    pub id: String,
    pub rootfs: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub hostname: String,
    pub tmpfs: Vec<String>,
    pub profile: Profile,
    pub limits: Limits,
    pub stdout: Output,
    pub stderr: Output,
    pub state_dir: PathBuf,
    pub init: bool,
}
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub oom: bool,
}
impl Exit {
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}
pub fn run(spec: &Spec) -> Result<Exit, SandboxError> {
    let Output::Path(log) = &spec.stdout else { panic!() };
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    let r = spec.rootfs.display();
    let pre = format!(
        "mount -t proc proc {r}/proc; mount -t tmpfs tmpfs {r}/tmp; mount -t tmpfs tmpfs {r}/run; mount -t tmpfs tmpfs {r}/dev; mknod -m 666 {r}/dev/null c 1 3; mknod -m 666 {r}/dev/urandom c 1 9; mknod -m 666 {r}/dev/random c 1 8; mknod -m 666 {r}/dev/zero c 1 5; ln -s /proc/self/fd {r}/dev/fd; exec chroot {r} \"$@\""
    );
    let mut c = std::process::Command::new("unshare");
    c.args(["--net", "--mount", "--pid", "--fork", "--ipc", "--uts", "sh", "-c", &pre, "x"])
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().cloned())
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let s = c.status()?;
    Ok(Exit { code: s.code(), signal: None, oom: false })
}
