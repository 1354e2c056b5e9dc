//! Keeps what the container library logs as errors: its error values leave the cause out.
//!
//! The library works in forked copies of the shim, so the text is kept in an anonymous file that
//! all of them share.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

/// Most that is kept.
const MAX_TEXT: u64 = 16 << 10;

/// Starts keeping; `None` where that is impossible, which costs only detail.
pub fn capture() -> Option<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let file = File::from(rustix::fs::memfd_create("keg-sandbox-log", flags).ok()?);
    let copy = file.try_clone().ok()?;
    dispatcher::set_global_default(Dispatch::new(Errors(copy))).ok()?;
    Some(file)
}

/// What was kept so far.
pub fn text(log: &Option<File>) -> String {
    let Some(mut file) = log.as_ref() else { return String::new() };
    let mut bytes = Vec::new();
    // What could not be read is only missing detail.
    let _ = file.seek(SeekFrom::Start(0));
    let _ = file.take(MAX_TEXT).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

struct Errors(File);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<tracing_core::LevelFilter> {
        Some(tracing_core::LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        line.0.push('\n');
        let _ = (&self.0).write_all(line.0.as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if !self.0.is_empty() {
            self.0.push_str("; ");
        }
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, "{name}: {value:?}"),
        };
    }
}
