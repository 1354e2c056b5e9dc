//! Triggers: who is interested in what, and what unpacking has set off (deb-triggers(5)).

use std::collections::{BTreeMap, BTreeSet};

use keg::{
    object::{Entry, EntryName, Tree, Value},
    store::{Objects, StoreError},
};

/// Files of `triggers/` that are no explicit trigger.
const OWN: [&str; 3] = ["File", "Unincorp", "Lock"];

/// The directory `triggers/` while packages are added.
pub struct Triggers {
    /// Trigger → lines of its file: packages, perhaps with `/noawait`.
    explicit: BTreeMap<String, BTreeSet<String>>,
    /// Path → packages, perhaps with `/noawait`.
    files: BTreeMap<String, BTreeSet<String>>,
    /// Triggers that packages configured already are interested in.
    known: BTreeSet<String>,
    /// What unpacking has set off.
    set_off: BTreeSet<String>,
}

impl Triggers {
    /// What a configured root file system has, if there is one.
    pub fn new(objects: &dyn Objects, configured: Option<Entry>) -> Result<Self, StoreError> {
        let mut triggers = Self {
            explicit: BTreeMap::new(),
            files: BTreeMap::new(),
            known: BTreeSet::new(),
            set_off: BTreeSet::new(),
        };
        let Some(Entry { value: Value::Tree { kid, .. }, .. }) = configured else {
            return Ok(triggers);
        };
        for (name, entry) in objects.tree(&kid)?.entries {
            let Some(kid) = entry.kid() else { continue };
            let name = name.to_string_lossy();
            let text = String::from_utf8_lossy(&objects.blob(&kid)?).into_owned();
            if name == "File" {
                for (path, package) in text.lines().filter_map(|line| line.split_once(' ')) {
                    insert(&mut triggers.files, path, package.to_owned());
                }
            } else if !OWN.contains(&name.as_str()) {
                text.lines().for_each(|p| insert(&mut triggers.explicit, &name, p.to_owned()));
            }
        }
        let names = triggers.explicit.keys().chain(triggers.files.keys());
        triggers.known = names.cloned().collect();
        Ok(triggers)
    }

    /// Adds a package: its member `triggers`, and the list of its paths.
    pub fn add(&mut self, package: &str, member: &[u8], list: &[u8]) {
        let text = String::from_utf8_lossy(member);
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(directive), Some(trigger)) = (words.next(), words.next()) else { continue };
            match directive {
                "interest" | "interest-await" => self.interest(trigger, package.to_owned()),
                "interest-noawait" => self.interest(trigger, format!("{package}/noawait")),
                "activate" | "activate-await" | "activate-noawait" => self.set_off(trigger),
                _ => {}
            }
        }
        for path in String::from_utf8_lossy(list).lines() {
            self.touched(path);
        }
    }

    fn interest(&mut self, trigger: &str, package: String) {
        if trigger.starts_with('/') {
            insert(&mut self.files, trigger, package);
        } else if is_name(trigger) {
            insert(&mut self.explicit, trigger, package);
        }
    }

    fn set_off(&mut self, trigger: &str) {
        if self.known.contains(trigger) {
            self.set_off.insert(trigger.to_owned());
        }
    }

    /// A path sets off the triggers for itself and for all directories above it.
    fn touched(&mut self, path: &str) {
        let mut at = Some(path);
        while let Some(path) = at.filter(|path| !path.is_empty()) {
            self.set_off(path);
            at = path.rsplit_once('/').map(|(above, _)| above);
        }
    }

    /// The directory.
    pub fn write(self, objects: &dyn Objects) -> Result<Entry, StoreError> {
        let mut tree = Tree::default();
        let mut put = |name: &str, text: String| -> Result<(), StoreError> {
            let name = EntryName::new(name).expect("because triggers' names are checked");
            tree.entries.insert(name, objects.put_bytes(text.as_bytes())?);
            Ok(())
        };
        let lines = |lines: &mut dyn Iterator<Item = String>| lines.collect::<String>();
        let mut files = self.files.iter().flat_map(|(path, packages)| {
            packages.iter().map(move |package| format!("{path} {package}\n"))
        });
        put("File", lines(&mut files))?;
        // "-": nobody waits for it; all of it is done in one run anyway.
        put("Unincorp", lines(&mut self.set_off.iter().map(|trigger| format!("{trigger} -\n"))))?;
        for (trigger, packages) in &self.explicit {
            put(trigger, lines(&mut packages.iter().map(|package| format!("{package}\n"))))?;
        }
        objects.put_tree(&tree)
    }
}

fn insert(map: &mut BTreeMap<String, BTreeSet<String>>, key: &str, value: String) {
    if !value.is_empty() {
        map.entry(key.to_owned()).or_default().insert(value);
    }
}

/// An explicit trigger becomes the name of a file.
fn is_name(trigger: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"+-.:_".contains(&b);
    trigger.len() < 200
        && trigger.bytes().all(good)
        && !trigger.starts_with('.')
        && !OWN.contains(&trigger)
}

#[cfg(test)]
mod tests {
    use keg::store::MemoryStore;

    use super::*;

    /// The directory as `name: content` lines.
    fn show(triggers: Triggers) -> String {
        let store = MemoryStore::new("");
        let objects: &dyn Objects = &store;
        let kid = triggers.write(objects).expect("written").kid().expect("a tree");
        let mut out = String::new();
        for (name, entry) in objects.tree(&kid).expect("read").entries {
            let text = objects.blob(&entry.kid().expect("a file")).expect("read");
            out += &format!("{}: {:?}\n", name.to_string_lossy(), String::from_utf8_lossy(&text));
        }
        out
    }

    #[test]
    fn interests_are_filed() {
        let store = MemoryStore::new("");
        let mut triggers = Triggers::new(&store, None).expect("empty");
        let member = b"# comment\ninterest-noawait ldconfig\ninterest /usr/share/man\nactivate x\n\
                       interest ../evil\ninterest File\n";
        triggers.add("libc-bin", member, b"/usr/share/man\n");
        triggers.add("man:amd64", b"interest-await ldconfig", b"");
        let want = "File: \"/usr/share/man libc-bin\\n\"\nUnincorp: \"\"\n\
                    ldconfig: \"libc-bin/noawait\\nman:amd64\\n\"\n";
        assert_eq!(show(triggers), want);
    }

    #[test]
    fn what_configured_packages_wait_for_is_set_off() {
        let store = MemoryStore::new("");
        let objects: &dyn Objects = &store;
        let mut before = Triggers::new(objects, None).expect("empty");
        before.add("libc-bin", b"interest-noawait ldconfig\ninterest /usr/share/man\n", b"");
        let before = before.write(objects).expect("written");
        let mut triggers = Triggers::new(objects, Some(before)).expect("read");
        let list = b"/.\n/usr\n/usr/share/man/man1/x.1\n/usr/share/manual/x\n";
        triggers.add("x", b"activate-noawait ldconfig\nactivate nobody\ninterest new\n", list);
        triggers.add("y", b"activate new\n", b"");
        let shown = show(triggers);
        assert!(shown.contains("Unincorp: \"/usr/share/man -\\nldconfig -\\n\""), "{shown}");
        assert!(shown.contains("new: \"x\\n\""), "{shown}");
    }
}
