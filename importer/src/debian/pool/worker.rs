//! The worker's side: jobs come in as lines of JSON, news goes out as lines of JSON.

use std::io::{self, BufRead, Write};

use keg::{Keg, Kid};
use serde::{Deserialize, Serialize};

use super::{Job, JobError};
use crate::debian::{apt::Proxies, mirror::Mirror};

/// Longest line either way.
pub const MAX_LINE: usize = 64 * 1024;
/// Bytes fetched between two lines about them.
const TELL_EVERY: u64 = 256 * 1024;

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// So many bytes more were fetched.
    Bytes(u64),
    /// The job is done: its tree, which is durable.
    Done(Kid),
    /// The job failed.
    Failed(JobError),
}

/// What a worker is told first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Ways to the network.
    pub proxies: Proxies,
}

/// Does jobs from standard input until it ends; the exit code.
pub fn serve(keg: &Keg) -> i32 {
    match work(keg, &mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("import worker: {error}");
            1
        }
    }
}

fn work(keg: &Keg, input: &mut dyn BufRead, output: &mut dyn Write) -> io::Result<()> {
    let mut line = String::new();
    let Some(hello) = next::<Hello>(input, &mut line)? else { return Ok(()) };
    let mirror = Mirror::new(hello.proxies);
    let tmp = keg.home().join("tmp");
    while let Some(job) = next::<Job>(input, &mut line)? {
        let mut untold = 0;
        let mut lost = Ok(());
        let result = job.run(keg.objects(), &mirror, &tmp, &mut |n| {
            untold += n;
            if untold >= TELL_EVERY && lost.is_ok() {
                lost = say(output, &Said::Bytes(std::mem::take(&mut untold)));
            }
        });
        // Nobody listens any more.
        lost?;
        if untold > 0 {
            say(output, &Said::Bytes(untold))?;
        }
        say(output, &result.map_or_else(Said::Failed, Said::Done))?;
    }
    Ok(())
}

fn next<T: for<'de> Deserialize<'de>>(
    input: &mut dyn BufRead,
    line: &mut String,
) -> io::Result<Option<T>> {
    line.clear();
    let limit = MAX_LINE as u64;
    match io::Read::take(input, limit).read_line(line)? {
        0 => Ok(None),
        _ => Ok(Some(serde_json::from_str(line)?)),
    }
}

fn say(output: &mut dyn Write, said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}
