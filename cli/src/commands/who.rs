//! Who gives a command: the author of what it changes.

use keg::{
    Keg,
    names::{CommitError, Txn, Version},
};
use nix::unistd::{User, getuid};

/// `$KEG_AUTHOR`, else the account and the machine: `ada@laptop`. The account's name is the
/// password database's; where that knows none, `$USER` or `$LOGNAME`, else `uid-1000`.
pub fn author() -> String {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    set("KEG_AUTHOR").unwrap_or_else(|| {
        let known = account().map(|user| user.name).filter(|name| !name.is_empty());
        let user = known.or_else(|| set("USER")).or_else(|| set("LOGNAME"));
        let user = user.unwrap_or_else(|| format!("uid-{}", getuid().as_raw()));
        format!("{user}@{}", keg::machine::name())
    })
}

/// Makes a change of a person, who gets a document by the first one.
pub fn commit(keg: &Keg, txn: Txn) -> Result<Version, CommitError> {
    keg::users::commit(keg, txn, full_name().as_deref())
}

/// What the password database says of this account.
fn account() -> Option<User> {
    // Where it cannot be asked it knows nothing.
    User::from_uid(getuid()).ok().flatten()
}

/// The account's full name: the first field of what is said of it. Not that of `$KEG_AUTHOR`.
fn full_name() -> Option<String> {
    if std::env::var_os("KEG_AUTHOR").is_some_and(|author| !author.is_empty()) {
        return None;
    }
    let gecos = account()?.gecos;
    let full = gecos.to_str().ok()?.split(',').next()?.trim();
    (!full.is_empty()).then(|| full.to_owned())
}
