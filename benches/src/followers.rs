//! Many who follow the namespace over HTTP: what they take, and how soon all hear of a change.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use keg::{Keg, NamePath, Txn};
use keg_tests::World;
use rustix::{
    event::epoll,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::{
    Bench,
    sample::Sample,
    table::{Table, Unit},
};

/// Followers, each on a connection of its own.
const FOLLOWERS: usize = 10_000;
/// Open files of this process for other things.
const SPARE: u64 = 256;
/// Most that a follower waits for an event.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is in flight has come by then.
const REST: Duration = Duration::from_secs(2);

/// Memory of the front and time of an event.
pub fn measure(bench: &Bench) -> Vec<Table> {
    let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let files = allowed.min(FOLLOWERS as u64 + SPARE);
    let limit = Rlimit { current: Some(files), maximum: Some(allowed) };
    setrlimit(Resource::Nofile, limit).expect("its own limit");
    let count = FOLLOWERS.min(usize::try_from(files.saturating_sub(SPARE)).unwrap_or(FOLLOWERS));
    let world = World::empty();
    let keg = Keg::open(&world.home()).expect("a Keg");
    let front = front(&world);
    let (mut idle, mut full) = (Sample::default(), Sample::default());
    idle.push(resident(front));
    let begun = Instant::now();
    let mut followers: Vec<TcpStream> = (0..count).map(|_| follow(&world)).collect();
    let joined = Sample::from_iter([begun.elapsed().as_secs_f64()]);
    std::thread::sleep(REST);
    full.push(resident(front));
    let wake = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    for (number, stream) in followers.iter().enumerate() {
        stream.set_nonblocking(true).expect("nonblocking");
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&wake, stream, data, epoll::EventFlags::IN).expect("added");
    }
    let [mut first, mut half, mut all] = <[Sample; 3]>::default();
    for run in 0..bench.runs {
        let heard = event(&keg, run, &wake, &mut followers);
        first.push(heard[0]);
        half.push(heard[heard.len() / 2]);
        all.push(heard[heard.len() - 1]);
    }
    let mut after = Sample::default();
    after.push(resident(front));
    let mut times = Table::new(
        &format!("From the start of a durable change to {count} followers over HTTP"),
        Unit::Seconds,
    );
    times.keg("the first has the event", None, first);
    times.keg("half have it", None, half).keg("all have it", None, all);
    times.keg("they have come, one after the other", None, joined);
    let mut memory = Table::new("Resident memory of the front with them", Unit::Bytes);
    memory.keg("before they came", None, idle).keg("while they wait", None, full);
    memory.keg("after the events", None, after);
    vec![times, memory]
}

/// The process that answers.
fn front(world: &World) -> i32 {
    let rows = world.json(&["ps", "--all"]);
    let front = rows.as_array().and_then(|rows| rows.iter().find(|r| r["type"] == "service/front"));
    let pid = front.and_then(|front| front["pid"].as_i64()).and_then(|pid| i32::try_from(pid).ok());
    pid.expect("a front")
}

fn resident(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|value| value.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib * 1024.0)
}

/// One more who follows, and has been told from where.
fn follow(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.front).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let ask = format!("GET /watched?watch HTTP/1.1\r\nHost: {}\r\n\r\n", world.front);
    stream.write_all(ask.as_bytes()).expect("it reads");
    let (mut seen, mut room) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&seen).contains("from version") {
        let read = stream.read(&mut room).expect("an answer");
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&room[..read]);
    }
    stream
}

/// Makes a change; after how many seconds each follower had its event, sorted.
fn event(
    keg: &Keg,
    run: usize,
    wake: &impl std::os::fd::AsFd,
    followers: &mut [TcpStream],
) -> Vec<f64> {
    let path: NamePath = "/watched/name.json".parse().expect("a path");
    let txn = Txn::new("bench", "change").set_json(path, serde_json::json!(run));
    let begun = Instant::now();
    let seq = keg.commit(txn).expect("a change").seq;
    let wanted = format!("id: {seq}\n");
    let (mut heard, mut told) = (vec![false; followers.len()], Vec::new());
    let mut events = Vec::with_capacity(1024);
    while told.len() < followers.len() {
        assert!(begun.elapsed() < PATIENCE, "{} of {} heard", told.len(), followers.len());
        epoll::wait(wake, rustix::buffer::spare_capacity(&mut events), None).expect("events");
        for event in events.drain(..) {
            // The numbers are those of the list.
            let number = event.data.u64() as usize;
            if read(&mut followers[number]).contains(&wanted) && !heard[number] {
                heard[number] = true;
                told.push(begun.elapsed().as_secs_f64());
            }
        }
    }
    told
}

/// What has come.
fn read(stream: &mut TcpStream) -> String {
    let (mut seen, mut room) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut room) {
            Ok(0) => panic!("a follower was cut off"),
            Ok(read) => seen.extend_from_slice(&room[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}
