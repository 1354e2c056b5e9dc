//! The build plan: what a pack's `bin/detect` asks for, in the TOML of Buildpack API 0.10.
//!
//! Two names are provided by the platform itself:
//! - `debian`, metadata `suite` and `packages`: packages of the root file system;
//! - `pypi`, metadata `python`, `suite` and (optional) `requirements`, a file of the app.

use serde::Deserialize;
use toml::{Table, Value};

/// Longest plan that is read, in bytes.
pub const MAX_PLAN: u64 = 256 * 1024;
/// Most packages a plan may name.
const MAX_PACKAGES: usize = 1000;

/// A plan as `bin/detect` writes it.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Plan {
    #[serde(default)]
    provides: Vec<Provide>,
    #[serde(default)]
    requires: Vec<Require>,
    #[serde(default)]
    or: Vec<Alternative>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Alternative {
    #[serde(default)]
    provides: Vec<Provide>,
    #[serde(default)]
    requires: Vec<Require>,
}

#[derive(Deserialize, Debug)]
struct Provide {
    name: String,
}

/// Something a pack needs.
#[derive(Deserialize, Debug, Clone, PartialEq)]
pub struct Require {
    /// What.
    pub name: String,
    /// More about it.
    #[serde(default)]
    pub metadata: Table,
}

/// What is to be imported for a build.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The Debian suite.
    pub suite: String,
    /// Debian packages beyond the essential ones, sorted.
    pub packages: Vec<String>,
    /// Python packages.
    pub pypi: Option<Pypi>,
    /// All that was required, for the pack's `bin/build`.
    pub requires: Vec<Require>,
}

/// Python packages that are wanted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Pypi {
    /// Version of Python, such as `3.13`.
    pub python: String,
    /// The suite it comes from.
    pub suite: String,
    /// Path of the file of requirements, relative to the app.
    pub requirements: Option<String>,
}

#[derive(Deserialize)]
struct Debian {
    suite: String,
    #[serde(default)]
    packages: Vec<String>,
}

/// What is wrong with a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not TOML, or not of the plan's form.
    #[error("the plan of {pack} is not a build plan")]
    Toml {
        /// The pack.
        pack: String,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// It requires what nobody provides.
    #[error("{pack} requires {name:?}, which neither a pack nor the platform provides")]
    Unprovided {
        /// The pack.
        pack: String,
        /// What it requires.
        name: String,
    },
    /// The metadata of a requirement is not as the platform needs it.
    #[error("{pack} requires {name:?} with metadata that cannot be used")]
    Metadata {
        /// The pack.
        pack: String,
        /// What it requires.
        name: String,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Two suites at once, or none.
    #[error("{pack} must require packages of one Debian suite, but it asks for {suites:?}")]
    Suites {
        /// The pack.
        pack: String,
        /// What it asks for.
        suites: Vec<String>,
    },
    /// More than [`MAX_PACKAGES`].
    #[error("{pack} requires {count} packages; at most {MAX_PACKAGES} are taken")]
    TooMany {
        /// The pack.
        pack: String,
        /// How many.
        count: usize,
    },
}

/// Reads the plan of one pack: of its alternatives the first whose requirements are all provided.
///
/// # Errors
/// It is not a plan, or none of its alternatives can be met.
pub fn parse(pack: &str, text: &str) -> Result<Wanted, PlanError> {
    let toml = |error| PlanError::Toml { pack: pack.to_owned(), source: Box::new(error) };
    let plan: Plan = toml::from_str(text).map_err(toml)?;
    let first = Alternative { provides: plan.provides, requires: plan.requires };
    let mut unmet = None;
    for choice in std::iter::once(first).chain(plan.or) {
        match choice.requires.iter().find(|r| !is_provided(&choice, &r.name)) {
            None => return wanted(pack, choice.requires),
            Some(require) => unmet = unmet.or(Some(require.name.clone())),
        }
    }
    Err(PlanError::Unprovided { pack: pack.to_owned(), name: unmet.unwrap_or_default() })
}

/// The plan's entries for `CNB_BP_PLAN_PATH`, as TOML.
pub fn entries(requires: &[Require]) -> String {
    let entry = |require: &Require| {
        let mut table = Table::new();
        table.insert("name".to_owned(), Value::String(require.name.clone()));
        table.insert("metadata".to_owned(), Value::Table(require.metadata.clone()));
        Value::Table(table)
    };
    let mut plan = Table::new();
    plan.insert("entries".to_owned(), Value::Array(requires.iter().map(entry).collect()));
    plan.to_string()
}

fn is_provided(choice: &Alternative, name: &str) -> bool {
    matches!(name, "debian" | "pypi") || choice.provides.iter().any(|p| p.name == name)
}

fn wanted(pack: &str, requires: Vec<Require>) -> Result<Wanted, PlanError> {
    let (mut suites, mut packages, mut pypi) = (Vec::new(), Vec::new(), None);
    for require in &requires {
        let metadata = |error| PlanError::Metadata {
            pack: pack.to_owned(),
            name: require.name.clone(),
            source: Box::new(error),
        };
        match require.name.as_str() {
            "debian" => {
                let debian: Debian = require.metadata.clone().try_into().map_err(metadata)?;
                suites.push(debian.suite);
                packages.extend(debian.packages);
            }
            "pypi" => {
                let wanted: Pypi = require.metadata.clone().try_into().map_err(metadata)?;
                suites.push(wanted.suite.clone());
                pypi = Some(wanted);
            }
            _ => {}
        }
    }
    suites.sort();
    suites.dedup();
    packages.sort();
    packages.dedup();
    if packages.len() > MAX_PACKAGES {
        return Err(PlanError::TooMany { pack: pack.to_owned(), count: packages.len() });
    }
    match <[String; 1]>::try_from(suites) {
        Ok([suite]) => Ok(Wanted { suite, packages, pypi, requires }),
        Err(suites) => Err(PlanError::Suites { pack: pack.to_owned(), suites }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTHON: &str = r#"
        [[requires]]
        name = "debian"
        [requires.metadata]
        suite = "trixie"
        packages = ["python3", "ca-certificates", "python3"]
        [[requires]]
        name = "pypi"
        [requires.metadata]
        python = "3.13"
        suite = "trixie"
        requirements = "requirements.txt"
    "#;

    #[test]
    fn requirements_become_what_is_wanted() {
        let wanted = parse("keg/python", PYTHON).expect("a plan");
        assert_eq!(wanted.suite, "trixie");
        assert_eq!(wanted.packages, ["ca-certificates", "python3"]);
        let pypi = wanted.pypi.expect("it asks for wheels");
        assert_eq!(pypi.requirements.as_deref(), Some("requirements.txt"));
        let text = entries(&wanted.requires);
        assert!(text.contains("[[entries]]"), "{text}");
        assert!(text.contains("python = \"3.13\""), "{text}");
    }

    #[test]
    fn the_first_alternative_that_is_provided_is_taken() {
        let text = r#"
            requires = [{ name = "jdk" }]
            [[or]]
            provides = [{ name = "site" }]
            requires = [{ name = "site" }, { name = "debian", metadata = { suite = "bookworm" } }]
        "#;
        let wanted = parse("x", text).expect("a plan");
        assert_eq!((wanted.suite.as_str(), wanted.packages.len()), ("bookworm", 0));
    }

    #[test]
    fn bad_plans_say_what_is_wrong() {
        let two = r#"requires = [{ name = "debian", metadata = { suite = "trixie" } },
            { name = "pypi", metadata = { suite = "bookworm", python = "3.11" } }]"#;
        for (text, want) in [
            ("requires = 1", "not a build plan"),
            ("[[require]]\nname = \"x\"", "not a build plan"),
            ("[[requires]]\nname = \"jdk\"", "requires \"jdk\""),
            ("[[requires]]\nname = \"debian\"", "metadata that cannot"),
            ("", "one Debian suite"),
            (two, "[\"bookworm\", \"trixie\"]"),
        ] {
            let error = parse("p", text).expect_err(text).to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
