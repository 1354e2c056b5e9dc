//! Clone and fetch: stock `git upload-pack` over a disposable view of the app's repository.
//!
//! ```text
//! run/git/<app>/<tree>/   a bare repository: HEAD, config, packed-refs,
//!                         objects/pack/pack-<id>.{pack,idx} as hard links to the Keg's objects
//! ```
//!
//! `<tree>` is the KID of `/git/<app>`, so a view never changes and is shared by all who fetch that
//! version. It holds nothing of its own and can be removed at any time.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use flate2::read::MultiGzDecoder;
use keg::{Keg, path::AppName};

use crate::{
    repo::{self, Repo, RepoError},
    settle::{self, SettleError},
};

/// Views older than this are removed when a newer one is made.
const KEEP_VIEWS: Duration = Duration::from_secs(3600);
/// Most bytes of a fetch request once decompressed: it lists refs and commits.
const MAX_REQUEST: u64 = 32 << 20;
/// How long `git upload-pack` waits for the client, in seconds.
const TIMEOUT: &str = "--timeout=60";

/// Why nothing can be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Nothing was pushed.
    #[error("there is no app {0} here; the first push makes it: git push keg main")]
    NoApp(AppName),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The newest push.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The Keg's objects.
    #[error("the repository cannot be read: {0}")]
    Store(#[from] keg::store::StoreError),
    /// The view.
    #[error("the repository cannot be laid out in {}: {source}", path.display())]
    View {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Git itself.
    #[error("git upload-pack cannot be started ({0}); install it: apt install git")]
    Git(#[source] io::Error),
    /// The request.
    #[error("the request cannot be read: {0}")]
    Request(#[source] io::Error),
}

/// Answers a fetch with stock git. With `gzip` the request on stdin is decompressed first;
/// otherwise this process becomes git and does not return.
///
/// # Errors
/// There is no such app, or no git.
pub(crate) fn fetch(
    keg: &Keg,
    app: &AppName,
    advertise: bool,
    gzip: bool,
) -> Result<(), FetchError> {
    let repo = settle::settled(keg, app)?;
    let view = view(keg, &repo)?;
    let mut git = upload_pack(&view, advertise);
    if !gzip {
        return Err(FetchError::Git(git.exec()));
    }
    let mut child = git.stdin(Stdio::piped()).spawn().map_err(FetchError::Git)?;
    let sent = match child.stdin.take() {
        Some(mut stdin) => {
            let mut request = MultiGzDecoder::new(io::stdin().lock()).take(MAX_REQUEST);
            io::copy(&mut request, &mut stdin)
        }
        None => Ok(0),
    };
    child.wait().map_err(FetchError::Git)?;
    match sent {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(FetchError::Request(error)),
        _ => Ok(()),
    }
}

/// The command.
fn upload_pack(view: &Path, advertise: bool) -> Command {
    let mut git = Command::new("git");
    git.args(["upload-pack", "--stateless-rpc", "--strict", TIMEOUT]);
    if advertise {
        git.arg("--http-backend-info-refs");
    }
    git.arg(view);
    isolate(&mut git, view);
    git
}

/// Makes git deaf to the configuration of the user and the machine it runs on.
pub(crate) fn isolate(git: &mut Command, home: &Path) {
    let kept = ["PATH", "GIT_PROTOCOL"].map(|name| (name, std::env::var_os(name)));
    git.env_clear();
    git.envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))));
    git.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("LC_ALL", "C")]);
    git.env("HOME", home);
}

/// The view of this version of the repository, made if it is not there.
///
/// # Errors
/// Nothing was pushed, or the disk's.
pub(crate) fn view(keg: &Keg, repo: &Repo) -> Result<PathBuf, FetchError> {
    let tree = repo.tree.ok_or_else(|| FetchError::NoApp(repo.app.clone()))?;
    let parent = keg.run_dir().join("git").join(repo.app.as_str());
    let path = parent.join(&tree.to_hex()[..32]);
    if path.exists() {
        return Ok(path);
    }
    let failed = |source| FetchError::View { path: path.clone(), source };
    fs::create_dir_all(&parent).map_err(failed)?;
    remove_old(&parent);
    let made = tempfile::Builder::new().prefix("new-").tempdir_in(&parent).map_err(failed)?;
    lay_out(keg, repo, made.path(), &failed)?;
    match fs::rename(made.path(), &path) {
        Ok(()) => drop(made.keep()),
        // Somebody made the same one meanwhile.
        Err(_) if path.exists() => {}
        Err(error) => return Err(failed(error)),
    }
    Ok(path)
}

/// Fills the directory of a view.
fn lay_out(
    keg: &Keg,
    repo: &Repo,
    dir: &Path,
    failed: &dyn Fn(io::Error) -> FetchError,
) -> Result<(), FetchError> {
    let packs = dir.join("objects/pack");
    fs::create_dir_all(&packs).map_err(failed)?;
    fs::create_dir_all(dir.join("refs")).map_err(failed)?;
    for extension in ["pack", "idx"] {
        for (name, kid) in repo.files(extension) {
            let target = packs.join(format!("pack-{name}.{extension}"));
            if fs::hard_link(repo::blob_path(keg, &kid), &target).is_ok() {
                continue;
            }
            // A small blob is not a file of its own in the Keg.
            let mut blob = keg.objects().open_blob(&kid)?;
            let mut file = fs::File::create(&target).map_err(failed)?;
            io::copy(&mut blob, &mut file).map_err(failed)?;
        }
    }
    let refs = repo.refs.iter().map(|(name, id)| format!("{id} {name}\n"));
    let config = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\
        [pack]\n\tthreads = 1\n\twindowMemory = 64m\n\
        [uploadpack]\n\tallowFilter = true\n\
        [safe]\n\tdirectory = *\n";
    for (name, text) in [
        ("HEAD", format!("ref: {}\n", repo::MAIN)),
        ("config", config.to_owned()),
        ("packed-refs", refs.collect()),
    ] {
        let mut file = fs::File::create(dir.join(name)).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

/// Removes views that nobody should need any more.
fn remove_old(parent: &Path) {
    let now = SystemTime::now();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let made = entry.metadata().and_then(|metadata| metadata.modified());
        let age = made.ok().and_then(|made| now.duration_since(made).ok());
        if age.is_some_and(|age| age > KEEP_VIEWS) {
            // It is only a copy; what cannot be removed now is tried again next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
