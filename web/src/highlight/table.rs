//! What is known of each language.

use super::{Class, Lang};

const PLAIN: Lang = Lang {
    name: "Text",
    extensions: &[],
    line_comments: &[],
    block_comments: &[],
    long_strings: &[],
    quotes: &["\""],
    keywords: "",
    constants: "true false null",
    sigils: "",
    escapes: true,
    char_quotes: false,
    calls: false,
    colon_keys: false,
    equals_keys: false,
    tags: false,
    any_case: false,
    whole_line: None,
};

const BLOCK: &[(&str, &str)] = &[("/*", "*/")];

pub static LANGS: &[Lang] = &[
    Lang {
        name: "Python",
        extensions: &["py", "pyi", "pyw"],
        line_comments: &["#"],
        long_strings: &[("\"\"\"", "\"\"\""), ("'''", "'''")],
        quotes: &["\"", "'"],
        keywords: "and as assert async await break case class continue def del elif else except \
                   finally for from global if import in is lambda match nonlocal not or pass raise \
                   return try while with yield",
        constants: "True False None self cls",
        sigils: "@",
        calls: true,
        ..PLAIN
    },
    Lang {
        name: "Rust",
        extensions: &["rs"],
        line_comments: &["//"],
        block_comments: BLOCK,
        quotes: &["\"", "'"],
        keywords: "as async await break const continue dyn else enum extern fn for if impl in let \
                   loop match mod move mut pub ref return static struct trait type unsafe use \
                   where while",
        constants: "true false self Self crate super None Some Ok Err",
        char_quotes: true,
        calls: true,
        ..PLAIN
    },
    Lang {
        name: "JavaScript",
        extensions: &["js", "mjs", "cjs", "jsx", "ts", "tsx"],
        line_comments: &["//"],
        block_comments: BLOCK,
        long_strings: &[("`", "`")],
        quotes: &["\"", "'"],
        keywords: "as async await break case catch class const continue default delete do else \
                   export extends finally for from function if import in instanceof interface let \
                   new of return static switch throw try type typeof var void while yield",
        constants: "true false null undefined this super NaN",
        calls: true,
        ..PLAIN
    },
    Lang {
        name: "Go",
        extensions: &["go", "mod"],
        line_comments: &["//"],
        block_comments: BLOCK,
        long_strings: &[("`", "`")],
        quotes: &["\"", "'"],
        keywords: "break case chan const continue default defer else fallthrough for func go if \
                   import interface map module package range require return select struct switch \
                   type var",
        constants: "true false nil iota",
        calls: true,
        ..PLAIN
    },
    Lang {
        name: "C",
        extensions: &["c", "h", "cc", "cpp", "hpp", "cxx", "java", "cs", "kt", "swift", "php"],
        line_comments: &["//"],
        block_comments: BLOCK,
        quotes: &["\"", "'"],
        keywords: "auto bool break case catch char class const continue default delete do double \
                   else enum extends extern final float for func goto if import inline int \
                   interface let long namespace new package private protected public return short \
                   signed sizeof static struct switch template throw try typedef union unsigned \
                   using var virtual void volatile while",
        constants: "true false NULL nullptr null this",
        sigils: "#@",
        char_quotes: true,
        calls: true,
        ..PLAIN
    },
    Lang {
        name: "Shell",
        extensions: &["sh", "bash", "zsh", "env", "profile", "bashrc"],
        line_comments: &["#"],
        quotes: &["\"", "'"],
        keywords: "case cd do done echo elif else esac eval exec exit export fi for function if in \
                   local printf read return set shift source then trap unset until while",
        sigils: "$",
        ..PLAIN
    },
    Lang {
        name: "Ruby",
        extensions: &["rb", "gemspec", "ru"],
        line_comments: &["#"],
        quotes: &["\"", "'"],
        keywords: "begin break case class def do else elsif end ensure for if in module next \
                   require rescue return then unless until when while yield",
        constants: "true false nil self",
        sigils: "@:",
        calls: true,
        ..PLAIN
    },
    Lang { name: "JSON", extensions: &["json", "jsonl"], colon_keys: true, ..PLAIN },
    Lang {
        name: "YAML",
        extensions: &["yaml", "yml"],
        line_comments: &["#"],
        quotes: &["\"", "'"],
        constants: "true false null yes no on off",
        colon_keys: true,
        ..PLAIN
    },
    Lang {
        name: "TOML",
        extensions: &["toml", "ini", "cfg", "conf", "service", "desktop"],
        line_comments: &["#", ";"],
        long_strings: &[("\"\"\"", "\"\"\""), ("'''", "'''")],
        quotes: &["\"", "'"],
        equals_keys: true,
        whole_line: Some(section),
        ..PLAIN
    },
    Lang {
        name: "HTML",
        extensions: &["html", "htm", "xml", "svg", "xhtml", "vue", "jinja", "j2"],
        block_comments: &[("<!--", "-->")],
        quotes: &["\""],
        escapes: false,
        equals_keys: true,
        tags: true,
        ..PLAIN
    },
    Lang {
        name: "CSS",
        extensions: &["css", "scss", "less"],
        block_comments: BLOCK,
        quotes: &["\"", "'"],
        sigils: "@#$",
        colon_keys: true,
        calls: true,
        ..PLAIN
    },
    Lang {
        name: "SQL",
        extensions: &["sql"],
        line_comments: &["--"],
        block_comments: BLOCK,
        quotes: &["'", "\""],
        keywords: "add alter and as asc begin between by case commit create delete desc distinct \
                   drop else end exists foreign from group having if in index inner insert into is \
                   join key left like limit not on or order primary references returning select \
                   set table then union unique update values view when where with",
        any_case: true,
        calls: true,
        ..PLAIN
    },
    Lang {
        name: "Dockerfile",
        extensions: &["dockerfile"],
        line_comments: &["#"],
        keywords: "FROM RUN CMD COPY ADD ENV ARG WORKDIR EXPOSE ENTRYPOINT USER LABEL VOLUME AS",
        sigils: "$",
        ..PLAIN
    },
    Lang {
        name: "Makefile",
        extensions: &["mk", "makefile"],
        line_comments: &["#"],
        sigils: "$",
        colon_keys: true,
        equals_keys: true,
        ..PLAIN
    },
    Lang {
        name: "Procfile",
        extensions: &["procfile"],
        line_comments: &["#"],
        sigils: "$",
        colon_keys: true,
        ..PLAIN
    },
    Lang {
        name: "Markdown",
        extensions: &["md", "markdown"],
        long_strings: &[("```", "```")],
        quotes: &["`"],
        constants: "",
        escapes: false,
        whole_line: Some(heading),
        ..PLAIN
    },
    Lang { name: "Diff", extensions: &["diff", "patch"], whole_line: Some(change), ..PLAIN },
];

fn section(line: &str) -> Option<Class> {
    let line = line.trim();
    (line.starts_with('[') && line.ends_with(']') && !line.contains(',')).then_some(Class::Name)
}

fn heading(line: &str) -> Option<Class> {
    let marks = line.bytes().take_while(|b| *b == b'#').count();
    ((1..=6).contains(&marks) && line[marks..].starts_with(' ')).then_some(Class::Name)
}

fn change(line: &str) -> Option<Class> {
    match line.as_bytes().first()? {
        _ if line.starts_with("+++") || line.starts_with("---") => Some(Class::Name),
        b'+' => Some(Class::Added),
        b'-' => Some(Class::Removed),
        b'@' => Some(Class::Key),
        _ => None,
    }
}
