//! Looking at a Keg from outside: its processes, mounts and control groups.

use std::{collections::BTreeMap, fs, path::Path};

use keg::Kid;

use crate::{World, until};

/// Of the Keg's directory in the names of its containers.
const HOME_DIGITS: usize = 6;

impl World {
    /// All processes of this Keg: `keg up`, services, work, supervisors, apps.
    pub fn pids(&self) -> Vec<i32> {
        let parents = all_processes();
        // Supervisors outlive the mayor that started them, so it is not enough to follow parents.
        let own = |pid: i32| pid != own_pid() && self.is_named_by(pid);
        let mut found: Vec<i32> = parents.iter().map(|(pid, _)| *pid).filter(|p| own(*p)).collect();
        loop {
            let before = found.len();
            for (pid, parent) in &parents {
                if found.contains(parent) && !found.contains(pid) {
                    found.push(*pid);
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// Kills all of them at once, as a power cut would, and waits until they are gone.
    ///
    /// # Panics
    /// When they are not.
    pub fn kill_all(&self) {
        let mut killed = Vec::new();
        // Whoever was being started when the first look was taken is found by a later one.
        until("all processes to be gone", || {
            let pids = self.pids();
            pids.iter().for_each(|pid| signal(*pid, libc::SIGKILL));
            killed.extend(pids.iter().copied());
            (pids.is_empty() && killed.iter().all(|pid| !runs(*pid))).then_some(())
        });
    }

    /// The process of a service: `front`, `mayor` or `router`.
    ///
    /// # Panics
    /// When there is not exactly one.
    pub fn service(&self, name: &str) -> i32 {
        until(&format!("one {name}"), || {
            let arguments = ["keg", "service", name].map(str::as_bytes).join(&0);
            let is = |pid: &i32| read(*pid, "cmdline").starts_with(&arguments) && runs(*pid);
            let mut found = self.pids().into_iter().filter(is);
            found.next().filter(|_| found.next().is_none())
        })
    }

    /// The number of threads of each process of this Keg that runs the `keg` program, with what
    /// it was started as.
    pub fn threads(&self) -> BTreeMap<String, usize> {
        let binary = crate::world::binary().canonicalize().expect("built");
        let count = |pid: i32| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).ok()? == binary;
            let arguments = String::from_utf8_lossy(&read(pid, "cmdline")).replace('\0', " ");
            let status = String::from_utf8_lossy(&read(pid, "status")).into_owned();
            let threads = status.lines().find_map(|line| line.strip_prefix("Threads:\t"))?;
            program.then_some((format!("{pid} {arguments}"), threads.parse().ok()?))
        };
        self.pids().into_iter().filter_map(count).collect()
    }

    /// The control groups of this Keg's containers that exist.
    pub fn groups(&self) -> Vec<String> {
        let mut names: Vec<String> = self.group_dirs().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn group_dirs(&self) -> Vec<(String, std::path::PathBuf)> {
        let home = Kid::of_blob(self.home().as_os_str().as_encoded_bytes()).to_hex();
        let prefix = format!("k{}-", &home[..HOME_DIGITS]);
        let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let roots = roots.map(|root| root.path()).chain(["/sys/fs/cgroup".into()]);
        let groups = roots.filter_map(|root| fs::read_dir(root.join("keg")).ok()).flatten();
        let named = groups.flatten().filter_map(|group| {
            let name = group.file_name().into_string().ok()?;
            name.starts_with(&prefix).then_some((name, group.path()))
        });
        named.collect()
    }

    /// What is mounted below this Keg's directory, as a process sees it.
    pub fn mounts_of(&self, pid: i32) -> Vec<String> {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap_or_default();
        let home = self.home().to_string_lossy().into_owned();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        points.filter(|point| Path::new(point).starts_with(&home)).map(str::to_owned).collect()
    }

    /// Nothing of this Keg is mounted or runs.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn assert_gone(&self) {
        assert_eq!(self.mounts_of(own_pid()), Vec::<String>::new(), "still mounted");
        let left: Vec<String> = self.pids().into_iter().map(describe).collect();
        assert!(left.is_empty(), "still running: {left:?}");
        assert_eq!(self.groups(), Vec::<String>::new(), "control groups are left");
    }

    /// What a failed test left, so that it disturbs no other.
    pub(crate) fn sweep(&self) {
        let pids = self.pids();
        pids.iter().for_each(|pid| signal(*pid, libc::SIGKILL));
        if !pids.is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        self.group_dirs().iter().for_each(|(_, dir)| fs::remove_dir(dir).unwrap_or_default());
    }

    /// Whether a process has this Keg's directory in its environment or arguments.
    fn is_named_by(&self, pid: i32) -> bool {
        let home = self.home().into_os_string().into_encoded_bytes();
        let names_it = |name| read(pid, name).windows(home.len()).any(|part| part == home);
        names_it("environ") || names_it("cmdline")
    }
}

/// Whether a process is there and is no zombie.
pub fn runs(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// Sends a signal to a process that a test knows to be of its own Keg.
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid, signal) };
}

/// Each process of the machine, and its parent.
fn all_processes() -> Vec<(i32, i32)> {
    let entries = fs::read_dir("/proc").expect("readable").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| Some((pid, stat(pid)?.1))).collect()
}

/// State and parent.
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = String::from_utf8_lossy(&read(pid, "stat")).into_owned();
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn read(pid: i32, name: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default()
}

fn describe(pid: i32) -> String {
    format!("{pid} {}", String::from_utf8_lossy(&read(pid, "cmdline")).replace('\0', " "))
}

fn own_pid() -> i32 {
    std::process::id() as i32
}
