//! Records what a job asks of the disk, from its system calls.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{Disk, HOME, Node, Op};
use crate::{
    calls,
    tracer::{Call, Verdict, Watcher},
};

/// Records a job, or several on the same Keg, one after the other.
pub struct Recorder {
    home: PathBuf,
    /// What was there before, all of it durable.
    pub start: Disk,
    pub ops: Vec<Op>,
    /// Which node an inode is.
    nodes: HashMap<u64, Node>,
    next: Node,
    /// What was seen before the call that is being made.
    before: Before,
    strike: Strike,
    /// Calls, and those among them that make something durable.
    pub calls: usize,
    pub syncs: usize,
    pub told: Vec<String>,
}

/// What goes wrong, besides the power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strike {
    Nothing,
    /// This sync, counted from 1, fails with EIO.
    FailSync(usize),
    /// The process is killed before this call, counted from 1.
    Kill(usize),
}

#[derive(Default)]
struct Before {
    existed: bool,
    position: u64,
    node: Option<Node>,
}

impl Recorder {
    pub fn new(home: &Path, strike: Strike) -> Self {
        let mut recorder = Self {
            home: home.to_owned(),
            start: Disk::default(),
            ops: Vec::new(),
            nodes: HashMap::new(),
            next: HOME,
            before: Before::default(),
            strike,
            calls: 0,
            syncs: 0,
            told: Vec::new(),
        };
        if home.exists() {
            recorder.walk(home);
        }
        recorder
    }

    fn walk(&mut self, dir: &Path) -> Node {
        let node = self.new_node(std::fs::metadata(dir).unwrap().ino());
        let mut names = BTreeMap::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            let below = if meta.is_dir() {
                self.walk(&entry.path())
            } else {
                let known = self.nodes.get(&meta.ino()).copied();
                let below = known.unwrap_or_else(|| self.new_node(meta.ino()));
                self.start.files.insert(below, std::fs::read(entry.path()).unwrap());
                below
            };
            names.insert(entry.file_name().into_string().unwrap(), below);
        }
        self.start.dirs.insert(node, names);
        node
    }

    fn new_node(&mut self, inode: u64) -> Node {
        let node = self.next;
        self.next += 1;
        self.nodes.insert(inode, node);
        node
    }

    fn node_at(&self, path: &Path) -> Option<Node> {
        let meta = std::fs::symlink_metadata(path).ok()?;
        self.nodes.get(&meta.ino()).copied()
    }

    /// A name: the node of its directory, and its last part.
    fn name(&self, path: &Path) -> (Node, String) {
        let dir = path.parent().unwrap();
        let node = self.node_at(dir).unwrap_or_else(|| panic!("{} is not known", dir.display()));
        (node, path.file_name().unwrap().to_str().unwrap().to_owned())
    }

    fn fd(call: &Call) -> PathBuf {
        format!("/proc/{}/fd/{}", call.pid, call.args[0]).into()
    }

    /// The node of a call's descriptor.
    fn node_of(&self, call: &Call) -> Node {
        let inode = std::fs::metadata(Self::fd(call)).unwrap().ino();
        *self.nodes.get(&inode).unwrap_or_else(|| panic!("{call}: not known"))
    }

    fn position(call: &Call) -> u64 {
        let info = format!("/proc/{}/fdinfo/{}", call.pid, call.args[0]);
        let info = std::fs::read_to_string(info).unwrap();
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        let flags = i32::from_str_radix(&field("flags:"), 8).unwrap();
        if flags & libc::O_APPEND != 0 {
            return std::fs::metadata(Self::fd(call)).unwrap().len();
        }
        field("pos:").parse().unwrap()
    }

    fn opened(&mut self, call: &Call, fd: i64) {
        let inode = std::fs::metadata(format!("/proc/{}/fd/{fd}", call.pid)).unwrap().ino();
        let unnamed = libc::O_TMPFILE & !libc::O_DIRECTORY;
        if call.args[2] as i32 & unnamed != 0 {
            let node = self.new_node(inode);
            self.ops.push(Op::Length { node, len: 0 });
        } else if self.before.existed {
            let truncates = call.args[2] as i32 & libc::O_TRUNC != 0;
            if truncates {
                let node = self.nodes[&inode];
                self.ops.push(Op::Length { node, len: 0 });
            }
        } else {
            let node = self.new_node(inode);
            let (dir, name) = self.name(&call.path);
            self.ops.push(Op::Name { dir, name, node });
            // An empty file is one, too.
            self.ops.push(Op::Length { node, len: 0 });
        }
    }

    fn written(&mut self, call: &Call, len: i64) {
        let mut bytes = vec![0; len as usize];
        let at = self.before.position;
        let file = File::open(Self::fd(call)).unwrap();
        file.read_exact_at(&mut bytes, at).unwrap();
        let node = self.node_of(call);
        self.ops.push(Op::Write { node, at, bytes });
    }
}

impl Watcher for Recorder {
    fn before(&mut self, call: &Call) -> Verdict {
        self.before = Before {
            existed: call.path.symlink_metadata().is_ok(),
            position: match call.name() {
                "write" => Self::position(call),
                "pwrite" => call.args[3],
                _ => 0,
            },
            node: self.node_at(&call.path),
        };
        self.calls += 1;
        if self.strike == Strike::Kill(self.calls) {
            return Verdict::Kill;
        }
        if !calls::is_sync(call.number) {
            return Verdict::Go;
        }
        self.syncs += 1;
        if self.strike != Strike::FailSync(self.syncs) {
            return Verdict::Go;
        }
        let node = (call.name() != "syncfs").then(|| self.node_of(call));
        self.ops.push(Op::SyncFailed { node });
        Verdict::Fail(libc::EIO)
    }

    fn after(&mut self, call: &Call, result: i64) {
        if result < 0 {
            return;
        }
        match call.name() {
            "openat" | "open" => self.opened(call, result),
            "write" | "pwrite" => self.written(call, result),
            "ftruncate" => {
                let node = self.node_of(call);
                self.ops.push(Op::Length { node, len: call.args[1] });
            }
            "fallocate" => {
                let node = self.node_of(call);
                let len = std::fs::metadata(Self::fd(call)).unwrap().len();
                self.ops.push(Op::Length { node, len });
            }
            "fsync" | "fdatasync" => {
                let node = self.node_of(call);
                self.ops.push(Op::Sync { node });
            }
            "syncfs" => self.ops.push(Op::SyncAll),
            "mkdir" | "mkdirat" => {
                let inode = std::fs::metadata(&call.path).unwrap().ino();
                let node = self.new_node(inode);
                self.start.dirs.insert(node, BTreeMap::new());
                if node != HOME {
                    let (dir, name) = self.name(&call.path);
                    self.ops.push(Op::Name { dir, name, node });
                }
            }
            "rename" | "renameat" | "renameat2" => {
                let (from, to) = (self.name(&call.path), self.name(call.to.as_ref().unwrap()));
                let node = self.before.node.expect("what is renamed is known");
                self.ops.push(Op::Rename { from, to, node });
            }
            "link" | "linkat" => {
                let (dir, name) = self.name(call.to.as_ref().unwrap());
                let node = self.before.node.expect("what is linked is known");
                self.ops.push(Op::Name { dir, name, node });
            }
            "unlink" | "unlinkat" | "rmdir" => {
                let (dir, name) = self.name(&call.path);
                self.ops.push(Op::Remove { dir, name });
            }
            // Times and modes are in no promise, and writing early promises nothing.
            "sync_file_range" | "utimensat" | "fchmod" | "chmod" | "fchmodat" => {}
            other => panic!("{other} of {} is not simulated", self.home.display()),
        }
    }

    fn told(&mut self, line: &str) {
        self.told.push(line.to_owned());
        self.ops.push(Op::Told(line.to_owned()));
    }
}
