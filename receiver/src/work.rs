//! Entry of the child processes: one per request.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use gix_packetline::blocking_io::encode;
use keg::{Keg, path::AppName};

use crate::{MAX_BODY, advertise, fetch, push};

/// What a child is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    /// List the refs for a push.
    AdvertisePush,
    /// Take a push.
    Push,
    /// List the refs for a fetch.
    AdvertiseFetch,
    /// Answer a fetch.
    Fetch,
}

impl Task {
    const ALL: [Self; 4] = [Self::AdvertisePush, Self::Push, Self::AdvertiseFetch, Self::Fetch];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AdvertisePush => "advertise-push",
            Self::Push => "push",
            Self::AdvertiseFetch => "advertise-fetch",
            Self::Fetch => "fetch",
        }
    }
}

/// The flag that says that the request is compressed.
pub(crate) const GZIP: &str = "--gzip";

/// Runs `keg work receive <task> <app> [--gzip]` on stdin and stdout; the exit code. The Keg is the
/// one in `$KEG_HOME`. 0: the request is answered, be it with an error; otherwise the answer is not
/// complete, and the front breaks it off.
pub fn work_receive(args: &[String]) -> i32 {
    let Err(message) = run(args) else { return 0 };
    eprintln!("keg work receive: {message}");
    // Clients show this packet as "remote error".
    let text: String = message.chars().take(1000).collect();
    let mut out = io::stdout().lock();
    let said = encode::error_to_write(text.as_bytes(), &mut out).and_then(|_| out.flush());
    i32::from(said.is_err())
}

fn run(args: &[String]) -> Result<(), String> {
    let usage = || "usage: keg work receive <task> <app> [--gzip]".to_owned();
    let (task, app, gzip) = match args {
        [task, app] => (task, app, false),
        [task, app, flag] if flag == GZIP => (task, app, true),
        _ => return Err(usage()),
    };
    let task = Task::ALL.into_iter().find(|known| known.name() == task).ok_or_else(usage)?;
    let app: AppName = app.parse().map_err(|error| format!("{error}"))?;
    let home: OsString = std::env::var_os("KEG_HOME").ok_or("KEG_HOME is not set")?;
    let keg = Keg::open(Path::new(&home)).map_err(|error| error.to_string())?;
    // Locked, but not line buffered: packets end nowhere near lines.
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    match task {
        Task::AdvertisePush => {
            advertise::advertise(&keg, &app, &mut out).map_err(|error| error.to_string())
        }
        Task::Push => {
            let stdin = io::stdin().lock();
            let mut input: Box<dyn Read> = match gzip {
                true => Box::new(MultiGzDecoder::new(stdin).take(MAX_BODY)),
                false => Box::new(stdin),
            };
            push::push(&keg, &app, &mut input, &mut out);
            out.flush().or(Ok(()))
        }
        Task::AdvertiseFetch | Task::Fetch => {
            let advertise = task == Task::AdvertiseFetch;
            if advertise {
                let write = |out: &mut dyn Write| {
                    encode::text_to_write(b"# service=git-upload-pack", &mut *out)?;
                    encode::flush_to_write(&mut *out)?;
                    out.flush()
                };
                write(&mut out).map_err(|error| error.to_string())?;
            }
            drop(out);
            fetch::fetch(&keg, &app, advertise, gzip).map_err(|error| error.to_string())
        }
    }
}
