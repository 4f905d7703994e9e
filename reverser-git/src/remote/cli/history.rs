//! What is asked of a history by those that read it, and fetches of it that no writer needs.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::{
    branch::BranchName,
    remote::{
        RemoteError,
        cli::{CliRemote, Configuration, READ_LIMIT, TRANSFER_LIMIT, git, parse_id, run},
    },
    sink::CommitId,
    url::RemoteUrl,
};

impl CliRemote {
    /// Brings the tip of a branch without its history.
    pub(crate) async fn fetch_tip_alone(&self, branch: &BranchName) -> Result<(), RemoteError> {
        self.fetch_refs(&["--depth=1"], &[&same(&branch.full())]).await
    }

    /// Brings a branch with its history.
    pub(crate) async fn fetch_history(&self, branch: &BranchName) -> Result<(), RemoteError> {
        self.fetch_refs(&[], &[&same(&branch.full())]).await
    }

    /// Brings all branches and tags with their history.
    pub(crate) async fn fetch_all_refs(&self) -> Result<(), RemoteError> {
        self.fetch_refs(&[], &[&same("refs/heads/*"), &same("refs/tags/*")]).await
    }

    /// Brings a commit that no branch leads to any more, if the server still has it and sends such; returns whether it did. Only a
    /// whole id can be asked for.
    pub(crate) async fn fetch_unnamed(&self, id: &str) -> Result<bool, RemoteError> {
        let Some(id) = parse_id(id) else { return Ok(false) };
        match self.fetch_refs(&[], &[id.as_str()]).await {
            Ok(()) => Ok(true),
            // The server's refusal, in whatever words.
            Err(RemoteError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn fetch_refs(&self, options: &[&str], refspecs: &[&str]) -> Result<(), RemoteError> {
        let session = self.login.session().await?;
        // Whoever only reads has no use for what a shallow clone lacks.
        let mut command = self.fetch_command_with(&session, &[options, &["--update-shallow"]].concat());
        command.args(refspecs);
        let output = self.run(command, "fetch from", self.transfer_limit).await?;
        if output.status.success() { Ok(()) } else { Err(self.failed("fetch from", &output, &session)) }
    }
}

/// Returns the refspec of refs that have the same names here, wherever they were.
fn same(refs: &str) -> String {
    format!("+{refs}:{refs}")
}

/// Asks a repository on this machine about its commits. Changes nothing there.
#[derive(Debug)]
pub(crate) struct History {
    /// For errors.
    url: RemoteUrl,
    git_dir: PathBuf,
}

impl History {
    pub(crate) fn new(url: RemoteUrl, git_dir: PathBuf) -> Self {
        Self { url, git_dir }
    }

    /// Returns the commit that git knows by a name, or git's words when there is none.
    pub(crate) async fn commit(&self, name: &str) -> Result<Result<CommitId, String>, RemoteError> {
        // It would be an option; nothing is called so (git-check-ref-format(1)).
        if name.starts_with('-') {
            return Ok(Err(String::new()));
        }
        let (output, words) = self.ask(&["rev-parse", "--verify", &format!("{name}^{{commit}}")]).await?;
        Ok(match output.as_deref().map(str::trim_end).and_then(parse_id) {
            Some(id) => Ok(id),
            // That it needed a single revision is what the caller says in other words.
            None => Err(words
                .replace("fatal: Needed a single revision", "")
                .trim_end_matches(['\n', ' '])
                .replace('\n', "; ")),
        })
    }

    /// Returns the branch that HEAD names, if it has commits.
    pub(crate) async fn head(&self) -> Result<Option<BranchName>, RemoteError> {
        let (output, _) = self.ask(&["rev-parse", "--symbolic-full-name", "HEAD"]).await?;
        let name = output.as_deref().and_then(|name| name.trim_end().strip_prefix("refs/heads/")?.parse().ok());
        Ok(name)
    }

    /// Returns a ref's commits by first parents, the latest first, with the dates of their committers.
    pub(crate) async fn first_parents(&self, reference: &str) -> Result<Vec<(CommitId, Timestamp)>, RemoteError> {
        let (output, words) = self.ask(&["rev-list", "--first-parent", "--timestamp", reference]).await?;
        let list = output.ok_or_else(|| self.failed(words))?;
        let parse = |line| parse_row(line).ok_or_else(|| self.unreadable(line));
        list.lines().map(parse).collect()
    }

    /// Returns what git printed, if it succeeded, and what it said on the other stream.
    async fn ask(&self, arguments: &[&str]) -> Result<(Option<String>, String), RemoteError> {
        let mut command = git(Some(&self.git_dir), Configuration::Ours, None);
        command.args(arguments);
        // The list of very many commits takes longer than a few lines.
        let limit = if arguments[0] == "rev-list" { TRANSFER_LIMIT } else { READ_LIMIT };
        let output = run(command, limit).await.map_err(|failure| failure.of(ACTION, &self.url))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.success().then(|| text(&output.stdout)), text(&output.stderr).trim().to_owned()))
    }

    fn failed(&self, words: String) -> RemoteError {
        RemoteError::Failed { action: ACTION, url: self.url.clone(), words }
    }

    fn unreadable(&self, output: &str) -> RemoteError {
        RemoteError::Unreadable { action: ACTION, url: self.url.clone(), output: output.to_owned() }
    }
}

const ACTION: &str = "read the history of";

/// Reads a line of `git rev-list --timestamp`: `1700000000 05f8…`.
fn parse_row(line: &str) -> Option<(CommitId, Timestamp)> {
    let (seconds, id) = line.split_once(' ')?;
    Some((parse_id(id)?, Timestamp::from_second(seconds.parse().ok()?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_history_is_read() {
        let id = "05f8a3a7bf58ae94baa1d4e2dd6b4bcb3a28a9c5";
        let (found, at) = parse_row(&format!("1700000000 {id}")).unwrap();
        assert_eq!((found.as_str(), at.as_second()), (id, 1_700_000_000));
        for line in ["", id, "x 05f8", "1700000000 05f8", &format!("99999999999999999 {id}")] {
            assert!(parse_row(line).is_none(), "{line}");
        }
    }
}
