//! What to do next about one app: a pure function of what should be and what is.

use std::collections::BTreeMap;

use keg::Kid;

/// The place of one process: a release's run, a process type, and a number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// [`crate::release::Release::run`].
    pub run: Kid,
    /// The process type, e.g. `web`.
    pub kind: String,
    /// From 0 on.
    pub index: u32,
}

/// How far the process in a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was started and has not shown that it is well.
    Starting,
    /// It does its work.
    Ready,
    /// It ended and waits for its pause to pass.
    Waiting,
    /// Its pause has passed.
    Due,
    /// It gets no new requests and finishes those it has; then it is stopped.
    Draining,
    /// It was told to end.
    Stopping,
}

/// One release and how much of it there should be.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its run.
    pub run: Kid,
    /// Processes by type.
    pub scale: BTreeMap<String, u32>,
}

/// What should be, and what is.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// The release that serves, if there is one.
    pub live: Option<Target>,
    /// The release that is to serve instead, unless it failed already.
    pub candidate: Option<Target>,
    /// Slots with a process or a wait.
    pub slots: Vec<(Slot, Phase)>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start a process there.
    Start(Slot),
    /// Bring the process there to its end: drain it if it serves, stop it otherwise.
    Retire(Slot),
    /// The candidate is complete: it serves from now on.
    Promote,
}

/// The steps from `situation` towards what should be. No step while there is nothing to do.
pub fn plan(situation: &Situation) -> Vec<Step> {
    let wanted: Vec<Slot> =
        [&situation.live, &situation.candidate].into_iter().flatten().flat_map(slots_of).collect();
    let phase = |slot: &Slot| situation.slots.iter().find(|(s, _)| s == slot).map(|(_, p)| *p);
    let mut steps = Vec::new();
    for (slot, phase) in &situation.slots {
        let leaving = matches!(phase, Phase::Draining | Phase::Stopping);
        if !leaving && !wanted.contains(slot) {
            steps.push(Step::Retire(slot.clone()));
        }
    }
    for slot in &wanted {
        if matches!(phase(slot), None | Some(Phase::Due)) {
            steps.push(Step::Start(slot.clone()));
        }
    }
    let complete = situation.candidate.as_ref().is_some_and(|candidate| {
        slots_of(candidate).iter().all(|slot| phase(slot) == Some(Phase::Ready))
    });
    if complete {
        steps.push(Step::Promote);
    }
    steps
}

fn slots_of(target: &Target) -> Vec<Slot> {
    let slots = target.scale.iter().flat_map(|(kind, count)| {
        (0..*count).map(|index| Slot { run: target.run, kind: kind.clone(), index })
    });
    slots.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{Draining, Due, Ready, Starting, Stopping, Waiting};

    fn run(name: &str) -> Kid {
        Kid::of_blob(name.as_bytes())
    }

    /// `a.web.0` is the first web process of the release `a`.
    fn slot(text: &str) -> Slot {
        let mut parts = text.split('.');
        let mut part = || parts.next().expect("three parts");
        let (release, kind, index) = (part(), part(), part());
        Slot { run: run(release), kind: kind.into(), index: index.parse().expect("a number") }
    }

    /// `a:web=1,worker=2`
    fn target(text: &str) -> Option<Target> {
        let (release, scale) = text.split_once(':')?;
        let scale = scale.split(',').filter_map(|entry| entry.split_once('='));
        let scale = scale.map(|(k, n)| (k.into(), n.parse().expect("a number"))).collect();
        Some(Target { run: run(release), scale })
    }

    fn check(live: &str, candidate: &str, slots: &[(&str, Phase)], want: &[&str]) {
        let situation = Situation {
            live: target(live),
            candidate: target(candidate),
            slots: slots.iter().map(|(s, p)| (slot(s), *p)).collect(),
        };
        let show = |s: &Slot| {
            let names = ["a", "b", "c"];
            let name = names.into_iter().find(|n| run(n) == s.run).expect("a known run");
            format!("{name}.{}.{}", s.kind, s.index)
        };
        let steps: Vec<String> = plan(&situation)
            .iter()
            .map(|step| match step {
                Step::Start(s) => format!("start {}", show(s)),
                Step::Retire(s) => format!("retire {}", show(s)),
                Step::Promote => "promote".into(),
            })
            .collect();
        assert_eq!(steps, want, "live {live:?}, candidate {candidate:?}, {slots:?}");
    }

    #[test]
    fn first_release() {
        check("", "", &[], &[]);
        check("", "a:web=1", &[], &["start a.web.0"]);
        check(
            "",
            "a:web=1,worker=2",
            &[],
            &["start a.web.0", "start a.worker.0", "start a.worker.1"],
        );
        check("", "a:web=1", &[("a.web.0", Starting)], &[]);
        check("", "a:web=1", &[("a.web.0", Ready)], &["promote"]);
        check("", "a:web=1,worker=1", &[("a.web.0", Ready), ("a.worker.0", Starting)], &[]);
        check("a:web=1", "", &[("a.web.0", Ready)], &[]);
        check("", "a:", &[], &["promote"]);
    }

    #[test]
    fn next_release() {
        check("a:web=1", "b:web=1", &[("a.web.0", Ready)], &["start b.web.0"]);
        check("a:web=1", "b:web=1", &[("a.web.0", Ready), ("b.web.0", Starting)], &[]);
        check("a:web=1", "b:web=1", &[("a.web.0", Ready), ("b.web.0", Ready)], &["promote"]);
        check("b:web=1", "", &[("a.web.0", Ready), ("b.web.0", Ready)], &["retire a.web.0"]);
        check("b:web=1", "", &[("a.web.0", Draining), ("b.web.0", Ready)], &[]);
        check("b:web=1", "", &[("a.web.0", Stopping), ("b.web.0", Ready)], &[]);
    }

    #[test]
    fn a_failed_candidate_leaves_the_live_release_alone() {
        check("a:web=1", "", &[("a.web.0", Ready), ("b.web.0", Starting)], &["retire b.web.0"]);
    }

    #[test]
    fn a_candidate_replaced_in_mid_flight() {
        let slots = [("a.web.0", Ready), ("b.web.0", Starting)];
        check("a:web=1", "c:web=1", &slots, &["retire b.web.0", "start c.web.0"]);
    }

    #[test]
    fn live_processes_are_kept_alive() {
        check("a:web=1", "", &[], &["start a.web.0"]);
        check("a:web=1", "", &[("a.web.0", Waiting)], &[]);
        check("a:web=1", "", &[("a.web.0", Due)], &["start a.web.0"]);
        // Also while a candidate is tried.
        check("a:web=1", "b:web=1", &[("a.web.0", Due), ("b.web.0", Starting)], &["start a.web.0"]);
    }

    #[test]
    fn scale() {
        check("a:web=2", "", &[("a.web.0", Ready)], &["start a.web.1"]);
        check("a:web=1", "", &[("a.web.0", Ready), ("a.web.1", Ready)], &["retire a.web.1"]);
        check("a:", "", &[("a.web.0", Waiting)], &["retire a.web.0"]);
        // Scaled up again while it is leaving: it comes back once the slot is free.
        check("a:web=1", "", &[("a.web.0", Stopping)], &[]);
    }

    #[test]
    fn an_app_that_is_gone() {
        let slots = [("a.web.0", Ready), ("a.worker.0", Due), ("b.web.0", Stopping)];
        check("", "", &slots, &["retire a.web.0", "retire a.worker.0"]);
    }
}
