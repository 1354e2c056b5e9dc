//! A conflict in plain words: who asks for what.

use std::collections::{BTreeMap, BTreeSet};

use resolvo::{
    Requirement as SolverRequirement, Solver,
    conflict::{Conflict, ConflictEdge, ConflictNode},
};

use super::{
    provider::Provider,
    terms::{Ask, Name},
};
use crate::pypi::{name::PackageName, requirements::Requirements, version::Version};

/// Most sentences of an explanation.
const MAX_SENTENCES: usize = 12;

/// Versions that ask for the same.
type Askers = BTreeMap<(Option<Name>, Name, String), BTreeSet<Version>>;

/// Sentences that together say why there is no solution.
pub fn explain(
    conflict: &Conflict,
    solver: &Solver<Provider<'_>>,
    requirements: &Requirements,
) -> Vec<String> {
    let provider = solver.provider();
    let graph = conflict.graph(solver).graph;
    let mut askers = Askers::new();
    let mut refused: BTreeMap<(Name, String), BTreeSet<Version>> = BTreeMap::new();
    let record = |id| {
        let solvable = provider.pool.resolve_solvable(id);
        (provider.pool.resolve_package_name(solvable.name).clone(), solvable.record.version.clone())
    };
    for edge in graph.edge_indices() {
        let Some((from, to)) = graph.edge_endpoints(edge) else { continue };
        match (&graph[from], &graph[edge], &graph[to]) {
            (ConflictNode::Solvable(id), _, ConflictNode::Excluded(why)) => {
                let (name, version) = record(*id);
                let why = provider.pool.resolve_string(*why).to_owned();
                refused.entry((name, why)).or_default().insert(version);
            }
            (from, ConflictEdge::Requires(SolverRequirement::Single(set)), _) => {
                let ask = provider.pool.resolve_version_set(*set);
                // That an extra needs its own project goes without saying.
                let Ask::Of(specifiers) = ask else { continue };
                let id = provider.pool.resolve_version_set_package_name(*set);
                let wanted = provider.pool.resolve_package_name(id).clone();
                let (asker, version) = match from {
                    ConflictNode::Solvable(id) => {
                        let (name, version) = record(*id);
                        (Some(name), Some(version))
                    }
                    _ => (None, None),
                };
                let key = (asker, wanted, specifiers.to_string());
                askers.entry(key).or_default().extend(version);
            }
            _ => {}
        }
    }
    let mut sentences = ask_sentences(&askers, requirements);
    for name in provider.missing.borrow().iter() {
        if askers.keys().any(|(_, wanted, _)| wanted.project == *name) {
            sentences.push(format!("the index has no package called {name}"));
        }
    }
    sentences.extend(refused_sentences(&refused, &askers, provider));
    let more = sentences.len().saturating_sub(MAX_SENTENCES);
    sentences.truncate(MAX_SENTENCES);
    if more > 0 {
        sentences.push(format!("and {more} more facts"));
    }
    sentences
}

fn ask_sentences(askers: &Askers, requirements: &Requirements) -> Vec<String> {
    let mut sentences = Vec::new();
    for ((asker, wanted, specifiers), versions) in askers {
        let sentence = match asker {
            Some(name) if name.project == wanted.project => continue,
            Some(name) => format!("{name} {} needs {wanted}{specifiers}", list(versions)),
            None => {
                let place = place_of(requirements, &wanted.project, specifiers);
                format!("{place} asks for {wanted}{specifiers}")
            }
        };
        sentences.push(sentence);
    }
    sentences
}

fn place_of(requirements: &Requirements, name: &PackageName, specifiers: &str) -> String {
    let lines = requirements.lines.iter().filter(|line| line.requirement.name == *name);
    let same = lines.clone().find(|line| line.requirement.specifiers.to_string() == specifiers);
    let line = same.or_else(|| lines.clone().next());
    line.map_or_else(|| "a line".to_owned(), |line| format!("{:#}", line.place))
}

/// Versions that were shut out, and those that have no wheel, as far as somebody asks for them.
fn refused_sentences(
    refused: &BTreeMap<(Name, String), BTreeSet<Version>>,
    askers: &Askers,
    provider: &Provider<'_>,
) -> Vec<String> {
    let mut sentences: Vec<String> = refused
        .iter()
        .map(|((name, why), versions)| format!("{name} {}: {why}", list(versions)))
        .collect();
    let projects: BTreeSet<_> = askers.keys().map(|(_, wanted, _)| &wanted.project).collect();
    for project in projects {
        let Ok(Some(all)) = provider.versions(project) else { continue };
        let newest = all.usable.last().map(|candidate| &candidate.version);
        // Only what is newer than all that can be used: that is what people miss.
        let missed = all.refused.iter().rev().find(|(version, _)| Some(version) > newest);
        if let Some((version, why)) = missed.filter(|(v, _)| !v.any_prerelease()) {
            sentences.push(format!("{project} {version}: {why}"));
        }
    }
    sentences
}

/// `1.0`, `1.0 and 1.1`, `1.0 to 1.9 (12 versions)`.
fn list(versions: &BTreeSet<Version>) -> String {
    match (versions.first(), versions.last(), versions.len()) {
        (Some(one), _, 1) => one.to_string(),
        (Some(first), Some(last), 2) => format!("{first} and {last}"),
        (Some(first), Some(last), count) => format!("{first} to {last} ({count} versions)"),
        _ => String::new(),
    }
}
