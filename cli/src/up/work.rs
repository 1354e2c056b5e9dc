//! Work on demand: which names ask for which child process.

use std::collections::VecDeque;

use keg::{Change, Keg};

use super::services::Job;
use crate::error::CommandError;

/// Builds that may run at the same time; more wait their turn.
const MAX_BUILDS: usize = 2;
/// Imports that may: apart from builds, since builds wait for them.
const MAX_IMPORTS: usize = 2;
/// Jobs that may wait; a request beyond it is found again at the next start.
const MAX_WAITING: usize = 10_000;

/// What waits and what runs.
#[derive(Default)]
pub struct Work {
    waiting: VecDeque<Job>,
    running: Vec<Job>,
    again: Vec<Job>,
}

impl Work {
    /// What a crash or a stop left undone.
    pub fn unfinished(keg: &Keg) -> Result<Self, CommandError> {
        let mut work = Self::default();
        work.find(keg)?;
        Ok(work)
    }

    /// Asks for all that is wanted and not done.
    fn find(&mut self, keg: &Keg) -> Result<(), CommandError> {
        for key in importer::pending(keg)? {
            self.ask(Job::Import(key));
        }
        for app in builder::pending(keg)? {
            self.ask(Job::Build(app));
        }
        Ok(())
    }

    /// Turns changes of the namespace into jobs.
    ///
    /// A directory that is new is one change, at its top: what is in it is then looked for.
    pub fn note(&mut self, keg: &Keg, changes: &[Change]) -> Result<(), CommandError> {
        for change in changes.iter().filter(|change| change.new.is_some()) {
            let path = change.path.as_str();
            if let Some(job) = job_for(path) {
                self.ask(job);
            } else if holds_requests(path) {
                self.find(keg)?;
            }
        }
        Ok(())
    }

    /// The next job that may start now.
    pub fn take(&mut self) -> Option<Job> {
        let index = self.waiting.iter().position(|job| self.has_room(job))?;
        let job = self.waiting.remove(index)?;
        self.running.push(job.clone());
        Some(job)
    }

    /// A job has ended; asked for meanwhile, it waits again.
    pub fn ended(&mut self, job: &Job) {
        self.running.retain(|running| running != job);
        if let Some(index) = self.again.iter().position(|again| again == job) {
            self.again.swap_remove(index);
            self.ask(job.clone());
        }
    }

    fn has_room(&self, job: &Job) -> bool {
        let limit = if matches!(job, Job::Import(_)) { MAX_IMPORTS } else { MAX_BUILDS };
        let same = |other: &&Job| std::mem::discriminant(*other) == std::mem::discriminant(job);
        self.running.iter().filter(same).count() < limit
    }

    fn ask(&mut self, job: Job) {
        if self.running.contains(&job) {
            if !self.again.contains(&job) {
                self.again.push(job);
            }
        } else if !self.waiting.contains(&job) && self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(job);
        }
    }
}

/// Whether names that ask for jobs may be somewhere below a path, and not just there.
fn holds_requests(path: &str) -> bool {
    let apps = path.strip_prefix("/apps/").is_some_and(|rest| !rest.contains('/'));
    apps || ["/source", "/apps", "/packages", "/packages/requests"].contains(&path)
}

/// The job a changed name asks for.
fn job_for(path: &str) -> Option<Job> {
    if let Some(file) = path.strip_prefix("/packages/requests/") {
        return Some(Job::Import(file.strip_suffix(".json")?.to_owned()));
    }
    let app = path
        .strip_prefix("/source/")
        .or_else(|| path.strip_prefix("/apps/")?.strip_suffix("/config.json"))?;
    Some(Job::Build(app.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ask_for_jobs() {
        let build = Job::Build("blog".parse().expect("a name"));
        for (path, want) in [
            ("/source/blog", Some(build.clone())),
            ("/source/blog/app.py", None),
            ("/packages/requests/0123.json", Some(Job::Import("0123".into()))),
            ("/packages/locks/0123.json", None),
            ("/apps/blog/config.json", Some(build)),
            ("/apps/blog/other.json", None),
        ] {
            assert_eq!(job_for(path), want, "{path}");
        }
    }

    #[test]
    fn a_job_asked_for_while_it_runs_runs_once_more() {
        let job = Job::Import("k".into());
        let mut work = Work::default();
        work.ask(job.clone());
        assert_eq!(work.take(), Some(job.clone()));
        work.ask(job.clone());
        work.ask(job.clone());
        assert_eq!(work.take(), None);
        work.ended(&job);
        assert_eq!(work.take(), Some(job.clone()));
        work.ended(&job);
        assert_eq!(work.take(), None);
    }

    #[test]
    fn builds_leave_room_for_the_imports_they_wait_for() {
        let mut work = Work::default();
        for app in ["a", "b", "c"] {
            work.ask(Job::Build(app.parse().expect("a name")));
        }
        work.ask(Job::Import("k".into()));
        let started: Vec<Job> = std::iter::from_fn(|| work.take()).collect();
        assert_eq!(started.len(), 3);
        assert!(started.contains(&Job::Import("k".into())));
    }

    #[test]
    fn no_more_than_the_limit_run_at_once() {
        let mut work = Work::default();
        for key in ["a", "b", "c"] {
            work.ask(Job::Import(key.into()));
        }
        assert!(work.take().is_some() && work.take().is_some());
        assert_eq!(work.take(), None);
    }
}
