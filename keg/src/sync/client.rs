//! The end that asks for values: fetch, pull, clone.

use std::path::Path;

use super::{
    Body, Limits, MAX_HAVES, Message, Options, Progress, Transport, Verb, apply,
    error::{SyncError, broken, protocol},
    memo::Memo,
    message::{PackOrder, Resume, Want, WantTrees},
    pack::receive_pack,
    receive::{Expecting, Received, receive_trees},
    serve::FOUND,
    walk::{entry_kid, entry_named},
    wire::Input,
};
use crate::{
    Keg, Kid,
    gc::Lease,
    object::{Entry, Kind},
    path::NamePath,
    store::{Objects, StoreError},
};

/// How far back the commits before a value are offered as something to compare with.
const MAX_BACK: usize = 1 << 10;

/// What a pull has brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pulled {
    /// The value, which is here whole.
    pub value: Entry,
    /// Whether a name was set to it: not if it was that already, or something later.
    pub changed: bool,
    /// What has come.
    pub progress: Progress,
    /// Bytes of the answers.
    pub received: u64,
}

/// Fetches a value with everything it needs. No name is set: until one is, garbage collection may
/// remove it again. `haves` are values that are here whole and may be like it.
///
/// # Errors
/// [`SyncError`]; what has come stays, and is not fetched again.
pub fn fetch(
    keg: &Keg,
    transport: &mut dyn Transport,
    want: &Want,
    haves: &[Entry],
    limits: Limits,
    progress: &mut dyn FnMut(Progress),
) -> Result<Pulled, SyncError> {
    let mut memo = Memo::open(keg, transport.name(), &want_text(want));
    let haves = haves.iter().filter_map(entry_named).take(MAX_HAVES).collect();
    let mut fetch = Fetch { keg, transport, want, limits, progress, memo: &mut memo };
    let fetched = fetch.run(haves, &mut |_, _| Ok(true))?;
    memo.resume = None;
    memo.save()?;
    Ok(fetched)
}

/// Sets `to` here to what `from` is there, fetching what is missing. `/` brings all versions, and
/// only where this Keg has none of its own.
///
/// # Errors
/// [`SyncError::Conflict`] if `to` was changed here, too; [`SyncError`] otherwise.
pub fn pull(
    keg: &Keg,
    transport: &mut dyn Transport,
    from: &NamePath,
    to: &NamePath,
    options: &mut Options<'_>,
) -> Result<Pulled, SyncError> {
    let here = apply::current(keg, to)?;
    let mut memo = Memo::open(keg, transport.name(), &format!("{from} {to}"));
    let seen = memo.seen;
    // A Keg that has moved is known by what it has, not by its address.
    let mine =
        here.as_ref().and_then(entry_named).filter(|(_, kid)| seen.is_none() && memo.came(kid));
    let want = Want::Path(from.clone());
    let message = format!("Pull {from} from {}", transport.name());
    let mut fetch = Fetch {
        keg,
        transport,
        want: &want,
        limits: options.limits,
        progress: options.progress,
        memo: &mut memo,
    };
    let force = options.force;
    let mut ahead = false;
    let mut decide = |value: &Entry, base: Option<(Kind, Kid)>| {
        let seen = seen.or_else(|| mine.filter(|_| base == mine).map(|(_, kid)| Some(kid)));
        let standing = standing(keg.objects(), here.as_ref(), value, seen)?;
        if standing == Standing::Apart && !force {
            let (here, there) = (here.as_ref().and_then(Entry::kid), value.kid());
            return Err(SyncError::Conflict { path: to.clone(), here, there });
        }
        ahead = standing == Standing::Ahead && !force;
        Ok(!ahead)
    };
    let mut fetched = fetch.run(lineage(keg.objects(), here.as_ref()), &mut decide)?;
    if !ahead && here.as_ref() != Some(&fetched.value) {
        let by = (options.author.as_str(), message.as_str());
        apply::set(keg, to, &fetched.value, here.as_ref(), by)?;
        fetched.changed = true;
    }
    memo.seen = Some(entry_kid(&fetched.value));
    memo.resume = None;
    memo.save()?;
    Ok(fetched)
}

/// Makes a Keg in `dir` that has all versions of another: a backup, or a restored one. In a
/// directory with a Keg that came from there it brings what is new; so an interrupted one is
/// finished by running it again. Open streams are no versions and stay behind.
///
/// # Errors
/// [`SyncError::Conflict`] if the Keg in `dir` has versions of its own; [`SyncError`] otherwise.
pub fn clone(
    dir: &Path,
    transport: &mut dyn Transport,
    options: &mut Options<'_>,
) -> Result<(Keg, Pulled), SyncError> {
    let keg = Keg::open_or_create(dir)?;
    let root = NamePath::root();
    let pulled = pull(&keg, transport, &root, &root, options)?;
    Ok((keg, pulled))
}

/// How a value here stands to one there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// The one there follows it, or replaces what nobody changed here.
    Behind,
    /// It follows the one there.
    Ahead,
    /// Both were changed.
    Apart,
}

fn standing(
    objects: &dyn Objects,
    here: Option<&Entry>,
    there: &Entry,
    seen: Option<Option<Kid>>,
) -> Result<Standing, SyncError> {
    let Some(here) = here else { return Ok(Standing::Behind) };
    if here == there {
        return Ok(Standing::Behind);
    }
    if let (Some((Kind::Commit, old)), Some((Kind::Commit, new))) =
        (entry_named(here), entry_named(there))
    {
        return Ok(if apply::follows(objects, &new, &old)? {
            Standing::Behind
        } else if apply::follows(objects, &old, &new)? {
            Standing::Ahead
        } else {
            Standing::Apart
        });
    }
    Ok(match seen {
        Some(seen) if seen.is_some() && seen == here.kid() => Standing::Behind,
        Some(seen) if seen.is_some() && seen == there.kid() => Standing::Ahead,
        _ if here.kid().is_some() && here.kid() == there.kid() => Standing::Behind,
        _ => Standing::Apart,
    })
}

/// A value that is here, and some of the commits before it, ever further apart.
fn lineage(objects: &dyn Objects, here: Option<&Entry>) -> Vec<(Kind, Kid)> {
    let Some(named) = here.and_then(entry_named) else { return Vec::new() };
    let mut found = vec![named];
    let (mut at, mut back, mut next) = (named, 0usize, 1usize);
    while at.0 == Kind::Commit && back < MAX_BACK && found.len() < MAX_HAVES {
        let Ok(commit) = objects.commit(&at.1) else { break };
        let Some(parent) = commit.parents.first() else { break };
        at = (Kind::Commit, *parent);
        back += 1;
        if back == next {
            found.push(at);
            next *= 2;
        }
    }
    found
}

fn want_text(want: &Want) -> String {
    match want {
        Want::Path(path) => path.to_string(),
        Want::Value(_, kid) => kid.to_string(),
    }
}

/// A pull under way.
struct Fetch<'a> {
    keg: &'a Keg,
    transport: &'a mut dyn Transport,
    want: &'a Want,
    limits: Limits,
    progress: &'a mut dyn FnMut(Progress),
    memo: &'a mut Memo,
}

/// Looks at the value, and at what it was compared with, before its blobs are fetched, and says
/// whether they are wanted.
type Decide<'a> = dyn FnMut(&Entry, Option<(Kind, Kid)>) -> Result<bool, SyncError> + 'a;

impl Fetch<'_> {
    fn run(
        &mut self,
        haves: Vec<(Kind, Kid)>,
        decide: &mut Decide<'_>,
    ) -> Result<Pulled, SyncError> {
        let (compared, resumed) = (!haves.is_empty(), self.memo.resume.is_some());
        // What has come is named only at the end, which may be later than garbage waits.
        let _lease = Lease::hold(self.keg, "a pull", &[])?;
        match self.attempt(haves.clone(), decide) {
            // What came the last time may have been collected since: then all of it comes again.
            Err(SyncError::Store(StoreError::Missing { .. })) if resumed => {
                self.memo.resume = None;
                self.memo.save()?;
                self.attempt(haves, decide)
            }
            // It may know a value by name and yet lack a part of it (an unfinished push).
            Err(SyncError::Refused { .. }) if compared => self.attempt(Vec::new(), decide),
            other => other,
        }
    }

    fn attempt(
        &mut self,
        haves: Vec<(Kind, Kid)>,
        decide: &mut Decide<'_>,
    ) -> Result<Pulled, SyncError> {
        let (value, base, received, mut bytes) = self.trees(haves)?;
        let mut progress = Progress {
            objects: received.objects,
            blobs_total: received.missing.bits.ones(),
            bytes_total: received.bytes,
            ..Progress::default()
        };
        (self.progress)(progress);
        let wanted = decide(&value, base)?;
        if wanted && progress.blobs_total > 0 {
            let Received { ends, missing, .. } = received;
            let order = PackOrder { value: value.clone(), base, ends, missing };
            let request = Body::Bytes(order.encode()?);
            let answer = self.transport.exchange(Verb::Pack, request).map_err(broken)?;
            let mut input = Input::open(answer, Message::Pack)?;
            progress = receive_pack(self.keg, &mut input, &order, progress, self.progress)?;
            input.end()?;
            bytes += input.count();
        }
        Ok(Pulled { value, changed: false, progress, received: bytes })
    }

    /// The first round trip.
    #[allow(clippy::type_complexity, reason = "taken apart by its one caller")]
    fn trees(
        &mut self,
        haves: Vec<(Kind, Kid)>,
    ) -> Result<(Entry, Option<(Kind, Kid)>, Received, u64), SyncError> {
        let asked = WantTrees { want: self.want.clone(), haves, resume: self.memo.resume };
        let request = Body::Bytes(asked.encode());
        let answer = self.transport.exchange(Verb::Trees, request).map_err(broken)?;
        let mut input = Input::open(answer, Message::Trees)?;
        if input.tag()? != FOUND {
            return Err(protocol("an answer to something else"));
        }
        let value = input.entry()?.ok_or_else(|| protocol("an answer without a value"))?;
        if let Want::Value(kind, kid) = self.want
            && entry_named(&value) != Some((*kind, *kid))
        {
            return Err(SyncError::Wrong { kid: *kid, what: "it sent another value".into() });
        }
        let base = input.option(Input::named)?;
        if base.is_some_and(|base| !asked.haves.contains(&base)) {
            return Err(protocol("a comparison with something that is not here"));
        }
        let memo = &mut *self.memo;
        let value_kid = entry_kid(&value);
        let durable = &mut |objects| {
            let base = base.map(|(_, kid)| kid);
            memo.resume = value_kid.map(|value| Resume { value, base, objects });
            memo.save()
        };
        let limits = self.limits;
        let progress = &mut *self.progress;
        let told = &mut |objects| progress(Progress { objects, ..Progress::default() });
        let haves = &asked.haves;
        let expecting = Expecting { value: &value, base, haves, limits, durable, told };
        let received = receive_trees(self.keg, &mut input, expecting)?;
        Ok((value, base, received, input.count()))
    }
}
