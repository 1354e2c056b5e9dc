//! Builds that are interrupted, and pushes that come in the middle.

use std::{
    process::{Child, Command},
    time::{Duration, Instant},
};

use builder::documents::DeployState;

use crate::{releases::app, world::World};

const APP: &str = "def app():\n    return 'hello'\n";
/// Milliseconds after which a build is killed; later ones hit later steps.
const KILL_AFTER_MS: &[u64] = &[1, 20, 60, 100, 150, 200, 250, 300, 400];

fn start(world: &World, app: &str) -> Child {
    let exe = keg::spawn::self_exe();
    let home = world.home().to_str().expect("UTF-8");
    Command::new(exe).args(["work", "build", home, app]).spawn().expect("started")
}

pub fn killed() {
    let world = World::new();
    for (round, after) in KILL_AFTER_MS.iter().enumerate() {
        let text = format!("{APP}# {round}\n");
        let source = world.push("blog", &app(&world, &text), "a push");
        let mut child = start(&world, "blog");
        std::thread::sleep(Duration::from_millis(*after));
        child.kill().expect("killed");
        child.wait().expect("ended");
        let state = world.keg.get_json(&builder::documents::name("/deploys/blog.json"));
        let state = state
            .expect("readable")
            .map_or_else(|| "none".to_owned(), |doc| doc["state"].to_string());
        let pending = builder::pending(&world.keg).expect("readable");
        println!("  killed after {after} ms: {state}, pending: {pending:?}");
        if pending.is_empty() {
            assert_eq!(world.deploy("blog").state, DeployState::Built);
        }
        assert_eq!(world.build("blog"), builder::RELEASED);
        let deploy = world.deploy("blog");
        assert_eq!((deploy.state, deploy.source), (DeployState::Built, source));
        world.assert_clean();
    }
    let report = keg::fsck::fsck(&world.keg, &mut |_| {}).expect("it runs");
    assert!(report.is_clean(), "{report:?}");
}

pub fn newer_push() {
    let world = World::new();
    world.push("blog", &app(&world, APP), "first");
    let mut child = start(&world, "blog");
    let until = Instant::now() + Duration::from_secs(10);
    let path = builder::documents::name("/deploys/blog.json");
    while world.keg.get(&path).expect("readable").is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    let newer = world.push("blog", &app(&world, &format!("{APP}# more\n")), "second");
    assert_eq!(child.wait().expect("ended").code(), Some(builder::RELEASED));
    let deploy = world.deploy("blog");
    assert_eq!((deploy.state, deploy.source), (DeployState::Built, newer));
    assert!(builder::pending(&world.keg).expect("readable").is_empty());
    world.assert_clean();
}
