//! Wheels' trees put together, where Debian's Python looks for them.

use keg::{
    Kid,
    object::{Entry, Value},
    store::{Objects, StoreError},
    union::{self, Conflict, Resolution, UnionError},
};

use super::{target::Target, wheel::names::scheme};

/// Why wheels cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// Two wheels have different files of one name.
    #[error("{one} and {other} both have the file {path:?}, and the files differ")]
    Conflict {
        /// The one.
        one: String,
        /// The other.
        other: String,
        /// The path as it would be installed.
        path: String,
    },
    /// Putting trees together.
    #[error(transparent)]
    Union(#[from] UnionError),
    /// The Keg's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The union of wheels' trees, to be laid over a root with Debian's Python. `wheels`: what each is
/// called, and its tree.
///
/// # Errors
/// Two wheels have different files of one name.
pub fn put_together(
    objects: &dyn Objects,
    target: &Target,
    wheels: &[(String, Kid)],
) -> Result<Entry, SetError> {
    let layers: Vec<Kid> = wheels.iter().map(|(_, tree)| *tree).collect();
    let merged = union::union(objects, &layers, &agree);
    let merged = merged.map_err(|error| named(error, target, wheels))?;
    let Some(merged) = merged.kid() else { return Ok(merged) };
    let python = target.python();
    let mut all = Vec::new();
    for (scheme, place) in places(&python) {
        if let Some(part) = objects.walk(&merged, scheme)? {
            let grafted = union::with_prefix(objects, part, place.as_bytes())?;
            all.extend(grafted.kid());
        }
    }
    union::union(objects, &all, &agree).map_err(|error| match error {
        UnionError::Conflict { path, .. } => SetError::Conflict {
            one: "a data file of one package".into(),
            other: "another package".into(),
            path,
        },
        error => error.into(),
    })
}

/// Where the parts of wheels' trees go.
fn places(python: &str) -> [(&'static str, String); 4] {
    [
        (scheme::LIB, format!("usr/local/lib/python{python}/dist-packages")),
        (scheme::SCRIPTS, "usr/local/bin".to_owned()),
        (scheme::HEADERS, format!("usr/local/include/python{python}")),
        (scheme::DATA, "usr/local".to_owned()),
    ]
}

/// The same bytes are no conflict, whatever their times; of modes, the one that may be run stands.
fn agree(conflict: &Conflict) -> Resolution {
    let same = match (&conflict.lower.value, &conflict.upper.value) {
        (Value::File { kid: a, .. }, Value::File { kid: b, .. }) => a == b,
        (a, b) => a == b,
    };
    let runs = |entry: &Entry| entry.attrs.mode & 0o111 != 0;
    match same {
        false => Resolution::Fail,
        true if runs(&conflict.upper) && !runs(&conflict.lower) => Resolution::TakeUpper,
        true => Resolution::KeepLower,
    }
}

/// The conflict with the packages' names and the path as it would be installed.
fn named(error: UnionError, target: &Target, wheels: &[(String, Kid)]) -> SetError {
    let UnionError::Conflict { path, lower, upper } = error else { return error.into() };
    let name = |index: usize| wheels.get(index).map_or(String::new(), |(name, _)| name.clone());
    let python = target.python();
    let path = places(&python)
        .into_iter()
        .find_map(|(scheme, place)| {
            let rest = path.strip_prefix(scheme)?.strip_prefix('/')?;
            Some(format!("/{place}/{rest}"))
        })
        .unwrap_or(path);
    SetError::Conflict { one: name(lower), other: name(upper), path }
}
