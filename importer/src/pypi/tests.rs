use std::time::{Duration, Instant};

use keg::Keg;

use crate::{Progress, request::PypiWant};

fn want(requirements: &str) -> PypiWant {
    PypiWant {
        requirements: requirements.to_owned(),
        python: "3.13".into(),
        suite: "trixie".into(),
    }
}

/// Set to `1` to let tests use the package index that this machine's pip is configured for.
fn network() -> bool {
    std::env::var("KEG_TEST_NETWORK").is_ok_and(|value| value == "1")
}

#[test]
fn registry_flask_and_gunicorn() {
    if !network() {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let keg = Keg::open_or_create(home.path()).expect("a keg");
    let start = Instant::now();
    let import = |text: &str| {
        super::import(&keg, &want(text), "0123456789abcdef", &mut |news| match news {
            Progress::Count { .. } => {}
            news => println!("{news:?}"),
        })
        .expect("imported")
    };
    let first = import("flask\ngunicorn\n");
    println!("cold: {:?}", start.elapsed());
    println!("{}", serde_json::to_string_pretty(&first.lock).expect("JSON"));
    let start = Instant::now();
    let again = import("gunicorn # again\nflask");
    let warm = start.elapsed();
    println!("again: {warm:?}");
    assert_eq!(first.lock, again.lock);
    assert!(warm < Duration::from_millis(500), "{warm:?}");
}
