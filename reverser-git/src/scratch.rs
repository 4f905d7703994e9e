//! Folders in the one for temporary files that others can't look into.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::backoff::random;

/// A folder that goes with this.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a folder `reverser-<purpose>-…` that its owner alone may read.
    pub(crate) fn create(purpose: &str) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("reverser-{purpose}-{:016x}", random()));
        // One of that name that stands there is somebody else's, and an error.
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
