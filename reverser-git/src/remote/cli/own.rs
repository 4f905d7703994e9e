//! A repository without a remote, as the remote of itself: commits are there already, and a push moves the branch.

use std::{fs::File, io, path::PathBuf};

use crate::{
    blocking::blocking,
    branch::BranchName,
    fault,
    notes::REF,
    remote::{
        NotesPushed, Pushed, Refusal, Remote, RemoteError, RemoteTip, TipMove,
        cli::{Configuration, READ_LIMIT, git, parse_id, run},
    },
    sink::CommitId,
    url::RemoteUrl,
};

/// The repository that commits are made in. Others may use it at the same time: git moves the branch, with its own locks.
#[derive(Debug)]
pub(crate) struct OwnRepository {
    url: RemoteUrl,
    git_dir: PathBuf,
}

impl OwnRepository {
    pub(crate) fn new(url: RemoteUrl, git_dir: PathBuf) -> Self {
        Self { url, git_dir }
    }

    /// Refuses a branch that stands in a working tree, whose files would fall behind: receive.denyCurrentBranch, git-config(1).
    async fn is_free(&self, branch: &BranchName) -> Result<(), RemoteError> {
        let trees = self.ask("read the working trees of", &["worktree", "list", "--porcelain"]).await?;
        match tree_of(&trees, branch) {
            None => Ok(()),
            Some(tree) => Err(RemoteError::Refused {
                url: self.url.clone(),
                branch: branch.clone(),
                by: Refusal::CheckedOut,
                reason: "branch is currently checked out".to_owned(),
                words: format!("in {tree}"),
            }),
        }
    }

    async fn ask(&self, action: &'static str, arguments: &[&str]) -> Result<String, RemoteError> {
        let mut command = git(Some(&self.git_dir), Configuration::Ours, None);
        command.args(arguments);
        let output = run(command, READ_LIMIT).await.map_err(|failure| failure.of(action, &self.url))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(self.failed(action, String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn failed(&self, action: &'static str, words: impl ToString) -> RemoteError {
        RemoteError::Failed { action, url: self.url.clone(), words: words.to_string() }
    }

    /// gits before 2.36 don't fsync refs.
    async fn sync(&self, name: &str) -> io::Result<()> {
        let file = self.git_dir.join(name);
        let sync = move || {
            for path in file.ancestors().take(2) {
                match File::open(path) {
                    // Packed meanwhile, by a git that may do that.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    opened => opened?.sync_all()?,
                }
            }
            Ok(())
        };
        blocking(sync).await
    }
}

#[async_trait::async_trait]
impl Remote for OwnRepository {
    async fn tip(&self, branch: &BranchName) -> Result<RemoteTip, RemoteError> {
        self.is_free(branch).await?;
        const ACTION: &str = "read the refs of";
        let refs =
            self.ask(ACTION, &["for-each-ref", "--format=%(HEAD)%(objectname) %(refname)", "refs/heads/"]).await?;
        parse_refs(&refs, branch).ok_or_else(|| RemoteError::Unreadable {
            action: ACTION,
            url: self.url.clone(),
            output: refs.clone(),
        })
    }

    async fn fetch(&self, branch: &BranchName) -> Result<CommitId, RemoteError> {
        let tip = self.tip(branch).await?;
        tip.branch.ok_or_else(|| self.failed("read from", format!("there is no {}", branch.full())))
    }

    async fn push(
        &self,
        commit: &CommitId,
        branch: &BranchName,
        expected: Option<&CommitId>,
    ) -> Result<Pushed, RemoteError> {
        self.is_free(branch).await?;
        match self.move_ref(&branch.full(), commit, expected).await {
            Ok(()) => {
                fault::reached("branch-moved");
                self.sync(&branch.full()).await.map_err(|error| self.failed(MOVE, error))?;
                Ok(Pushed::Moved)
            }
            Err(error) => match self.tip(branch).await?.branch {
                tip if tip.as_ref() == Some(commit) => Ok(Pushed::UpToDate),
                tip if tip.as_ref() == expected => Err(error),
                _ => Err(RemoteError::MovedTip {
                    url: self.url.clone(),
                    branch: branch.clone(),
                    how: TipMove::FetchFirst,
                    reason: "fetch first".to_owned(),
                }),
            },
        }
    }

    async fn fetch_notes(&self) -> Result<Option<CommitId>, RemoteError> {
        const ACTION: &str = "read the refs of";
        let text = self.ask(ACTION, &["for-each-ref", "--format=%(objectname)", REF]).await?;
        match text.trim_end() {
            "" => Ok(None),
            id => parse_id(id).map(Some).ok_or_else(|| self.failed(ACTION, &text)),
        }
    }

    async fn push_notes(&self, commit: &CommitId, expected: Option<&CommitId>) -> Result<NotesPushed, RemoteError> {
        match self.move_ref(REF, commit, expected).await {
            Ok(()) => {
                self.sync(REF).await.map_err(|error| self.failed(MOVE, error))?;
                Ok(NotesPushed::Done)
            }
            Err(error) => match self.fetch_notes().await? {
                tip if tip.as_ref() == Some(commit) => Ok(NotesPushed::Done),
                tip if tip.as_ref() == expected => Err(error),
                _ => Ok(NotesPushed::Moved),
            },
        }
    }
}

impl OwnRepository {
    /// Moves a ref from `expected` (`None`: it must not be there), or not at all.
    async fn move_ref(&self, name: &str, commit: &CommitId, expected: Option<&CommitId>) -> Result<(), RemoteError> {
        // Zeros: it must not be there; git-update-ref(1).
        let nothing = "0".repeat(commit.as_str().len());
        let expected = expected.map_or(nothing.as_str(), CommitId::as_str);
        self.ask(MOVE, &["update-ref", "-m", "reverser", name, commit.as_str(), expected]).await.map(drop)
    }
}

const MOVE: &str = "move the branch of";

/// Reads `git worktree list --porcelain`; returns where the branch is checked out.
///
/// ```text
/// worktree /srv/a
/// HEAD 05f8…
/// branch refs/heads/main
/// ```
fn tree_of<'a>(trees: &'a str, branch: &BranchName) -> Option<&'a str> {
    let mut tree = None;
    for line in trees.lines() {
        if let Some(path) = line.strip_prefix("worktree ") {
            tree = Some(path);
        } else if line.strip_prefix("branch ") == Some(branch.full().as_str()) {
            return tree;
        }
    }
    None
}

/// Reads a line for each branch, such as `*05f8… refs/heads/main`; the asterisk is at what HEAD names, others have a blank.
fn parse_refs(refs: &str, branch: &BranchName) -> Option<RemoteTip> {
    let mut tip = RemoteTip::default();
    for line in refs.lines() {
        let (id, name) = line.get(1..)?.split_once(" refs/heads/")?;
        let id = parse_id(id)?;
        if name == branch.as_str() {
            tip.branch = Some(id.clone());
        }
        if line.starts_with('*') {
            tip.default_branch = name.parse().ok().zip(Some(id));
        }
    }
    Some(tip)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "05f8a3a7bf58ae94baa1d4e2dd6b4bcb3a28a9c5";

    #[test]
    fn a_branch_and_the_default_branch_are_read() {
        let refs = format!(" {ID} refs/heads/a/main\n*{ID} refs/heads/trunk\n {ID} refs/heads/main\n");
        let tip = parse_refs(&refs, &BranchName::default()).unwrap();
        assert_eq!(tip.branch.unwrap().as_str(), ID);
        assert_eq!(tip.default_branch.unwrap().0.as_str(), "trunk");
        assert_eq!(parse_refs("", &BranchName::default()), Some(RemoteTip::default()));
        assert_eq!(parse_refs("x", &BranchName::default()), None);
    }

    #[test]
    fn a_branch_that_is_checked_out_is_found() {
        let trees = "worktree /srv/a.git\nbare\n\nworktree /w x\nHEAD 05f8\nbranch refs/heads/main\n\nworktree /y\nHEAD 05f8\ndetached\n";
        assert_eq!(tree_of(trees, &BranchName::default()), Some("/w x"));
        assert_eq!(tree_of(trees, &"mai".parse().unwrap()), None);
    }
}
