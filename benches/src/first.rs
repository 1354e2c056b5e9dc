//! The first push of an app.

use crate::{
    Bench, kegs,
    parts::Parts,
    peers::Hook,
    sample::Sample,
    table::{Table, Unit},
    trial::{self, Place},
};

/// Seconds that it may take when the packages are in the Keg.
const GOAL: f64 = 4.0;

/// From `git push` to the app's text.
pub fn measure(bench: &Bench) -> Vec<Table> {
    let (mut first, mut parts) = (Sample::default(), Parts::default());
    let (mut second, mut theirs) = (Sample::default(), Sample::default());
    // What pip fetches and what it builds from that is in its cache from then on.
    Hook::restart(bench).push_edited("Before");
    let mut about = ("", "");
    for n in 0..bench.runs {
        let world = bench.template.up();
        for (app, sample) in [("one", &mut first), ("two", &mut second)] {
            let repo = world.repo(app);
            let headline = format!("App {app} {n}");
            kegs::flask(&repo, &headline);
            let trial = trial::push(&repo, "keg", &Place::routed(&world, app), &headline);
            sample.push(trial.answered.as_secs_f64());
            if app == "one" {
                parts.note(&world, app, &trial);
            }
        }
        drop(world);
        let peer = Hook::restart(bench);
        theirs.push(peer.push_edited(&format!("App {n}")).answered.as_secs_f64());
        about = (peer.name, peer.about);
    }
    let title = "First push of an app, its packages imported: git push to its text";
    let mut table = Table::new(title, Unit::Seconds);
    table.keg("the first app of a new Keg", Some(GOAL), first);
    parts.tell(&mut table);
    table.peer(about.0, theirs.clone());
    table.keg("another app with the same packages", None, second).peer(about.0, theirs);
    table.note(about.1).note("The peer's packages are in pip's cache; it makes the venv.");
    vec![table]
}
