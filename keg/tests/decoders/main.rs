//! Every decoder, fed with a corpus that is kept, and with what comes of changing it.
//!
//! `keg/tests/corpus/<decoder>/` holds real encodings and whatever once broke a decoder. By default
//! each decoder gets some hundreds of inputs, made by a seeded generator; `KEG_FUZZ_RUNS=N` gives
//! it N, `KEG_FUZZ_SEED` another seed, `KEG_FUZZ_ONLY` one decoder. `KEG_FUZZ_CORPUS=write`
//! makes the real encodings anew. What breaks is printed in hex, made as small as it goes.
//!
//! Of every input is asked: no panic; memory bounded by the decoder's limit; and where there is one
//! way to write something, that what was read is written as it was.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/answer.rs"]
mod answer;
mod check;
mod memory;
mod mutate;
mod samples;

use std::{panic::catch_unwind, path::PathBuf};

use keg::decoders::{Decoded, Decoder};

use check::{fault, hex};
use mutate::Random;

/// Inputs made for each decoder.
const RUNS: u64 = 400;
/// Longest input.
const MAX_INPUT: usize = 16 << 10;
/// Tries at making what breaks smaller.
const SMALLER: usize = 2000;

fn corpus_of(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

fn read_corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = corpus_of(name);
    let list = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A smaller input that a decoder takes as badly.
fn smaller(decoder: &Decoder, input: &[u8]) -> Vec<u8> {
    let (mut best, mut random) = (input.to_vec(), Random::new(1));
    for _ in 0..SMALLER {
        let mut tried = best.clone();
        let at = random.below(tried.len());
        let len = 1 + random.below(tried.len() - at);
        tried.drain(at..at + len);
        if fault(decoder, &tried).is_some() {
            best = tried;
        }
        if best.is_empty() {
            break;
        }
    }
    best
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Feeds one decoder; returns how many inputs it took for something.
fn feed(decoder: &Decoder, runs: u64, seed: u64) -> usize {
    let corpus = read_corpus(decoder.name);
    let mut random = Random::new(seed ^ decoder.name.len() as u64);
    let mut taken = 0;
    let mut give = |input: &[u8]| {
        if let Some(what) = fault(decoder, input) {
            let least = smaller(decoder, input);
            panic!("{}: {what}\ncorpus/{0}/ wants {}", decoder.name, hex(&least));
        }
        taken += usize::from((decoder.decode)(input) != Decoded::Refused);
    };
    corpus.iter().for_each(|input| give(input));
    for _ in 0..runs {
        let mut input = mutate::input(&corpus, &mut random);
        input.truncate(MAX_INPUT);
        if random.below(2) == 0 {
            (decoder.seal)(&mut input);
        }
        give(&input);
    }
    taken
}

/// Says that this is the process that feeds decoders.
const FEEDS: &str = "KEG_FUZZ_FEEDS";

/// In a process of its own, whose temporary files are in memory where that can be had: many
/// decoders read files.
#[test]
fn whatever_is_read_is_read_or_refused() {
    if std::env::var_os(FEEDS).is_some() {
        return feed_all();
    }
    if std::env::var_os("KEG_FUZZ_CORPUS").is_some() {
        samples::write();
    }
    let dir = tempfile::tempdir().unwrap();
    let (flags, size) = (rustix::mount::MountFlags::empty(), Some(c"size=256m"));
    let mounted = rustix::mount::mount("keg-test", dir.path(), "tmpfs", flags, size).is_ok();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "whatever_is_read_is_read_or_refused", "--nocapture"]);
    let fed = command.env(FEEDS, "1").env("TMPDIR", dir.path()).status();
    if mounted {
        rustix::mount::unmount(dir.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
    assert!(fed.unwrap().success(), "what broke is printed above");
}

fn feed_all() {
    let only = std::env::var("KEG_FUZZ_ONLY").ok();
    let (runs, seed) = (number("KEG_FUZZ_RUNS", RUNS), number("KEG_FUZZ_SEED", 1));
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let fed = catch_unwind(|| {
        for decoder in keg::decoders::all() {
            if only.as_ref().is_none_or(|only| only == decoder.name) {
                let started = std::time::Instant::now();
                let taken = feed(&decoder, runs, seed);
                println!("{}: {taken} taken, {:?}", decoder.name, started.elapsed());
                assert!(taken > 0, "{}: its corpus has nothing that it reads", decoder.name);
            }
        }
    });
    std::panic::set_hook(quiet);
    if let Err(panic) = fed {
        panic!("{}", panic.downcast_ref::<String>().unwrap());
    }
}

#[test]
fn every_decoder_has_a_corpus_and_every_corpus_a_decoder() {
    let names: Vec<&str> = keg::decoders::all().iter().map(|decoder| decoder.name).collect();
    for entry in std::fs::read_dir(corpus_of("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name.as_str()), "{name}");
    }
    for name in names {
        let corpus = read_corpus(name);
        assert!(!corpus.is_empty() && corpus.iter().all(|one| one.len() <= MAX_INPUT), "{name}");
    }
}

#[test]
fn what_breaks_a_decoder_is_found_and_made_small() {
    let fragile = Decoder {
        name: "fragile",
        decode: |bytes| {
            assert!(!bytes.windows(2).any(|pair| pair == b"xy"), "it breaks");
            Decoded::Read
        },
        seal: |_| {},
        memory: 1 << 20,
    };
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (found, least) = {
        let input = b"there is an x and xy and more";
        (fault(&fragile, input), smaller(&fragile, input))
    };
    let greedy = Decoder {
        decode: |_| {
            drop(std::hint::black_box(vec![1u8; 8 << 20]));
            Decoded::Read
        },
        ..fragile
    };
    let taken = fault(&greedy, b"");
    let otherwise = Decoder { decode: |_| Decoded::Canonical(vec![1]), ..fragile };
    let written = fault(&otherwise, b"2");
    std::panic::set_hook(quiet);
    assert_eq!((found.as_deref(), &least[..]), (Some("it panics: it breaks"), &b"xy"[..]));
    assert!(taken.is_some_and(|what| what.contains("memory")));
    assert!(written.is_some_and(|what| what.contains("otherwise")));
}
