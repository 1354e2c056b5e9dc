//! Hand-made packages for tests, good and bad, and keys to sign their indexes with.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use sha2::{Digest, Sha256};
use tar::EntryType;

use super::{
    apt::{Apt, Source},
    deb::Promise,
};

/// An entry of a hand-made archive.
pub struct TarItem {
    pub path: Vec<u8>,
    pub kind: EntryType,
    pub link: String,
    pub data: Vec<u8>,
    pub mode: u32,
    /// User and group by name.
    pub owner: (&'static str, &'static str),
    /// Size in the header, where it is to lie.
    pub claimed: Option<u64>,
}

impl TarItem {
    pub fn new(path: &str, kind: EntryType, link: &str, data: &[u8]) -> Self {
        let mode = if kind.is_dir() { 0o755 } else { 0o644 };
        let (link, data) = (link.to_owned(), data.to_vec());
        let owner = ("root", "root");
        Self { path: path.into(), kind, link, data, mode, owner, claimed: None }
    }
}

pub fn file(path: &str, data: &str) -> TarItem {
    TarItem::new(path, EntryType::Regular, "", data.as_bytes())
}

pub fn dir(path: &str) -> TarItem {
    TarItem::new(path, EntryType::Directory, "", b"")
}

pub fn symlink(path: &str, target: &str) -> TarItem {
    TarItem::new(path, EntryType::Symlink, target, b"")
}

/// A tar archive of `items`, written by hand so that it can be wrong.
pub fn tar(items: &[TarItem]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(item.kind);
        header.set_mode(item.mode);
        header.set_uid(1234);
        header.set_gid(1234);
        header.set_username(item.owner.0).expect("short");
        header.set_groupname(item.owner.1).expect("short");
        header.set_mtime(1_700_000_000);
        header.set_size(item.claimed.unwrap_or(item.data.len() as u64));
        let bytes = header.as_mut_bytes();
        bytes[..item.path.len()].copy_from_slice(&item.path);
        bytes[157..157 + item.link.len()].copy_from_slice(item.link.as_bytes());
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&item.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub fn xz(data: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(data).expect("in memory");
    encoder.finish().expect("in memory")
}

/// An `ar` archive.
pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, data) in members {
        let head =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len());
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

/// A package being made.
pub struct DebMaker {
    pub name: String,
    pub version: String,
    /// More lines of its control file, each with its line break.
    pub fields: String,
    /// More members of `control.tar`.
    pub control: Vec<TarItem>,
    pub data: Vec<TarItem>,
}

impl DebMaker {
    pub fn new(name: &str, version: &str, data: Vec<TarItem>) -> Self {
        let (name, version) = (name.to_owned(), version.to_owned());
        Self { name, version, fields: String::new(), control: Vec::new(), data }
    }

    /// The control file.
    pub fn stanza(&self) -> String {
        format!(
            "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: T <t@example.org>\n{}\
             Description: made by a test\n",
            self.name, self.version, self.fields
        )
    }

    /// The `.deb`.
    pub fn build(&self) -> Vec<u8> {
        let mut control = vec![dir("./"), file("./control", &self.stanza())];
        for item in &self.control {
            let path = String::from_utf8_lossy(&item.path).into_owned();
            control.push(TarItem {
                mode: item.mode,
                ..TarItem::new(&path, item.kind, &item.link, &item.data)
            });
        }
        ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", &xz(&tar(&control))),
            ("data.tar.xz", &xz(&tar(&self.data))),
        ])
    }

    /// What an index would promise of it.
    pub fn promise(&self) -> Promise {
        let bytes = self.build();
        Promise {
            name: self.name.clone(),
            version: self.version.clone(),
            arch: "all".into(),
            sha256: hex::encode(Sha256::digest(&bytes)),
            size: bytes.len() as u64,
            installed_kib: 1,
        }
    }
}

/// An OpenPGP key of its own, made by `gpg`.
pub struct Signer {
    home: tempfile::TempDir,
}

impl Signer {
    pub fn new() -> Self {
        let signer = Self { home: tempfile::tempdir().expect("a directory") };
        let args = ["--quick-gen-key", "test <test@example.org>", "ed25519", "sign", "never"];
        signer.gpg(&args, b"");
        let public = signer.gpg(&["--export"], b"");
        std::fs::write(signer.keyring(), public).expect("written");
        signer
    }

    /// The public key, as a binary keyring.
    pub fn keyring(&self) -> PathBuf {
        self.home.path().join("public.gpg")
    }

    /// `text`, clear-signed.
    pub fn sign(&self, text: &str) -> Vec<u8> {
        self.gpg(&["--clear-sign"], text.as_bytes())
    }

    /// Runs gpg; returns what it prints.
    pub fn gpg(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gpg")
            .args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"])
            .args(["--passphrase", ""])
            .arg("--homedir")
            .arg(self.home.path())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("these tests need gpg: apt-get install gnupg");
        child.stdin.take().expect("piped").write_all(input).expect("written");
        let output = child.wait_with_output().expect("ends");
        assert!(output.status.success(), "gpg {args:?}");
        output.stdout
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // gpg leaves an agent running for its home.
        let home = self.home.path();
        let kill =
            Command::new("gpgconf").arg("--homedir").arg(home).args(["--kill", "all"]).status();
        drop(kill);
    }
}

/// A signed mirror in a directory.
pub struct TestMirror {
    pub dir: tempfile::TempDir,
    pub signer: Signer,
    /// `Date` of what is published next.
    pub date: String,
    /// More lines of the `Release` that is published next.
    pub fields: String,
    pub origin: String,
}

impl TestMirror {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            signer: Signer::new(),
            date: "Sat, 12 Sep 2020 07:55:41 UTC".into(),
            fields: String::new(),
            origin: "Debian".into(),
        }
    }

    /// The configuration of a machine that uses it for these suites.
    pub fn apt(&self, suites: &[&str]) -> Apt {
        let source = |suite: &&str| Source {
            uri: format!("file:{}", self.dir.path().display()),
            suite: (*suite).to_owned(),
            components: vec!["main".into()],
            ..Source::default()
        };
        let keyrings = vec![self.signer.keyring()];
        Apt { sources: suites.iter().map(source).collect(), keyrings, ..Apt::default() }
    }

    /// The path of a file of the mirror.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Publishes packages as a suite.
    pub fn publish(&self, suite: &str, debs: &[DebMaker]) {
        let mut packages = String::new();
        for deb in debs {
            let promise = deb.promise();
            let filename = format!("pool/{}.deb", promise.file_stem());
            self.write(&filename, &deb.build());
            let stanza = deb.stanza();
            packages += &format!(
                "{stanza}Installed-Size: 1\nFilename: {filename}\nSize: {}\nSHA256: {}\n\n",
                promise.size, promise.sha256
            );
        }
        let packed = xz(packages.as_bytes());
        let dist = format!("dists/{suite}");
        let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        let index = "main/binary-amd64";
        self.write(&format!("{dist}/{index}/Packages.xz"), &packed);
        self.write(&format!("{dist}/{index}/by-hash/SHA256/{}", hash(&packed)), &packed);
        let release = format!(
            "Origin: {}\nSuite: {suite}\nCodename: {suite}\nDate: {}\nAcquire-By-Hash: yes\n{}\
             SHA256:\n {} {} {index}/Packages.xz\n {} {} {index}/Packages\n",
            self.origin,
            self.date,
            self.fields,
            hash(&packed),
            packed.len(),
            hash(packages.as_bytes()),
            packages.len()
        );
        self.write(&format!("{dist}/InRelease"), &self.signer.sign(&release));
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the mirror")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }
}
