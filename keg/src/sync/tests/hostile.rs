//! Everything that comes is hostile: whatever a peer sends, nothing wrong is kept, no name moves,
//! and nobody waits or allocates without end.

use super::*;
use crate::sync::{codec::compress, wire};
use crate::{
    Kid,
    object::{Commit, Kind, wire::put_bytes, wire::put_varint},
    testing::commit_of,
};

/// Answers with what it was told to.
struct Scripted {
    answers: Vec<Vec<u8>>,
}

impl Transport for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn exchange<'a>(&'a mut self, _: Verb, _: Body<'_>) -> io::Result<Box<dyn Read + 'a>> {
        if self.answers.is_empty() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Box::new(Cursor::new(self.answers.remove(0))))
    }
}

/// The start of an answer with trees: this value, compared with nothing.
pub fn found(value: &Entry) -> Vec<u8> {
    let mut out = wire::start(Message::Trees);
    out.push(1);
    wire::put_entry(&mut out, Some(value)).unwrap();
    out.push(0);
    out
}

pub fn stored(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(1);
    put_bytes(out, bytes);
}

pub fn end(out: &mut Vec<u8>, objects: u64, blobs: u64) {
    out.push(0);
    put_varint(out, objects);
    put_varint(out, blobs);
}

fn pack() -> Vec<u8> {
    wire::start(Message::Pack)
}

pub fn tree_entry(kid: Kid, bytes: u64, entries: u64) -> Entry {
    Entry::tree(kid, crate::object::Sums { bytes, entries })
}

/// A pull of `/x` that meets these answers must fail, say this, and change nothing.
pub fn check(what: &str, answers: Vec<Vec<u8>>, want: &str) {
    let keg = Keg::in_memory();
    let mut way = Scripted { answers };
    let error = pull_scripted(&keg, &mut way).expect_err(what).to_string();
    assert!(error.contains(want), "{what}: {error}");
    assert_eq!(keg.head().unwrap().seq, 0, "{what}");
    check_clean(&keg);
}

fn pull_scripted(keg: &Keg, way: &mut Scripted) -> Result<Pulled, SyncError> {
    let limits = Limits { bytes: 1 << 30, ..Limits::default() };
    let mut options = Options { author: "t".into(), force: true, limits, progress: &mut |_| {} };
    pull(keg, way, &path("/x"), &path("/x"), &mut options)
}

/// A tree with one entry that may be hostile, as no encoder would make it.
fn raw_tree(entry_name: &[u8]) -> Vec<u8> {
    let mut tree = Tree::default();
    tree.entries.insert(name("N"), Entry::symlink("x"));
    let bytes = tree.encode().unwrap();
    let at = bytes.windows(2).position(|pair| pair == b"\x01N").unwrap();
    let mut out = bytes[..at].to_vec();
    put_bytes(&mut out, entry_name);
    out.extend_from_slice(&bytes[at + 2..]);
    out
}

#[test]
fn answers_that_are_none() {
    check("no answer", vec![], "connection");
    check("nothing", vec![vec![]], "connection");
    check("a web page", vec![b"<!DOCTYPE html><html>".to_vec()], "no Keg answers there");
    check("another version", vec![b"keg-sync\x02\x02".to_vec()], "version 2 of the protocol");
    check("another message", vec![pack()], "message 4");
    let mut refused = wire::start(Message::Trees);
    refused.extend(wire::failed("no \x1b[31mred\x07"));
    check("a refusal", vec![refused], "says: no \u{fffd}[31mred\u{fffd}");
    let mut long = wire::start(Message::Trees);
    long.push(wire::FAILED);
    put_varint(&mut long, 1 << 40);
    check("an endless text", vec![long], "more than 4096");
    let mut odd = wire::start(Message::Trees);
    odd.extend([1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f]);
    check("an endless number", vec![odd], "too large");
    let mut padded = wire::start(Message::Trees);
    padded.extend([1, 0x80, 0]);
    check("a padded number", vec![padded], "shortest form");
}

#[test]
fn trees_that_no_keg_can_hold() {
    for bad in [&b"a/b"[..], b"..", b".", b"", b"a\0b", &[b'n'; 256], b"/etc/passwd"] {
        let bytes = raw_tree(bad);
        let mut answer = found(&tree_entry(Kind::Tree.kid_of(&bytes), 0, 1));
        stored(&mut answer, &bytes);
        end(&mut answer, 1, 0);
        check(&format!("a name {bad:?}"), vec![answer], "which no Keg can hold: name");
    }
    // 2^32 entries, in so many words and no more.
    let mut many = vec![1, 0, 0, 0];
    put_varint(&mut many, 1 << 32);
    let mut answer = found(&tree_entry(Kind::Tree.kid_of(&many), 0, 0));
    stored(&mut answer, &many);
    check("2^32 entries", vec![answer], "number of entries");
    let empty = Tree::default().encode().unwrap();
    let kid = Kind::Tree.kid_of(&empty);
    for (bytes, entries) in [(1, 0), (0, 1), (u64::MAX, 0), (0, u64::MAX - 1)] {
        let mut answer = found(&tree_entry(kid, bytes, entries));
        stored(&mut answer, &empty);
        end(&mut answer, 1, 0);
        check("lying sums", vec![answer], "other sums");
    }
    // A sum that goes over 2^64 is no value at all.
    let mut answer = wire::start(Message::Trees);
    answer.push(1);
    let mut tree = Tree::default();
    tree.entries.insert(name("value"), tree_entry(kid, 0, 7));
    let mut bytes = tree.encode().unwrap();
    bytes[2] ^= 1;
    put_bytes(&mut answer, &bytes);
    check("an entry with wrong sums", vec![answer], "sums");
}

#[test]
fn objects_that_are_not_what_was_asked_for() {
    let tree = raw_tree(b"ok");
    let kid = Kind::Tree.kid_of(&tree);
    let start = || found(&tree_entry(kid, 0, 1));
    let mut other = start();
    stored(&mut other, &raw_tree(b"other"));
    check("another tree", vec![other], "another KID");
    let mut blob = start();
    stored(&mut blob, b"not a tree");
    check("no tree", vec![blob], "another KID");
    let mut more = start();
    stored(&mut more, &tree);
    stored(&mut more, &raw_tree(b"unwanted"));
    check("a tree too many", vec![more], "nobody asked for");
    let mut less = start();
    end(&mut less, 0, 0);
    check("a tree too few", vec![less], "end before");
    let mut counts = start();
    stored(&mut counts, &tree);
    end(&mut counts, 1, 5);
    check("other counts", vec![counts], "same way");
    let mut trailing = start();
    stored(&mut trailing, &tree);
    end(&mut trailing, 1, 0);
    trailing.push(0);
    check("bytes after the end", vec![trailing], "after the end");
    let mut stop = start();
    stop.push(5);
    check("a stop at a tree", vec![stop], "kind 5");
    let mut had = start();
    had.push(4);
    check("a tree that is said to be here", vec![had], "not in this Keg");
    let mut patched = start();
    patched.push(3);
    put_varint(&mut patched, tree.len() as u64);
    put_bytes(&mut patched, b"zstd");
    check("a difference to nothing", vec![patched], "difference to nothing");

    let commit = Kid::of_blob(b"some commit");
    let mut stopped = found(&Entry::commit(commit));
    stopped.push(5);
    end(&mut stopped, 0, 0);
    check("a commit that is said to be here", vec![stopped], "is not");
    let mut gone = found(&Entry::commit(commit));
    gone.push(6);
    end(&mut gone, 0, 0);
    check("a value that is said to be gone", vec![gone], "itself is said to be gone");
    let mut looped = found(&Entry::commit(commit));
    let made = commit_of(kid, vec![commit], "its own parent").encode().unwrap();
    stored(&mut looped, &made);
    check("a cycle", vec![looped], "another KID");
    let json = Commit::encode(&commit_of(kid, vec![], "m")).unwrap();
    let mut spaced = json.clone();
    let last = spaced.len();
    spaced.truncate(last - 3);
    spaced.extend(b"\x03{ }");
    let mut answer = found(&Entry::commit(Kind::Commit.kid_of(&spaced)));
    stored(&mut answer, &spaced);
    check("a commit that is not canonical", vec![answer], "which no Keg can hold");
}

#[test]
fn bombs() {
    let bomb = compress(&vec![0; 4 << 20], None).unwrap();
    let tree = raw_tree(b"ok");
    let start = || found(&tree_entry(Kind::Tree.kid_of(&tree), 0, 1));
    for (what, len, want) in [
        ("more than it says", 1000u64, "zstd: Destination buffer is too small"),
        ("less than it says", 5 << 20, "instead of"),
        ("more than any tree has", 1 << 40, "is more than"),
    ] {
        let mut answer = start();
        answer.push(2);
        put_varint(&mut answer, len);
        put_bytes(&mut answer, &bomb);
        check(what, vec![answer], want);
    }
    let mut long = start();
    long.push(1);
    put_varint(&mut long, 60 << 20);
    long.extend([0; 100]);
    check("60 MiB announced, 100 bytes sent", vec![long], "connection");
    // 2^40 bytes of zeros would fit into a few frames.
    let huge = Entry::file(Kid::of_blob(b"x"), 1 << 40);
    let mut answer = found(&huge);
    end(&mut answer, 0, 1);
    check("a blob of 1 TiB", vec![answer], "limit of 1073741824");
    // Directories that hold one another's only child twice, 60 deep: 2^60 entries, 60 trees.
    let (_dir, keg) = new_keg();
    let mut below = keg.objects().put_tree(&Tree::default()).unwrap();
    for _ in 0..60 {
        let mut tree = Tree::default();
        tree.entries.insert(name("a"), below.clone());
        tree.entries.insert(name("b"), below.clone());
        below = keg.objects().put_tree(&tree).unwrap();
    }
    set(&keg, "/x", below);
    let (_two, here) = new_keg();
    let pulled = pull_same(&here, &mut Direct::to(&keg), "/x").unwrap();
    assert_eq!(pulled.progress.objects, 61);
}

/// An answer with a tree of one file, and a pack.
fn file(content: &[u8], size: u64, frames: impl FnOnce(&mut Vec<u8>)) -> Vec<Vec<u8>> {
    let mut trees = found(&Entry::file(Kid::of_blob(content), size));
    end(&mut trees, 0, 1);
    let mut answer = pack();
    frames(&mut answer);
    vec![trees, answer]
}

#[test]
fn packs_that_are_wrong() {
    let ending = |out: &mut Vec<u8>| out.extend([0, 1]);
    check("other bytes", file(b"right", 5, |out| stored(out, b"wrong")), "another KID");
    check("a size that lies", file(b"right", 4, |out| stored(out, b"righ")), "another KID");
    let extra = file(b"right", 5, |out| {
        stored(out, b"right and more");
        ending(out);
    });
    check("more bytes", extra, "after the last blob");
    let unasked = file(b"right", 5, |out| {
        stored(out, b"right");
        stored(out, b"unasked");
    });
    check("a blob nobody asked for", unasked, "after the last blob");
    check("no bytes", file(b"right", 5, |out| ending(out)), "ends before");
    check("an empty frame", file(b"right", 5, |out| stored(out, b"")), "an empty frame");
    check(
        "a count that lies",
        file(b"right", 5, |out| {
            stored(out, b"right");
            out.extend([0, 2]);
        }),
        "another number",
    );
    check("a copy of nothing", file(b"right", 5, |out| out.extend([4, 0, 5])), "there is none");
    check("a patch of nothing", file(b"right", 5, |out| out.extend([3, 0, 5, 5, 0])), "is none");
    check("an unknown frame", file(b"right", 5, |out| out.push(9)), "kind 9");
    check("groups of a small blob", file(b"right", 5, |out| out.push(5)), "kind 5");
    let huge = |out: &mut Vec<u8>| {
        out.push(1);
        put_varint(out, (4 << 20) + 1);
    };
    check("a frame that is too large", file(b"right", 5, huge), "is more than");
    let large = noise(1, 3 << 20);
    check("no groups", file(&large, 3 << 20, |out| stored(out, b"x")), "without the hashes");
    let wrong = file(&large, 3 << 20, |out| {
        out.push(5);
        out.extend([7; 3 * 32]);
    });
    check("wrong groups", wrong, "do not make its KID");
}

#[test]
fn a_wrong_group_is_found_at_its_end() {
    let ((_one, there), (_two, here)) = (new_keg(), new_keg());
    put(&there, "/x", &noise(1, 6 << 20));
    let mut way = Direct::to(&there);
    let (_three, other) = new_keg();
    pull_same(&other, &mut way, "/x").unwrap();
    let mut sent = way.last.1.clone();
    let trees = {
        let mut probe = Direct::to(&there);
        probe.cut_answer = Some(0);
        pull_same(&here, &mut probe, "/x").unwrap_err();
        probe.last.1
    };
    // In the second group; what follows is not even read.
    sent[(3 << 20) / 2] ^= 1;
    sent.truncate(5 << 20);
    let error = pull_scripted(&here, &mut Scripted { answers: vec![trees, sent] }).unwrap_err();
    assert!(error.to_string().contains("ends at byte 2097152"), "{error}");
    assert_eq!(here.get(&path("/x")).unwrap(), None);
    check_clean(&here);
}

#[test]
fn any_flipped_byte_is_refused_or_harmless() {
    let ((_one, there), (_two, other)) = (new_keg(), new_keg());
    let objects = there.objects();
    let mut tree = Tree::default();
    for n in 0..3 {
        let entry = objects.put_bytes(format!("content {n} {n} {n}").as_bytes()).unwrap();
        tree.entries.insert(name(&format!("f{n}")), entry);
    }
    let below = objects.put_tree(&tree).unwrap();
    tree.entries.insert(name("d"), below);
    let tree = objects.put_tree(&tree).unwrap();
    let commit = commit_of(tree.kid().unwrap(), vec![], "m");
    set(&there, "/x", Entry::commit(objects.put_commit(&commit).unwrap()));
    let mut way = Direct::to(&there);
    way.cut_answer = Some(0);
    pull_same(&other, &mut way, "/x").unwrap_err();
    let trees = way.last.1.clone();
    pull_same(&other, &mut way, "/x").unwrap();
    let whole = way.last.1.clone();
    let want = there.get(&path("/x")).unwrap();
    for (which, len) in [(0, trees.len()), (1, whole.len())] {
        for at in 0..len {
            let mut answers = vec![trees.clone(), whole.clone()];
            answers[which][at] ^= 1 << (at % 8);
            let keg = Keg::in_memory();
            if pull_scripted(&keg, &mut Scripted { answers }).is_ok() {
                // The value's own attributes are the peer's to say.
                let got = keg.get(&path("/x")).unwrap();
                let kid = |entry: &Option<Entry>| entry.as_ref().and_then(Entry::kid);
                assert_eq!(kid(&got), kid(&want), "byte {at} of answer {which}");
            } else {
                assert_eq!(keg.head().unwrap().seq, 0);
            }
        }
    }
}
