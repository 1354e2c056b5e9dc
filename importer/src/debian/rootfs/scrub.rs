//! What configuring leaves behind and no root file system should have: logs, caches that tell the
//! time, secrets that would be shared, names of this machine. Without them the same packages give
//! the same tree.

use keg::{
    Kid,
    object::{Entry, Value},
    store::{Objects, StoreError},
    union::{Edit, UnionError, edit},
};

use memchr::memmem::find;

use super::configure::POLICY_PATH;

/// Files and directories that go.
const REMOVED: [&str; 24] = [
    POLICY_PATH,
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/mtab",
    SNAKEOIL,
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/available-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/statoverride-old",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/systemd/random-seed",
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
];
/// Directories that become empty. Databases made while configuring would be shared, with their
/// secrets, by all who use the tree.
const EMPTIED: [&str; 5] = ["tmp", "run", "var/tmp", "var/log/apt", "var/lib/mysql"];
/// Files that stay, empty.
const BLANKED: [&str; 4] = ["etc/machine-id", "var/log/btmp", "var/log/faillog", "var/log/lastlog"];
/// A certificate whose key is made while configuring; links to it go too.
const SNAKEOIL: &str = "etc/ssl/certs/ssl-cert-snakeoil.pem";
/// debconf's answers, in which scripts leave names of temporary files.
const ANSWERS: &str = "var/cache/debconf/config.dat";
/// In this directory files that start like this are keys.
const SSH: (&str, &str) = ("etc/ssh", "ssh_host_");

/// The tree without what must not be in it.
///
/// # Errors
/// The store's.
pub fn scrub(objects: &dyn Objects, tree: &Kid) -> Result<Entry, UnionError> {
    let failed = |path: &str| {
        let path = path.to_owned();
        move |source| UnionError::Store { path, source }
    };
    let mut edits: Vec<(String, Edit)> = Vec::new();
    edits.extend(REMOVED.iter().map(|path| ((*path).to_owned(), Edit::Remove)));
    for path in EMPTIED {
        for name in names(objects, tree, path).map_err(failed(path))? {
            edits.push((format!("{path}/{name}"), Edit::Remove));
        }
    }
    let (directory, prefix) = SSH;
    for name in names(objects, tree, directory).map_err(failed(directory))? {
        if name.starts_with(prefix) {
            edits.push((format!("{directory}/{name}"), Edit::Remove));
        }
    }
    if let Some(answers) = objects.walk(tree, ANSWERS).map_err(failed(ANSWERS))? {
        edits.extend(steady(objects, answers).map_err(failed(ANSWERS))?);
    }
    if objects.walk(tree, SNAKEOIL).map_err(failed(SNAKEOIL))?.is_some() {
        edits.extend(links_to(objects, tree, SNAKEOIL).map_err(failed(SNAKEOIL))?);
    }
    for path in BLANKED {
        if let Some(mut entry) = objects.walk(tree, path).map_err(failed(path))? {
            let blank = objects.put_bytes(b"").map_err(failed(path))?;
            if matches!(entry.value, Value::File { .. }) {
                entry.value = blank.value;
                edits.push((path.to_owned(), Edit::Set(entry)));
            }
        }
    }
    edit(objects, tree, edits)
}

/// debconf's answers without lines that name temporary files.
fn steady(objects: &dyn Objects, mut answers: Entry) -> Result<Option<(String, Edit)>, StoreError> {
    let Some(kid) = answers.kid() else { return Ok(None) };
    let text = objects.blob(&kid)?;
    let kept = |line: &&[u8]| !(line.starts_with(b" ") && find(line, b" = /tmp/").is_some());
    let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').filter(kept).collect();
    answers.value = objects.put_bytes(&lines.concat())?.value;
    Ok(Some((ANSWERS.to_owned(), Edit::Set(answers))))
}

/// Removes the symbolic links beside `path` that lead to it.
fn links_to(
    objects: &dyn Objects,
    tree: &Kid,
    path: &str,
) -> Result<Vec<(String, Edit)>, StoreError> {
    let (directory, target) = path.rsplit_once('/').unwrap_or(("", path));
    let Some(Entry { value: Value::Tree { kid, .. }, .. }) = objects.walk(tree, directory)? else {
        return Ok(Vec::new());
    };
    let leads = |entry: &Entry| match &entry.value {
        Value::Symlink { target: to } => to.ends_with(target.as_bytes()),
        _ => false,
    };
    let links = objects.tree(&kid)?.entries.into_iter().filter(|(_, entry)| leads(entry));
    let remove = |name: String| (format!("{directory}/{name}"), Edit::Remove);
    Ok(links.map(|(name, _)| remove(name.to_string_lossy())).collect())
}

/// The names in a directory; none if it is none.
fn names(objects: &dyn Objects, tree: &Kid, path: &str) -> Result<Vec<String>, StoreError> {
    let Some(Entry { value: Value::Tree { kid, .. }, .. }) = objects.walk(tree, path)? else {
        return Ok(Vec::new());
    };
    Ok(objects.tree(&kid)?.entries.keys().map(|name| name.to_string_lossy()).collect())
}

#[cfg(test)]
mod tests {
    use keg::{object::Tree, store::MemoryStore};

    use super::*;

    #[test]
    fn what_must_go_goes_and_the_rest_stays() {
        let store = MemoryStore::new("");
        let objects: &dyn Objects = &store;
        let empty = objects.put_tree(&Tree::default()).expect("stored").kid().expect("a tree");
        let file = objects.put_bytes(b"x").expect("stored");
        let paths = [
            "etc/passwd",
            "etc/machine-id",
            "etc/ssh/ssh_host_rsa_key",
            "etc/ssh/sshd_config",
            "run/lock/x",
            "usr/sbin/policy-rc.d",
            "var/log/dpkg.log",
        ];
        let edits = paths.map(|path| (path, Edit::Set(file.clone())));
        let full = edit(objects, &empty, edits).expect("edited").kid().expect("a tree");
        let kid = scrub(objects, &full).expect("scrubbed").kid().expect("a tree");
        let there = |path: &str| objects.walk(&kid, path).expect("read");
        for (path, want) in paths.iter().zip([true, true, false, true, false, false, false]) {
            assert_eq!(there(path).is_some(), want, "{path}");
        }
        assert!(there("run").is_some());
        let id = there("etc/machine-id").expect("there");
        assert!(matches!(id.value, Value::File { size: 0, .. }));
        assert_eq!(scrub(objects, &kid).expect("again").kid(), Some(kid));
    }

    #[test]
    fn answers_and_certificates_are_steady() {
        let store = MemoryStore::new("");
        let objects: &dyn Objects = &store;
        let empty = objects.put_tree(&Tree::default()).expect("stored").kid().expect("a tree");
        let text = b"Name: ucf/x\nVariables:\n NEW = /tmp/x.5MWosJ\n BASENAME = x\n\nName: y\n";
        let edits = [
            (ANSWERS, objects.put_bytes(text).expect("stored")),
            (SNAKEOIL, objects.put_bytes(b"pem").expect("stored")),
            ("etc/ssl/certs/6274.0", Entry::symlink("ssl-cert-snakeoil.pem")),
            ("etc/ssl/certs/other.0", Entry::symlink("other.pem")),
        ];
        let edits = edits.map(|(path, entry)| (path, Edit::Set(entry)));
        let full = edit(objects, &empty, edits).expect("edited").kid().expect("a tree");
        let kid = scrub(objects, &full).expect("scrubbed").kid().expect("a tree");
        let answers = objects.walk(&kid, ANSWERS).expect("read").and_then(|e| e.kid());
        let answers = objects.blob(&answers.expect("there")).expect("read");
        assert_eq!(answers, b"Name: ucf/x\nVariables:\n BASENAME = x\n\nName: y\n");
        assert_eq!(names(objects, &kid, "etc/ssl/certs").expect("read"), ["other.0"]);
    }
}
