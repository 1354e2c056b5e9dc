//! State moved between Kegs that are far apart: 200 ms there and back, one packet in a hundred lost.

use keg::{Keg, testing::noise};
use keg_tests::{
    World,
    link::{Link, Quality, Relay, THERE},
};
use serde_json::Value as Json;

/// A Keg far away, and one here that reaches it through a tunnel, as with `ssh -L`.
struct Far {
    there: World,
    here: World,
    near: Relay,
    url: String,
    // Last: what runs in its namespaces is stopped before it is gone.
    link: Link,
}

impl Far {
    fn new(link: Link) -> Self {
        let (mut there, mut here) = (World::down(), World::down());
        there.move_to(&link.there);
        here.move_to(&link.here);
        there.start();
        Keg::create(&here.home()).expect("a Keg");
        let far = Relay::new(&link.there, THERE, there.front);
        let near = Relay::new(&link.here, "127.0.0.1", far.address);
        let url = near.url();
        Self { there, here, near, url, link }
    }

    /// Requests and bytes from there since `before`, which is now after.
    fn since(&self, before: &mut (u64, u64, u64)) -> (u64, u64) {
        let now = self.near.count();
        let (requests, down) = (now.0 - before.0, now.2 - before.2);
        *before = now;
        (requests, down)
    }
}

/// Puts a directory with small files and one large one, which is of use only where TCP is fast
/// enough for it; returns its bytes.
fn put(world: &World, large: usize) -> u64 {
    let dir = world.scratch().join("data");
    std::fs::create_dir(&dir).expect("made");
    for n in 0..24 {
        std::fs::write(dir.join(format!("small-{n}")), noise(n, 20_000)).expect("written");
    }
    if large > 0 {
        std::fs::write(dir.join("large"), noise(99, large)).expect("written");
    }
    world.keg(&["put", "/data", &dir.display().to_string()]).ok();
    24 * 20_000 + large as u64
}

#[test]
fn pull_push_and_clone_over_a_lossy_line() {
    let link = match Link::new(Quality::FAR) {
        Ok(link) => link,
        Err(why) => return println!("SKIPPED: {why}"),
    };
    // Cubic gives some 100 kB/s here, whoever sends: then there is less to send.
    let fast = link.control("bbr");
    let far = Far::new(link);
    let (there, here) = (&far.there, &far.here);
    let bytes = put(there, if fast { 9 << 20 } else { 0 });
    let mut count = far.near.count();

    // The line is cut in the middle: what has come is not sent again.
    far.near.cut_after(bytes / 2);
    let cut = here.keg(&["pull", &far.url, "/data"]);
    assert!(cut.code == 5 && cut.err.contains("run it again"), "{cut:?}");
    assert_eq!(here.keg(&["ls", "/data"]).code, 1, "no name before all is there");
    let (_, first) = far.since(&mut count);
    assert!(first > bytes / 3, "{first} of {bytes} bytes came");
    far.near.mend();
    let pulled = here.keg(&["pull", &far.url, "/data", "--json"]);
    let took = pulled.took;
    let (requests, second) = far.since(&mut count);
    println!("{first} bytes of {bytes}, cut, {second} in {took:.1?}, {requests} requests");
    let document: Json = serde_json::from_str(&pulled.ok()).expect("JSON");
    assert_eq!(document["changed"], true);
    assert_eq!(requests, 2);
    // A group and a frame at most were under way.
    assert!(first + second < bytes + (5 << 20), "{first} and {second} of {bytes} bytes");
    let kid = |world: &World| world.json(&["ls", "/data"]);
    assert_eq!(kid(here), kid(there));

    // A line back costs two requests and little else.
    let note = here.scratch().join("note");
    std::fs::write(&note, "from here\n").expect("written");
    here.keg(&["put", "/data/note", &note.display().to_string()]).ok();
    let pushed = here.keg(&["push", &far.url, "/data", "--json"]);
    let (requests, down) = far.since(&mut count);
    println!("push: {requests} requests, {down} bytes down, {:.1?}", pushed.took);
    pushed.ok();
    assert_eq!((requests, kid(here)), (2, kid(there)));
    assert!(down < 2000, "{down}");

    // All of it, as a backup.
    let home = here.scratch().join("backup");
    let cloned = here.keg(&["clone", &far.url, &home.display().to_string(), "--json"]);
    let (requests, down) = far.since(&mut count);
    println!("clone: {requests} requests, {down} bytes, {:.1?}", cloned.took);
    cloned.ok();
    assert_eq!(requests, 2);
    let heads = [&home, &there.home()].map(|home| Keg::open(home).expect("open").head());
    let [backup, original] = heads.map(|head| head.expect("a version"));
    assert_eq!(backup, original);
    println!("{:?} lost, {:?} carried", far.link.down.lost, far.link.down.packets);
    here.assert_clean();
    there.assert_clean();
}
