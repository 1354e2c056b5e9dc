//! Which of the machine's sources make up a suite: each configured suite stands for its role, and
//! the suite that is asked for takes its place.

use crate::debian::apt::Source;

/// What a suite is to a release of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The release itself.
    Main,
    /// `-updates`.
    Updates,
    /// `-security`.
    Security,
}

/// A source to ask for a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Where and by whom it may be signed; its suite is the configured one.
    pub source: Source,
    /// The suite to ask for instead.
    pub suite: String,
    /// What that suite is.
    pub role: Role,
}

/// Suites that have neither `-updates` nor `-security`.
const ROLLING: [&str; 4] = ["sid", "unstable", "experimental", "rc-buggy"];
/// Endings of suites that nobody gets unless they ask for them.
const OPTIONAL: [&str; 5] =
    ["-backports", "-backports-sloppy", "-proposed-updates", "-proposed", "-debug"];

/// The sources to ask for `wanted`: the main ones first, then updates and security, each in the
/// order of the configuration.
pub fn plan(sources: &[Source], wanted: &str) -> Vec<Planned> {
    let mut planned: Vec<Planned> = Vec::new();
    for source in sources {
        let Some(role) = role(&source.suite) else { continue };
        let suite = match role {
            Role::Main => wanted.to_owned(),
            _ if ROLLING.contains(&wanted) => continue,
            Role::Updates => format!("{wanted}-updates"),
            Role::Security => format!("{wanted}-security"),
        };
        match planned.iter_mut().find(|p| p.source.uri == source.uri && p.suite == suite) {
            Some(same) => {
                for component in &source.components {
                    if !same.source.components.contains(component) {
                        same.source.components.push(component.clone());
                    }
                }
            }
            None => planned.push(Planned { source: source.clone(), suite, role }),
        }
    }
    planned.sort_by_key(|p| p.role);
    planned
}

fn role(suite: &str) -> Option<Role> {
    match suite {
        _ if OPTIONAL.iter().any(|ending| suite.ends_with(ending)) => None,
        _ if suite.ends_with("-security") || suite.ends_with("/updates") => Some(Role::Security),
        _ if suite.ends_with("-updates") => Some(Role::Updates),
        _ if suite.contains('/') => None,
        _ => Some(Role::Main),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, suite: &str, component: &str) -> Source {
        let (uri, suite) = (uri.to_owned(), suite.to_owned());
        Source { uri, suite, components: vec![component.to_owned()], ..Source::default() }
    }

    #[test]
    fn roles_carry_over_to_another_suite() {
        let sources = [
            source("http://a.test/security", "bookworm-security", "main"),
            source("http://a.test/debian", "bookworm", "main"),
            source("http://a.test/debian", "bookworm-updates", "main"),
            source("http://a.test/debian", "bookworm-backports", "main"),
            source("http://a.test/debian", "trixie", "contrib"),
            source("http://b.test/other", "stable", "x"),
        ];
        let show = |wanted: &str| -> Vec<String> {
            let one = |p: Planned| {
                let host = &p.source.uri[7..];
                format!("{host} {} {}", p.suite, p.source.components.join(","))
            };
            plan(&sources, wanted).into_iter().map(one).collect()
        };
        let want = [
            "a.test/debian trixie main,contrib",
            "b.test/other trixie x",
            "a.test/debian trixie-updates main",
            "a.test/security trixie-security main",
        ];
        assert_eq!(show("trixie"), want);
        assert_eq!(show("sid"), ["a.test/debian sid main,contrib", "b.test/other sid x"]);
    }
}
