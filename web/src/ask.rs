//! What a request asks for besides a place: form, page, version; all from URL and headers.

use axum::http::{HeaderMap, Uri, header};

/// Longest value of a query's field.
const MAX_VALUE: usize = 512;

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A page for people.
    Html,
    /// The same as data.
    Json,
    /// A blob's bytes.
    Raw,
    /// The versions in which the place changed.
    Log,
    /// The versions as data.
    LogJson,
    /// A stream of changes from now on.
    Watch,
}

/// A request, read.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The form.
    pub form: Form,
    /// In listings: start after this name (as it is percent-encoded in the URL).
    pub after: Option<String>,
    /// In watches: the sequence number last seen.
    pub since: Option<String>,
    /// In streams: the offset of the first byte.
    pub from: Option<String>,
    /// In searches: what is sought.
    pub query: Option<String>,
    /// The host the client used, for commands shown on pages.
    pub host: String,
    /// The entity tags the client has.
    pub if_none_match: Option<String>,
}

impl Ask {
    /// Reads a request's URL and headers.
    pub fn read(uri: &Uri, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let fields: Vec<(&str, &str)> = uri
            .query()
            .unwrap_or("")
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        let value = |key: &str| {
            let (_, value) = fields.iter().find(|(k, _)| *k == key)?;
            (value.len() <= MAX_VALUE).then(|| (*value).to_owned())
        };
        let has = |key: &str| fields.iter().any(|(k, _)| *k == key);
        let json = has("json") || prefers_json(headers);
        let form = if has("raw") {
            Form::Raw
        } else if has("watch") {
            Form::Watch
        } else if has("log") {
            if json { Form::LogJson } else { Form::Log }
        } else if json {
            Form::Json
        } else {
            Form::Html
        };
        Self {
            form,
            after: value("after"),
            since: value("since"),
            from: value("from"),
            query: value("q").map(|q| form_decode(&q)),
            host: text(header::HOST).unwrap_or_else(|| "localhost:7070".to_owned()),
            if_none_match: text(header::IF_NONE_MATCH),
        }
    }

    /// Whether errors are told as JSON.
    pub fn wants_json(&self) -> bool {
        matches!(self.form, Form::Json | Form::LogJson)
    }

    /// Whether the client has the value with this entity tag.
    pub fn has(&self, etag: &str) -> bool {
        self.if_none_match
            .as_deref()
            .is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == etag || tag.trim() == "*"))
    }
}

/// Whether `Accept` ranks JSON above HTML. `*/*` alone is a person with curl: HTML.
fn prefers_json(headers: &HeaderMap) -> bool {
    let mut best = (0.0_f32, 0.0_f32);
    for value in headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()) {
        for item in value.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("");
            let quality = parts
                .find_map(|p| p.strip_prefix("q="))
                .map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
            match kind {
                "application/json" => best.0 = best.0.max(quality),
                "text/html" | "application/xhtml+xml" => best.1 = best.1.max(quality),
                _ => {}
            }
        }
    }
    best.0 > best.1
}

/// A form field's text: `+` is a space, `%XX` a byte.
pub fn form_decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    let bytes = spaced.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(url: &str, accept: Option<&str>, want: Form) {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        }
        let ask = Ask::read(&url.parse().expect("a URL"), &headers);
        assert_eq!(ask.form, want, "{url} {accept:?}");
    }

    #[test]
    fn forms() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        check("/", None, Form::Html);
        check("/", Some("*/*"), Form::Html);
        check("/", Some(browser), Form::Html);
        check("/", Some("application/json"), Form::Json);
        check("/", Some("application/json, text/html;q=0.5"), Form::Json);
        check("/", Some("application/json;q=0.1, text/html"), Form::Html);
        check("/?json", Some(browser), Form::Json);
        check("/?raw", Some("application/json"), Form::Raw);
        check("/?log", None, Form::Log);
        check("/?log&json", None, Form::LogJson);
        check("/?watch&since=4", None, Form::Watch);
    }

    #[test]
    fn form_fields() {
        for (text, want) in
            [("a+b%2Fc", "a b/c"), ("100%", "100%"), ("%ff", "\u{fffd}"), ("%+1", "% 1")]
        {
            assert_eq!(form_decode(text), want);
        }
    }
}
