//! What is in use without a name: mounts, fresh images, sealed streams.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::{Kid, kid::KidPrefix};

/// What the source of every mount of a Keg begins with.
const LABEL: &str = "keg:";
/// Most mount namespaces and images that are looked at.
const MOST: usize = 1 << 20;

/// A tree that is mounted: as much of its KID as the mount table says, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mounted {
    pub(crate) tree: KidPrefix,
    pub(crate) target: String,
}

/// What is mounted in any mount namespace that this process can see.
pub(crate) fn mounted() -> Vec<Mounted> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else { return found };
    for process in processes.flatten().take(MOST) {
        let path = process.path();
        if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // One that ends meanwhile, or is another user's, is passed over.
        let Ok(namespace) = fs::read_link(path.join("ns/mnt")) else { continue };
        if seen.insert(namespace)
            && let Ok(table) = fs::read_to_string(path.join("mountinfo"))
        {
            found.extend(table.lines().filter_map(mount_of));
        }
    }
    found
}

/// A line of `proc_pid_mountinfo(5)`: `… target … - type source options`.
fn mount_of(line: &str) -> Option<Mounted> {
    let (mount, file_system) = line.split_once(" - ")?;
    let source = file_system.split(' ').nth(1)?;
    let tree = source.strip_prefix(LABEL)?.parse().ok()?;
    Some(Mounted { tree, target: mount.split(' ').nth(4)?.to_owned() })
}

/// An image of a tree.
pub(crate) struct Image {
    pub(crate) tree: Kid,
    pub(crate) path: std::path::PathBuf,
    pub(crate) bytes: u64,
    /// Used within the grace period.
    pub(crate) fresh: bool,
}

/// The images of a Keg that are named by their tree.
pub(crate) fn images(home: &Path, grace: Duration) -> impl Iterator<Item = Image> {
    of_trees(home, ".erofs", grace)
}

/// Notes that all of a tree was found loose once, for its next mount.
pub(crate) fn loose_notes(home: &Path, grace: Duration) -> impl Iterator<Item = Image> {
    of_trees(home, ".loose", grace)
}

fn of_trees(home: &Path, kind: &'static str, grace: Duration) -> impl Iterator<Item = Image> {
    let now = SystemTime::now();
    let image = move |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let tree = format!("K-{}", name.strip_suffix(kind)?).parse().ok()?;
        let meta = entry.metadata().ok()?;
        let used = meta.modified().ok()?;
        let fresh = now.duration_since(used).map_or(true, |age| age <= grace);
        Some(Image { tree, path: entry.path(), bytes: meta.len(), fresh })
    };
    let list = fs::read_dir(home.join("img")).into_iter().flatten().flatten();
    list.take(MOST).filter_map(image)
}

/// Sealed streams, and the blobs they became.
pub(crate) fn sealed_streams(home: &Path) -> Vec<(String, Kid)> {
    let Ok(list) = fs::read_dir(home.join("streams")) else { return Vec::new() };
    let stream = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let id = name.strip_suffix(".sealed")?.to_owned();
        let kid = fs::read_to_string(entry.path()).ok()?.trim().parse().ok()?;
        Some((id, kid))
    };
    list.flatten().take(MOST).filter_map(stream).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_a_keg_are_told_from_others() {
        let line = "36 35 98:0 / /srv/app ro,noatime master:1 - overlay keg:K-0123abcd ro,x=y";
        let found = mount_of(line).unwrap();
        assert_eq!((found.tree.digits(), found.target.as_str()), ("0123abcd", "/srv/app"));
        for other in [
            "36 35 98:0 / / rw - ext4 /dev/vda rw",
            "36 35 98:0 / /x rw - overlay keg:nonsense rw",
            "36 35 98:0 / /x rw - overlay",
            "",
        ] {
            assert_eq!(mount_of(other), None, "{other}");
        }
    }
}
