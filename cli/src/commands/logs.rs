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
        past.extend(tail.read()?);
    }
    past.sort();
    for line in past.iter().skip(past.len().saturating_sub(lines)) {
        print(line, how)?;
    }
    while follow {
        std::thread::sleep(LOOK_EVERY);
        open_new(&keg, app, &mut tails)?;
        let mut news = Vec::new();
        for tail in &mut tails {
            news.extend(tail.read()?);
        }
        news.sort();
        for line in &news {
            print(line, how)?;
        }
    }
    Ok(())
}

/// One stream being read, with the piece of a line that is not finished.
struct Tail {
    id: String,
    reader: StreamReader,
    rest: Vec<u8>,
}

impl Tail {
    fn read(&mut self) -> Result<Vec<String>, CommandError> {
        let mut lines: VecDeque<String> = VecDeque::new();
        loop {
            let Piece::Bytes(bytes) = self.reader.try_next()? else { return Ok(lines.into()) };
            self.rest.extend_from_slice(&bytes);
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                lines.push_back(String::from_utf8_lossy(&line[..end]).into_owned());
            }
        }
    }
}

/// Opens the streams of the app's processes that are not open yet.
fn open_new(keg: &Keg, app: &AppName, tails: &mut Vec<Tail>) -> Result<(), CommandError> {
    let prefix = format!("app-{app}-");
    for id in keg.streams().list(&prefix)? {
        let rest = &id[prefix.len()..];
        // `app-blog-web-0` is blog's; `app-blog-two-web-0` belongs to the app `blog-two`.
        if rest.split('-').count() == 2 && !tails.iter().any(|tail| tail.id == id) {
            let reader = keg.streams().open(&id)?;
            tails.push(Tail { id, reader, rest: Vec::new() });
        }
    }
    Ok(())
}

/// A line is `<time> <type>.<index> <out|err> <text>`.
fn print(line: &str, how: Output) -> Result<(), CommandError> {
    if !how.json {
        return output::line(line);
    }
    let mut parts = line.splitn(4, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (time, process, stream, text) = (next(), next(), next(), next());
    output::json_line(&json!({"time": time, "process": process, "stream": stream, "text": text}))
}
