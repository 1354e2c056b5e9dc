//! A user id of its own for every app: files of one are closed to all others.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

/// The first id that is given away.
const FIRST: u32 = 20_000;
/// How many there are; the 40,001st app of a machine shares an id with another.
const COUNT: u32 = 40_000;

/// The ids given away so far, kept in a file. Losing the file only deals them anew: nothing that
/// an app owns outlives its process.
pub struct Users {
    path: PathBuf,
    ids: BTreeMap<String, u32>,
}

impl Users {
    /// Reads the file; none counts as empty, and so does one that is not ours.
    pub fn load(path: PathBuf) -> Users {
        let bytes = fs::read(&path).unwrap_or_default();
        Users { path, ids: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    /// The id of an app, always the same.
    ///
    /// # Errors
    /// A new one could not be kept.
    pub fn id(&mut self, app: &str) -> io::Result<u32> {
        if let Some(id) = self.ids.get(app) {
            return Ok(*id);
        }
        let taken: std::collections::BTreeSet<u32> = self.ids.values().copied().collect();
        let free = (FIRST..FIRST + COUNT).find(|id| !taken.contains(id)).unwrap_or(FIRST);
        self.ids.insert(app.to_owned(), free);
        let temp = self.path.with_extension("new");
        fs::write(&temp, serde_json::to_vec(&self.ids)?)?;
        fs::rename(&temp, &self.path)?;
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_distinct() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.json");
        let mut users = Users::load(path.clone());
        assert_eq!((users.id("b").unwrap(), users.id("a").unwrap()), (20_000, 20_001));
        let mut again = Users::load(path.clone());
        assert_eq!((again.id("a").unwrap(), again.id("c").unwrap()), (20_001, 20_002));
        fs::write(&path, "torn{").unwrap();
        assert_eq!(Users::load(path).id("a").unwrap(), 20_000);
    }
}
