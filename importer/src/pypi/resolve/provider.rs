//! The index as the solver sees it: names, versions and what they need, read as they are asked for.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Display,
    rc::Rc,
};

use resolvo::{
    Candidates as SolverCandidates, Condition, ConditionId, ConditionalRequirement, Dependencies,
    DependencyProvider, Interner, KnownDependencies, NameId, SolvableId, SolverCache, StringId,
    VersionSetId, VersionSetUnionId, utils::Pool,
};

use super::{
    Asked, ResolveError, Source,
    candidates::Candidates,
    terms::{Ask, Name, Record},
};
use crate::pypi::{
    index::IndexError, name::PackageName, requirement::Requirement, requirements::Requirements,
    target::Target, version::Version,
};

/// Most versions that one attempt looks into; more means that it searches and does not find.
const MAX_READ: usize = 2_000;

/// What is let in although it usually is not; found out while solving.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Allowed {
    /// Projects whose pre-releases are taken: one is named by a requirement.
    pub prereleases: BTreeSet<PackageName>,
    /// Withdrawn versions that a requirement pins.
    pub yanked: BTreeSet<(PackageName, Version)>,
}

/// The provider of one attempt to solve.
pub struct Provider<'a> {
    pub pool: Pool<Ask, Name>,
    source: &'a dyn Source,
    target: &'a Target,
    requirements: &'a Requirements,
    /// As of the beginning of this attempt.
    allowed: Allowed,
    /// As it should have been; if it differs the attempt is worth nothing.
    pub found: RefCell<Allowed>,
    /// An error that ends the attempt.
    pub failed: RefCell<Option<ResolveError>>,
    candidates: RefCell<HashMap<PackageName, Option<Rc<Candidates>>>>,
    /// Who asked for a project first, for errors.
    asked_by: RefCell<BTreeMap<PackageName, Asked>>,
    /// Names asked for that the index does not have.
    pub missing: RefCell<BTreeSet<PackageName>>,
    stop: Cell<bool>,
    /// Wheels whose metadata was asked for.
    read: Cell<usize>,
}

impl<'a> Provider<'a> {
    pub fn new(
        source: &'a dyn Source,
        target: &'a Target,
        requirements: &'a Requirements,
        allowed: Allowed,
    ) -> Self {
        Self {
            pool: Pool::new(),
            source,
            target,
            requirements,
            found: RefCell::new(allowed.clone()),
            allowed,
            failed: RefCell::new(None),
            candidates: RefCell::default(),
            asked_by: RefCell::default(),
            missing: RefCell::default(),
            stop: Cell::new(false),
            read: Cell::new(0),
        }
    }

    /// What the lines of the requirements ask of the solver.
    pub fn roots(&self) -> Vec<ConditionalRequirement> {
        let mut roots = Vec::new();
        for line in &self.requirements.lines {
            self.asks(&line.requirement, &Asked::Line(line.place.clone()), &mut roots);
        }
        roots
    }

    /// A project's versions for this target; `None` if the index has no such project.
    pub fn versions(&self, name: &PackageName) -> Result<Option<Rc<Candidates>>, ResolveError> {
        if let Some(known) = self.candidates.borrow().get(name) {
            return Ok(known.clone());
        }
        let line = self.requirements.line_of(name);
        if self.requirements.hashed && line.is_none() {
            let by = self.asked_by.borrow().get(name).map_or(String::new(), Asked::to_string);
            return Err(ResolveError::Unlisted { name: name.clone(), by });
        }
        let hashes: BTreeSet<String> = self
            .requirements
            .lines
            .iter()
            .filter(|line| line.requirement.name == *name)
            .flat_map(|line| line.hashes.iter().cloned())
            .collect();
        let hashes = self.requirements.hashed.then_some(&hashes);
        let project = self.source.project(name)?;
        let found = project.map(|p| Rc::new(Candidates::of(&p, self.target, hashes)));
        self.candidates.borrow_mut().insert(name.clone(), found.clone());
        Ok(found)
    }

    /// Adds what a requirement asks: of the project, and of each extra.
    fn asks(&self, want: &Requirement, by: &Asked, into: &mut Vec<ConditionalRequirement>) {
        self.asked_by.borrow_mut().entry(want.name.clone()).or_insert_with(|| by.clone());
        let mut found = self.found.borrow_mut();
        if want.specifiers.names_prerelease() {
            found.prereleases.insert(want.name.clone());
        }
        if let Some(version) = want.specifiers.pinned() {
            found.yanked.insert((want.name.clone(), version.clone()));
        }
        drop(found);
        for extra in std::iter::once(None).chain(want.extras.iter().cloned().map(Some)) {
            let name = Name { project: want.name.clone(), extra };
            let id = self.pool.intern_package_name(name);
            let set = self.pool.intern_version_set(id, Ask::Of(want.specifiers.clone()));
            into.push(set.into());
        }
    }

    /// Whether the attempt has to be made again: something was shut out that should not have been.
    pub fn is_stale(&self) -> bool {
        let found = self.found.borrow();
        let loaded = self.candidates.borrow();
        let shut = |name: &PackageName| {
            let known = loaded.get(name).and_then(Option::as_ref);
            known.is_some_and(|all| {
                let pre = all.usable.iter().any(|c| c.version.any_prerelease());
                pre && !all.only_prereleases()
            })
        };
        found.prereleases.difference(&self.allowed.prereleases).any(shut)
            || found.yanked.difference(&self.allowed.yanked).any(|(name, version)| {
                let known = loaded.get(name).and_then(Option::as_ref);
                known.is_some_and(|all| {
                    all.usable.iter().any(|c| c.version == *version && c.wheel.yanked.is_some())
                })
            })
    }

    /// "If only pre-releases satisfy the specifier, they are accepted" (PEP 440).
    fn notice_only_prereleases(&self, set: VersionSetId, found: &[SolvableId]) {
        let project = &self.name(self.pool.resolve_version_set_package_name(set)).project;
        let pre = |id: &SolvableId| self.pool.resolve_solvable(*id).record.version.any_prerelease();
        if !found.is_empty() && found.iter().all(pre) {
            self.found.borrow_mut().prereleases.insert(project.clone());
        }
        if self.is_stale() {
            self.stop.set(true);
        }
    }

    fn fail(&self, error: ResolveError) {
        self.failed.borrow_mut().get_or_insert(error);
        self.stop.set(true);
    }

    fn name(&self, id: NameId) -> &Name {
        self.pool.resolve_package_name(id)
    }

    /// Why a version is shut out, if it is.
    fn shut_out(&self, name: &PackageName, all: &Candidates, record: &Record) -> Option<String> {
        let version = &record.version;
        let prerelease = version.any_prerelease()
            && !self.requirements.prereleases
            && !all.only_prereleases()
            && !self.allowed.prereleases.contains(name);
        if prerelease {
            return Some("it is a pre-release, which nothing asks for".into());
        }
        let reason = record.wheel.yanked.as_ref()?;
        let pinned = self.allowed.yanked.contains(&(name.clone(), version.clone()));
        let reason = if reason.is_empty() { "no reason given" } else { reason };
        let reason: String = reason.chars().take(200).collect();
        (!pinned).then(|| format!("it was withdrawn ({reason}); pin it with == to use it"))
    }

    fn needs(&self, solvable: SolvableId) -> Result<KnownDependencies, Unusable> {
        let solvable = self.pool.resolve_solvable(solvable);
        let name = self.name(solvable.name);
        let Record { version, wheel } = &solvable.record;
        self.read.set(self.read.get() + 1);
        if self.read.get() > MAX_READ {
            return Err(Unusable::Failed(ResolveError::TooHard));
        }
        let metadata = self.source.metadata(wheel).map_err(|error| match error {
            IndexError::Metadata { source, .. } => Unusable::Reason(source.to_string()),
            error => Unusable::Failed(error.into()),
        })?;
        let mut needs = KnownDependencies::default();
        if metadata.name != name.project || metadata.version != *version {
            let (other, version) = (&metadata.name, &metadata.version);
            return Err(Unusable::Reason(format!("its wheel says it is {other} {version}")));
        }
        if let Some(python) = &metadata.requires_python
            && !python.contains(self.target.python_full())
        {
            let reason = format!("it needs Python {python}, not {}", self.target.python());
            return Err(Unusable::Reason(reason));
        }
        if name.extra.is_some() {
            let project = Name { project: name.project.clone(), extra: None };
            let id = self.pool.intern_package_name(project);
            let same = self.pool.intern_version_set(id, Ask::Same(version.clone()));
            needs.requirements.push(same.into());
        }
        let by = Asked::Package(format!("{name} {version}"));
        for want in &metadata.requires {
            let plain = want.applies(self.target, None);
            let wanted = match &name.extra {
                None => plain,
                Some(extra) => !plain && want.applies(self.target, Some(extra)),
            };
            if wanted {
                self.asks(want, &by, &mut needs.requirements);
            }
        }
        if self.is_stale() {
            self.stop.set(true);
        }
        Ok(needs)
    }
}

/// Why a version's needs are not known.
enum Unusable {
    /// This version cannot be used.
    Reason(String),
    /// Nothing can be done.
    Failed(ResolveError),
}

impl Interner for Provider<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let solvable = self.pool.resolve_solvable(solvable);
        format!("{} {}", self.name(solvable.name), solvable.record)
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        self.name(name)
    }

    fn display_version_set(&self, set: VersionSetId) -> impl Display + '_ {
        self.pool.resolve_version_set(set)
    }

    fn display_string(&self, id: StringId) -> impl Display + '_ {
        self.pool.resolve_string(id)
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        self.pool.resolve_version_set_package_name(set)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        self.pool.resolve_solvable(solvable).name
    }

    fn version_sets_in_union(&self, id: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.pool.resolve_version_set_union(id)
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        self.pool.resolve_condition(condition).clone()
    }
}

impl DependencyProvider for Provider<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let ask = self.pool.resolve_version_set(set);
        let fits = |id: &SolvableId| {
            let version = &self.pool.resolve_solvable(*id).record.version;
            let fits = match ask {
                Ask::Of(specifiers) => specifiers.contains(version),
                Ask::Same(same) => same == version,
            };
            fits != inverse
        };
        let found: Vec<SolvableId> = candidates.iter().copied().filter(fits).collect();
        if let (Ask::Of(_), false) = (ask, inverse) {
            self.notice_only_prereleases(set, &found);
        }
        found
    }

    async fn get_candidates(&self, name: NameId) -> Option<SolverCandidates> {
        let project = &self.name(name).project;
        let all = match self.versions(project) {
            Ok(Some(all)) => all,
            Ok(None) => {
                self.missing.borrow_mut().insert(project.clone());
                return None;
            }
            Err(error) => {
                self.fail(error);
                return None;
            }
        };
        let mut found = SolverCandidates::default();
        for candidate in &all.usable {
            let wheel = Rc::new(candidate.wheel.clone());
            let record = Record { version: candidate.version.clone(), wheel };
            let why = self.shut_out(project, &all, &record);
            let id = self.pool.intern_solvable(name, record);
            found.candidates.push(id);
            if let Some(why) = why {
                found.excluded.push((id, self.pool.intern_string(why)));
            }
        }
        Some(found)
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let version = |id: &SolvableId| &self.pool.resolve_solvable(*id).record.version;
        solvables.sort_by(|a, b| version(b).cmp(version(a)));
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        match self.needs(solvable) {
            Ok(needs) => Dependencies::Known(needs),
            Err(Unusable::Reason(why)) => Dependencies::Unknown(self.pool.intern_string(why)),
            Err(Unusable::Failed(error)) => {
                self.fail(error);
                Dependencies::Unknown(self.pool.intern_string("it could not be read"))
            }
        }
    }

    fn should_cancel_with_value(&self) -> Option<Box<dyn Any>> {
        self.stop.get().then(|| Box::new(()) as Box<dyn Any>)
    }
}
