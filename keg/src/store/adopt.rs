//! Taking in a file that was written elsewhere in `tmp/`: a large blob is written once.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use super::{FileStore, StoreError, io};
use crate::Kid;

/// What objects are.
const MODE: u32 = 0o444;

impl FileStore {
    /// Makes a file of `tmp/` a large blob, as if it had been put: the next sync makes it durable
    /// and gives it its name. The caller has checked that its bytes are those of the KID.
    ///
    /// # Errors
    /// The disk's; then the file is where it was.
    pub(crate) fn adopt(
        &self,
        path: &Path,
        file: &File,
        kid: Kid,
        size: u64,
    ) -> Result<(), StoreError> {
        let what = || format!("storing {}", path.display());
        self.check_writable()?;
        if self.relies_on(&kid, size)? {
            return fs::remove_file(path).map_err(io(what()));
        }
        file.set_permissions(Permissions::from_mode(MODE)).map_err(io(what()))?;
        let mut pending = self.pending();
        let own = pending.new_path(&self.home)?;
        fs::rename(path, &own).map_err(io(what()))?;
        pending.add(kid, own, size);
        Ok(())
    }
}
