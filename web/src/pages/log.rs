//! Logs: the lines there are, then live.

use keg::object::{Entry, Value};
use maud::{Markup, html};

use crate::{error::Fault, location::url_of, stream_text, view::View};

/// Bytes of a log's end that a page shows; the whole is linked.
pub const SHOWN: u64 = 512 * 1024;

/// Largest sealed log that is read for its end.
const MAX_READ: u64 = 64 << 20;

/// A log to show.
pub struct Log {
    /// Its lines, from the start of a line.
    pub text: String,
    /// Whether earlier lines were left out.
    pub cut: bool,
    /// The stream that goes on, and the offset of what comes next.
    pub live: Option<(String, u64)>,
    /// The whole as plain text.
    pub whole: Option<String>,
}

impl Log {
    /// The end of a stream: its last lines, then live.
    pub async fn of_stream(view: &View, id: &str) -> Option<Self> {
        let tail = stream_text::tail(view.keg(), id, SHOWN)?;
        tokio::task::yield_now().await;
        Some(Self {
            text: tail.text,
            cut: tail.cut,
            live: (!tail.sealed).then(|| (id.to_owned(), tail.end)),
            whole: Some(format!("/-/stream/{id}?raw")),
        })
    }

    /// A sealed log.
    ///
    /// # Errors
    /// A failure inside.
    pub async fn of_blob(view: &View, entry: &Entry, path: &str) -> Result<Option<Self>, Fault> {
        let Value::File { kid, size } = &entry.value else { return Ok(None) };
        let whole = Some(format!("{}?raw", url_of(path)));
        let text = match *size {
            size if size <= MAX_READ => {
                stream_text::blob_tail(view.keg(), kid, size, SHOWN).await?
            }
            _ => "The log is too large to show here.".to_owned(),
        };
        Ok(Some(Self { text, cut: *size > SHOWN, live: None, whole }))
    }
}

/// A log's section.
pub fn section(id: &str, title: &str, log: Option<&Log>) -> Markup {
    html! {
        section.log aria-labelledby=(id) {
            h2 #(id) {
                (title)
                @if let Some(log) = log {
                    @if log.live.is_some() { " " span.live { "live" } }
                    @if let Some(url) = &log.whole { " " a.side href=(url) { "as plain text" } }
                }
            }
            @match log {
                Some(log) => (body(log)),
                None => p.empty { "Nothing was written." },
            }
        }
    }
}

/// A log's lines. Live ones carry where to go on; without JavaScript the page shows what was there
/// when it was loaded.
pub fn body(log: &Log) -> Markup {
    let (stream, from) = match &log.live {
        Some((id, from)) => (Some(id.as_str()), Some(from.to_string())),
        None => (None, None),
    };
    html! {
        @if log.cut { p.soft { "Earlier lines are left out here." } }
        div.term data-stream=[stream] data-from=[from] {
            pre tabindex="0" role="log" aria-label="Log" {
                @for line in stream_text::lines(&log.text) {
                    span.l.(line_class(&line)) { (shown(&line)) "\n" }
                }
            }
        }
        @if log.live.is_some() {
            noscript { p.soft { "Load the page again for newer lines." } }
        }
    }
}

/// The colour of a line, by the marks that builds and apps write. `live.js` has the same rules.
fn line_class(line: &str) -> &'static str {
    if line.starts_with("=====>") {
        return "done";
    }
    if line.starts_with("----->") {
        return "step";
    }
    if line.starts_with(" !") || line.starts_with("!!") {
        return "fail";
    }
    match app_line(line) {
        Some(_) if line.split(' ').nth(2) == Some("err") => "err",
        _ => "plain",
    }
}

/// A line; of an app's line, the clock and the process are set apart.
fn shown(line: &str) -> Markup {
    match app_line(line) {
        Some((time, process, text)) => html! {
            span.t title=(time) { (&time[11..19]) " " (process) } " " (text)
        },
        None => html! { (line) },
    }
}

/// Time, process and text of `<RFC 3339> <type>.<index> <out|err> <text>`.
fn app_line(line: &str) -> Option<(&str, &str, &str)> {
    let mut parts = line.splitn(4, ' ');
    let (time, process, channel) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = time.len() == 24 && time.is_ascii() && time.ends_with('Z');
    let fits = whole && matches!(channel, "out" | "err");
    fits.then(|| (time, process, parts.next().unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_get_the_colour_of_their_mark() {
        for (line, want) in [
            ("-----> Python", "step"),
            ("       Using 3.13", "plain"),
            ("=====> live at http://x", "done"),
            (" !     no such package", "fail"),
            ("2026-01-31T12:00:00.000Z web.0 err Traceback", "err"),
            ("2026-01-31T12:00:00.000Z web.0 out err", "plain"),
            ("not a log err", "plain"),
            ("", "plain"),
        ] {
            assert_eq!(line_class(line), want, "{line}");
        }
        let line = shown("2026-01-31T12:00:05.000Z web.0 out a <b>").into_string();
        assert!(line.contains(">12:00:05 web.0</span> a &lt;b&gt;"), "{line}");
    }
}
