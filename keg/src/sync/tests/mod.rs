//! Two Kegs in one process.

mod faults;
mod golden;
mod hostile;
mod huge;
mod requests;
mod shards;
mod values;

use std::io::{self, Cursor, Read};

use super::*;
use crate::{
    Keg, NamePath, Txn,
    object::{Entry, EntryName, Tree},
    testing::noise,
};

/// A way to a Keg in this process, that can be cut.
pub struct Direct {
    pub keg: Keg,
    /// Its address.
    pub at: String,
    pub verbs: Vec<Verb>,
    /// Bytes of requests and of answers.
    pub up: u64,
    pub down: u64,
    /// After so many bytes of an answer, or of a request, the connection breaks.
    pub cut_answer: Option<u64>,
    pub cut_request: Option<u64>,
    pub last: (Vec<u8>, Vec<u8>),
}

impl Direct {
    pub fn to(keg: &Keg) -> Self {
        let (verbs, last) = (Vec::new(), (Vec::new(), Vec::new()));
        let (keg, at) = (keg.clone(), "direct".to_owned());
        Self { keg, at, verbs, up: 0, down: 0, cut_answer: None, cut_request: None, last }
    }
}

impl Transport for Direct {
    fn name(&self) -> &str {
        &self.at
    }

    fn exchange<'a>(&'a mut self, verb: Verb, request: Body<'_>) -> io::Result<Box<dyn Read + 'a>> {
        self.verbs.push(verb);
        let mut asked = Vec::new();
        match request {
            Body::Bytes(bytes) => asked = bytes,
            Body::Stream(stream) => drop(stream.read_to_end(&mut asked)?),
        }
        let torn = io::ErrorKind::ConnectionReset;
        if let Some(cut) = self.cut_request.take() {
            asked.truncate(cut as usize);
        }
        let mut answer = Vec::new();
        // A failure is in the answer.
        let _ = serve(&self.keg, verb, &mut asked.as_slice(), &mut answer);
        self.up += asked.len() as u64;
        self.down += answer.len() as u64;
        self.last = (asked, answer.clone());
        match self.cut_answer.take() {
            Some(0) => Err(torn.into()),
            Some(cut) => Ok(Box::new(Cursor::new(answer).take(cut))),
            None => Ok(Box::new(Cursor::new(answer))),
        }
    }
}

pub fn path(text: &str) -> NamePath {
    text.parse().expect(text)
}

pub fn name(text: &str) -> EntryName {
    EntryName::new(text).expect(text)
}

/// Calls `with` with usual options.
pub fn usually<T>(with: impl FnOnce(&mut Options<'_>) -> T) -> T {
    let (author, limits) = ("Test".to_owned(), Limits::default());
    with(&mut Options { author, force: false, limits, progress: &mut |_| {} })
}

pub fn forced<T>(with: impl FnOnce(&mut Options<'_>) -> T) -> T {
    usually(|options| {
        options.force = true;
        with(options)
    })
}

pub fn pull_same(keg: &Keg, from: &mut Direct, at: &str) -> Result<Pulled, SyncError> {
    usually(|options| pull(keg, from, &path(at), &path(at), options))
}

pub fn push_same(keg: &Keg, to: &mut Direct, at: &str) -> Result<Pushed, SyncError> {
    usually(|options| push(keg, to, &path(at), &path(at), options))
}

/// A Keg in a directory of its own.
pub fn new_keg() -> (tempfile::TempDir, Keg) {
    let dir = tempfile::tempdir().expect("a directory");
    let keg = Keg::create(dir.path()).expect("a Keg");
    (dir, keg)
}

pub fn set(keg: &Keg, at: &str, entry: Entry) {
    keg.commit(Txn::new("t", "m").set(path(at), entry)).expect("a commit");
}

pub fn put(keg: &Keg, at: &str, bytes: &[u8]) {
    let entry = keg.objects().put_bytes(bytes).expect("a put");
    set(keg, at, entry);
}

/// A tree of files in directories: blobs of all interesting sizes, text and noise.
pub fn sample(keg: &Keg, seed: u64) -> Entry {
    let objects = keg.objects();
    let mut top = Tree::default();
    for (dir, sizes) in [
        ("a", &[0, 1, 100, 2048, 2049][..]),
        ("b", &[5000, 70_000, 1 << 20]),
        ("c", &[(1 << 20) + 1, 2_500_000, (8 << 20) + 7]),
    ] {
        let mut tree = Tree::default();
        for (n, size) in sizes.iter().enumerate() {
            let mut bytes = noise(seed + n as u64, *size);
            bytes[size / 2..].fill(b'x');
            let entry = objects.put_bytes(&bytes).expect("a put");
            tree.entries.insert(name(&format!("file{n}")), entry);
        }
        tree.entries.insert(name("link"), Entry::symlink("file0"));
        top.entries.insert(name(dir), objects.put_tree(&tree).expect("a tree"));
    }
    let twice = top.entries[&name("b")].clone();
    top.entries.insert(name("again"), twice);
    objects.put_tree(&top).expect("a tree")
}

pub fn check_clean(keg: &Keg) {
    keg.objects().sync().expect("a sync");
    let report = crate::fsck::fsck(keg, &mut |_| {}).expect("a check");
    assert!(report.is_clean(), "{report:?}");
}
