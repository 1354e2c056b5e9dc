//! Where packages are kept: the page of each by the KID of its tree, and the apps that hold it.

use std::collections::{HashMap, HashSet};

use keg::Kid;

use crate::{
    docs::{Build, Package},
    error::Fault,
    location::url_of,
    overview,
    view::View,
};

/// The pages of packages.
#[derive(Default)]
pub struct Places(HashMap<Kid, String>);

impl Places {
    /// Those of the packages named.
    ///
    /// # Errors
    /// A failure inside.
    pub async fn of(view: &View, packages: &[Package]) -> Result<Self, Fault> {
        let kids = packages.iter().filter_map(|package| package.kid.as_deref()?.parse().ok());
        Self::find(view, kids.collect()).await
    }

    /// Those of trees.
    ///
    /// # Errors
    /// A failure inside.
    pub async fn find(view: &View, sought: HashSet<Kid>) -> Result<Self, Fault> {
        let mut places = HashMap::new();
        if sought.is_empty() {
            return Ok(Self(places));
        }
        let mut shelves = vec!["/packages/pypi/wheels".to_owned()];
        for (suite, _) in view.list("/packages/debian").await? {
            shelves.push(format!("/packages/debian/{}/pool", suite.to_string_lossy()));
        }
        for shelf in shelves {
            for (name, entry) in view.list(&shelf).await? {
                if let Some(kid) = entry.kid().filter(|kid| sought.contains(kid)) {
                    let url = url_of(&format!("{shelf}/{}", name.to_string_lossy()));
                    places.entry(kid).or_insert(url);
                }
            }
        }
        Ok(Self(places))
    }

    /// The page of the package whose tree this is.
    pub fn get(&self, kid: &Kid) -> Option<&str> {
        self.0.get(kid).map(String::as_str)
    }
}

/// The apps whose current release holds a package, with the release.
///
/// # Errors
/// A failure inside.
pub async fn holders(view: &View, package: &Kid) -> Result<Vec<(String, Kid)>, Fault> {
    let package = package.to_string();
    let mut holders = Vec::new();
    for (name, entry) in view.list("/oci-images").await?.into_iter().take(overview::MAX_APPS) {
        let build: Option<Build> = view.doc_below(&entry, "build.json").await?;
        let packages = build.unwrap_or_default().inputs.packages;
        let holds = packages.iter().any(|p| p.kid.as_deref() == Some(&package));
        if let Some(release) = entry.kid().filter(|_| holds) {
            holders.push((name.to_string_lossy(), release));
        }
    }
    Ok(holders)
}
