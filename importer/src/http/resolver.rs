//! Host names are looked up once: the HTTP library would ask for every request, even on a
//! connection that is open, and name servers answer a flood by silence.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use ureq::{
    Error,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

/// Most names that are remembered.
const MAX_NAMES: usize = 256;

/// A resolver with a memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Remembering {
    known: Arc<Mutex<HashMap<String, ResolvedSocketAddrs>>>,
}

impl Remembering {
    /// Forgets everything: an address did not answer.
    pub fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Resolver for Remembering {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let key = format!(
            "{}://{}",
            uri.scheme_str().unwrap_or(""),
            uri.authority().map_or("", |a| a.as_str())
        );
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&key) {
            return Ok(copy(self, found));
        }
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        if known.len() < MAX_NAMES {
            known.insert(key, copy(self, &found));
        }
        Ok(found)
    }
}

/// The library's list of addresses has no `Clone`.
fn copy(resolver: &Remembering, from: &ResolvedSocketAddrs) -> ResolvedSocketAddrs {
    let mut to = resolver.empty();
    from.iter().for_each(|address| to.push(*address));
    to
}
