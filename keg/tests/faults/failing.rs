//! Each system call that changes something fails once: the disk is full, or broken.

use super::{
    calls,
    each::each_job,
    jobs::Job,
    killed::{again, check, newest, steps},
    place::Place,
    tracer::{Call, Ended, Verdict, Watcher, run},
};

/// Of the calls of a job so many are tried, for each way to fail.
const TRIES: usize = 7;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// From the call on there is no space, until the job has been told. A write gets half of its
    /// bytes onto the disk first.
    Full,
    /// The call alone fails.
    Broken,
}

/// Lets calls fail.
struct Failing {
    fault: Fault,
    at: usize,
    calls: usize,
    /// What failed first.
    struck: Option<String>,
    told: Vec<String>,
}

impl Failing {
    fn new(fault: Fault, at: usize) -> Self {
        Self { fault, at, calls: 0, struck: None, told: Vec::new() }
    }

    fn failures(&self) -> impl Iterator<Item = &str> {
        self.told.iter().filter_map(|line| line.strip_prefix("failed "))
    }
}

impl Watcher for Failing {
    fn before(&mut self, call: &Call) -> Verdict {
        // What is being cleaned up may fail, but nobody is told.
        let opens = call.name().starts_with("open");
        let takes_space = calls::takes_space(call.number) && !(opens && call.path.exists());
        if self.fault == Fault::Full && !takes_space {
            return Verdict::Go;
        }
        self.calls += 1;
        let first = self.calls == self.at;
        if first {
            self.struck = Some(call.to_string());
        }
        match self.fault {
            Fault::Broken if first => Verdict::Fail(libc::EIO),
            Fault::Full if first && call.len() > 1 => Verdict::Short,
            Fault::Full if self.struck.is_some() && self.failures().next().is_none() => {
                Verdict::Fail(libc::ENOSPC)
            }
            _ => Verdict::Go,
        }
    }

    fn told(&mut self, line: &str) {
        self.told.push(line.to_owned());
    }
}

fn failing(job: Job, in_memory: bool, tries: usize) {
    let place = Place::prepare(job, in_memory);
    let before = newest(&place.root("base").join("keg"));
    for fault in [Fault::Full, Fault::Broken] {
        let mut whole = Failing::new(fault, 0);
        assert_eq!(run(job.name, &place.fresh(), &mut whole), Ended::Through(true));
        let mut failed = 0;
        for step in steps(whole.calls, tries) {
            let home = place.fresh();
            let mut failing = Failing::new(fault, step);
            let ended = run(job.name, &home, &mut failing);
            let call = failing.struck.clone().unwrap_or_default();
            let what = format!("{}: {fault:?} at call {step}, {call}", job.name);
            assert_eq!(ended, Ended::Through(true), "{what}: {:?}", failing.told);
            let errors: Vec<&str> = failing.failures().collect();
            failed += errors.len().min(1);
            let wanted: &[&str] = match fault {
                Fault::Full => &["the disk is full", "No space left on device"],
                Fault::Broken => &["Input/output error"],
            };
            if let Some(error) = errors.first() {
                assert!(wanted.iter().any(|text| error.contains(text)), "{what}: {error}");
            }
            let last = failing.told.last().map(String::as_str);
            if fault == Fault::Full && job.name != "create" {
                assert_eq!(last, Some("done"), "{what}: there is space again, {errors:?}");
            }
            if job.name != "repair" && (job.name != "create" || last == Some("done")) {
                check(&home, before, &failing.told, &what);
            }
            if job.name != "working" {
                again(job, &home, &what);
            }
        }
        assert!(failed > 2, "{}: {fault:?} failed {failed} times", job.name);
    }
}

each_job! { failing }
