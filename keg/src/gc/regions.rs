//! Which subtrees the rules of a policy stand for: those with `*` for many.

use std::collections::{BTreeSet, HashSet};

use super::{
    GcError,
    policy::{ANY, Policy, PolicyError},
};
use crate::{
    Kid, NamePath,
    store::{Master, Objects, StoreError},
};

/// Most subtrees that all rules together may stand for: each is looked at in each version.
pub const MAX_REGIONS: usize = 10_000;

/// The paths of all rules, and for those with `*` every path that fits in any version from
/// `oldest` on.
pub(super) fn regions(
    master: &dyn Master,
    policy: &Policy,
    oldest: u64,
) -> Result<BTreeSet<NamePath>, GcError> {
    let (wild, plain): (Vec<&NamePath>, Vec<&NamePath>) =
        policy.rules.keys().partition(|path| path.components().any(|part| part == ANY));
    let mut found: BTreeSet<NamePath> = plain.into_iter().cloned().collect();
    if wild.is_empty() {
        return Ok(found);
    }
    let wild: Vec<Vec<&str>> = wild.iter().map(|path| path.components().collect()).collect();
    let mut seen = HashSet::new();
    for seq in (oldest..=master.latest()?.seq).rev() {
        let Some(root) = master.root(seq)? else { continue };
        let objects: &dyn Objects = master;
        let unread = |source| GcError::Unread { path: "/".to_owned(), seq, source };
        let tree = objects.commit(&root.commit).map_err(unread)?.tree;
        let start = || wild.iter().map(|rule| (NamePath::root(), tree, rule.as_slice()));
        let mut left: Vec<Step<'_>> = start().collect();
        while let Some(step) = left.pop() {
            if seen.insert((step.0.clone(), step.1, step.2.len())) {
                fit(objects, &step, &mut found, &mut left).map_err(unread)?;
            }
            if found.len() > MAX_REGIONS {
                let what = format!("rules for more than {MAX_REGIONS} subtrees");
                return Err(PolicyError::Unclear { what }.into());
            }
        }
    }
    Ok(found)
}

/// A directory, its tree, and what of a rule is below it.
type Step<'a> = (NamePath, Kid, &'a [&'a str]);

fn fit<'a>(
    objects: &dyn Objects,
    (path, tree, rule): &Step<'a>,
    found: &mut BTreeSet<NamePath>,
    left: &mut Vec<Step<'a>>,
) -> Result<(), StoreError> {
    let Some((part, rest)) = rule.split_first() else { return Ok(()) };
    for (name, entry) in &objects.tree(tree)?.entries {
        // A name that no path can say has no rule.
        let Ok(name) = std::str::from_utf8(name.as_bytes()) else { continue };
        let Ok(below) = path.join(name) else { continue };
        if *part != ANY && *part != name {
            continue;
        }
        if rest.is_empty() {
            found.insert(below);
        } else if let Some(tree) = objects.directory_of(entry)? {
            left.push((below, tree, rest));
        }
    }
    Ok(())
}
