//! Whether a remote can be read and written, found out without changing anything there.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    backoff::random,
    branch::BranchName,
    credentials::RemoteAccess,
    objects::ObjectFormat,
    remote::{CliRemote, Refusal, Remote, RemoteError, RemoteTip, cli},
    store,
    url::RemoteUrl,
};

/// Tries a remote out.
///
/// What it can't know: hooks, branch protection and quotas, which a server tells only at a real push.
#[derive(Debug)]
pub struct RemoteProbe {
    url: RemoteUrl,
    remote: CliRemote,
    scratch: Scratch,
}

impl RemoteProbe {
    /// Returns a probe with a scratch repository in the folder for temporary files, which goes with it.
    pub async fn open(url: RemoteUrl, access: impl Into<RemoteAccess>) -> Result<Self, RemoteError> {
        let failed = |source| RemoteError::Scratch { source: Arc::new(source) };
        let scratch = Scratch::create().map_err(failed)?;
        let git_dir = scratch.git_dir();
        store::create(&git_dir, &BranchName::default()).map_err(failed)?;
        let remote = CliRemote::open(url.clone(), access, &git_dir, &scratch.0.join("login")).await?;
        Ok(Self { url, remote, scratch })
    }

    /// Returns where the branch is, which takes permission to read.
    pub async fn readable(&self, branch: &BranchName) -> Result<RemoteTip, RemoteError> {
        self.remote.tip(branch).await
    }

    /// Returns whether this user may push at all: git opens the connection for a push and logs in, and sends nothing. For a
    /// repository on this machine a file is made beside its objects, and removed, and the branch must not be checked out.
    pub async fn writable(&self, branch: &BranchName) -> Result<(), RemoteError> {
        let failed = |source| RemoteError::Scratch { source: Arc::new(source) };
        let format = self.remote.tip(branch).await?.object_format;
        if format != ObjectFormat::Sha1 {
            // Only what has the remote's format can be pushed.
            store::create_again(&self.scratch.git_dir(), branch, format).map_err(failed)?;
        }
        let commit = cli::empty_commit(&self.scratch.git_dir()).await.map_err(failed)?;
        self.remote.try_push(&commit).await?;
        let Some(folder) = self.url.is_local_path() else { return Ok(()) };
        if is_checked_out(folder, branch) {
            return Err(RemoteError::Refused {
                url: self.url.clone(),
                branch: branch.clone(),
                by: Refusal::CheckedOut,
                reason: "branch is currently checked out".into(),
                words: "its working tree would fall behind; give another --branch, or a bare repository".into(),
            });
        }
        try_write(folder).map_err(|source| RemoteError::Authentication {
            url: self.url.clone(),
            words: format!("its objects can't be written: {source}"),
        })
    }
}

/// Whether a push to the branch would pull the rug from under a working tree: git's receive.denyCurrentBranch.
fn is_checked_out(folder: &Path, branch: &BranchName) -> bool {
    let head = fs::read_to_string(folder.join(".git/HEAD")).unwrap_or_default();
    head.trim_end().strip_prefix("ref: ") == Some(&branch.full())
}

/// A folder for the time of a probe.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("reverser-probe-{:016x}", random()));
        // Others may not read the credentials; a folder of that name that stands there is an error.
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    fn git_dir(&self) -> PathBuf {
        self.0.join("repository.git")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn try_write(repository: &Path) -> io::Result<()> {
    let git_dir = [repository.join(".git"), repository.to_owned()];
    let objects = git_dir.iter().map(|git_dir| git_dir.join("objects")).find(|objects| objects.is_dir());
    // A `.git` file leads to a working tree's repository elsewhere; git has opened it, and a push will tell the rest.
    let Some(objects) = objects else { return Ok(()) };
    let file = objects.join(format!("tmp_reverser_probe_{:016x}", random()));
    OpenOptions::new().write(true).create_new(true).open(&file)?;
    fs::remove_file(&file)
}
