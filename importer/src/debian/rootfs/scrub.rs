//! What configuring leaves behind and no root file system should have: logs, caches that tell the
//! time, secrets that would be shared, names of this machine. Without them the same packages give
//! the same tree.

use keg::{
    Kid,
    object::{Entry, Value},
    store::Objects,
    union::{Edit, UnionError, edit},
};

use super::configure::POLICY_PATH;

/// Files and directories that go.
const REMOVED: [&str; 24] = [
    POLICY_PATH,
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/mtab",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
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
/// Directories that become empty.
const EMPTIED: [&str; 4] = ["tmp", "run", "var/tmp", "var/log/apt"];
/// Files that stay, empty.
const BLANKED: [&str; 4] = ["etc/machine-id", "var/log/btmp", "var/log/faillog", "var/log/lastlog"];
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

/// The names in a directory; none if it is none.
fn names(
    objects: &dyn Objects,
    tree: &Kid,
    path: &str,
) -> Result<Vec<String>, keg::store::StoreError> {
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
}
