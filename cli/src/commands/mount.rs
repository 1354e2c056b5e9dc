//! `keg mount`, `keg unmount`: values and the namespace as ordinary files.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use keg::{
    Keg, NamePath,
    mount::{self, Live, LiveError, MountError, MountOptions, Mounts, WorkingCopy, WorkingError},
    names::{CommitError, Expected},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{locate, who::author};
use crate::{
    args::{Change, Mount, Output},
    error::CommandError,
    find, output,
};

/// How long the process of a live mount may take to end.
const END: Duration = Duration::from_secs(5);
/// How often that is looked at.
const END_STEP: Duration = Duration::from_millis(10);

/// Mounts a value, a working copy or the live namespace, or lists the working copies.
pub fn mount(args: &Mount) -> Result<(), CommandError> {
    let keg = find::keg()?;
    sweep(&keg);
    let how = args.output;
    match (args.first.as_deref(), args.second.as_deref()) {
        (Some(path), Some(dir)) if args.rw => working_copy(&keg, path, Path::new(dir), how),
        (Some(dir), Some(path)) if !args.live => value(&keg, Path::new(dir), path, how),
        (Some(dir), path) => live(&keg, Path::new(dir), path.unwrap_or("/"), how),
        (None, _) => list(&keg, how),
    }
}

/// Takes away what crashes have left. What cannot be taken away is no reason not to go on.
fn sweep(keg: &Keg) {
    if let Err(error) = mount::sweep(keg) {
        eprintln!("keg mount: {}", CommandError::from(error));
    }
}

fn value(keg: &Keg, dir: &Path, path: &str, how: Output) -> Result<(), CommandError> {
    let found = locate::whole(keg, path)?;
    let tree = keg.objects().directory_of(&found.entry)?.ok_or_else(|| {
        CommandError::user(format!("{path} is not a directory"))
            .hint(format!("`keg cat {path}` prints it"))
    })?;
    let target = dir.canonicalize().map_err(|error| {
        CommandError::user(format!("cannot mount at {}", dir.display()))
            .because(error)
            .hint("make the directory first")
    })?;
    if mount::keg_mount(&target)? {
        return Err(CommandError::user(format!("something is mounted at {}", dir.display()))
            .hint(format!("`keg unmount {}` takes it away", dir.display())));
    }
    let options = MountOptions { nosuid: true, nodev: true, ..MountOptions::default() };
    Mounts::new(keg).read_only_with(&tree, &target, options)?;
    if how.json {
        return output::json_line(&json!({ "directory": target, "tree": tree }));
    }
    output::line(&format!("{path} is at {} ({})", dir.display(), tree.short()))
}

fn working_copy(keg: &Keg, path: &str, dir: &Path, how: Output) -> Result<(), CommandError> {
    let name: NamePath = path.parse()?;
    let copy = WorkingCopy::mount(&Mounts::new(keg), &name, dir)?;
    let record = copy.record();
    if how.json {
        return output::json_line(&json!({
            "directory": record.target, "path": record.path.as_str(), "base": record.base,
        }));
    }
    let dir = dir.display();
    output::line(&format!("{path} is at {dir}; `keg commit {dir} {path}` keeps what you change"))
}

fn live(keg: &Keg, dir: &Path, path: &str, how: Output) -> Result<(), CommandError> {
    let name: NamePath = path.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow(keg, dir, &name, how))
}

async fn follow(keg: &Keg, dir: &Path, name: &NamePath, how: Output) -> Result<(), CommandError> {
    // Before there is anything to take away.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut live = Live::new(&Mounts::new(keg), name, dir)?;
    if how.json {
        output::json_line(&json!({ "directory": live.target(), "path": name.as_str() }))?;
    } else {
        let dir = dir.display();
        output::line(&format!("{name} is at {dir} and follows each change; Ctrl-C ends it"))?;
    }
    loop {
        match live.refresh() {
            Ok(Some(flip)) if how.json => output::json_line(&json!({
                "seq": flip.seq, "tree": flip.tree,
                "image_seconds": flip.image.as_secs_f64(),
                "swap_seconds": flip.swap.as_secs_f64(),
            }))?,
            Ok(_) => {}
            Err(LiveError::Mount(error @ MountError::NotMounted { .. })) => {
                return Err(CommandError::from(error)
                    .hint("something else took it away; start `keg mount` again"));
            }
            // What cannot be shown keeps nobody from what can: the mount stays at what it was.
            Err(error) => eprintln!("keg mount: {}", CommandError::from(error)),
        }
        tokio::select! {
            changed = live.changed() => changed?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

fn list(keg: &Keg, how: Output) -> Result<(), CommandError> {
    let mut rows = Vec::new();
    for copy in WorkingCopy::all(keg)? {
        let (record, mounted) = (copy.record(), copy.is_mounted()?);
        let changed = copy.is_changed()?;
        let path = record.path.as_str();
        if how.json {
            output::json_line(&json!({
                "directory": record.target, "path": path, "base": record.base,
                "mounted": mounted, "changed": changed,
            }))?;
            continue;
        }
        let state = if mounted { "mounted" } else { "not mounted" };
        let changes = if changed { "not committed" } else { "none" };
        let cells = [path, &record.target.display().to_string(), state, changes];
        rows.push(cells.map(str::to_owned).to_vec());
    }
    if how.json {
        return Ok(());
    }
    output::table(&["PATH", "DIRECTORY", "STATE", "CHANGES"], &rows)
}

/// Takes a mount away; a working copy only if nothing in it would be lost.
pub fn unmount(dir: &Path, discard: bool, how: Output) -> Result<(), CommandError> {
    let keg = find::keg()?;
    let target = dir.canonicalize().map_err(|error| {
        CommandError::user(format!("cannot look at {}", dir.display())).because(error)
    })?;
    let was_mounted = mount::keg_mount(&target)?;
    sweep(&keg);
    if let Some(copy) = WorkingCopy::at(&keg, &target)? {
        let path = copy.record().path.clone();
        if !discard && copy.is_changed()? {
            let text = format!("{} has changes that are not committed", dir.display());
            return Err(CommandError::user(text).hint(format!(
                "`keg commit {0} {path}` keeps them, `keg unmount {0} --discard` throws them away",
                dir.display()
            )));
        }
        copy.discard()?;
    } else if let Some(pid) = mount::live::keeper(&keg, &target)? {
        end(pid, &keg, &target)?;
    } else if mount::keg_mount(&target)? {
        mount::unmount(&target)?;
    } else if !was_mounted {
        return Err(CommandError::user(format!("no Keg is mounted at {}", dir.display()))
            .hint("`findmnt` shows what is"));
    }
    if how.json {
        return output::json_line(&json!({ "directory": target }));
    }
    output::line(&format!("{} is as it was", dir.display()))
}

/// Tells the process of a live mount to end, and waits until it has.
fn end(pid: u32, keg: &Keg, target: &Path) -> Result<(), CommandError> {
    let begun = Instant::now();
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may have ended by itself meanwhile, which is seen below.
        let _ = kill_process(pid, Signal::TERM);
    }
    while mount::live::keeper(keg, target)?.is_some() {
        if begun.elapsed() > END {
            return Err(CommandError::user(format!("process {pid} does not end"))
                .hint(format!("`kill -9 {pid}`, then `keg unmount {}`", target.display())));
        }
        std::thread::sleep(END_STEP);
    }
    sweep(keg);
    Ok(())
}

/// Commits a directory that is a working copy of this very path, and says so; false if it is none.
pub fn commit(keg: &Keg, dir: &Path, to: &NamePath, how: &Change) -> Result<bool, CommandError> {
    let Some(mut copy) = WorkingCopy::at(keg, dir)? else { return Ok(false) };
    if copy.record().path != *to || !copy.is_mounted()? {
        return Ok(false);
    }
    let begun = Instant::now();
    let usual = format!("commit {to}");
    let message = how.message.as_deref().unwrap_or(&usual);
    let before = keg.head()?.seq;
    let done = match copy.commit(&author(), message, how.force) {
        Err(WorkingError::Commit(error)) => return Err(conflict(error, to)),
        done => done?,
    };
    let (seconds, kid) = (begun.elapsed().as_secs_f64(), done.entry.kid());
    if how.output.json {
        output::json_line(&json!({
            "version": done.version.commit, "seq": done.version.seq,
            "changes": [{ "path": to.as_str(), "old": done.old, "new": kid }],
            "working_copy": true, "unchanged_files": done.reused, "seconds": seconds,
        }))?;
        return Ok(true);
    }
    let short = |kid: Option<keg::Kid>| kid.map_or("nothing".to_owned(), |kid| kid.short());
    output::line(&format!("{to}  {} → {}", short(done.old), short(kid)))?;
    let changed = done.version.seq > before;
    let what = if changed { "version" } else { "nothing changed: still version" };
    output::line(&format!("{what} {} {}", done.version.seq, done.version.commit.short()))?;
    Ok(true)
}

fn conflict(error: CommitError, to: &NamePath) -> CommandError {
    let CommitError::Conflict { expected, found, .. } = &error else { return error.into() };
    let found = found.as_ref().and_then(|entry| entry.kid());
    let hint = match (expected, found) {
        (Expected::Kid(ours), Some(theirs)) => {
            format!("`keg diff {} {}` shows what changed", ours.short(), theirs.short())
        }
        _ => format!("`keg log {to}` shows who changed it"),
    };
    CommandError::user(error.to_string())
        .hint(format!("{hint}; commit to another path, or replace it with --force"))
}

impl From<MountError> for CommandError {
    fn from(error: MountError) -> Self {
        match error {
            MountError::NotRoot => Self::config(error.to_string()),
            error => Self::user("the files could not be mounted or unmounted").because(error),
        }
    }
}

impl From<WorkingError> for CommandError {
    fn from(error: WorkingError) -> Self {
        match error {
            WorkingError::Mount(error) => error.into(),
            WorkingError::Ingest(error) => error.into(),
            WorkingError::Names(error) => error.into(),
            WorkingError::Commit(error) => error.into(),
            WorkingError::Store(error) => error.into(),
            error @ WorkingError::Taken { .. } => {
                Self::user(error.to_string()).hint("`keg mount` lists working copies")
            }
            error => Self::user("the working copy cannot be used").because(error),
        }
    }
}

impl From<LiveError> for CommandError {
    fn from(error: LiveError) -> Self {
        match error {
            LiveError::Target(error) => (*error).into(),
            LiveError::Mount(error) => error.into(),
            LiveError::Names(error) => error.into(),
            error => Self::user("the live mount cannot go on").because(error),
        }
    }
}
