//! Pushes that change nothing.

use crate::{
    Bench, kegs,
    peers::Hook,
    sample::Sample,
    table::{Table, Unit},
    trial::{self, Place},
};

/// Seconds that a push which changes nothing may take.
const GOAL: f64 = 0.3;

/// From `git push` to its end.
pub fn measure(bench: &Bench) -> Vec<Table> {
    let world = bench.template.up();
    let repo = world.repo("blog");
    kegs::flask(&repo, "Before");
    trial::push(&repo, "keg", &Place::routed(&world, "blog"), "Before");
    let peer = Hook::reload(bench);
    peer.push_edited("Before");

    let [mut same, mut empty, mut their_same, mut their_empty] = <[Sample; 4]>::default();
    for n in 0..bench.runs {
        same.push(repo.push().ok().took.as_secs_f64());
        their_same.push(peer.push().took.as_secs_f64());
        let message = format!("Nothing {n}");
        repo.commit(&message);
        peer.repo.commit(&message);
        empty.push(repo.push().ok().took.as_secs_f64());
        their_empty.push(peer.push().took.as_secs_f64());
    }
    let mut table = Table::new("A push that changes nothing: git push to its end", Unit::Seconds);
    table.keg("the same commit again", Some(GOAL), same).peer(peer.name, their_same);
    table.keg("an empty commit, released", None, empty).peer(peer.name, their_empty);
    table.note(
        "An empty commit is another source: a release of the same image; its process goes on.",
    );
    table.note(peer.about);
    vec![table]
}
