//! Environment markers (PEP 508): `python_version >= '3.8' and extra == 'async'`.
//!
//! Read and evaluated here, in time linear in their length. The crate for it, `pep508_rs`, turns a
//! marker into a decision diagram, whose size is not bounded by the marker's, and panics on some
//! (`'x' ~= os_name`); markers come from whoever uploads a package.

use std::fmt;

use super::{
    name::PackageName,
    version::{Specifiers, parse_version},
};

/// Most comparisons in one marker; real ones have up to about 15.
const MAX_TERMS: usize = 128;
/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 16;

/// What markers can ask about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Variable {
    /// `os.name`.
    OsName,
    /// `sys.platform`.
    SysPlatform,
    /// `uname -m`.
    PlatformMachine,
    /// `CPython`.
    PlatformPythonImplementation,
    /// `uname -r`.
    PlatformRelease,
    /// `Linux`.
    PlatformSystem,
    /// `uname -v`.
    PlatformVersion,
    /// `3.13`.
    PythonVersion,
    /// `3.13.5`.
    PythonFullVersion,
    /// `cpython`.
    ImplementationName,
    /// `3.13.5`.
    ImplementationVersion,
    /// The extra that is being installed.
    Extra,
}

/// Names of variables, the one that is written first; the others are those of older tools.
const VARIABLES: &[(&str, Variable)] = &[
    ("os_name", Variable::OsName),
    ("sys_platform", Variable::SysPlatform),
    ("platform_machine", Variable::PlatformMachine),
    ("platform_python_implementation", Variable::PlatformPythonImplementation),
    ("platform_release", Variable::PlatformRelease),
    ("platform_system", Variable::PlatformSystem),
    ("platform_version", Variable::PlatformVersion),
    ("python_version", Variable::PythonVersion),
    ("python_full_version", Variable::PythonFullVersion),
    ("implementation_name", Variable::ImplementationName),
    ("implementation_version", Variable::ImplementationVersion),
    ("extra", Variable::Extra),
    ("os.name", Variable::OsName),
    ("sys.platform", Variable::SysPlatform),
    ("platform.machine", Variable::PlatformMachine),
    ("platform.version", Variable::PlatformVersion),
    ("platform.python_implementation", Variable::PlatformPythonImplementation),
    ("python_implementation", Variable::PlatformPythonImplementation),
];

/// Operators, those that begin like another before it.
const OPERATORS: &[&str] = &["===", "==", "~=", "!=", "<=", ">=", "<", ">"];

/// One side of a comparison.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Operand {
    Variable(Variable),
    Text(String),
}

/// A condition on the environment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Marker(Node);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Compare(Operand, &'static str, Operand),
}

/// Why a text is no marker.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MarkerError {
    /// Something else was expected.
    #[error("{expected} is expected at {found:?}")]
    Expected {
        /// What.
        expected: &'static str,
        /// What is there instead, shortened.
        found: String,
    },
    /// A bound was passed.
    #[error("it has too many parts")]
    TooComplex,
}

impl Marker {
    /// Reads a marker.
    ///
    /// # Errors
    /// It is none, or has more parts than any honest one.
    pub fn parse(text: &str) -> Result<Self, MarkerError> {
        let mut parser = Parser { rest: text.trim(), terms: 0 };
        let node = parser.any(0)?;
        match parser.rest {
            "" => Ok(Self(node)),
            _ => Err(parser.expected("\"and\" or \"or\"")),
        }
    }

    /// Whether it holds where variables have the values that `value` gives; `extra` is the one
    /// being installed, if any.
    pub fn holds(&self, value: &dyn Fn(Variable) -> String, extra: Option<&PackageName>) -> bool {
        self.0.holds(value, extra)
    }
}

impl Node {
    fn holds(&self, value: &dyn Fn(Variable) -> String, extra: Option<&PackageName>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(value, extra)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(value, extra)),
            Self::Compare(left, operator, right) => compare(left, operator, right, value, extra),
        }
    }
}

fn compare(
    left: &Operand,
    operator: &str,
    right: &Operand,
    value: &dyn Fn(Variable) -> String,
    extra: Option<&PackageName>,
) -> bool {
    let has = |variable| [left, right].contains(&&Operand::Variable(variable));
    if has(Variable::Extra) {
        // Extras are compared as names; without an extra nothing is equal.
        let name = |operand: &Operand| match operand {
            Operand::Text(text) => PackageName::new(text).ok(),
            Operand::Variable(_) => extra.cloned(),
        };
        let same = matches!((name(left), name(right)), (Some(a), Some(b)) if a == b);
        return match operator {
            "==" | "===" | "in" => same,
            "!=" | "not in" => !same,
            _ => false,
        };
    }
    let text = |operand: &Operand| match operand {
        Operand::Text(text) => text.clone(),
        Operand::Variable(variable) => value(*variable),
    };
    let (a, b) = (text(left), text(right));
    let versions = [
        Variable::PythonVersion,
        Variable::PythonFullVersion,
        Variable::ImplementationVersion,
        Variable::PlatformRelease,
    ];
    // As versions where they are (PEP 508: "PEP 440 comparison … when both are valid").
    if versions.into_iter().any(has)
        && let Some(version) = parse_version(&a)
        && let Ok(specifiers) = Specifiers::parse(&format!("{operator}{b}"))
    {
        return specifiers.contains(&version);
    }
    match operator {
        "==" | "===" => a == b,
        "!=" => a != b,
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        ">=" => a >= b,
        "in" => b.contains(&a),
        "not in" => !b.contains(&a),
        _ => false,
    }
}

struct Parser<'a> {
    rest: &'a str,
    terms: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Node, MarkerError> {
        let mut nodes = vec![self.all(depth)?];
        while self.word("or") {
            nodes.push(self.all(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Any(nodes) })
    }

    fn all(&mut self, depth: usize) -> Result<Node, MarkerError> {
        let mut nodes = vec![self.one(depth)?];
        while self.word("and") {
            nodes.push(self.one(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::All(nodes) })
    }

    fn one(&mut self, depth: usize) -> Result<Node, MarkerError> {
        self.terms += 1;
        if depth > MAX_DEPTH || self.terms > MAX_TERMS {
            return Err(MarkerError::TooComplex);
        }
        if self.take("(") {
            let node = self.any(depth + 1)?;
            return if self.take(")") { Ok(node) } else { Err(self.expected("\")\"")) };
        }
        let left = self.operand()?;
        let operator = self.operator()?;
        let right = self.operand()?;
        let asks = [&left, &right].into_iter().any(|side| matches!(side, Operand::Variable(_)));
        if asks {
            Ok(Node::Compare(left, operator, right))
        } else {
            Err(self.expected("a comparison with a variable"))
        }
    }

    fn operand(&mut self) -> Result<Operand, MarkerError> {
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let inner = &self.rest[1..];
            let Some((text, rest)) = inner.split_once(quote) else {
                return Err(self.expected("a closing quote"));
            };
            self.rest = rest.trim_start();
            return Ok(Operand::Text(text.to_owned()));
        }
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let end = self.rest.find(|c| !letter(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let Some((_, variable)) = VARIABLES.iter().find(|(name, _)| *name == word) else {
            return Err(self.expected("a variable or a quoted text"));
        };
        self.rest = rest.trim_start();
        Ok(Operand::Variable(*variable))
    }

    fn operator(&mut self) -> Result<&'static str, MarkerError> {
        if let Some(operator) = OPERATORS.iter().find(|operator| self.take(operator)) {
            return Ok(operator);
        }
        if self.word("in") {
            return Ok("in");
        }
        if self.word("not") && self.word("in") {
            return Ok("not in");
        }
        Err(self.expected("an operator such as \">=\" or \"in\""))
    }

    fn take(&mut self, text: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(text) else { return false };
        self.rest = rest.trim_start();
        true
    }

    /// A word that does not go on.
    fn word(&mut self, word: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(word) else { return false };
        if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return false;
        }
        self.rest = rest.trim_start();
        true
    }

    fn expected(&self, expected: &'static str) -> MarkerError {
        MarkerError::Expected { expected, found: self.rest.chars().take(60).collect() }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(variable) => {
                let name = VARIABLES.iter().find(|(_, other)| other == variable);
                f.write_str(name.map_or("", |(name, _)| name))
            }
            Self::Text(text) if text.contains('\'') => write!(f, "\"{text}\""),
            Self::Text(text) => write!(f, "'{text}'"),
        }
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_node(&self.0, f)
    }
}

fn write_node(node: &Node, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (nodes, between) = match node {
        Node::Compare(left, operator, right) => return write!(f, "{left} {operator} {right}"),
        Node::All(nodes) => (nodes, " and "),
        Node::Any(nodes) => (nodes, " or "),
    };
    for (index, node) in nodes.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { between })?;
        if matches!(node, Node::Compare(..)) {
            write_node(node, f)?;
        } else {
            f.write_str("(")?;
            write_node(node, f)?;
            f.write_str(")")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pypi::target::Target;

    fn holds(text: &str) -> bool {
        let target = Target::new("trixie", "3.13", "x86_64").expect("a known target");
        let extra = PackageName::new("async-io").expect("good");
        let marker = Marker::parse(text).expect(text);
        let again = Marker::parse(&marker.to_string()).expect("what is written is read");
        assert_eq!(marker, again);
        marker.holds(&|variable| target.value(variable), Some(&extra))
    }

    #[test]
    fn markers_hold_where_packaging_says_so() {
        for (text, want) in [
            ("python_version >= '3.8'", true),
            ("python_version<'3.9'", false),
            ("python_version > '3.9'", true),
            ("python_version >= '3.13.1'", false),
            ("python_full_version >= '3.13.1'", true),
            ("python_version == '3.*'", true),
            ("python_version ~= '3.8'", true),
            ("python_version in '3.12 3.13'", true),
            ("python_version not in '2.7, 3.0'", true),
            ("'3.8' <= python_version", true),
            ("'linux' in sys_platform", true),
            ("sys_platform == 'win32' or os_name == 'posix'", true),
            ("sys_platform == 'win32' and os_name == 'posix' or os_name == 'posix'", true),
            ("sys_platform == 'win32' and (os_name == 'posix' or os_name == 'posix')", false),
            ("platform_python_implementation != 'PyPy'", true),
            ("python_implementation == \"CPython\"", true),
            ("os.name == 'posix'", true),
            ("extra == 'Async_IO'", true),
            ("'async.io' == extra", true),
            ("extra != 'other'", true),
            ("platform_release >= '5'", true),
            ("platform_machine < 'a'", false),
            ("'x' ~= os_name", false),
            ("platform_version == ''", true),
        ] {
            assert_eq!(holds(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_marker_says_where() {
        let deep = format!("{}os_name == 'x'{}", "(".repeat(40), ")".repeat(40));
        let wide = vec!["os_name == 'x'"; 300].join(" or ");
        for (text, want) in [
            ("", "a variable or a quoted text"),
            ("os_nam == 'x'", "a variable or a quoted text is expected at \"os_nam"),
            ("os_name 'x'", "an operator"),
            ("os_name is 'x'", "an operator"),
            ("os_name == 'x", "closing quote"),
            ("(os_name == 'x'", "\")\" is expected"),
            ("os_name == 'x' xor os_name == 'y'", "\"and\" or \"or\""),
            ("'a' == 'b'", "with a variable"),
            ("os_name not 'x'", "an operator"),
            (deep.as_str(), "too many parts"),
            (wide.as_str(), "too many parts"),
        ] {
            let error = Marker::parse(text).expect_err(text).to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
