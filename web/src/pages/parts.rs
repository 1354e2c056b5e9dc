//! The small pieces that all pages are made of.

use maud::{Markup, html};

use crate::{docs, format, location, view::View};

/// The meaning of a state, which picks its colour. The state's name is always written, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Something is going on.
    Busy,
    /// Look at it.
    Warn,
    /// It failed.
    Bad,
    /// Nothing is going on.
    Idle,
}

impl Tone {
    fn css(self) -> &'static str {
        match self {
            Self::Good => "pill good",
            Self::Busy => "pill busy",
            Self::Warn => "pill warn",
            Self::Bad => "pill bad",
            Self::Idle => "pill idle",
        }
    }
}

/// The tone of a process's state.
pub fn process_tone(state: &str) -> Tone {
    match state {
        "running" => Tone::Good,
        "starting" => Tone::Busy,
        "stopping" => Tone::Warn,
        "backoff" => Tone::Bad,
        _ => Tone::Idle,
    }
}

/// The tone of the state of a build, deploy, lock or app.
pub fn work_tone(state: &str) -> Tone {
    match state {
        "live" | "done" | "built" => Tone::Good,
        "running" | "building" | "starting" => Tone::Busy,
        "failed" => Tone::Bad,
        _ => Tone::Idle,
    }
}

/// A state as a coloured label.
pub fn pill(tone: Tone, text: &str) -> Markup {
    html! { span class=(tone.css()) { (text) } }
}

/// A KID as people see it, linked to whatever it is. Text that is no KID stays text.
pub fn kid(text: &str) -> Markup {
    kid_at(text, &format!("/-/search?q={text}"))
}

/// A KID as people see it, linked to a known page.
pub fn kid_at(text: &str, url: &str) -> Markup {
    match text.parse::<keg::Kid>() {
        Ok(kid) => html! { a.kid href=(url) title=(text) { (kid.short()) } },
        Err(_) => html! { span.kid { (text) } },
    }
}

/// A KID, or a dash.
pub fn kid_or_dash(text: Option<&str>) -> Markup {
    match text {
        Some(text) => kid(text),
        None => html! { span.none { "–" } },
    }
}

/// A text in which every KID is short and linked to what it names.
pub fn text(text: &str) -> Markup {
    html! {
        @for (plain, found) in kids(text) {
            (plain) @if let Some(found) = found { (kid(found)) }
        }
    }
}

/// A text in which every KID is short; the whole text is its title. For texts that are links.
pub fn short_text(text: &str) -> Markup {
    let pieces = kids(text);
    if pieces.iter().all(|(_, kid)| kid.is_none()) {
        return html! { (text) };
    }
    html! {
        span title=(text) {
            @for (plain, kid) in &pieces {
                (plain) @if let Some(kid) = kid { (&kid[..2 + keg::kid::SHORT_DIGITS]) }
            }
        }
    }
}

/// A text in pieces: what is before a KID, and the KID.
fn kids(text: &str) -> Vec<(&str, Option<&str>)> {
    const LEN: usize = 2 + 64;
    let mut pieces = Vec::new();
    let (mut begun, mut from) = (0, 0);
    while let Some(at) = text[from..].find("K-").map(|at| from + at) {
        let found = text.get(at..at + LEN).filter(|kid| kid.parse::<keg::Kid>().is_ok());
        from = match found {
            Some(_) => {
                pieces.push((&text[begun..at], found));
                begun = at + LEN;
                begun
            }
            None => at + 2,
        };
    }
    pieces.push((&text[begun..], None));
    pieces
}

/// A field's name as people write it: `boot_id` is `Boot ID`.
pub fn label(name: &str) -> String {
    let words = name.split('_').map(|word| match word {
        "id" | "url" | "kid" | "pid" => word.to_ascii_uppercase(),
        other => other.to_owned(),
    });
    let text = words.collect::<Vec<_>>().join(" ");
    let mut chars = text.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// A time in a document: how long ago, with the time itself as its title.
pub fn time(text: Option<&str>) -> Markup {
    let Some(text) = text else { return html! { span.none { "–" } } };
    match format::parse_time(text) {
        Some(then) => {
            let ago = format::ago(then, keg::time::now_ms());
            html! { time datetime=(text) title=(text) { (ago) } }
        }
        None => html! { (text) },
    }
}

/// A time in milliseconds.
pub fn time_ms(ms: i64) -> Markup {
    time(Some(&keg::time::rfc3339(ms)))
}

/// How long something took, from one document's time to another.
pub fn span(from: Option<&str>, to: Option<&str>) -> Option<f64> {
    let (from, to) = (format::parse_time(from?)?, format::parse_time(to?)?);
    Some((to - from).max(0) as f64 / 1000.0)
}

/// A link to an app's page.
pub fn app(name: &str) -> Markup {
    html! { a href=(location::url_of(&format!("/apps/{name}"))) { (name) } }
}

/// A link to an address outside the Keg, if it is one that a browser may follow; else its text.
pub fn outside_link(url: &str) -> Markup {
    let web = url.starts_with("http://") || url.starts_with("https://");
    // `http://{app}.localhost` is a pattern of addresses.
    if !web || url.contains(['{', ' ']) {
        return html! { (url) };
    }
    let shown = url.trim_start_matches("http://").trim_start_matches("https://");
    html! { a.out href=(url) rel="noreferrer" { (shown) } }
}

/// `Name <mail>` without the mail; a link to the person's document, where there is one.
pub fn author(view: &View, text: &str) -> Markup {
    let name = text.split('<').next().unwrap_or(text).trim();
    let shown = if name.is_empty() { text } else { name };
    match view.user(text) {
        Some(user) => html! {
            a href=(location::url_of(&format!("/users/{user}"))) title=(text) { (shown) }
        },
        None => html! { (shown) },
    }
}

/// A commit message's first line.
pub fn subject(message: &str) -> &str {
    message.lines().next().unwrap_or("").trim()
}

/// What went wrong, with what to do next.
pub fn problem(title: &str, problem: &docs::Problem, more: &Markup) -> Markup {
    html! {
        section.callout.bad role="alert" {
            h2 { (title) }
            p {
                @if let Some(step) = &problem.step { span.step { (step) } " " }
                span.message { (text(&format::capital(&problem.message))) }
            }
            @if let Some(hint) = &problem.hint { p.hint { (text(&format::capital(hint))) } }
            (more)
        }
    }
}

/// Names and values.
pub fn facts<S: AsRef<str>>(rows: &[(S, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in rows {
                div { dt { (name.as_ref()) } dd { (value) } }
            }
        }
    }
}

/// A table that becomes cards on narrow screens. The first column is the card's title.
pub fn table(caption: &str, heads: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.scroll {
            table.rows {
                caption.unseen { (caption) }
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                td data-label=(heads.get(at).copied().unwrap_or("")) {
                                    div { (cell) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One step of the chain from a process to its source.
pub struct Link {
    /// `Process`, `Release`, `Image`, `Build`, `Source`.
    pub step: &'static str,
    /// What it is, linked.
    pub what: Markup,
    /// A line about it.
    pub note: Markup,
    /// Whether this page is about it.
    pub here: bool,
}

/// The chain from what runs to where it came from.
pub fn chain(links: &[Link]) -> Markup {
    html! {
        ol.chain aria-label="Where it comes from" {
            @for link in links {
                li.here[link.here] aria-current=[link.here.then_some("step")] {
                    span.step { (link.step) }
                    span.what { (link.what) }
                    span.note { (link.note) }
                }
            }
        }
    }
}

/// The parts of a duration as one bar with a legend, in the order given. `last` is a part that is
/// known by the whole duration alone: its name, and all seconds.
pub fn seconds_bar(
    seconds: &serde_json::Map<String, serde_json::Value>,
    last: Option<(&str, f64)>,
) -> Markup {
    let mut parts: Vec<(&str, f64)> = seconds
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)))
        .filter(|(_, value)| value.is_finite() && *value >= 0.0)
        .take(7)
        .collect();
    let known: f64 = parts.iter().map(|(_, value)| value).sum();
    if let Some((name, whole)) = last.filter(|(name, _)| !seconds.contains_key(*name)) {
        let rest = whole - known;
        if !parts.is_empty() && rest >= 0.000_5 {
            parts.push((name, rest));
        }
    }
    let total: f64 = parts.iter().map(|(_, value)| value).sum();
    if parts.is_empty() {
        return html! {};
    }
    let mut at = 0.0;
    let mut bars = Vec::new();
    for (index, (_, value)) in parts.iter().enumerate() {
        let width = if total > 0.0 { value / total * 1000.0 } else { 0.0 };
        bars.push((index, at, width));
        at += width;
    }
    html! {
        div.seconds {
            svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                @for (index, x, width) in bars {
                    rect class=(format!("part{index}")) x=(format!("{x:.2}")) y="0"
                        width=(format!("{width:.2}")) height="10" {}
                }
            }
            ul {
                @for (index, (name, value)) in parts.iter().enumerate() {
                    li {
                        span class=(format!("dot part{index}")) {}
                        (name) " " b { (format::seconds(*value)) }
                    }
                }
                li.total { "total " b { (format::seconds(total)) } }
            }
        }
    }
}

/// A link to more of a listing.
pub fn more(url: &str, text: &str) -> Markup {
    html! { p.more { a href=(url) { (text) } } }
}
