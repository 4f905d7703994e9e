//! Where certificates and the token outlive the process.

use std::{
    fmt::Debug,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// Keeps what is secret, by name.
///
/// # Contract
/// - What [`put`](Self::put) has taken is there after a crash, whole: the one before or this one.
/// - Nobody else reads it, and nobody else writes it while this is open.
/// - Names are file names: lower-case letters, digits, `-` and `.`.
#[async_trait::async_trait]
pub trait Store: Debug + Send + Sync {
    /// Returns what is kept under a name; `None` when nothing is.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps this under a name, in the place of what was there.
    async fn put(&self, name: &str, content: &[u8]) -> Result<(), StoreError>;
}

/// What was to be kept can't be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What is named can't be reached.
    #[error("could not {action} {what}")]
    Io {
        /// What was tried, such as `write`.
        action: &'static str,
        /// On what, such as a path.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another process keeps its own there.
    #[error("another reverser uses {}; end it, or give each a state folder of its own", folder.display())]
    Locked {
        /// Where.
        folder: PathBuf,
    },
}

impl StoreError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let what = path.display().to_string();
        move |source| Self::Io { action, what, source }
    }
}

/// Keeps files in a folder that nobody but their owner reads, written by a rename and fsynced. Clones share the folder's lock.
#[derive(Clone, Debug)]
pub struct FileStore {
    folder: PathBuf,
    /// Given back when the last clone is gone.
    _lock: Arc<File>,
}

impl FileStore {
    /// Makes the folder where it isn't there, and takes its lock; a process that is just ending is waited for, one second.
    pub async fn open(folder: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(StoreError::io("create", &folder))?;
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&path).map_err(StoreError::io("open", &path))?;
        let deadline = Instant::now() + LOCK_LINGERS;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { folder, _lock: Arc::new(lock) }),
                Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", &path)(source)),
                // Whatever tells of it would have to come from a process that is being killed.
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(Duration::from_millis(10)).await,
                Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { folder }),
            }
        }
    }
}

/// A process that was killed while it started a child has left its lock with the child, for a moment.
const LOCK_LINGERS: Duration = Duration::from_secs(1);

#[async_trait::async_trait]
impl Store for FileStore {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.folder.join(name);
        match tokio::fs::read(&path).await {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let failed = StoreError::io("write", &self.folder.join(name));
        let (folder, name, content) = (self.folder.clone(), name.to_owned(), content.to_vec());
        let written = tokio::task::spawn_blocking(move || replace(&folder, &name, &content)).await;
        written.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed)
    }
}

fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    // One that a crash has left may have been written by another version, with another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, folder.join(name))
    };
    let written = write();
    if written.is_err() {
        // On a full disk it takes room; what can't be removed is at the next write.
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn what_is_put_is_there_after_a_restart_and_nobody_else_may_read_it() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("state/webhook");
        let store = FileStore::open(&folder).await.unwrap();
        assert_eq!(store.get("token").await.unwrap(), None);
        // What a crash has left.
        fs::write(folder.join("token.new"), "half").unwrap();
        for content in ["one", "two"] {
            store.put("token", content.as_bytes()).await.unwrap();
        }
        drop(store);
        let store = FileStore::open(&folder).await.unwrap();
        assert_eq!(store.get("token").await.unwrap().as_deref(), Some(&b"two"[..]));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&folder), mode(&folder.join("token"))], [0o700, 0o600]);
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["lock", "token"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_has_one_user_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).await.unwrap();
        let refused = FileStore::open(folder.path()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
        drop(store);
        FileStore::open(folder.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_failure_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).await.unwrap();
        fs::create_dir(folder.path().join("token")).unwrap();
        for error in [store.get("token").await.unwrap_err(), store.put("token", b"x").await.unwrap_err()] {
            assert!(error.to_string().ends_with("/token"), "{error}");
        }
    }
}
