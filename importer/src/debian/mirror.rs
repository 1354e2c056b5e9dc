//! Fetching from where apt fetches: HTTP, HTTPS through apt's proxies, and local mirrors.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    rc::Rc,
};

use super::apt::Proxies;
use crate::http::{Client, HttpError};

const BUFFER: usize = 128 * 1024;

/// Fetches documents; keeps connections alive between them.
pub struct Mirror {
    proxies: Proxies,
    clients: RefCell<HashMap<Option<String>, Rc<Client>>>,
}

impl Mirror {
    /// Fetches through these proxies.
    pub fn new(proxies: Proxies) -> Self {
        Self { proxies, clients: RefCell::default() }
    }

    /// A document in memory, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Client::fetch`].
    pub fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, HttpError> {
        self.fetch(url, limit, || Ok(Vec::new()), &mut |_| {})
    }

    /// A document into what `sink` makes for each attempt, telling `progress` each piece's size.
    ///
    /// # Errors
    /// As [`Client::fetch`].
    pub fn fetch<W: Write>(
        &self,
        url: &str,
        limit: u64,
        mut sink: impl FnMut() -> io::Result<W>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<W, HttpError> {
        if let Some(path) = url.strip_prefix("file:") {
            let fail = |source| HttpError::Sink { url: url.to_owned(), source };
            let mut sink = sink().map_err(fail)?;
            let path = path.strip_prefix("//").unwrap_or(path);
            copy(url, path, limit, &mut sink, progress)?;
            return Ok(sink);
        }
        self.client(url)?.fetch(url, limit, sink, progress)
    }

    fn client(&self, url: &str) -> Result<Rc<Client>, HttpError> {
        let proxy = self.proxies.of(url).map(str::to_owned);
        if let Some(client) = self.clients.borrow().get(&proxy) {
            return Ok(client.clone());
        }
        let client = Rc::new(Client::new(proxy.as_deref())?);
        self.clients.borrow_mut().insert(proxy, client.clone());
        Ok(client)
    }
}

fn copy(
    url: &str,
    path: &str,
    limit: u64,
    sink: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<(), HttpError> {
    let url = || url.to_owned();
    let mut file = match File::open(path) {
        Ok(file) => file.take(limit.saturating_add(1)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(HttpError::NotFound { url: url(), status: 404 });
        }
        Err(source) => return Err(HttpError::Body { url: url(), source }),
    };
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        let n = file.read(&mut buffer).map_err(|source| HttpError::Body { url: url(), source })?;
        total += n as u64;
        if n == 0 {
            return Ok(());
        }
        if total > limit {
            return Err(HttpError::TooLarge { url: url(), limit });
        }
        sink.write_all(&buffer[..n]).map_err(|source| HttpError::Sink { url: url(), source })?;
        progress(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_mirror_is_bounded_like_any_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        std::fs::write(&path, "12345").expect("written");
        let mirror = Mirror::new(Proxies::default());
        let url = format!("file://{}", path.display());
        assert_eq!(mirror.get(&url, 5).expect("there"), b"12345");
        assert!(matches!(mirror.get(&url, 4), Err(HttpError::TooLarge { limit: 4, .. })));
        assert!(matches!(mirror.get("file:/nonexistent", 4), Err(HttpError::NotFound { .. })));
    }
}
