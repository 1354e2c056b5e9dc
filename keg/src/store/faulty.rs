//! A store that fails on purpose: proves that whoever uses a store lets its errors surface.

use std::{
    fs::File,
    io::{self as stdio, Read},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    Audited, BlobRead, FileStore, Master, Object, Objects, Plan, Root, StoreError, error::io,
};
use crate::{Kid, kid::KidPrefix, names::CommitError, object::Kind};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Writes and syncs end as on a full disk (ENOSPC).
    DiskFull,
    /// Writes and syncs end in a hardware error (EIO).
    WriteError,
    /// Reads end in a hardware error (EIO).
    ReadError,
    /// Objects are not there.
    Missing,
    /// One bit of what is read is flipped.
    BitFlip,
    /// The last byte of what is read is missing.
    Truncated,
}

impl Fault {
    fn on_write(self) -> Option<stdio::Error> {
        match self {
            Self::DiskFull => Some(rustix::io::Errno::NOSPC.into()),
            Self::WriteError => Some(rustix::io::Errno::IO.into()),
            _ => None,
        }
    }
}

/// Wraps a store; lets a number of operations pass, then every one meets the fault.
pub struct FaultyStore<S> {
    inner: S,
    fault: Fault,
    /// Operations that still pass.
    healthy: AtomicU64,
}

impl<S> FaultyStore<S> {
    /// Fails with `fault` after `healthy` operations that it could have met.
    pub fn new(inner: S, fault: Fault, healthy: u64) -> Self {
        Self { inner, fault, healthy: AtomicU64::new(healthy) }
    }

    /// The store below, which is sound.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Lets `healthy` more operations pass.
    pub fn heal(&self, healthy: u64) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    fn strikes(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.healthy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err()
    }

    fn write(&self) -> Result<(), StoreError> {
        match self.fault.on_write() {
            Some(error) if self.strikes() => Err(io("writing to the Keg")(error)),
            _ => Ok(()),
        }
    }

    /// What a read of `kid` meets instead of the object, if anything.
    fn read(&self, kid: &Kid) -> Result<bool, StoreError> {
        match self.fault {
            Fault::DiskFull | Fault::WriteError => Ok(false),
            _ if !self.strikes() => Ok(false),
            Fault::Missing => Err(StoreError::Missing { kid: *kid }),
            Fault::ReadError => {
                let error = stdio::Error::from(rustix::io::Errno::IO);
                Err(io(format_args!("reading {kid}"))(error))
            }
            Fault::BitFlip | Fault::Truncated => Ok(true),
        }
    }

    fn damage(&self, bytes: &mut Vec<u8>) {
        match (self.fault, bytes.len()) {
            (Fault::Truncated, 1..) => bytes.truncate(bytes.len() - 1),
            (_, 0) => bytes.push(0),
            (_, len) => bytes[len / 2] ^= 1,
        }
    }
}

impl<S: Objects> Objects for FaultyStore<S> {
    fn get(&self, kid: &Kid) -> Result<Object, StoreError> {
        let damaged = self.read(kid)?;
        let mut object = self.inner.get(kid)?;
        if damaged {
            self.damage(&mut object.bytes);
            // As every store does with what it read.
            if object.kind.kid_of(&object.bytes) != *kid {
                let what = "its bytes hash to another KID".to_owned();
                return Err(StoreError::Corrupt { kid: *kid, what });
            }
        }
        Ok(object)
    }

    fn open_blob(&self, kid: &Kid) -> Result<Box<dyn BlobRead>, StoreError> {
        let damaged = self.read(kid)?;
        let reader = self.inner.open_blob(kid)?;
        if damaged {
            let what = "its bytes hash to another KID".to_owned();
            return Err(StoreError::Corrupt { kid: *kid, what });
        }
        Ok(reader)
    }

    fn blob_size(&self, kid: &Kid) -> Result<u64, StoreError> {
        self.read(kid)?;
        self.inner.blob_size(kid)
    }

    fn kind(&self, kid: &Kid) -> Result<Option<Kind>, StoreError> {
        match self.read(kid) {
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(_) => self.inner.kind(kid),
        }
    }

    fn put(&self, kind: Kind, bytes: &[u8]) -> Result<Kid, StoreError> {
        self.write()?;
        self.inner.put(kind, bytes)
    }

    fn put_blob(&self, from: &mut dyn Read) -> Result<(Kid, u64), StoreError> {
        self.write()?;
        self.inner.put_blob(from)
    }

    fn put_changed(&self, file: &mut File, before: &Kid) -> Result<(Kid, u64), StoreError> {
        self.write()?;
        self.inner.put_changed(file, before)
    }

    fn rely_on(&self, kid: &Kid, size: u64) -> Result<bool, StoreError> {
        match self.read(kid) {
            Err(StoreError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
            Ok(_) => self.inner.rely_on(kid, size),
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.write()?;
        self.inner.sync()
    }

    fn retain(&self, kid: &Kid) -> Result<bool, StoreError> {
        self.write()?;
        self.inner.retain(kid)
    }

    fn candidates(&self, prefix: &KidPrefix) -> Result<Vec<Kid>, StoreError> {
        self.inner.candidates(prefix)
    }
}

impl<S: Master> Master for FaultyStore<S> {
    fn latest(&self) -> Result<Root, StoreError> {
        self.inner.latest()
    }

    fn root(&self, seq: u64) -> Result<Option<Root>, StoreError> {
        self.inner.root(seq)
    }

    fn advance(&self, plan: &mut Plan<'_>) -> Result<Root, CommitError> {
        self.write()?;
        self.inner.advance(&mut |_, root| plan(self, root))
    }

    fn audit(&self, visit: &mut dyn FnMut(Audited)) -> Result<(), StoreError> {
        self.inner.audit(&mut |audited| match audited {
            Audited::Object { kid, kind, bytes, damage } => {
                let met = self.read(&kid);
                let struck = !matches!(met, Ok(false));
                let damage = if struck { Some(damaged_by(self.fault)) } else { damage };
                visit(Audited::Object { kid, kind, bytes, damage });
            }
            other => visit(other),
        })
    }

    fn bell(&self) -> &Path {
        self.inner.bell()
    }

    fn files(&self) -> Option<&FileStore> {
        self.inner.files()
    }
}

fn damaged_by(fault: Fault) -> String {
    format!("it meets the fault {fault:?}")
}
