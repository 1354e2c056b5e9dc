//! How commands find the Keg they are about, and what `keg up` says.

use keg_tests::{Running, World, http, until};
use serde_json::json;

#[test]
fn by_address_or_by_directory() {
    let world = World::empty();
    let other = World::empty();
    let home = |variables: &[(&str, &str)]| {
        let mut command = world.keg_command(&["status", "--json"]);
        command.env_remove("KEG_HOME").envs(variables.iter().copied());
        let document = Running::start(&mut command).wait().ok();
        let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
        document["home"].clone()
    };
    let (ours, others) = (world.home(), other.home());
    let ours = ours.to_str().expect("UTF-8");
    assert_eq!(home(&[("KEG_HOME", ours)]), json!(ours));
    assert_eq!(home(&[("KEG_URL", &world.url)]), json!(ours));
    assert_eq!(home(&[("KEG_URL", &format!("{}/", world.url))]), json!(ours));
    // An empty variable is none; the directory goes before the address.
    assert_eq!(home(&[("KEG_HOME", ""), ("KEG_URL", &world.url)]), json!(ours));
    let both = [("KEG_HOME", others.to_str().expect("UTF-8")), ("KEG_URL", &world.url)];
    assert_eq!(home(&both), json!(others));
    // Somebody else at the address is no Keg.
    let mut command = world.keg_command(&["ps"]);
    command.env_remove("KEG_HOME").env("KEG_URL", format!("http://{}", world.router));
    let done = Running::start(&mut command).wait();
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.err.contains("no Keg answers at"), "{done:?}");
}

#[test]
fn up_prints_one_line_when_ready() {
    let world = World::down();
    let mut command = world.keg_command(&["up"]);
    command.args(["--listen", "127.0.0.1:0", "--router", "127.0.0.1:0"]);
    let mut up = Running::start(&mut command);
    let line = until("keg up to be ready", || {
        assert!(up.runs(), "{}", up.err());
        up.out().lines().next().map(str::to_owned)
    });
    let address = line.strip_prefix("Keg is up at http://").and_then(|rest| rest.split(',').next());
    let address = address.unwrap_or_else(|| panic!("{line}")).parse().expect("an address");
    assert!(line.contains("apps at http://<app>.localhost:"), "{line}");
    assert!(line.contains(&world.home().display().to_string()), "{line}");
    let host = format!("{address}");
    let answer = http::ask(address, "GET", "/-/keg.json", &[("Host", &host)], b"");
    assert_eq!(answer.expect("an answer").status, 200, "ready means ready");
    up.signal(libc::SIGINT);
    let done = up.wait();
    assert_eq!((done.code, done.out.lines().count()), (0, 1), "{done:?}");
    world.assert_gone();
}
