//! Notes that are fetched: where they are, and what a partial fetch has left of them.

use crate::{
    notes::REF,
    remote::{
        RemoteError,
        cli::{CliRemote, parse_id},
    },
    sink::CommitId,
};

impl CliRemote {
    /// Brings the notes here, unless there are none.
    pub(super) async fn notes(&self) -> Result<Option<CommitId>, RemoteError> {
        // A fetch of what isn't there fails in words that nobody promises.
        match self.notes_tip().await? {
            Some(_) => self.fetch_into(REF, INCOMING).await.map(Some),
            None => Ok(None),
        }
    }

    async fn notes_tip(&self) -> Result<Option<CommitId>, RemoteError> {
        let session = self.login.session().await?;
        let mut command = session.git(&self.git_dir, "ls-remote");
        command.args(["--", self.url.as_str(), REF]);
        let output = self.run(command, "read the refs of", self.read_limit()).await?;
        if !output.status.success() {
            return Err(self.failed("read the refs of", &output, &session));
        }
        let lines = String::from_utf8_lossy(&output.stdout);
        let rows = lines.lines().filter_map(|line| line.split_once('\t'));
        let id = rows.filter(|(_, name)| *name == REF).map(|(id, _)| parse_id(id)).next();
        id.map(|id| id.ok_or_else(|| self.unreadable("read the refs of", &output.stdout, &session))).transpose()
    }

    /// Brings objects here by their ids, or all of the notes where the server sends nothing by its id.
    pub(super) async fn texts(&self, texts: &[CommitId]) -> Result<(), RemoteError> {
        self.objects_of(texts, &format!("+{REF}:{INCOMING}")).await
    }

    /// Brings objects here by their ids, or all that a ref leads to where the server sends nothing by its id.
    pub(crate) async fn objects_of(&self, ids: &[CommitId], refspec: &str) -> Result<(), RemoteError> {
        let session = self.login.session().await?;
        let ids: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
        if self.fetch_objects(&session, &ids).await?.is_none() {
            return Ok(());
        }
        let mut command = self.fetch_everything(&session);
        command.arg(refspec);
        let output = self.run(command, "fetch from", self.transfer_limit).await?;
        if output.status.success() { Ok(()) } else { Err(self.failed("fetch from", &output, &session)) }
    }
}

/// What was fetched last of the notes.
const INCOMING: &str = "refs/incoming-notes/reverser";
