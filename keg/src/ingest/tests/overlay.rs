//! What an upper directory says must equal what the merged mount shows.

use std::fs::{
    self, File, OpenOptions, create_dir, hard_link, remove_dir_all, remove_file, rename,
};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};

use super::{kid, take, whole};
use crate::ingest::{IngestError, IngestOptions, ingest_overlay_upper};
use crate::mount::fixture::{Scratch, fill_few, gid, noise, set_time, set_xattr, sparse, uid};
use crate::mount::{Mounts, unmount};
use crate::union::{Edit, edit};

type Change = (&'static str, fn(&Path));

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn append(path: &Path) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(b" and more").unwrap();
}

const FILES: &[Change] = &[
    ("nothing", |_| {}),
    ("read only", |d| drop(fs::read(d.join("file-100000")).unwrap())),
    ("new files", |d| {
        fs::write(d.join("new"), "new").unwrap();
        fs::write(d.join("deep/er/new-large"), noise(20_000, 9)).unwrap();
        sparse(&d.join("new-sparse"), 1 << 20);
        symlink("x", d.join("new-link")).unwrap();
        rustix::fs::mknodat(CWD, d.join("p"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let null = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, d.join("z"), FileType::CharacterDevice, Mode::RUSR, null).unwrap();
    }),
    ("append to a small and a large file", |d| {
        append(&d.join("file-2047"));
        append(&d.join("file-100000"));
    }),
    ("truncate", |d| File::create(d.join("file-4096")).unwrap().set_len(10).unwrap()),
    ("only attributes of a large file", |d| chmod(&d.join("file-100000"), 0o600)),
    ("all attributes of large files", |d| {
        let path = d.join("file-4097");
        rustix::fs::chown(&path, Some(uid(5)), Some(gid(6))).unwrap();
        set_xattr(&path, "user.new", b"value");
        chmod(&path, 0o4711);
        set_time(&path, 12, 34);
        rustix::fs::removexattr(d.join("capable"), "user.note").unwrap();
        set_time(&d.join("sparse"), 1, 1);
    }),
    ("attributes, then data", |d| {
        chmod(&d.join("file-100000"), 0o600);
        append(&d.join("file-100000"));
    }),
    ("attributes, then another name", |d| {
        chmod(&d.join("file-100000"), 0o600);
        rename(d.join("file-100000"), d.join("deep/er/moved")).unwrap();
    }),
    ("another name, then attributes", |d| {
        rename(d.join("file-100000"), d.join("renamed")).unwrap();
        chmod(&d.join("renamed"), 0o600);
        rename(d.join("renamed"), d.join("again")).unwrap();
    }),
    ("one name over another", |d| rename(d.join("file-4096"), d.join("file-4097")).unwrap()),
    ("deleted", |d| remove_file(d.join("file-4096")).unwrap()),
    ("deleted and made again", |d| {
        remove_file(d.join("file-4096")).unwrap();
        fs::write(d.join("file-4096"), "other").unwrap();
    }),
    ("overlay attributes as data", |d| {
        set_xattr(&d.join("file-1"), "trusted.overlay.opaque", b"x");
        set_xattr(&d.join("file-100000"), "trusted.overlay.metacopy", b"");
        set_xattr(&d.join("empty"), "trusted.overlay.opaque", b"y");
    }),
    ("the root itself", |d| {
        set_xattr(d, "user.root", b"yes");
        chmod(d, 0o700);
    }),
];

const DIRECTORIES: &[Change] = &[
    ("new ones", |d| {
        fs::create_dir_all(d.join("a/b/c")).unwrap();
        fs::write(d.join("a/b/c/file"), "x").unwrap();
    }),
    ("attributes", |d| {
        chmod(&d.join("deep"), 0o700);
        set_time(&d.join("deep/er"), 77, 7);
    }),
    ("deleted", |d| remove_dir_all(d.join("deep")).unwrap()),
    ("deleted and made again", |d| {
        remove_dir_all(d.join("deep")).unwrap();
        create_dir(d.join("deep")).unwrap();
        fs::write(d.join("deep/new"), "x").unwrap();
    }),
    ("a file in its place", |d| {
        remove_dir_all(d.join("deep")).unwrap();
        fs::write(d.join("deep"), "x").unwrap();
    }),
    ("in the place of a file", |d| {
        remove_file(d.join("hard-c")).unwrap();
        create_dir(d.join("hard-c")).unwrap();
        create_dir(d.join("hard-c/below")).unwrap();
    }),
    ("a link in its place", |d| {
        rename(d.join("deep"), d.join("real")).unwrap();
        symlink("real", d.join("deep")).unwrap();
    }),
    ("another name beside", |d| rename(d.join("deep/er"), d.join("deep/est")).unwrap()),
    ("another place", |d| rename(d.join("deep/er/est"), d.join("est")).unwrap()),
    ("another place, and changed", |d| {
        rename(d.join("deep"), d.join("empty/moved")).unwrap();
        append(&d.join("empty/moved/er/est/leaf"));
        rename(d.join("empty/moved/er"), d.join("er")).unwrap();
        fs::write(d.join("er/new"), "x").unwrap();
        remove_dir_all(d.join("er/est")).unwrap();
    }),
    ("swapped", |d| {
        rename(d.join("deep"), d.join("swap")).unwrap();
        rename(d.join("empty"), d.join("deep")).unwrap();
        rename(d.join("swap"), d.join("empty")).unwrap();
    }),
    ("moved, and another in its place", |d| {
        rename(d.join("deep"), d.join("old")).unwrap();
        create_dir(d.join("deep")).unwrap();
        create_dir(d.join("deep/er")).unwrap();
        chmod(&d.join("old/hard-b"), 0o600);
    }),
];

const LINKS: &[Change] = &[
    ("one more", |d| hard_link(d.join("hard-a"), d.join("hard-d")).unwrap()),
    ("of a large file", |d| hard_link(d.join("file-100000"), d.join("a-link")).unwrap()),
    ("after attributes", |d| {
        chmod(&d.join("file-100000"), 0o600);
        hard_link(d.join("file-100000"), d.join("deep/a-link")).unwrap();
        hard_link(d.join("file-100000"), d.join("z-link")).unwrap();
    }),
    ("new ones", |d| {
        fs::write(d.join("x"), "x").unwrap();
        hard_link(d.join("x"), d.join("deep/y")).unwrap();
    }),
    ("the first deleted", |d| remove_file(d.join("deep/hard-b")).unwrap()),
    ("all but one deleted", |d| {
        remove_file(d.join("hard-a")).unwrap();
        remove_dir_all(d.join("deep")).unwrap();
    }),
    ("one of two deleted", |d| remove_file(d.join("small-a")).unwrap()),
    ("one changed", |d| append(&d.join("hard-c"))),
    ("one with other attributes", |d| chmod(&d.join("hard-a"), 0o600)),
    ("moved in a directory", |d| rename(d.join("deep"), d.join("zzz")).unwrap()),
    ("single again", |d| {
        fs::write(d.join("x"), "x").unwrap();
        hard_link(d.join("x"), d.join("y")).unwrap();
        remove_file(d.join("x")).unwrap();
    }),
];

#[test]
fn an_upper_directory_says_what_the_mount_shows() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    fill_few(&source);
    // As the root of a mount is.
    set_time(&source, 0, 0);
    let keg = scratch.keg();
    let lower = take(&keg, &source);
    let mounts = Mounts::new(&keg);
    let all = [("files", FILES), ("directories", DIRECTORIES), ("links", LINKS)];
    let mut number = 0;
    for (kind, name, change) in
        all.iter().flat_map(|(kind, table)| table.iter().map(move |(name, f)| (kind, name, f)))
    {
        number += 1;
        let (target, upper) = (scratch.dir("target"), scratch.dir(&format!("upper-{number}")));
        mounts.writable(&kid(&lower), &upper, &target).unwrap();
        change(&target);
        let merged = take(&keg, &target);
        unmount(&target).unwrap();
        let options = IngestOptions::default();
        let found =
            ingest_overlay_upper(keg.objects(), &kid(&lower), &upper.join("upper"), &options)
                .unwrap_or_else(|error| panic!("{kind}, {name}: {}", whole(&error)));
        if found != merged {
            for (entry, dir) in [(&merged, "want"), (&found, "got")] {
                let place = scratch.dir(dir);
                mounts.read_only(&kid(entry), &place).unwrap();
            }
            let describe = crate::mount::fixture::describe;
            crate::mount::fixture::assert_same(
                &describe(&scratch.dir("want")),
                &describe(&scratch.dir("got")),
            );
            panic!("{kind}, {name}:\nwant {merged:?}\ngot  {found:?}");
        }
        let changed = found != lower;
        assert_eq!(changed, !["nothing", "read only"].contains(name), "{kind}, {name}");
    }
}

#[test]
fn marks_of_other_tools_count_too() {
    let scratch = Scratch::new();
    let (source, upper) = (scratch.dir("source"), scratch.dir("upper"));
    fill_few(&source);
    let keg = scratch.keg();
    let lower = kid(&take(&keg, &source));
    // An empty file marked as a whiteout, as in the layers that mkcomposefs writes.
    File::create(upper.join("file-1")).unwrap();
    set_xattr(&upper.join("file-1"), "trusted.overlay.whiteout", b"");
    set_xattr(&upper, "trusted.overlay.opaque", b"x");
    let options = IngestOptions::default();
    let found = ingest_overlay_upper(keg.objects(), &lower, &upper, &options).unwrap();
    let want = edit(keg.objects(), &lower, [("file-1", Edit::Remove)]).unwrap();
    assert_eq!(found.kid(), want.kid());
}

#[test]
fn an_upper_directory_of_another_tree_is_refused() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    fill_few(&source);
    let keg = scratch.keg();
    let lower = kid(&take(&keg, &source));
    let check = |name: &str, change: fn(&Path), edits: &[(&str, Edit)], want: &str| {
        let (target, upper) = (scratch.dir("target"), scratch.dir(name));
        Mounts::new(&keg).writable(&lower, &upper, &target).unwrap();
        change(&target);
        unmount(&target).unwrap();
        let other = edit(keg.objects(), &lower, edits.iter().cloned()).unwrap();
        let options = IngestOptions::default();
        let upper = upper.join("upper");
        let error = ingest_overlay_upper(keg.objects(), &kid(&other), &upper, &options)
            .expect_err("another tree");
        assert!(matches!(error, IngestError::Upper { .. }), "{error:?}");
        assert!(error.to_string().contains(want), "{error}");
    };
    let gone = [("file-100000", Edit::Remove)];
    check("gone", |d| chmod(&d.join("file-100000"), 0o600), &gone, "that the tree lacks");
    let other = keg.objects().put_bytes(b"short").unwrap();
    let short = [("file-100000", Edit::Set(other))];
    check("short", |d| chmod(&d.join("file-100000"), 0o600), &short, "100000 bytes, not 5");
    let moved = [("deep", Edit::Remove)];
    check("moved", |d| rename(d.join("deep"), d.join("x")).unwrap(), &moved, "comes from deep");
}
