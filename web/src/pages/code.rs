//! A file as text: line numbers to link to, colours; images as images; the rest to download.

use keg::object::Value;
use maud::{Escaper, Markup, PreEscaped, html};
use std::fmt::Write as _;

use super::{Page, parts};
use crate::{
    error::Fault,
    format,
    highlight::{Highlighter, detect},
    raw,
    view::{Found, View},
};

/// Largest file shown as text.
pub const MAX_TEXT: u64 = 512 * 1024;
/// Bytes made into markup before other requests get their turn: about a millisecond.
const PACE: usize = 32 * 1024;

/// The page of a file outside of any source.
pub async fn page(view: &View, found: &Found) -> Result<Page, Fault> {
    let title = found.location.title();
    let content = html! {
        h1 { (title) }
        (file(view, found).await?)
    };
    Ok(Page::new(found, title, content))
}

/// A file with its head: size, KID, the raw bytes.
///
/// # Errors
/// A failure inside.
pub async fn file(view: &View, found: &Found) -> Result<Markup, Fault> {
    let Value::File { kid, size } = &found.entry.value else { return Ok(html! {}) };
    let name = found.location.title();
    let raw_url = format!("{}?raw", found.location.url());
    let text = if *size <= MAX_TEXT { as_text(view.blob(kid).await?) } else { None };
    let lines = text.as_deref().map_or(0, |text| text.lines().count());
    let lang = text.as_deref().and_then(|text| detect(&name, text));
    let executable = found.entry.attrs.mode & 0o111 != 0;
    let body = match &text {
        Some(text) if text.is_empty() => html! { p.empty { "The file is empty." } },
        Some(text) => code(text, &name).await,
        None if raw::image_type(&name).is_some() && *size <= raw::MAX_IMAGE => {
            html! { p.picture { img src=(raw_url) alt=(format!("The image {name}")); } }
        }
        None => html! {
            p.empty {
                @if *size > MAX_TEXT { "The file is too large to show: " }
                @else { "The file is not text: " }
                a href=(raw_url) download=(name) { "download it" } "."
            }
        },
    };
    Ok(html! {
        div.sheet {
            p.bar {
                @if let Some(lang) = lang { span { (lang.name) } }
                @if lines > 0 {
                    span {
                        (format::count(lines as u64)) (if lines == 1 { " line" } else { " lines" })
                    }
                }
                span { (format::bytes(*size)) }
                @if executable { span { "executable" } }
                span { (parts::kid_at(&kid.to_string(), &format!("/-/kid/{kid}"))) }
                a.side href=(raw_url) { "Raw" }
            }
            (body)
        }
    })
}

/// Text as such, if it looks like it: UTF-8 without NUL.
fn as_text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Numbered, highlighted lines. Each is an anchor: `#L10`.
async fn code(text: &str, name: &str) -> Markup {
    let mut highlighter = detect(name, text).map(Highlighter::new);
    let mut out = String::with_capacity(text.len() * 3);
    out.push_str("<pre class=\"code\" tabindex=\"0\" aria-label=\"Source\">");
    let mut done = 0;
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        // Infallible: writing to a String.
        let _ = write!(
            out,
            "<span class=\"ln\" id=\"L{number}\"><a href=\"#L{number}\" \
             aria-label=\"Line {number}\" data-n=\"{number}\"></a><span>"
        );
        match &mut highlighter {
            Some(highlighter) => {
                for (class, piece) in highlighter.line(line) {
                    push(&mut out, class.css(), piece);
                }
            }
            None => push(&mut out, "", line),
        }
        out.push_str("\n</span></span>");
        done += line.len() + 1;
        if done >= PACE {
            done = 0;
            tokio::task::yield_now().await;
        }
    }
    out.push_str("</pre>");
    PreEscaped(out)
}

fn push(out: &mut String, class: &str, text: &str) {
    if !class.is_empty() {
        let _ = write!(out, "<span class=\"{class}\">");
    }
    let _ = write!(Escaper::new(out), "{text}");
    if !class.is_empty() {
        out.push_str("</span>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn code_is_escaped_and_numbered() {
        let page = code("x = '<script>'\n# & done", "a.py").await.into_string();
        assert!(page.contains("id=\"L2\"") && page.contains("href=\"#L2\""));
        assert!(page.contains("<span class=\"hs\">'&lt;script&gt;'</span>"), "{page}");
        assert!(page.contains("# &amp; done") && !page.contains("<script>"));
    }

    /// A file of the largest size that is shown must not hold up other requests: each slice
    /// between two yields is timed.
    #[tokio::test]
    async fn large_files_give_way_to_other_requests() {
        let line = "def handler(request, *args): return \"text\" + str(12345) # note\n";
        let text = line.repeat(MAX_TEXT as usize / line.len());
        let mut slices = Vec::new();
        let mut work = std::pin::pin!(code(&text, "big.py"));
        std::future::poll_fn(|context| {
            let start = std::time::Instant::now();
            let poll = work.as_mut().poll(context).map(drop);
            slices.push(start.elapsed());
            poll
        })
        .await;
        let longest = slices.iter().max().expect("it was polled");
        assert!(slices.len() > 10, "{}", slices.len());
        // Without optimisation, on a busy machine: the bound for a release build is 10 ms.
        println!("{} slices, the longest {longest:?}", slices.len());
        assert!(longest.as_millis() < 100, "{longest:?}");
    }
}
