//! `keg logs`: what an app prints, all its processes together.

use std::{collections::VecDeque, time::Duration};

use keg::{
    Keg,
    path::AppName,
    stream::{Piece, StreamReader},
};
use serde_json::json;

use crate::{args::Output, error::CommandError, find, output};

/// Pause between looks at the streams while following.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest line; what is longer is broken there.
const MAX_LINE: usize = 1 << 20;
/// Most lines taken from one stream at a time while following.
const AT_ONCE: usize = 10_000;

/// Prints the last `lines` lines, and those that come when following.
pub fn run(app: &AppName, follow: bool, lines: usize, how: Output) -> Result<(), CommandError> {
    let (keg, _) = find::running_keg()?;
    if keg.get(&format!("/source/{app}").parse()?)?.is_none() {
        return Err(CommandError::user(format!("there is no app {app}"))
            .hint("`keg apps` lists the apps; a first `git push keg main` creates one"));
    }
    let mut tails = Vec::new();
    open_new(&keg, app, &mut tails)?;
    let mut past: Vec<String> = Vec::new();
    for tail in &mut tails {
        past.extend(tail.last(lines)?);
    }
    past.sort();
    for line in past.iter().skip(past.len().saturating_sub(lines)) {
        print(line, how)?;
    }
    loop {
        if !follow {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
        open_new(&keg, app, &mut tails)?;
        let mut news = Vec::new();
        for tail in &mut tails {
            tail.next(AT_ONCE, &mut |line| news.push(line))?;
        }
        news.sort();
        for line in &news {
            print(line, how)?;
        }
    }
}

/// One stream being read, with the piece of a line that is not finished.
struct Tail {
    id: String,
    reader: StreamReader,
    rest: Vec<u8>,
}

impl Tail {
    /// The last lines of all there is now.
    fn last(&mut self, lines: usize) -> Result<VecDeque<String>, CommandError> {
        let mut last = VecDeque::new();
        self.next(usize::MAX, &mut |line| {
            last.push_back(line);
            if last.len() > lines {
                last.pop_front();
            }
        })?;
        Ok(last)
    }

    /// Gives out complete lines as far as there are, and stops after about `most`.
    fn next(&mut self, most: usize, give: &mut dyn FnMut(String)) -> Result<(), CommandError> {
        let mut given = 0;
        while given < most {
            let Piece::Bytes(bytes) = self.reader.try_next()? else { return Ok(()) };
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                self.rest.extend_from_slice(part);
                if part.ends_with(b"\n") || self.rest.len() > MAX_LINE {
                    let line = String::from_utf8_lossy(&self.rest);
                    give(line.trim_end_matches('\n').to_owned());
                    self.rest.clear();
                    given += 1;
                }
            }
        }
        Ok(())
    }
}

/// Opens the streams of the app's processes that are not open yet.
fn open_new(keg: &Keg, app: &AppName, tails: &mut Vec<Tail>) -> Result<(), CommandError> {
    for id in keg.streams().list(&format!("app_{app}_"))? {
        if !tails.iter().any(|tail| tail.id == id) {
            let reader = keg.streams().open(&id)?;
            tails.push(Tail { id, reader, rest: Vec::new() });
        }
    }
    Ok(())
}

/// A line is `<time> <type>.<index> <out|err> <text>`.
fn print(line: &str, how: Output) -> Result<(), CommandError> {
    if !how.json {
        return output::raw_line(line);
    }
    let mut parts = line.splitn(4, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (time, process, stream, text) = (next(), next(), next(), next());
    output::json_line(&json!({"time": time, "process": process, "stream": stream, "text": text}))
}
