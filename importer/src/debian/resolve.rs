//! From wanted packages to everything they need, choosing as apt chooses.
//!
//! The rules, in apt's order: the whole request is taken first; then dependencies depth first, left
//! to right. A dependency that something chosen fulfils is done. Of alternatives the first that
//! works is taken; a package of the name itself goes before those that provide it, and of those the
//! highest priority, then the name. A choice that leads to a conflict is taken back and the next
//! alternative tried, at most [`MAX_STEPS`] steps long.

mod state;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use super::{
    index::{Index, IndexError, Package},
    relation::{self, Group, Relation},
};
use state::State;

/// Most steps of the search.
pub const MAX_STEPS: u32 = 500_000;
/// Most names that are suggested for one that does not exist.
const MAX_NEAR: usize = 3;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A name that is no package.
    #[error("there is no package {name:?} in {suite}")]
    NoPackage {
        /// As asked.
        name: String,
        /// Where.
        suite: String,
        /// Names that are written almost like it.
        near: Vec<String>,
    },
    /// A virtual name with several providers.
    #[error("{name:?} is a virtual package: ask for one of {}", providers.join(", "))]
    Virtual {
        /// As asked.
        name: String,
        /// Who provides it.
        providers: Vec<String>,
    },
    /// A dependency nothing fulfils.
    #[error("{} needs {needs}, which no package of {suite} fulfils", chain.join(" → "))]
    Unmet {
        /// From what was asked for to what needs it.
        chain: Vec<String>,
        /// The dependency.
        needs: String,
        /// Where.
        suite: String,
    },
    /// Two packages that exclude one another.
    #[error("{one} and {other} cannot be installed together ({one} excludes {relation})")]
    Conflict {
        /// The one that says so.
        one: String,
        /// The other.
        other: String,
        /// What it says.
        relation: String,
    },
    /// The search was given up.
    #[error("no solution was found in {MAX_STEPS} steps; ask for fewer packages at once")]
    TooHard,
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// All of `wanted` and what they need, besides `base`, by name. `base` is there already and stays.
///
/// # Errors
/// A name is unknown, a dependency unmet, or packages exclude one another.
pub fn resolve(
    index: &Index<'_>,
    suite: &str,
    wanted: &[String],
    base: &[Rc<Package>],
) -> Result<Vec<Rc<Package>>, ResolveError> {
    let mut state = State::default();
    for package in base {
        state.add(package).map_err(ResolveError::from)?;
    }
    let kept = state.len();
    let mut frames = Vec::new();
    for name in wanted {
        let package = request(index, suite, name)?;
        if !state.has(&package) {
            state.add(&package).map_err(ResolveError::from)?;
            frames.push(Frame { package, next: 0 });
        }
    }
    frames.reverse();
    Search { index, suite, state, frames, choices: Vec::new(), first: None }.run(kept)
}

/// What a name in a request stands for: a package, or the only one that provides it.
fn request(index: &Index<'_>, suite: &str, name: &str) -> Result<Rc<Package>, ResolveError> {
    if let Some(id) = index.find(name) {
        return Ok(index.package(id)?);
    }
    match index.providers(name).as_slice() {
        [only] => Ok(index.package(*only)?),
        [] => {
            let (name, suite) = (name.to_owned(), suite.to_owned());
            let near = index.near(&name, MAX_NEAR);
            Err(ResolveError::NoPackage { name, suite, near })
        }
        several => {
            let packages: Result<Vec<_>, _> = several.iter().map(|id| index.package(*id)).collect();
            let providers = packages?.iter().map(|p| p.name().to_owned()).collect();
            Err(ResolveError::Virtual { name: name.to_owned(), providers })
        }
    }
}

/// A package whose dependencies are being followed.
#[derive(Clone)]
struct Frame {
    package: Rc<Package>,
    /// The next dependency.
    next: usize,
}

/// A point to come back to.
struct Choice {
    frames: Vec<Frame>,
    chosen: usize,
    /// What is left to try, last first.
    left: Vec<Rc<Package>>,
}

struct Search<'i, 'k> {
    index: &'i Index<'k>,
    suite: &'i str,
    state: State,
    frames: Vec<Frame>,
    choices: Vec<Choice>,
    /// The first dead end: what is told if there is no way around it.
    first: Option<ResolveError>,
}

impl Search<'_, '_> {
    fn run(mut self, kept: usize) -> Result<Vec<Rc<Package>>, ResolveError> {
        for _ in 0..MAX_STEPS {
            let Some(frame) = self.frames.last_mut() else {
                return Ok(self.state.chosen_after(kept));
            };
            let package = frame.package.clone();
            let Some(group) = package.depends.get(frame.next) else {
                self.frames.pop();
                continue;
            };
            frame.next += 1;
            if group.iter().any(|relation| self.state.fulfils(relation)) {
                continue;
            }
            let mut left = self.candidates(group)?;
            if left.is_empty() {
                let chain = self.frames.iter().map(|f| f.package.name().to_owned()).collect();
                let (needs, suite) = (relation::show(group), self.suite.to_owned());
                self.dead_end(ResolveError::Unmet { chain, needs, suite })?;
                continue;
            }
            left.reverse();
            self.try_next(left)?;
        }
        Err(ResolveError::TooHard)
    }

    /// What could fulfil a dependency, best first.
    fn candidates(&self, group: &Group) -> Result<Vec<Rc<Package>>, ResolveError> {
        let mut found: Vec<Rc<Package>> = Vec::new();
        for relation in group {
            for package in fulfilling(self.index, relation)? {
                if !found.iter().any(|p| p.id == package.id) {
                    found.push(package);
                }
            }
        }
        Ok(found)
    }

    /// Takes the last of `left` that excludes nothing chosen, and remembers the rest.
    fn try_next(&mut self, mut left: Vec<Rc<Package>>) -> Result<(), ResolveError> {
        let mut conflict = None;
        while let Some(package) = left.pop() {
            match self.state.add(&package) {
                Ok(()) => {
                    if !left.is_empty() {
                        let chosen = self.state.len() - 1;
                        let frames = self.frames.clone();
                        self.choices.push(Choice { frames, chosen, left });
                    }
                    self.frames.push(Frame { package, next: 0 });
                    return Ok(());
                }
                Err(found) => conflict = conflict.or(Some(found)),
            }
        }
        match conflict {
            Some(conflict) => self.dead_end(conflict.into()),
            None => Ok(()),
        }
    }

    /// Goes back to the last choice that has something left to try.
    fn dead_end(&mut self, error: ResolveError) -> Result<(), ResolveError> {
        let error = self.first.take().unwrap_or(error);
        let Some(choice) = self.choices.pop() else { return Err(error) };
        self.first = Some(error);
        self.state.shrink(choice.chosen);
        self.frames = choice.frames;
        self.try_next(choice.left)
    }
}

/// The packages that fulfil a relation: the one of that name, then its providers.
fn fulfilling(index: &Index<'_>, relation: &Relation) -> Result<Vec<Rc<Package>>, IndexError> {
    // A package of another architecture is never a candidate here.
    if !matches!(relation.qualifier.as_deref(), None | Some("any" | "native")) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    if let Some(id) = index.find(&relation.name) {
        let package = index.package(id)?;
        if relation.accepts(package.version()) {
            found.push(package);
        }
    }
    let mut providers = Vec::new();
    for id in index.providers(&relation.name) {
        let package = index.package(id)?;
        let mut same = package.provides.iter().filter(|p| p.name == relation.name);
        if same.any(|p| relation.accepts_provided(p.version.as_deref())) {
            providers.push(package);
        }
    }
    providers.sort_by_key(|p| p.priority);
    found.extend(providers);
    Ok(found)
}
