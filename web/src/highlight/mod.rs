//! Syntax highlighting, one line at a time: enough to read code by, fast enough for the loop.
//!
//! A [`Highlighter`] knows comments, strings, numbers and keywords of a [`lang::Lang`] and carries
//! what is open (a block comment, a long string) from line to line. It never fails and its work is
//! linear in the line's length.

mod lang;
mod table;

pub use lang::{Lang, detect};

/// What a piece of a line is; also its CSS class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing special.
    Plain,
    /// A comment.
    Comment,
    /// Text in quotes.
    Str,
    /// A number or a constant such as `true`.
    Number,
    /// A word of the language.
    Keyword,
    /// A name that is called or defined, a tag, a heading.
    Name,
    /// A key, attribute or decorator.
    Key,
    /// An added line of a diff.
    Added,
    /// A removed line of a diff.
    Removed,
}

impl Class {
    /// The CSS class; empty for plain text.
    pub fn css(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Comment => "hc",
            Self::Str => "hs",
            Self::Number => "hn",
            Self::Keyword => "hk",
            Self::Name => "hf",
            Self::Key => "ha",
            Self::Added => "hp",
            Self::Removed => "hm",
        }
    }
}

/// Longest line that is looked into; longer ones (minified files) stay plain.
pub const MAX_LINE: usize = 4096;

/// A piece of a line.
pub type Span<'a> = (Class, &'a str);

/// What is open at the end of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    /// A block comment up to this.
    Comment(&'static str),
    /// A string over several lines, up to this.
    Str(&'static str),
}

/// Highlights a text's lines in order.
pub struct Highlighter {
    lang: &'static Lang,
    open: Open,
}

impl Highlighter {
    /// Starts at the top of a file.
    pub fn new(lang: &'static Lang) -> Self {
        Self { lang, open: Open::Nothing }
    }

    /// The pieces of the next line, in order; together they are the line.
    pub fn line<'a>(&mut self, line: &'a str) -> Vec<Span<'a>> {
        let mut spans = Spans { line, done: 0, out: Vec::new() };
        if line.len() > MAX_LINE {
            spans.up_to(line.len(), Class::Plain);
            return spans.out;
        }
        if let Some(class) = self.lang.whole_line.and_then(|whole| whole(line)) {
            spans.up_to(line.len(), class);
            return spans.out;
        }
        let mut at = 0;
        while at < line.len() {
            at = match self.open {
                Open::Comment(end) => self.close(&mut spans, at, end, Class::Comment),
                Open::Str(end) => self.close(&mut spans, at, end, Class::Str),
                Open::Nothing => self.token(&mut spans, at),
            };
        }
        spans.up_to(line.len(), Class::Plain);
        spans.out
    }

    /// Goes on inside something open; returns where to go on.
    fn close(&mut self, spans: &mut Spans<'_>, at: usize, end: &str, class: Class) -> usize {
        let stop = match find_end(&spans.line[at..], end, self.lang.escapes) {
            Some(len) => {
                self.open = Open::Nothing;
                at + len
            }
            None => spans.line.len(),
        };
        spans.piece(at, stop, class);
        stop
    }

    /// Takes one token that starts at `at`; returns where the next one starts.
    fn token(&mut self, spans: &mut Spans<'_>, at: usize) -> usize {
        let rest = &spans.line[at..];
        let boundary = !spans.line[..at].ends_with(is_word);
        for comment in self.lang.line_comments {
            // A shell's `#` counts only at the start of a word.
            if rest.starts_with(comment) && (boundary || *comment != "#") {
                spans.piece(at, spans.line.len(), Class::Comment);
                return spans.line.len();
            }
        }
        for (start, end) in self.lang.block_comments {
            if rest.starts_with(start) {
                self.open = Open::Comment(end);
                spans.piece(at, at + start.len(), Class::Comment);
                return at + start.len();
            }
        }
        for (start, end) in self.lang.long_strings {
            if rest.starts_with(start) {
                self.open = Open::Str(end);
                spans.piece(at, at + start.len(), Class::Str);
                return at + start.len();
            }
        }
        let first = rest.chars().next().unwrap_or(' ');
        if let Some(quote) = self.lang.quotes.iter().find(|q| rest.starts_with(**q)) {
            return self.quoted(spans, at, quote);
        }
        if boundary && first.is_ascii_digit() {
            let len = rest.find(|c: char| !is_word(c) && c != '.').unwrap_or(rest.len());
            spans.piece(at, at + len, Class::Number);
            return at + len;
        }
        if self.lang.sigils.contains(first) {
            let len = 1 + rest[1..].find(|c: char| !is_word(c)).unwrap_or(rest.len() - 1);
            if len > 1 {
                spans.piece(at, at + len, Class::Key);
                return at + len;
            }
        }
        if is_word(first) {
            let len = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            let class = self.word(&rest[..len], &rest[len..], &spans.line[..at]);
            spans.piece(at, at + len, class);
            return at + len;
        }
        at + first.len_utf8()
    }

    fn quoted(&self, spans: &mut Spans<'_>, at: usize, quote: &str) -> usize {
        let rest = &spans.line[at..];
        // In Rust and C a lone ' is a lifetime or a separator, not a string.
        if quote == "'" && self.lang.char_quotes {
            let chars = rest.char_indices().skip(1).take(12);
            let escaped = rest[1..].starts_with('\\');
            let close = chars.skip(1).find(|(_, c)| *c == '\'').map(|(i, _)| i + 1);
            let len = close.filter(|_| escaped || rest.chars().nth(2) == Some('\''));
            let stop = at + len.unwrap_or(1);
            if len.is_some() {
                spans.piece(at, stop, Class::Str);
            }
            return stop;
        }
        let inner = at + quote.len();
        let len = find_end(&spans.line[inner..], quote, self.lang.escapes);
        let stop = inner + len.unwrap_or(spans.line.len() - inner);
        let key = self.lang.colon_keys && spans.line[stop..].trim_start().starts_with(':');
        spans.piece(at, stop, if key { Class::Key } else { Class::Str });
        stop
    }

    fn word(&self, word: &str, after: &str, before: &str) -> Class {
        let listed = |list: &str| match self.lang.any_case {
            true => list.split(' ').any(|w| w.eq_ignore_ascii_case(word)),
            false => list.split(' ').any(|w| w == word),
        };
        if listed(self.lang.keywords) {
            Class::Keyword
        } else if listed(self.lang.constants) {
            Class::Number
        } else if self.lang.tags && (before.ends_with('<') || before.ends_with("</")) {
            Class::Name
        } else if self.is_key(after, before) {
            Class::Key
        } else if self.lang.calls && (after.starts_with('(') || after.starts_with("!(")) {
            Class::Name
        } else {
            Class::Plain
        }
    }

    fn is_key(&self, after: &str, before: &str) -> bool {
        let equals = self.lang.equals_keys && after.trim_start().starts_with('=');
        let colon = self.lang.colon_keys && after.starts_with(':') && before.trim().is_empty();
        equals || colon
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where, after the closing mark, a string or comment ends in `text`.
fn find_end(text: &str, end: &str, escapes: bool) -> Option<usize> {
    let mut skip = false;
    for (at, c) in text.char_indices() {
        if skip {
            skip = false;
        } else if text[at..].starts_with(end) {
            return Some(at + end.len());
        } else if c == '\\' && escapes {
            skip = true;
        }
    }
    None
}

struct Spans<'a> {
    line: &'a str,
    done: usize,
    out: Vec<Span<'a>>,
}

impl Spans<'_> {
    /// Everything up to `to` that was not given yet, joined to the piece before of its class.
    fn up_to(&mut self, to: usize, class: Class) {
        if to <= self.done {
            return;
        }
        match self.out.last_mut() {
            Some((last, piece)) if *last == class => {
                *piece = &self.line[self.done - piece.len()..to];
            }
            _ => self.out.push((class, &self.line[self.done..to])),
        }
        self.done = to;
    }

    /// What lies before the piece is plain.
    fn piece(&mut self, from: usize, to: usize, class: Class) {
        if class != Class::Plain {
            self.up_to(from, Class::Plain);
            self.up_to(to, class);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks every piece that is not plain with its CSS class: `hk[def]`.
    fn marked(name: &str, text: &str) -> String {
        let lang = detect(name, text).expect("a known language");
        let mut highlighter = Highlighter::new(lang);
        let mut out = Vec::new();
        for line in text.lines() {
            let spans = highlighter.line(line);
            let whole: String = spans.iter().map(|(_, piece)| *piece).collect();
            assert_eq!(whole, line, "the pieces are the line");
            let mark = |(class, piece): &Span<'_>| match class {
                Class::Plain => (*piece).to_owned(),
                class => format!("{}[{piece}]", class.css()),
            };
            out.push(spans.iter().map(mark).collect::<String>());
        }
        out.join("\n")
    }

    #[test]
    fn languages() {
        for (name, text, want) in [
            ("app.py", "def f(x): # no", "hk[def] hf[f](x): hc[# no]"),
            (
                "app.py",
                "@app.get('/')\nx = f\"{a}\"",
                "ha[@app].hf[get](hs['/'])\nx = fhs[\"{a}\"]",
            ),
            ("a.py", "\"\"\"a\nb\"\"\" + 1", "hs[\"\"\"a]\nhs[b\"\"\"] + hn[1]"),
            ("m.rs", "fn a<'x>() -> char { 'b' }", "hk[fn] a<'x>() -> char { hs['b'] }"),
            ("m.rs", "/* a\n b */ let", "hc[/* a]\nhc[ b */] hk[let]"),
            (
                "a.json",
                "{\"a\": \"b\", \"c\": true}",
                "{ha[\"a\"]: hs[\"b\"], ha[\"c\"]: hn[true]}",
            ),
            ("a.toml", "[x]\na = 1 # c", "hf[[x]]\nha[a] = hn[1] hc[# c]"),
            ("a.yaml", "key: value # c", "ha[key]: value hc[# c]"),
            ("a.html", "<p class=\"a\"> <!-- c", "<hf[p] ha[class]=hs[\"a\"]> hc[<!-- c]"),
            ("x.sh", "echo $HOME a#b # c", "hk[echo] ha[$HOME] a#b hc[# c]"),
            ("a.diff", "+a\n-b\n c", "hp[+a]\nhm[-b]\n c"),
            ("README.md", "# Title\ntext", "hf[# Title]\ntext"),
            ("q.sql", "select 'a' FROM t", "hk[select] hs['a'] hk[FROM] t"),
        ] {
            assert_eq!(marked(name, text), want, "{name}");
        }
    }

    #[test]
    fn odd_text_is_never_lost() {
        for text in ["'", "\"\\", "é'ü\"ß", "\u{0}\u{1b}[0m", "/*", "'''", "'\u{10ffff}", "#", "\\"]
        {
            for name in ["a.py", "a.rs", "a.js", "a.html", "a.sh", "a.json", "a.md", "a.c"] {
                marked(name, text);
            }
        }
    }
}
