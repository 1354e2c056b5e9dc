//! People: `/users/NAME.json`, a document for everybody who has changed something.
//!
//! A change says by a text who made it ([`crate::Txn`]). Where that is a person's, the version
//! also has the KID of the person's document, in `extra.user`; whoever changes something for the
//! first time gets a document by that very change. Services (`service/…`) are no people.
//!
//! Which document is somebody's: the first of `NAME`, `NAME-2`, … whose `author` is the text, whose
//! `accounts` (`ada@laptop`) hold it, or whose `email` is the address in it. NAME comes from the
//! address or the account. A text is a claim, as it is in git: nothing here proves it.

use serde_json::{Value as Json, json};

use crate::{
    Keg, Kid,
    machine::fit,
    names::{CommitError, Expected, Step, Txn, Version},
    object::Value,
    path::{MAX_APP_NAME, NamePath},
    store::{Objects, StoreError},
};

/// Most bytes of the text that says who made a change, where it is a person's.
pub const MAX_AUTHOR: usize = 1000;
/// Largest document of a person that is read.
const MAX_DOCUMENT: u64 = 1 << 20;
/// Most people whose names would be the same.
const MAX_SAME: usize = 20;
/// How often a change starts over because a document was made or removed meanwhile.
const MAX_ATTEMPTS: usize = 8;

/// Who makes a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Author {
    /// The text that the change carries.
    text: String,
    /// `None`: a service; or no document can be read or made.
    user: Option<User>,
}

/// A person's document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// The name, by which it is `/users/NAME.json`.
    pub name: String,
    /// The document.
    pub kid: Kid,
    /// What it is to be; `None`: it is there.
    new: Option<Json>,
}

impl Author {
    /// Whoever a text (`Ada <ada@example.org>`, `ada@laptop`, `service/mayor`) stands for in the
    /// newest version. `full_name` goes into a new document. An account whose person's document
    /// says another `author` is called that.
    ///
    /// # Errors
    /// The store's.
    pub fn of(keg: &Keg, text: &str, full_name: Option<&str>) -> Result<Self, StoreError> {
        let tree = tree(keg)?;
        let unknown = Self { text: text.to_owned(), user: None };
        // A document that cannot be read keeps nobody from working.
        let Ok(found) = look(keg.objects(), &tree, text) else { return Ok(unknown) };
        Ok(match found {
            Found::There(user, document) => {
                let called = document["author"].as_str().filter(|called| is_text(called));
                let text = called.filter(|_| mail(text).is_none()).unwrap_or(text).to_owned();
                Self { text, user: Some(user) }
            }
            Found::Free(name) => {
                let new = document(&name, text, full_name);
                let kid = Kid::of_blob(new.to_string().as_bytes());
                Self { text: text.to_owned(), user: Some(User { name, kid, new: Some(new) }) }
            }
            Found::Nobody => unknown,
        })
    }

    /// The text that the change carries.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The KID of the person's document, as it is or is made by the change.
    pub fn kid(&self) -> Option<Kid> {
        self.user.as_ref().map(|user| user.kid)
    }

    /// Makes a transaction this author's: its text, its KID and, if it is new, its document. That
    /// is expected to be absent: on a conflict there start over with [`Author::of`].
    #[must_use]
    pub fn sign(&self, mut txn: Txn) -> Txn {
        txn.author.clone_from(&self.text);
        let Some(User { name, kid, new }) = &self.user else { return txn };
        if let Some(new) = new {
            let Some(path) = path(name) else { return txn };
            // Who sets names there says what is there.
            if txn.steps.iter().any(|(step, _)| is_at_or_above(step, &path)) {
                return txn;
            }
            txn = txn.expect(path.clone(), Expected::Absent).set_json(path, new.clone());
        }
        txn.extra("user", json!(kid))
    }

    /// Where the document is to be made.
    fn new_path(&self) -> Option<NamePath> {
        let user = self.user.as_ref().filter(|user| user.new.is_some());
        user.and_then(|user| path(&user.name))
    }
}

/// Makes a transaction of a person, as [`Keg::commit`] does: its author gets a document if that is
/// the first one, and a change that changes nothing else makes none.
///
/// # Errors
/// As [`Keg::commit`]. The document is no reason why it cannot be made.
pub fn commit(keg: &Keg, txn: Txn, full_name: Option<&str>) -> Result<Version, CommitError> {
    for _ in 0..MAX_ATTEMPTS {
        let author = Author::of(keg, &txn.author, full_name)?;
        if author.new_path().is_some() && !changes(keg.objects(), &tree(keg)?, &txn)? {
            break;
        }
        match keg.commit(author.sign(txn.clone())) {
            // Somebody was faster.
            Err(CommitError::Conflict { path, .. }) if author.new_path() == Some(path.clone()) => {}
            done => return done,
        }
    }
    keg.commit(txn)
}

/// The document of whoever a text stands for, in a version with this tree: name and KID. `None`: a
/// service, or nobody whom that version knows.
///
/// # Errors
/// The store's.
pub fn find(
    objects: &dyn Objects,
    tree: &Kid,
    text: &str,
) -> Result<Option<(String, Kid)>, StoreError> {
    Ok(match look(objects, tree, text)? {
        Found::There(user, _) => Some((user.name, user.kid)),
        Found::Free(_) | Found::Nobody => None,
    })
}

enum Found {
    /// A document, and what it says.
    There(User, Json),
    /// None yet; this is the name for it.
    Free(String),
    /// A service; or too many people have the same name.
    Nobody,
}

fn look(objects: &dyn Objects, tree: &Kid, text: &str) -> Result<Found, StoreError> {
    let users = objects.walk(tree, "/users")?.map(|entry| entry.value);
    if !is_person(text) || users.is_some_and(|users| !matches!(users, Value::Tree { .. })) {
        return Ok(Found::Nobody);
    }
    let base = name_of(text);
    for number in 1..=MAX_SAME {
        let name = numbered(&base, number);
        let Some(path) = path(&name) else { break };
        let Some(entry) = objects.walk(tree, path.as_str())? else { return Ok(Found::Free(name)) };
        let Value::File { kid, size } = entry.value else { continue };
        if size > MAX_DOCUMENT {
            continue;
        }
        let document: Json = serde_json::from_slice(&objects.blob(&kid)?).unwrap_or_default();
        if is_of(&document, text) {
            return Ok(Found::There(User { name, kid, new: None }, document));
        }
    }
    Ok(Found::Nobody)
}

/// Whether a document is of the one a text stands for.
fn is_of(document: &Json, text: &str) -> bool {
    let accounts = document["accounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let same = |mail: &str| {
        document["email"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(mail))
    };
    document["author"] == text
        || accounts.iter().any(|account| account == text)
        || mail(text).is_some_and(same)
}

/// A new document: what the text says, and no more.
fn document(name: &str, text: &str, full_name: Option<&str>) -> Json {
    let mut document = json!({ "name": name, "author": text });
    let said = text.split_once('<').map(|(said, _)| said.trim());
    if let Some(full) = full_name.or(said).filter(|full| is_text(full)) {
        document["full_name"] = full.into();
    }
    match mail(text) {
        Some(mail) => document["email"] = mail.into(),
        None => document["accounts"] = json!([text]),
    }
    document
}

/// Whether a text is a person's: it says an address or an account.
fn is_person(text: &str) -> bool {
    let says = mail(text).is_some() || !text.contains('<') && text.contains('@');
    is_text(text) && !text.starts_with("service/") && says
}

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_AUTHOR && !text.contains(char::is_control)
}

/// The address in `Name <address>`.
fn mail(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('<')?;
    let mail = rest.strip_suffix('>')?.trim();
    (!mail.is_empty()).then_some(mail)
}

/// The name that a text asks for: of the address or the account what is before its `@`.
fn name_of(text: &str) -> String {
    let account = mail(text).unwrap_or(text);
    fit(account.split('@').next().unwrap_or_default(), "u-")
}

/// The name, or for another person who would have the same one `NAME-2` and so on.
fn numbered(base: &str, number: usize) -> String {
    if number == 1 {
        return base.to_owned();
    }
    let end = format!("-{number}");
    // It is ASCII.
    let kept = &base[..base.len().min(MAX_APP_NAME - end.len())];
    format!("{}{end}", kept.trim_end_matches('-'))
}

fn path(name: &str) -> Option<NamePath> {
    format!("/users/{name}.json").parse().ok()
}

fn is_at_or_above(one: &NamePath, path: &NamePath) -> bool {
    let rest = path.as_str().strip_prefix(one.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn tree(keg: &Keg) -> Result<Kid, StoreError> {
    let root = keg.master().latest()?;
    Ok(keg.objects().commit(&root.commit)?.tree)
}

/// Whether a transaction would change something in a version with this tree.
fn changes(objects: &dyn Objects, tree: &Kid, txn: &Txn) -> Result<bool, StoreError> {
    for (path, step) in &txn.steps {
        let now = objects.walk(tree, path.as_str())?;
        let same = match step {
            Step::Set(entry) => now.as_ref() == Some(entry),
            Step::SetJson(json) => {
                let kid = Kid::of_blob(json.to_string().as_bytes());
                now.and_then(|entry| entry.kid()) == Some(kid)
            }
            Step::Remove => now.is_none(),
        };
        if !same {
            return Ok(true);
        }
    }
    Ok(false)
}
