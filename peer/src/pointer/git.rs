//! What a ref of a git repository stands for, brought here as a value.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Read},
    time::Duration,
};

use keg::{Keg, Kid, object::Entry};

use super::{
    batch::Batch,
    convert::{ConvertError, Converter, Remarks, entries, hex},
    run::{GitError, How, LOCAL, Repository, io},
    source::Follow,
};

/// How long a repository may take to say what its refs are.
const ASK: How = How { online: true, timeout: Duration::from_secs(60) };
/// How long it may take to send what is asked for.
const FETCH: How = How { online: true, timeout: Duration::from_secs(1800) };
/// Most of the list of refs that is read, in bytes.
const MAX_REFS: u64 = 16 << 20;
/// Largest directory on the way to the path, and largest `.gitmodules`.
const MAX_TREE: u64 = 64 << 20;
/// Most files below a path, in bytes of their ids.
const MAX_IDS: u64 = 64 << 20;
/// The mode of a directory, as git writes it.
const DIRECTORY: u32 = 0o40_000;

/// Why a value cannot be brought from a repository.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It cannot be reached, or will not.
    #[error(transparent)]
    Git(#[from] GitError),
    /// It has none at all.
    #[error("it has no HEAD: nothing was committed there, or it is no git repository")]
    Empty,
    /// It has no such ref.
    #[error("it has no branch or tag {name}")]
    NoRef {
        /// Which.
        name: String,
    },
    /// It will not give this commit.
    #[error("it does not give commit {commit}: {source}")]
    NoCommit {
        /// Which.
        commit: String,
        /// In git's words.
        source: GitError,
    },
    /// There is no such path in the commit.
    #[error("there is no {path} in its commit {commit}")]
    NoPath {
        /// Which.
        path: String,
        /// In which.
        commit: String,
    },
    /// A link, or a submodule.
    #[error("{path} in its commit {commit} is neither a file nor a directory")]
    NoValue {
        /// Which.
        path: String,
        /// In which.
        commit: String,
    },
    /// It is here and cannot be a value.
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

/// What was brought.
pub(super) struct Brought {
    /// Its value: a tree, or a file.
    pub(super) entry: Entry,
    /// The commit it is of.
    pub(super) commit: String,
    pub(super) remarks: Remarks,
}

/// A repository elsewhere.
pub(super) struct Remote<'a> {
    keg: &'a Keg,
    repository: Repository,
}

impl<'a> Remote<'a> {
    /// Nothing is asked of it yet.
    pub(super) fn new(keg: &'a Keg, url: &str) -> Result<Self, FetchError> {
        Ok(Self { keg, repository: Repository::new(&keg.home().join("tmp"), url)? })
    }

    /// The commit that is to be brought, and the name to ask for it by.
    pub(super) fn ask(&self, follow: &Follow) -> Result<(String, String), FetchError> {
        let name = match follow {
            Follow::Commit(commit) => return Ok((commit.clone(), commit.clone())),
            Follow::Ref(name) => name,
        };
        let candidates = match name.as_str() {
            "HEAD" => vec!["HEAD".to_owned()],
            name if name.starts_with("refs/") => vec![name.to_owned()],
            name => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
        };
        let mut args = vec!["ls-remote", "--quiet", "origin"];
        args.extend(candidates.iter().map(String::as_str));
        let text = self.repository.text(&args, ASK, MAX_REFS)?;
        let refs: HashMap<&str, &str> =
            text.lines().filter_map(|line| line.split_once('\t').map(|(id, r)| (r, id))).collect();
        let found = candidates.into_iter().find_map(|full| {
            // A tag with a message is an object of its own; the commit is behind it.
            let peeled = refs.get(format!("{full}^{{}}").as_str());
            Some(((*peeled.or_else(|| refs.get(full.as_str()))?).to_owned(), full))
        });
        found.ok_or_else(|| match name.as_str() {
            "HEAD" => FetchError::Empty,
            name => FetchError::NoRef { name: name.to_owned() },
        })
    }

    /// Brings what is at a path of what is asked for. `former`: files that are here already.
    pub(super) fn bring(
        &self,
        name: &str,
        path: &str,
        former: HashSet<Kid>,
    ) -> Result<Brought, FetchError> {
        let repository = &self.repository;
        let mut args = vec!["fetch", "--quiet", "--depth=1", "--no-tags", "--no-auto-gc"];
        if !path.is_empty() {
            // Only the directories at first, then the files below the path.
            for (key, value) in PARTIAL {
                repository.run(&["config", key, value], b"", LOCAL)?;
            }
            args.push("--filter=blob:none");
        }
        args.extend(["origin", name]);
        repository.run(&args, b"", FETCH).map_err(|source| match source {
            GitError::Failed(_) if !name.starts_with("refs/") && name != "HEAD" => {
                FetchError::NoCommit { commit: name.to_owned(), source }
            }
            source => source.into(),
        })?;
        let rev = ["rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}"];
        let commit = repository.text(&rev, LOCAL, 100)?.trim().to_owned();
        let mut batch = Batch::new(repository)?;
        let top = batch.whole(&format!("{commit}^{{tree}}"), "tree", MAX_TREE)?;
        let top = top.ok_or(GitError::Answer("a commit without a tree"))?;
        let modules = entries(&top).flatten().find(|(_, name, _)| *name == b".gitmodules");
        let modules = modules.map(|(_, _, id)| hex(&id));
        let (mode, id) = self.find(&mut batch, &commit, path)?;
        if !path.is_empty() {
            drop(batch);
            self.files(mode, &hex(&id), modules.as_deref())?;
            batch = Batch::new(repository)?;
        }
        let urls = match &modules {
            Some(id) => self.submodules(id)?,
            None => HashMap::new(),
        };
        let mut converter = Converter::new(self.keg.objects(), &mut batch, urls, former);
        let entry = converter.run(&id, mode, path)?;
        let remarks = converter.remarks;
        Ok(Brought { entry, commit, remarks })
    }

    /// The mode and id of a path in a commit.
    fn find(
        &self,
        batch: &mut Batch,
        commit: &str,
        path: &str,
    ) -> Result<(u32, [u8; 20]), FetchError> {
        let tree = self.repository.text(
            &["rev-parse", "--verify", "--quiet", &format!("{commit}^{{tree}}")],
            LOCAL,
            100,
        )?;
        let mut found = (DIRECTORY, id_of(tree.trim()).ok_or(GitError::Answer("no tree"))?);
        let no_path = || FetchError::NoPath { path: path.to_owned(), commit: commit.to_owned() };
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let bytes = batch.whole(&hex(&found.1), "tree", MAX_TREE)?.ok_or_else(no_path)?;
            let next = entries(&bytes).flatten().find(|(_, name, _)| *name == part.as_bytes());
            found = next.map(|(mode, _, id)| (mode, id)).ok_or_else(no_path)?;
        }
        match found.0 & 0o170_000 {
            0o040_000 | 0o100_000 => Ok(found),
            _ => Err(FetchError::NoValue { path: path.to_owned(), commit: commit.to_owned() }),
        }
    }

    /// Brings the files below a directory, in one request.
    fn files(&self, mode: u32, id: &str, modules: Option<&str>) -> Result<(), FetchError> {
        let mut ids = String::new();
        if mode & 0o170_000 == 0o040_000 {
            let list = ["ls-tree", "-r", "--format=%(objecttype) %(objectname)", id];
            let list = self.repository.run(&list, b"", LOCAL)?.take(MAX_IDS);
            for line in BufReader::new(list).lines() {
                let line = line.map_err(io("reading git's answer"))?;
                if let Some(blob) = line.strip_prefix("blob ") {
                    ids.push_str(blob);
                    ids.push('\n');
                }
            }
        } else {
            ids = format!("{id}\n");
        }
        if let Some(modules) = modules {
            ids.push_str(modules);
            ids.push('\n');
        }
        if ids.is_empty() {
            return Ok(());
        }
        let fetch = [
            "-c",
            "fetch.negotiationAlgorithm=noop",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-auto-gc",
            "--no-write-fetch-head",
            "--recurse-submodules=no",
            "--filter=blob:none",
            "origin",
            "--stdin",
        ];
        self.repository.run(&fetch, ids.as_bytes(), FETCH)?;
        Ok(())
    }

    /// The addresses of submodules by path, from the blob of `.gitmodules`.
    fn submodules(&self, id: &str) -> Result<HashMap<Vec<u8>, String>, FetchError> {
        let keys = r"^submodule\..*\.(path|url)$";
        let args = ["config", "--blob", id, "-z", "--get-regexp", keys];
        let mut bytes = Vec::new();
        let listed = match self.repository.run(&args, b"", LOCAL) {
            // Nothing in it, or nothing that git can read: so it is with a push.
            Err(GitError::Failed(_)) => return Ok(HashMap::new()),
            listed => listed?,
        };
        listed.take(MAX_TREE).read_to_end(&mut bytes).map_err(io("reading git's answer"))?;
        let (mut paths, mut urls) = (HashMap::new(), HashMap::new());
        for setting in bytes.split(|byte| *byte == 0) {
            let Some(at) = setting.iter().position(|byte| *byte == b'\n') else { continue };
            let (key, value) = (&setting[..at], setting[at + 1..].to_vec());
            if let Some(name) = key.strip_suffix(b".path") {
                paths.insert(name.to_vec(), value);
            } else if let Some(name) = key.strip_suffix(b".url") {
                urls.insert(name.to_vec(), value);
            }
        }
        let known = paths.into_iter().filter_map(|(name, path)| {
            Some((path, String::from_utf8_lossy(urls.get(&name)?).into_owned()))
        });
        Ok(known.collect())
    }
}

/// What a repository is told to be before only a part of it is fetched.
const PARTIAL: [(&str, &str); 4] = [
    ("core.repositoryFormatVersion", "1"),
    ("extensions.partialClone", "origin"),
    ("remote.origin.promisor", "true"),
    ("remote.origin.partialCloneFilter", "blob:none"),
];

/// The bytes of 40 digits.
fn id_of(text: &str) -> Option<[u8; 20]> {
    let mut id = [0; 20];
    let digits = text.as_bytes();
    if digits.len() != 40 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(id)
}
