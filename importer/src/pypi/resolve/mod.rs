//! From requirements to one version of every package they need.
//!
//! The newest version that fits is taken, and earlier ones only where the newest leads to a
//! conflict (a SAT solver, `resolvo`). Pre-releases are shut out unless a requirement names one or
//! a project has nothing else (PEP 440), withdrawn files unless they are pinned (PEP 592). What is
//! let in is found out while solving, so solving may start again, see [`provider::Allowed`].

mod candidates;
mod explain;
mod provider;
mod terms;
#[cfg(test)]
mod tests;

use std::{fmt, rc::Rc};

use resolvo::{Problem, Solver, UnsolvableOrCancelled};

use self::provider::{Allowed, Provider};
use super::{
    index::IndexError,
    metadata::Metadata,
    name::PackageName,
    project::{Project, WheelFile},
    requirements::{Line, Place, Requirements},
    suggest,
    target::Target,
    version::Version,
};

/// Most times that solving starts again; each lets at least one more project's versions in.
const MAX_ATTEMPTS: usize = 64;
/// Most versions listed in an error.
const MAX_SHOWN: usize = 5;

/// Where the resolver reads projects and wheels' metadata.
pub trait Source {
    /// A project; `None` if the index has none of this name.
    ///
    /// # Errors
    /// It cannot be told.
    fn project(&self, name: &PackageName) -> Result<Option<Rc<Project>>, IndexError>;

    /// A wheel's metadata.
    ///
    /// # Errors
    /// It cannot be fetched or read.
    fn metadata(&self, wheel: &WheelFile) -> Result<Rc<Metadata>, IndexError>;
}

/// A chosen version.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The project.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The wheel.
    pub wheel: WheelFile,
}

/// Who asked for something.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A line of the requirements.
    Line(Place),
    /// A package's version.
    Package(String),
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(place) => write!(f, "{place:#}"),
            Self::Package(package) => f.write_str(package),
        }
    }
}

/// Why requirements have no solution.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A line names what the index does not have.
    #[error("{line} asks for {name}, but the index has no such package")]
    NoProject {
        /// The name.
        name: PackageName,
        /// The line.
        line: Place,
        /// What may have been meant.
        near: Vec<String>,
    },
    /// No version of a project is what a line asks for.
    #[error("{line} asks for {asked}, but {reason}")]
    NoVersion {
        /// The requirement.
        asked: String,
        /// The line.
        line: Place,
        /// What there is.
        reason: String,
    },
    /// Requirements that exclude one another.
    #[error("the requirements cannot all be met: {}", .0.join("; "))]
    Conflict(Vec<String>),
    /// Hash mode, and a dependency has no line.
    #[error("{name} is needed by {by}, but the requirements have hashes and none for {name}")]
    Unlisted {
        /// The dependency.
        name: PackageName,
        /// Who needs it.
        by: String,
    },
    /// A bound was passed.
    #[error("the requirements leave so much open that no solution was found in reasonable time")]
    TooHard,
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Chooses versions; sorted by name.
///
/// # Errors
/// There is no solution, or the index cannot be read.
pub fn resolve(
    source: &dyn Source,
    target: &Target,
    requirements: &Requirements,
) -> Result<Vec<Chosen>, ResolveError> {
    let mut allowed = Allowed::default();
    for _ in 0..MAX_ATTEMPTS {
        let provider = Provider::new(source, target, requirements, allowed);
        let roots = provider.roots();
        check_roots(&provider, requirements)?;
        if provider.is_stale() {
            allowed = provider.found.borrow().clone();
            continue;
        }
        let mut solver = Solver::new(provider);
        let result = solver.solve(Problem::new().requirements(roots));
        if let Some(error) = solver.provider().failed.borrow_mut().take() {
            return Err(error);
        }
        if solver.provider().is_stale() {
            allowed = solver.provider().found.borrow().clone();
            continue;
        }
        return match result {
            Ok(solvables) => Ok(chosen(solver.provider(), solvables)),
            Err(UnsolvableOrCancelled::Cancelled(_)) => Err(ResolveError::TooHard),
            Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
                Err(ResolveError::Conflict(explain::explain(&conflict, &solver, requirements)))
            }
        };
    }
    Err(ResolveError::TooHard)
}

fn chosen(provider: &Provider<'_>, solvables: Vec<resolvo::SolvableId>) -> Vec<Chosen> {
    let mut all: Vec<Chosen> = solvables
        .into_iter()
        .filter_map(|id| {
            let solvable = provider.pool.resolve_solvable(id);
            let name = provider.pool.resolve_package_name(solvable.name);
            name.extra.is_none().then(|| Chosen {
                name: name.project.clone(),
                version: solvable.record.version.clone(),
                wheel: (*solvable.record.wheel).clone(),
            })
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Each line by itself has something to choose from: what the solver would say less plainly.
fn check_roots(provider: &Provider<'_>, requirements: &Requirements) -> Result<(), ResolveError> {
    for line in &requirements.lines {
        let name = &line.requirement.name;
        let Some(all) = provider.versions(name)? else {
            let near = suggest::near(name, requirements);
            return Err(ResolveError::NoProject {
                name: name.clone(),
                line: line.place.clone(),
                near,
            });
        };
        let specifiers = &line.requirement.specifiers;
        let fits: Vec<&Version> =
            all.usable.iter().map(|c| &c.version).filter(|v| specifiers.contains(v)).collect();
        if fits.is_empty() {
            return Err(no_version(line, &all));
        }
        // "If only pre-releases satisfy the specifier, they are accepted."
        if fits.iter().all(|version| version.any_prerelease()) {
            provider.found.borrow_mut().prereleases.insert(name.clone());
        }
    }
    Ok(())
}

fn no_version(line: &Line, all: &candidates::Candidates) -> ResolveError {
    let specifiers = &line.requirement.specifiers;
    let refused = all.refused.iter().rev().find(|(version, _)| specifiers.contains(version));
    let name = &line.requirement.name;
    let reason = match refused {
        Some((version, why)) => format!("{name} {version} cannot be used: {why}"),
        None if all.usable.is_empty() => format!("{name} has no version that can be used here"),
        None => {
            let newest: Vec<String> =
                all.usable.iter().rev().take(MAX_SHOWN).map(|c| c.version.to_string()).collect();
            format!("no version is that; the newest are {}", newest.join(", "))
        }
    };
    ResolveError::NoVersion {
        asked: line.requirement.to_string(),
        line: line.place.clone(),
        reason,
    }
}
