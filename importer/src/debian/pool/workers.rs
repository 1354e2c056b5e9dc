//! The side of the import itself: hands jobs to workers, one each, and hears them.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use keg::{Keg, Kid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Job, PoolError,
    worker::{Hello, MAX_LINE, Said},
};
use crate::debian::{apt::Proxies, mirror::Mirror};

/// Longest silence of all workers together.
const SILENCE: Duration = Duration::from_secs(300);
/// How often silence is looked at.
const TICK: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Why workers did not do their jobs.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// One could not be started.
    #[error("a worker process could not be started")]
    Start(#[source] io::Error),
    /// One could not be talked to.
    #[error("a worker process could not be talked to")]
    Talk(#[source] io::Error),
    /// One ended in the middle of a job.
    #[error("the worker that unpacked {0} ended unexpectedly")]
    Died(String),
    /// None said anything for long.
    #[error("the workers have said nothing for {} seconds", SILENCE.as_secs())]
    Silent,
}

/// What happened to the jobs.
pub enum Event {
    /// So many bytes more were fetched.
    Bytes(u64),
    /// The job with this number is done; its tree.
    Done(usize, Kid),
}

/// Takes events as they come.
pub type Listener<'a> = dyn FnMut(Event) -> Result<(), PoolError> + 'a;

/// Does the jobs in this process.
pub fn here(
    keg: &Keg,
    proxies: &Proxies,
    jobs: &[Job],
    event: &mut Listener<'_>,
) -> Result<(), PoolError> {
    let mirror = Mirror::new(proxies.clone());
    let tmp = keg.home().join("tmp");
    for (i, job) in jobs.iter().enumerate() {
        let mut heard = Ok(());
        let result = job.run(keg.objects(), &mirror, &tmp, &mut |n| {
            if heard.is_ok() {
                heard = event(Event::Bytes(n));
            }
        });
        heard?;
        let package = || job.promise.file_stem();
        let kid = result.map_err(|error| PoolError::Package { package: package(), error })?;
        event(Event::Done(i, kid))?;
    }
    Ok(())
}

/// Does the jobs in `count` worker processes, the largest first.
pub fn run(
    keg: &Keg,
    proxies: &Proxies,
    jobs: &[Job],
    count: usize,
    event: &mut Listener<'_>,
) -> Result<(), PoolError> {
    let mut queue: Vec<usize> = (0..jobs.len()).collect();
    queue.sort_by_key(|i| jobs[*i].promise.size);
    let mut workers = Vec::new();
    for _ in 0..count {
        workers.push(Worker::start(keg, proxies)?);
    }
    for worker in &mut workers {
        worker.give(jobs, queue.pop())?;
    }
    let mut heard = Instant::now();
    while workers.iter().any(|worker| worker.job.is_some()) {
        let ready = wait(&workers)?;
        if !ready.contains(&true) {
            if heard.elapsed() > SILENCE {
                return Err(WorkersError::Silent.into());
            }
            continue;
        }
        heard = Instant::now();
        for (worker, _) in workers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            for said in worker.hear(jobs)? {
                let Some(i) = worker.job else { break };
                match said {
                    Said::Bytes(n) => event(Event::Bytes(n))?,
                    Said::Done(kid) => {
                        event(Event::Done(i, kid))?;
                        worker.give(jobs, queue.pop())?;
                    }
                    Said::Failed(error) => {
                        let package = jobs[i].promise.file_stem();
                        return Err(PoolError::Package { package, error });
                    }
                }
            }
        }
    }
    Ok(())
}

/// Which workers have something to say, after at most a tick.
fn wait(workers: &[Worker]) -> Result<Vec<bool>, WorkersError> {
    let mut fds: Vec<PollFd<'_>> =
        workers.iter().map(|w| PollFd::from_borrowed_fd(w.output.as_fd(), PollFlags::IN)).collect();
    match poll(&mut fds, Some(&TICK)) {
        Ok(_) => Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(rustix::io::Errno::INTR) => Ok(vec![false; workers.len()]),
        Err(e) => Err(WorkersError::Talk(e.into())),
    }
}

struct Worker {
    child: Child,
    /// `None` once there are no more jobs for it.
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// What it said and is not yet a whole line.
    partial: Vec<u8>,
    job: Option<usize>,
}

impl Worker {
    fn start(keg: &Keg, proxies: &Proxies) -> Result<Self, WorkersError> {
        let mut child = keg::spawn::command(&["work", "import", crate::WORKER])
            .env("KEG_HOME", keg.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(WorkersError::Start)?;
        let missing = || WorkersError::Start(io::ErrorKind::BrokenPipe.into());
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let mut worker = Self { child, input: Some(input), output, partial: Vec::new(), job: None };
        worker.tell(&Hello { proxies: proxies.clone() })?;
        Ok(worker)
    }

    /// Gives it a job, or lets it end.
    fn give(&mut self, jobs: &[Job], job: Option<usize>) -> Result<(), WorkersError> {
        self.job = job;
        match job {
            Some(i) => self.tell(&jobs[i]),
            None => {
                self.input = None;
                Ok(())
            }
        }
    }

    fn tell(&mut self, what: &impl serde::Serialize) -> Result<(), WorkersError> {
        let mut line = serde_json::to_vec(what).expect("because it is plain data");
        line.push(b'\n');
        let Some(input) = &mut self.input else { return Ok(()) };
        input.write_all(&line).map_err(WorkersError::Talk)
    }

    /// The whole lines it has said, after one read.
    fn hear(&mut self, jobs: &[Job]) -> Result<Vec<Said>, WorkersError> {
        let mut buffer = [0; 8192];
        let n = match self.output.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(Vec::new()),
            read => read.map_err(WorkersError::Talk)?,
        };
        self.partial.extend_from_slice(&buffer[..n]);
        let died = |job: Option<usize>| match job {
            Some(i) => Err(WorkersError::Died(jobs[i].promise.file_stem())),
            None => Ok(Vec::new()),
        };
        if n == 0 || self.partial.len() > MAX_LINE {
            return died(self.job);
        }
        let mut said = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', &self.partial) {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(one) => said.push(one),
                Err(_) => return died(self.job),
            }
        }
        Ok(said)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that still works is not wanted any more; one that ended only needs to be reaped.
        if self.job.is_some() {
            drop(self.child.kill());
        }
        self.input = None;
        drop(self.child.wait());
    }
}
