//! Keg's writers: as processes, and as tasks of one.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use keg::{CommitError, Expected, Keg, Kid, NamePath, Txn, object::Entry};
use rustix::fs::{FlockOperation, flock};

use super::{SPAN, WRITERS, Written, until_over, watch};

/// Tells a child what to do: `write N own|hot HOME`, `watch HOME`.
pub const CHILD: &str = "KEG_BENCH_CHILD";

/// Does what a child is told, if this process is one.
pub fn is_child() -> bool {
    let Ok(spec) = std::env::var(CHILD) else { return false };
    match spec.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
        ["write", number, name, home] => write(number, *name == "hot", Path::new(home)),
        ["watch", home] => watch::child(Path::new(home)),
        _ => panic!("{spec}?"),
    }
    true
}

/// This program again, as a child.
pub fn child(spec: &str) -> Child {
    let own = std::env::current_exe().expect("because /proc is mounted");
    let mut command = Command::new(own);
    command.env(CHILD, spec).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("started")
}

fn name(number: usize, hot: bool) -> NamePath {
    let text = if hot { "/cas/hot".to_owned() } else { format!("/cas/{number:02}") };
    text.parse().expect("a path")
}

/// A Keg in which each writer has its name.
fn prepared(home: &Path) -> Keg {
    let keg = Keg::create(home).expect("a Keg");
    let txns: Vec<Txn> = (0..WRITERS)
        .map(|n| Txn::new("bench", "prepare").set_json(name(n, false), serde_json::json!([n])))
        .collect();
    keg.commit_all(&txns).expect("prepared").into_iter().for_each(|made| {
        made.expect("because nothing is expected");
    });
    keg
}

/// One writer, and what it believes its name to be.
struct Writer {
    number: usize,
    name: NamePath,
    known: Option<Kid>,
    count: u64,
}

impl Writer {
    fn new(keg: &Keg, number: usize, hot: bool) -> Self {
        let name = name(number, hot);
        let known = keg.get(&name).expect("read").as_ref().and_then(Entry::kid);
        Self { number, name, known, count: 0 }
    }

    /// The next move, and what the name will be.
    fn next(&self) -> (Txn, Kid) {
        let value = serde_json::json!([self.number, self.count]);
        let kid = Kid::of_blob(value.to_string().as_bytes());
        let expected = self.known.map_or(Expected::Absent, Expected::Kid);
        let txn = Txn::new("bench", "move").expect(self.name.clone(), expected);
        (txn.set_json(self.name.clone(), value), kid)
    }

    /// Whether the move was made; if not, what is there is known now.
    fn learns<T>(&mut self, made: Result<T, CommitError>, kid: Kid) -> bool {
        match made {
            Ok(_) => {
                self.known = Some(kid);
                self.count += 1;
                true
            }
            Err(CommitError::Conflict { found, .. }) => {
                self.known = found.as_deref().and_then(Entry::kid);
                false
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A child: waits for the start, writes, tells how long each move took.
fn write(number: &str, hot: bool, home: &Path) {
    let keg = Keg::open(home).expect("a Keg");
    let mut writer = Writer::new(&keg, number.parse().expect("a number"), hot);
    println!("ready");
    let start = File::open(home.join("run/start")).expect("opened");
    flock(&start, FlockOperation::LockShared).expect("locked");
    let written = until_over(|| {
        loop {
            let (txn, kid) = writer.next();
            if writer.learns(keg.commit(txn), kid) {
                break;
            }
        }
    });
    println!("{}", serde_json::json!(written.took));
}

/// 64 processes.
pub fn processes(home: &Path, hot: bool) -> Written {
    drop(prepared(home));
    let start = File::create(home.join("run/start")).expect("made");
    flock(&start, FlockOperation::LockExclusive).expect("locked");
    let kind = if hot { "hot" } else { "own" };
    let spec = |n: usize| format!("write {n} {kind} {}", home.display());
    let mut children: Vec<Child> = (0..WRITERS).map(|n| child(&spec(n))).collect();
    for child in &mut children {
        let mut ready = [0; 6];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut ready).expect("it is ready");
    }
    flock(&start, FlockOperation::Unlock).expect("unlocked");
    let mut all = Written { span: SPAN.as_secs_f64(), ..Written::default() };
    for child in children {
        let out = child.wait_with_output().expect("it ends");
        assert!(out.status.success(), "{}", out.status);
        let took: Vec<f64> = serde_json::from_slice(&out.stdout).expect("what it measured");
        all.took.extend(took);
    }
    all
}

/// One process with 64 tasks.
pub fn tasks(home: &Path, hot: bool) -> Written {
    let keg = prepared(home);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let tasks = tokio::task::LocalSet::new();
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let keg = keg.clone();
            tasks.spawn_local(async move {
                let mut writer = Writer::new(&keg, n, hot);
                let mut took = Vec::new();
                while begun.elapsed() < SPAN {
                    let start = Instant::now();
                    loop {
                        let (txn, kid) = writer.next();
                        if writer.learns(keg.commit_soon(txn).await, kid) {
                            break;
                        }
                    }
                    took.push(start.elapsed().as_secs_f64());
                }
                took
            })
        })
        .collect();
    runtime.block_on(async {
        tasks.await;
        let mut all = Written::default();
        for writer in writers {
            all.took.extend(writer.await.expect("it ends"));
        }
        all.span = begun.elapsed().as_secs_f64();
        all
    })
}
