//! What the solver's names, versions and version sets stand for.

use std::{
    fmt::{self, Display},
    rc::Rc,
};

use resolvo::utils::VersionSet;

use crate::pypi::{
    name::PackageName,
    project::WheelFile,
    version::{Specifiers, Version},
};

/// What the solver chooses versions of: a project, or one of its extras. An extra is a package of
/// its own that needs the project in the same version.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Name {
    pub project: PackageName,
    pub extra: Option<PackageName>,
}

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.extra {
            Some(extra) => write!(f, "{}[{extra}]", self.project),
            None => write!(f, "{}", self.project),
        }
    }
}

/// What is asked of a name's version.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Ask {
    /// By a requirement.
    Of(Specifiers),
    /// By an extra, of its own project.
    Same(Version),
}

impl Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(specifiers) => write!(f, "{specifiers}"),
            Self::Same(version) => write!(f, "=={version}"),
        }
    }
}

/// One version of a name.
#[derive(Clone, Debug)]
pub struct Record {
    pub version: Version,
    pub wheel: Rc<WheelFile>,
}

impl Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.version)
    }
}

impl VersionSet for Ask {
    type V = Record;
}
