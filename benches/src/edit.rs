//! One line of the Flask example is edited and pushed.

use crate::{
    Bench, kegs,
    parts::Parts,
    peers::Hook,
    sample::Sample,
    table::{Table, Unit},
    trial::{self, Place},
};

/// Seconds that the new version may take.
const GOAL: f64 = 1.5;

/// From `git push` to the new text.
pub fn measure(bench: &Bench) -> Vec<Table> {
    let world = bench.template.up();
    let repo = world.repo("blog");
    let place = Place::routed(&world, "blog");
    kegs::flask(&repo, "Before");
    trial::push(&repo, "keg", &place, "Before");
    let peers = [Hook::restart(bench), Hook::reload(bench), Hook::podman(&world, "blog")];
    for peer in &peers {
        peer.push_edited("Before");
    }

    let (mut ours, mut returned, mut parts) =
        (Sample::default(), Sample::default(), Parts::default());
    let mut theirs = <[Sample; 3]>::default();
    for n in 0..bench.runs {
        let headline = format!("Edited {n}");
        kegs::edit(&repo, &headline);
        let trial = trial::push(&repo, "keg", &place, &headline);
        ours.push(trial.answered.as_secs_f64());
        returned.push(trial.push.took.as_secs_f64());
        parts.note(&world, "blog", &trial);
        for (peer, sample) in peers.iter().zip(&mut theirs) {
            sample.push(peer.push_edited(&headline).answered.as_secs_f64());
        }
    }
    let title =
        "One-line edit of examples/hello-flask: git push to the new text, through the router";
    let mut table = Table::new(title, Unit::Seconds);
    table.keg("the new version answers", Some(GOAL), ours);
    parts.tell(&mut table);
    for (peer, sample) in peers.iter().zip(theirs) {
        table.peer(peer.name, sample);
    }
    table.keg("git push has returned", None, returned);
    peers.iter().for_each(|peer| {
        table.note(peer.about);
    });
    vec![table]
}
