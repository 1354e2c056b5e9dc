//! What is chosen so far, and whether something more may join it.

use std::{collections::HashMap, rc::Rc};

use super::ResolveError;
use crate::debian::{index::Package, relation::Relation};

/// Two packages that exclude one another.
pub struct Conflict {
    one: Rc<Package>,
    other: Rc<Package>,
    relation: Relation,
}

impl From<Conflict> for ResolveError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict {
            one: conflict.one.name().to_owned(),
            other: conflict.other.name().to_owned(),
            relation: conflict.relation.to_string(),
        }
    }
}

/// The chosen packages in the order they were chosen, with what they are known by.
#[derive(Default)]
pub struct State {
    order: Vec<Rc<Package>>,
    by_name: HashMap<String, Rc<Package>>,
    /// Provided name → who provides it, with its number in `provides`.
    provided: HashMap<String, Vec<(Rc<Package>, usize)>>,
    /// Excluded name → who excludes it, with its number in `excludes`.
    excluded: HashMap<String, Vec<(Rc<Package>, usize)>>,
}

impl State {
    /// Number of chosen packages.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether this package is chosen.
    pub fn has(&self, package: &Package) -> bool {
        self.by_name.get(package.name()).is_some_and(|p| p.id == package.id)
    }

    /// What was chosen after the first `kept`, by name.
    pub fn chosen_after(mut self, kept: usize) -> Vec<Rc<Package>> {
        let mut chosen = self.order.split_off(kept);
        chosen.sort_by(|a, b| a.name().cmp(b.name()));
        chosen
    }

    /// Whether something chosen fulfils the relation.
    pub fn fulfils(&self, relation: &Relation) -> bool {
        let named = self.by_name.get(&relation.name);
        if named.is_some_and(|p| relation.accepts(p.version())) {
            return true;
        }
        let providers = self.provided.get(&relation.name).into_iter().flatten();
        providers
            .map(|(package, i)| &package.provides[*i])
            .any(|provided| relation.accepts_provided(provided.version.as_deref()))
    }

    /// Chooses a package, unless it and something chosen exclude one another.
    pub fn add(&mut self, package: &Rc<Package>) -> Result<(), Conflict> {
        if self.has(package) {
            return Ok(());
        }
        if let Some(conflict) = self.conflict(package) {
            return Err(conflict);
        }
        self.order.push(package.clone());
        self.by_name.insert(package.name().to_owned(), package.clone());
        for (i, provided) in package.provides.iter().enumerate() {
            let list = self.provided.entry(provided.name.clone()).or_default();
            list.push((package.clone(), i));
        }
        for (i, relation) in package.excludes.iter().enumerate() {
            let list = self.excluded.entry(relation.name.clone()).or_default();
            list.push((package.clone(), i));
        }
        Ok(())
    }

    /// Takes back everything chosen after the first `len`.
    pub fn shrink(&mut self, len: usize) {
        while self.order.len() > len {
            let Some(package) = self.order.pop() else { return };
            self.by_name.remove(package.name());
            // Last in, first out: what this package added is last in every list.
            for provided in &package.provides {
                self.provided.get_mut(&provided.name).and_then(Vec::pop);
            }
            for relation in &package.excludes {
                self.excluded.get_mut(&relation.name).and_then(Vec::pop);
            }
        }
    }

    fn conflict(&self, package: &Rc<Package>) -> Option<Conflict> {
        let found = |one: &Rc<Package>, other: &Rc<Package>, relation: &Relation| {
            Some(Conflict { one: one.clone(), other: other.clone(), relation: relation.clone() })
        };
        for relation in &package.excludes {
            let named = self.by_name.get(&relation.name);
            if let Some(other) = named.filter(|p| relation.accepts(p.version())) {
                return found(package, other, relation);
            }
            for (other, i) in self.provided.get(&relation.name).into_iter().flatten() {
                if relation.accepts_provided(other.provides[*i].version.as_deref()) {
                    return found(package, other, relation);
                }
            }
        }
        for (one, i) in self.excluded.get(package.name()).into_iter().flatten() {
            if one.excludes[*i].accepts(package.version()) {
                return found(one, package, &one.excludes[*i]);
            }
        }
        for provided in &package.provides {
            for (one, i) in self.excluded.get(&provided.name).into_iter().flatten() {
                if one.excludes[*i].accepts_provided(provided.version.as_deref()) {
                    return found(one, package, &one.excludes[*i]);
                }
            }
        }
        None
    }
}
