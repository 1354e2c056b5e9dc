//! Control groups that nobody is left to remove: of builds, imports and apps whose supervisors
//! were killed, of this Keg or another one of the machine.

use std::collections::BTreeSet;
use std::time::Duration;

use sandbox::cgroup;

/// Pause between two looks.
pub const EVERY: Duration = Duration::from_secs(60);

/// The groups that were empty at the last look.
#[derive(Default)]
pub struct Groups {
    empty: BTreeSet<String>,
}

impl Groups {
    /// Removes the groups with `prefix` that are empty and were so at the last look: no container
    /// takes as long to be set up, and no supervisor to note how one ended.
    pub fn sweep(&mut self, prefix: &str) {
        let empty = cgroup::list(prefix).into_iter().filter(|id| cgroup::pids(id).is_empty());
        let empty: BTreeSet<String> = empty.collect();
        for id in empty.intersection(&self.empty) {
            // One that is not empty any more stays.
            cgroup::remove(id);
        }
        self.empty = empty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_goes_that_is_empty_twice() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        cgroup::prepare();
        let prefix = format!("swept{}-", std::process::id());
        let roots = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path());
        let roots = roots.chain(["/sys/fs/cgroup".into()]);
        let parent = roots.map(|root| root.join("keg")).find(|dir| dir.is_dir()).unwrap();
        let make = |name: &str| std::fs::create_dir(parent.join(format!("{prefix}{name}")));
        make("old").unwrap();
        let mut groups = Groups::default();
        groups.sweep(&prefix);
        make("new").unwrap();
        assert_eq!(cgroup::list(&prefix).len(), 2, "once is not enough");
        groups.sweep(&prefix);
        assert_eq!(cgroup::list(&prefix), [format!("{prefix}new")]);
        groups.sweep(&prefix);
        assert!(cgroup::list(&prefix).is_empty());
    }
}
