//! Root file systems for tests, made of this machine's own programs: what the importer would give.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use keg::{
    Keg,
    ingest::{IngestOptions, ingest},
    kid::Kid,
};

/// Programs of the essential packages that packs may use.
const TOOLS: &[&str] = &[
    "sh", "cat", "sed", "grep", "head", "mkdir", "find", "wc", "env", "ls", "id", "touch", "sleep",
];
/// Parts of Python's library that no build needs.
const LEFT_OUT: &[&str] = &["test", "idlelib", "lib2to3", "ensurepip", "__pycache__", "tkinter"];

/// The version of this machine's Python, and the suite it belongs to.
pub struct Python {
    /// Such as `3.11`.
    pub version: String,
    /// Such as `bookworm`.
    pub suite: &'static str,
    binary: PathBuf,
}

impl Python {
    /// What `/usr/bin/python3` is.
    pub fn of_machine() -> Self {
        let binary = fs::canonicalize("/usr/bin/python3").expect("apt-get install python3");
        let name = binary.file_name().expect("a file").to_string_lossy().into_owned();
        let version = name.strip_prefix("python").expect("python3.N").to_owned();
        let suite = match version.as_str() {
            "3.11" => "bookworm",
            "3.13" => "trixie",
            other => panic!("these tests need Debian's Python 3.11 or 3.13, not {other}"),
        };
        Self { version, suite, binary }
    }
}

/// A root with a shell and small tools.
pub fn base(keg: &Keg, scratch: &Path) -> Kid {
    let root = scratch.join("base");
    make_base(&root);
    store(keg, &root)
}

/// The same with Python, and one file of the base removed: packages may do that.
pub fn with_python(keg: &Keg, scratch: &Path, python: &Python) -> Kid {
    let root = scratch.join("python");
    make_base(&root);
    fs::remove_file(root.join("etc/removed")).expect("removed");
    let name = format!("python{}", python.version);
    copy_program(&python.binary, &root.join("usr/bin").join(&name));
    for link in ["python3", "python"] {
        symlink(&name, root.join("usr/bin").join(link)).expect("linked");
    }
    let library = format!("usr/lib/{name}");
    copy_tree(&Path::new("/").join(&library), &root.join(&library));
    fs::create_dir_all(root.join(format!("usr/local/lib/{name}/dist-packages"))).expect("made");
    store(keg, &root)
}

/// A tree of Python packages: one package of two modules.
pub fn wheels(keg: &Keg, scratch: &Path, python: &Python) -> Kid {
    let root = scratch.join("wheels");
    let package = format!("usr/local/lib/python{}/dist-packages/greeting", python.version);
    let package = root.join(package);
    fs::create_dir_all(&package).expect("made");
    fs::write(package.join("__init__.py"), "from .words import HELLO\n").expect("written");
    fs::write(package.join("words.py"), "HELLO = 'hello from a wheel'\n").expect("written");
    store(keg, &root)
}

fn store(keg: &Keg, root: &Path) -> Kid {
    // As the importer does: times that do not depend on when the test runs.
    let options = IngestOptions { clamp_mtime: Some(1_000_000_000), ..IngestOptions::default() };
    let entry = ingest(keg.objects(), root, &options).expect("ingested");
    fs::remove_dir_all(root).expect("removed");
    entry.kid().expect("a tree")
}

fn make_base(root: &Path) {
    for dir in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(dir)).expect("made");
    }
    for dir in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{dir}"), root.join(dir)).expect("linked");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("written");
    fs::write(root.join("etc/group"), "root:x:0:\n").expect("written");
    fs::write(root.join("etc/removed"), "gone in the packages\n").expect("written");
    for tool in TOOLS {
        let source = fs::canonicalize(Path::new("/usr/bin").join(tool)).expect(tool);
        copy_program(&source, &root.join("usr/bin").join(tool));
    }
}

/// Copies a program and the libraries it is linked to.
fn copy_program(source: &Path, target: &Path) {
    fs::copy(source, target).expect("copied");
    let root = target.ancestors().nth(3).expect("below usr/bin");
    for library in libraries(source) {
        let inside = library.strip_prefix("/").expect("absolute");
        // The merged /usr: /lib is usr/lib.
        let inside =
            if inside.starts_with("usr") { inside.into() } else { Path::new("usr").join(inside) };
        let target = root.join(inside);
        if !target.exists() {
            fs::create_dir_all(target.parent().expect("a directory")).expect("made");
            fs::copy(&library, &target).expect("copied");
        }
    }
}

fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

fn copy_tree(source: &Path, target: &Path) {
    fs::create_dir_all(target).expect("made");
    for entry in fs::read_dir(source).expect("readable") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if LEFT_OUT.contains(&text.as_ref()) || text.starts_with("config-") {
            continue;
        }
        // Links lead to parts of Debian that are not copied.
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            copy_tree(&entry.path(), &target.join(&name));
        } else if kind.is_file() {
            fs::copy(entry.path(), target.join(&name)).expect("copied");
        }
    }
}
