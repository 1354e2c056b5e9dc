//! Checking a whole Keg: every byte against its KID, every name against what it names.

mod report;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    process::Command,
    time::Instant,
};

pub use report::{Damage, Progress, Report};

use crate::{
    Keg, Kid, NamePath,
    directory::{self, Part, push_children},
    gc::{
        self,
        floors::{Extent, Floors},
    },
    mount,
    object::{EntryName, Kind, Value, shards::Node},
    store::{Audited, Objects, StoreError, io},
};

/// Most paths named for one damaged object.
const MAX_PATHS: usize = 20;
/// Most damaged objects listed one by one; the rest are counted.
const MAX_DAMAGED: usize = 10_000;
/// Progress is told once for this many objects.
const PROGRESS_EVERY: u64 = 256;

/// Checks everything a Keg holds. Others may go on using it meanwhile; what they add after the
/// start is not looked at.
///
/// # Errors
/// The Keg cannot be read at all; damage is not an error but in the report.
pub fn fsck(keg: &Keg, progress: &mut dyn FnMut(Progress)) -> Result<Report, StoreError> {
    fsck_with(keg, None, progress)
}

/// As [`fsck`], with a process that reads half of the large objects meanwhile: a command that runs
/// [`crate::store::work_check`] on the same Keg.
///
/// # Errors
/// As there. What the process fails to do is done here.
pub fn fsck_with(
    keg: &Keg,
    helper: Option<&mut Command>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, StoreError> {
    let started = Instant::now();
    // What moves while it is read would look like damage.
    let _alone = gc::hold_off(keg.home());
    let newest = keg.master().latest().ok();
    let mut check = Check::new(keg, Floors::read(keg.home())?, progress);
    for (place, what) in Floors::damage(keg.home()) {
        check.damage_at(place, &format!("{what}; the next `keg gc` writes it again"));
    }
    for (place, what) in gc::damaged_leases(keg.home())? {
        check.damage_at(&place, &what);
    }
    let mut visit = |audited| check.audited(audited);
    match keg.master().files() {
        Some(files) => files.audit_with(helper, &mut visit)?,
        None => keg.master().audit(&mut visit)?,
    }
    mount::audit_images(keg.home(), &mut |place, what| check.damage_at(place, what))
        .map_err(io("listing the images"))?;
    if let Some(newest) = newest {
        for seq in (check.floors.oldest()..=newest.seq).rev() {
            check.version(seq, seq == newest.seq)?;
        }
    } else {
        check.damage_at("log/HEAD", "the newest version cannot be found");
    }
    (check.progress)(check.told);
    Ok(check.report(started))
}

struct Check<'a> {
    keg: &'a Keg,
    /// What the policy for history has let go of is not missed.
    floors: Floors,
    told: Progress,
    progress: &'a mut dyn FnMut(Progress),
    /// What was read and is sound.
    sound: HashMap<Kid, (Kind, u64)>,
    /// What was read and is not, or is needed and was not there.
    bad: BTreeMap<Kid, Bad>,
    other: Vec<Damage>,
    /// What has been followed.
    seen: HashSet<Kid>,
    /// Directories of which only a part is kept in some version.
    partly: HashSet<Kid>,
    /// What only pointers led to so far.
    lent: HashSet<Kid>,
}

/// What is wrong with an object, and the names for it in the newest version that has any.
struct Bad {
    what: String,
    paths: Vec<String>,
    seq: u64,
}

impl Bad {
    fn new(what: String) -> Self {
        Self { what, paths: Vec::new(), seq: 0 }
    }
}

/// An object that is needed, and by which name.
struct Needed {
    kid: Kid,
    kind: Kind,
    /// As an entry says; `None`: nothing says.
    size: Option<u64>,
    path: String,
    /// The policy for history keeps all of it.
    whole: bool,
    /// It is a part of a directory that is split; the path is that of the directory.
    part: Option<Box<Part>>,
    /// Below a pointer: what is missing is elsewhere, and no damage.
    lent: bool,
}

/// The parts of a directory that a node of it lists.
fn parts_of(node: &Node, above: &Needed, whole: bool) -> Vec<Needed> {
    let mut parts = Vec::new();
    let end = above.part.as_ref().and_then(|part| part.end.as_ref());
    push_children(node, end, &mut parts);
    let needed = |part: Part| Needed {
        kid: part.shard.kid,
        kind: Kind::Tree,
        size: None,
        path: above.path.clone(),
        whole,
        part: Some(Box::new(part)),
        lent: above.lent,
    };
    parts.into_iter().map(needed).collect()
}

impl<'a> Check<'a> {
    fn new(keg: &'a Keg, floors: Floors, progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self {
            keg,
            floors,
            told: Progress::default(),
            progress,
            sound: HashMap::new(),
            bad: BTreeMap::new(),
            other: Vec::new(),
            seen: HashSet::new(),
            partly: HashSet::new(),
            lent: HashSet::new(),
        }
    }

    fn audited(&mut self, audited: Audited) {
        match audited {
            Audited::Object { kid, kind, bytes, damage } => {
                match damage {
                    None => {
                        self.sound.insert(kid, (kind, bytes));
                    }
                    Some(what) => {
                        self.bad.insert(kid, Bad::new(what));
                    }
                }
                self.told.objects += 1;
                self.told.bytes += bytes;
                if self.told.objects.is_multiple_of(PROGRESS_EVERY) {
                    (self.progress)(self.told);
                }
            }
            Audited::Damage { place, what } => self.damage_at(&place, &what),
        }
    }

    fn damage_at(&mut self, place: &str, what: &str) {
        self.other.push(Damage {
            kid: None,
            place: Some(place.to_owned()),
            what: what.to_owned(),
            paths: Vec::new(),
        });
    }

    /// Follows all names of a version that no newer one has led to.
    fn version(&mut self, seq: u64, current: bool) -> Result<(), StoreError> {
        self.told.versions += 1;
        let Some(root) = self.keg.master().root(seq)? else {
            self.damage_at("log", &format!("version {seq} is not there"));
            return Ok(());
        };
        let suffix = if current { String::new() } else { format!("@{}", root.commit) };
        let (kid, path) = (root.commit, format!("/{suffix}"));
        let (part, lent) = (None, false);
        let start = Needed { kid, kind: Kind::Commit, size: None, path, whole: false, part, lent };
        let mut left = vec![start];
        while let Some(needed) = left.pop() {
            let extent = self.extent(&needed, &suffix, seq);
            let away = needed.lent && !self.sound.contains_key(&needed.kid);
            let away = away && !self.bad.contains_key(&needed.kid);
            if extent == Extent::Gone || away || !self.is_sound(&needed, seq) {
                continue;
            }
            // What is partly kept here may be whole somewhere else.
            if extent == Extent::Partial {
                self.partly.insert(needed.kid);
            }
            let first = match needed.lent {
                true => !self.seen.contains(&needed.kid) && self.lent.insert(needed.kid),
                false => self.seen.insert(needed.kid),
            };
            if extent == Extent::Partial || first {
                self.follow(&needed, extent == Extent::Whole, (seq, &suffix), &mut left)?;
            }
        }
        (self.progress)(self.told);
        Ok(())
    }

    /// How much of it the policy for history keeps in a version.
    fn extent(&self, needed: &Needed, suffix: &str, seq: u64) -> Extent {
        if needed.whole {
            return Extent::Whole;
        }
        let path = needed.path.strip_suffix(suffix).unwrap_or(&needed.path);
        // No rule can be about what no path can say.
        path.parse().map_or(Extent::Gone, |path: NamePath| self.floors.extent(&path, seq))
    }

    /// Whether it was read and is what its name says; notes the path if not.
    fn is_sound(&mut self, needed: &Needed, seq: u64) -> bool {
        let wrong = match self.sound.get(&needed.kid) {
            Some((kind, size)) if *kind == needed.kind => match needed.size {
                Some(stated) if stated != *size => {
                    Some(format!("it has {size} bytes, but a name says {stated}"))
                }
                _ => None,
            },
            Some((kind, _)) => Some(format!("it is a {kind}, but a name says {}", needed.kind)),
            None => Some("it is not in this Keg".to_owned()),
        };
        let Some(what) = wrong else { return true };
        self.wrong(needed, what, seq);
        false
    }

    /// Notes what is wrong with an object, and a path that needs it.
    fn wrong(&mut self, needed: &Needed, mut what: String, seq: u64) {
        if let Some(part) = &needed.part {
            let end = part.end.as_ref().map_or("the end".to_owned(), EntryName::to_string_lossy);
            let first = part.shard.first.to_string_lossy();
            what = format!("{what}; it is the part of a directory from {first} to {end}");
        }
        let bad = self.bad.entry(needed.kid).or_insert_with(|| Bad::new(what));
        if bad.paths.is_empty() {
            bad.seq = seq;
        }
        if bad.seq == seq && bad.paths.len() < MAX_PATHS && !bad.paths.contains(&needed.path) {
            bad.paths.push(needed.path.clone());
        }
    }

    /// One object of a directory; `None`: it is whole, but not what it has to be, which is noted.
    fn node(&mut self, needed: &Needed, seq: u64) -> Result<Option<Node>, StoreError> {
        let read = directory::node(self.keg.objects(), &needed.kid);
        let checked = match (&read, &needed.part) {
            (Ok(node), Some(part)) => node.check(&part.shard, part.level, part.end.as_ref()),
            (Ok(node), None) => node.check_root(),
            (Err(_), _) => Ok(()),
        };
        match (read, checked) {
            (Ok(node), Ok(())) => Ok(Some(node)),
            (_, Err(source)) | (Err(StoreError::Invalid { source, .. }), _) => {
                self.wrong(needed, format!("its bytes are not a tree's: {source}"), seq);
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn follow(
        &mut self,
        needed: &Needed,
        whole: bool,
        (seq, suffix): (u64, &str),
        left: &mut Vec<Needed>,
    ) -> Result<(), StoreError> {
        let objects: &dyn Objects = self.keg.objects();
        let path = needed.path.strip_suffix(suffix).unwrap_or(&needed.path);
        let named = |path: String| format!("{path}{suffix}");
        match needed.kind {
            Kind::Blob => {}
            Kind::Commit => {
                let commit = objects.commit(&needed.kid)?;
                // The versions before are followed by themselves; those of other commits here.
                let parents = if path == "/" { Vec::new() } else { commit.parents };
                let kept = parents.into_iter().filter(|kid| !self.floors.cut.contains(kid));
                left.extend(kept.map(|kid| Needed {
                    kid,
                    kind: Kind::Commit,
                    size: None,
                    path: named(format!("{path}^")),
                    whole: true,
                    part: None,
                    lent: needed.lent,
                }));
                let path = named(path.to_owned());
                let (kid, kind, lent) = (commit.tree, Kind::Tree, needed.lent);
                left.push(Needed { kid, kind, size: None, path, whole, part: None, lent });
            }
            Kind::Tree => {
                let above = path.trim_end_matches('/');
                let Some(node) = self.node(needed, seq)? else { return Ok(()) };
                left.extend(parts_of(&node, needed, whole));
                let Node::Leaf(tree) = node else { return Ok(()) };
                for (name, entry) in tree.entries {
                    let pointer = matches!(entry.value, Value::Pointer { .. });
                    let lent = needed.lent || pointer;
                    let (kid, kind, size) = match entry.value {
                        Value::File { kid, size } => (kid, Kind::Blob, Some(size)),
                        Value::Tree { kid, .. } => (kid, Kind::Tree, None),
                        Value::Commit { kid } => (kid, Kind::Commit, None),
                        Value::Pointer { kid: Some(kid), .. } => match objects.kind(&kid)? {
                            Some(kind) => (kid, kind, None),
                            None => continue,
                        },
                        _ => continue,
                    };
                    let path = named(format!("{above}/{}", name.to_string_lossy()));
                    left.push(Needed { kid, kind, size, path, whole, part: None, lent });
                }
            }
        }
        Ok(())
    }

    fn report(self, started: Instant) -> Report {
        let sets = [&self.seen, &self.partly, &self.lent];
        let seen = |kid: &&Kid| !sets.iter().any(|set| set.contains(*kid));
        let unreferenced = self.sound.keys().filter(seen).count() as u64;
        let bad = self.bad.into_iter().map(|(kid, Bad { what, paths, .. })| Damage {
            kid: Some(kid),
            place: None,
            what,
            paths,
        });
        let mut damaged: Vec<Damage> = self.other.into_iter().chain(bad).collect();
        let more = damaged.len().saturating_sub(MAX_DAMAGED) as u64;
        damaged.truncate(MAX_DAMAGED);
        Report {
            objects: self.told.objects,
            bytes: self.told.bytes,
            versions: self.told.versions,
            unreferenced,
            damaged,
            more,
            seconds: started.elapsed().as_secs_f64(),
        }
    }
}
