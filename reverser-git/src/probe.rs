//! Whether a remote can be read and written, found out without changing anything there.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    backoff::random,
    branch::BranchName,
    credentials::RemoteAccess,
    objects::ObjectFormat,
    remote::{CliRemote, Refusal, Remote, RemoteError, RemoteTip, cli},
    scratch::Scratch,
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
        let scratch = Scratch::create("probe").map_err(failed)?;
        let git_dir = repository_in(&scratch);
        store::create(&git_dir, &BranchName::default()).map_err(failed)?;
        let remote = CliRemote::open(url.clone(), access, &git_dir, &scratch.path().join("login")).await?;
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
            store::create_again(&repository_in(&self.scratch), branch, format).map_err(failed)?;
        }
        let commit = cli::empty_commit(&repository_in(&self.scratch)).await.map_err(failed)?;
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

fn repository_in(scratch: &Scratch) -> PathBuf {
    scratch.path().join("repository.git")
}

/// Whether a push to the branch would pull the rug from under a working tree: git's receive.denyCurrentBranch.
fn is_checked_out(folder: &Path, branch: &BranchName) -> bool {
    let head = fs::read_to_string(folder.join(".git/HEAD")).unwrap_or_default();
    head.trim_end().strip_prefix("ref: ") == Some(&branch.full())
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
