//! Relations between packages: `Depends: a (>= 1) | b:any, c` (Debian Policy 7.1).

use std::{cmp::Ordering, fmt};

use super::version;

/// Most alternatives or groups one field may have.
const MAX_MEMBERS: usize = 20_000;

/// How a version must stand to the one named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Before,
    /// `<=`
    UpTo,
    /// `=`
    Exactly,
    /// `>=`
    From,
    /// `>>`
    After,
}

/// A package, and perhaps a condition on its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The package's name, or a virtual one.
    pub name: String,
    /// After `:`, such as `any` or an architecture.
    pub qualifier: Option<String>,
    /// The condition.
    pub version: Option<(Operator, String)>,
}

impl Relation {
    /// Whether a package of this version fulfils the condition.
    pub fn accepts(&self, have: &str) -> bool {
        let Some((operator, wanted)) = &self.version else { return true };
        let order = version::compare(have, wanted);
        match operator {
            Operator::Before => order == Ordering::Less,
            Operator::UpTo => order != Ordering::Greater,
            Operator::Exactly => order == Ordering::Equal,
            Operator::From => order != Ordering::Less,
            Operator::After => order == Ordering::Greater,
        }
    }

    /// Whether what is provided fulfils it: a plain `Provides` only without a condition, a
    /// versioned one by its version.
    pub fn accepts_provided(&self, provided: Option<&str>) -> bool {
        match provided {
            None => self.version.is_none(),
            Some(version) => self.accepts(version),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let Some((operator, version)) = &self.version else { return Ok(()) };
        let sign = match operator {
            Operator::Before => "<<",
            Operator::UpTo => "<=",
            Operator::Exactly => "=",
            Operator::From => ">=",
            Operator::After => ">>",
        };
        write!(f, " ({sign} {version})")
    }
}

/// Alternatives, left to right; at least one.
pub type Group = Vec<Relation>;

/// `a | b` for people.
pub fn show(group: &[Relation]) -> String {
    group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

/// A field that is no list of relations.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a relation to a package: {reason}")]
pub struct RelationError {
    text: String,
    reason: &'static str,
}

/// Reads a field such as `Depends`: all groups must hold, of each group one alternative.
///
/// # Errors
/// A member is not `name[:qualifier] [(operator version)]`, or there are too many.
pub fn parse(field: &str) -> Result<Vec<Group>, RelationError> {
    let mut groups = Vec::new();
    let mut members = 0;
    for group in field.split(',').map(str::trim).filter(|g| !g.is_empty()) {
        let group = group.split('|').map(one).collect::<Result<Group, _>>()?;
        members += group.len();
        if members > MAX_MEMBERS {
            return Err(error(field, "it has too many members"));
        }
        groups.push(group);
    }
    Ok(groups)
}

fn error(text: &str, reason: &'static str) -> RelationError {
    RelationError { text: text.chars().take(120).collect(), reason }
}

fn one(text: &str) -> Result<Relation, RelationError> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_whitespace() || "([<".contains(c)).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    let (name, qualifier) = match head.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier.to_owned())),
        None => (head, None),
    };
    if name.is_empty() {
        return Err(error(text, "it names no package"));
    }
    let version = match rest.trim_start().strip_prefix('(') {
        None => None,
        Some(rest) => {
            let (inside, _) =
                rest.split_once(')').ok_or_else(|| error(text, "a parenthesis is not closed"))?;
            Some(condition(inside).ok_or_else(|| error(text, "its condition has no operator"))?)
        }
    };
    Ok(Relation { name: name.to_owned(), qualifier, version })
}

fn condition(text: &str) -> Option<(Operator, String)> {
    let text = text.trim();
    let at = text.find(|c| !"<>=".contains(c))?;
    let operator = match &text[..at] {
        "<<" => Operator::Before,
        // Policy 7.1: the obsolete "<" and ">" mean "<=" and ">=".
        "<=" | "<" => Operator::UpTo,
        "=" => Operator::Exactly,
        ">=" | ">" => Operator::From,
        ">>" => Operator::After,
        _ => return None,
    };
    Some((operator, text[at..].trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_and_shown() {
        let groups =
            parse("libc6 (>= 2.38), python3:any | python3-minimal,\n x(<<1) [amd64] <!nocheck>,")
                .expect("good");
        let shown: Vec<_> = groups.iter().map(|g| show(g)).collect();
        assert_eq!(shown, ["libc6 (>= 2.38)", "python3 | python3-minimal", "x (<< 1)"]);
        assert_eq!(groups[1][0].qualifier.as_deref(), Some("any"));
    }

    #[test]
    fn conditions() {
        for (relation, version, want) in [
            ("a (>= 1.0)", "1.0", true),
            ("a (>> 1.0)", "1.0", false),
            ("a (<< 1.0)", "1.0~rc1", true),
            ("a (= 1.0-1)", "1.0-1+b1", false),
            ("a (<= 2)", "2", true),
            ("a", "0", true),
        ] {
            let groups = parse(relation).expect(relation);
            assert_eq!(groups[0][0].accepts(version), want, "{relation} {version}");
        }
        let versioned = &parse("a (>= 1)").expect("good")[0][0];
        assert!(!versioned.accepts_provided(None));
        assert!(versioned.accepts_provided(Some("2")));
    }

    #[test]
    fn bad_relations_are_refused() {
        for bad in ["| a", "a (>= 1", "a (1)", "a (>=)", "(>= 1)", ":any"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"a,".repeat(MAX_MEMBERS + 1)).is_err());
    }
}
