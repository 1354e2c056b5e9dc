//! The parent's loop: children that end, names that ask for work, signals.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    process::ExitStatus,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use keg::Keg;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    services::{self, Job, SERVICES, Service, Sockets},
    work::Work,
};
use crate::{args::Output, error::CommandError, find::Running, output};

/// First pause before a service that died starts again; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// A service that lived so long starts again without a pause.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// How long services may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long services may take to stop before they are killed.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait between looks at a process that was killed.
const AFTER_KILL: Duration = Duration::from_millis(100);

enum Event {
    Ended { job: Job, pid: u32, status: std::io::Result<ExitStatus> },
    Due(Service),
}

type Pending = FuturesUnordered<Pin<Box<dyn Future<Output = Event>>>>;

struct Supervisor<'a> {
    keg: &'a Keg,
    sockets: Sockets,
    keep: bool,
    pending: Pending,
    alive: HashMap<u32, (Job, Instant)>,
    pauses: HashMap<Service, Duration>,
    work: Work,
}

/// Starts everything, says so, and runs until SIGTERM or SIGINT.
pub async fn run(
    keg: &Keg,
    running: &Running,
    sockets: Sockets,
    keep: bool,
    how: Output,
) -> Result<(), CommandError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    keg::process::remove_stale(keg)?;
    let mut watch = keg.watch(&keg::path::NamePath::root(), None)?;
    let mut supervisor = Supervisor {
        keg,
        sockets,
        keep,
        pending: Pending::new(),
        alive: HashMap::new(),
        pauses: HashMap::new(),
        work: Work::unfinished(keg)?,
    };
    for service in SERVICES {
        supervisor.start(Job::Service(service))?;
    }
    supervisor.until_ready(&mut watch).await?;
    announce(running, how)?;
    loop {
        supervisor.start_work()?;
        tokio::select! {
            Some(event) = supervisor.pending.next() => supervisor.handle(event)?,
            changes = watch.next() => supervisor.work.note(keg, &changes?)?,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    supervisor.stop().await
}

fn announce(running: &Running, how: Output) -> Result<(), CommandError> {
    if how.json {
        let mut document = serde_json::json!(running);
        document["ready"] = true.into();
        return output::json_line(&document);
    }
    let apps = running.apps_url.replace("{app}", "<app>");
    let home = running.home.display();
    output::line(&format!("Keg is up at {}, apps at {apps}, home {home}", running.url))
}

impl Supervisor<'_> {
    fn start(&mut self, job: Job) -> Result<(), CommandError> {
        let mut child = services::spawn(&job, self.keg.home(), &self.sockets, self.keep)
            .map_err(|error| CommandError::internal(format!("cannot start {job}"), error))?;
        let pid = child.id().unwrap_or_default();
        self.alive.insert(pid, (job.clone(), Instant::now()));
        self.pending.push(Box::pin(async move {
            let status = child.wait().await;
            Event::Ended { job, pid, status }
        }));
        Ok(())
    }

    fn start_work(&mut self) -> Result<(), CommandError> {
        while let Some(job) = self.work.take() {
            self.start(job)?;
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), CommandError> {
        match event {
            Event::Due(service) => self.start(Job::Service(service)),
            Event::Ended { job, pid, status } => {
                let started = self.alive.remove(&pid).map(|(_, started)| started);
                keg::process::remove_stale(self.keg)?;
                match job {
                    Job::Service(service) => self.restart_later(service, started, status),
                    job => {
                        if !matches!(&status, Ok(status) if status.success()) {
                            eprintln!("keg up: {job} ended: {}", in_words(&status));
                        }
                        self.work.ended(&job);
                    }
                }
                Ok(())
            }
        }
    }

    fn restart_later(
        &mut self,
        service: Service,
        started: Option<Instant>,
        status: std::io::Result<ExitStatus>,
    ) {
        let healthy = started.is_some_and(|started| started.elapsed() >= HEALTHY_AFTER);
        let pause = match self.pauses.get(&service) {
            Some(pause) if !healthy => (*pause * 2).min(MAX_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.pauses.insert(service, pause);
        eprintln!(
            "keg up: service {} ended ({}); it starts again in {} ms",
            service.name(),
            in_words(&status),
            pause.as_millis()
        );
        self.pending.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            Event::Due(service)
        }));
    }

    /// Services say that they are ready by their row in the process table.
    async fn until_ready(&mut self, watch: &mut keg::watch::Watch) -> Result<(), CommandError> {
        let deadline = tokio::time::sleep(READY_WITHIN);
        tokio::pin!(deadline);
        while !self.all_ready()? {
            tokio::select! {
                changes = watch.next() => self.work.note(self.keg, &changes?)?,
                Some(event) = self.pending.next() => {
                    if let Event::Ended { job: Job::Service(service), status, .. } = &event {
                        let text = format!("the service {} did not start", service.name());
                        return Err(CommandError::config(text)
                            .because(std::io::Error::other(in_words(status)))
                            .hint("its own message is above; `keg fsck` checks the Keg"));
                    }
                    self.handle(event)?;
                }
                () = &mut deadline => {
                    return Err(CommandError::config("the services were not ready in 20 s")
                        .hint("the machine may be overloaded; try again"));
                }
            }
        }
        Ok(())
    }

    fn all_ready(&self) -> Result<bool, CommandError> {
        let rows = keg::process::rows(self.keg)?;
        let ready = |pid: &u32| rows.iter().any(|row| row["pid"].as_u64() == Some(u64::from(*pid)));
        Ok(self
            .alive
            .iter()
            .filter(|(_, (job, _))| matches!(job, Job::Service(_)))
            .all(|(pid, _)| ready(pid)))
    }

    /// New pushes first, then work, then the mayor with its apps, the router last.
    async fn stop(mut self) -> Result<(), CommandError> {
        let is = |service| move |job: &Job| *job == Job::Service(service);
        self.stop_those(is(Service::Front)).await;
        self.stop_those(|job| !matches!(job, Job::Service(_))).await;
        self.stop_those(is(Service::Mayor)).await;
        self.stop_those(is(Service::Router)).await;
        keg::process::remove_stale(self.keg)?;
        Ok(())
    }

    async fn stop_those(&mut self, which: impl Fn(&Job) -> bool) {
        let deadline = Instant::now() + STOP_WITHIN;
        let mut told = libc::SIGTERM;
        loop {
            let pids: Vec<u32> =
                self.alive.iter().filter(|(_, (job, _))| which(job)).map(|(pid, _)| *pid).collect();
            if pids.is_empty() {
                return;
            }
            for pid in pids {
                // SAFETY: a plain system call; the pid is an unreaped child of ours.
                unsafe { libc::kill(pid as libc::pid_t, told) };
            }
            let left = deadline.saturating_duration_since(Instant::now()).max(AFTER_KILL);
            match tokio::time::timeout(left, self.pending.next()).await {
                Ok(Some(Event::Ended { pid, .. })) => {
                    self.alive.remove(&pid);
                }
                Ok(Some(Event::Due(_))) => {}
                Ok(None) => return,
                Err(_) => told = libc::SIGKILL,
            }
        }
    }
}

fn in_words(status: &std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}
