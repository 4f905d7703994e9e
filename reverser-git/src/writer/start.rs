//! How a writer begins: it opens a repository and starts the owner of its branch, or joins one that runs.

use std::{
    path::Path,
    sync::{Arc, Weak},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::Instrument;

use crate::{
    blocking::blocking,
    remedy::Remedy,
    remote::{
        CliRemote, Remote, RemoteError,
        cli::{Compared, OwnRepository},
    },
    sign::sign,
    store::{self, OpenError, Store, StoreConfig},
    url::default_state_dir,
    writer::{
        GitWriter, GitWriterBuilder, PushState,
        builder::Place,
        handle::{Handle, Line},
        owner::{Owner, Request, Target},
        owners::{self, Running},
        queue::Queue,
    },
};

impl GitWriterBuilder {
    /// Opens the local repository, meets the remote and starts the writer; when this process writes to the branch already,
    /// joins its owner, or waits for the end of one that is ending.
    ///
    /// # Errors
    /// A remote that can't be reached is an error only at the first start: later ones go on with what is on disk. One that
    /// refuses these credentials is an error for whoever joins, too: nobody writes with the others' alone. Credentials that
    /// can't be used, such as a file that isn't there, are one each time, and so is a signer that can't sign.
    ///
    /// # Several writers of a branch
    /// | option | whose counts |
    /// |---|---|
    /// | the URL and how to log in, [`transfer_limit`](Self::transfer_limit) | each writer's, for what goes through it: pushes go through the first, and through the next one when it is refused or gone |
    /// | [`under`](Self::under), [`committer`](Self::committer), [`queue_bytes`](Self::queue_bytes) | each writer's own |
    /// | [`state_dir`](Self::state_dir) | the first one's; another one is an error, [`OpenError::SharedBranch`] |
    /// | [`signer`](Self::signer) | the first that is given: from then on all commits of the branch are signed by it |
    /// | [`start_at`](Self::start_at), [`on_conflict`](Self::on_conflict), [`push_interval`](Self::push_interval), [`push_max_commits`](Self::push_max_commits), [`unpushed_bytes`](Self::unpushed_bytes), [`compression`](Self::compression) | the first one's, until the last writer is gone; a warning names those that a later one has chosen otherwise |
    pub async fn start(self) -> Result<GitWriter, OpenError> {
        let (url, branch) = (self.url.clone(), self.branch.clone());
        let slot = blocking(move || owners::slot(url.canonical(), branch)).await;
        let mut slot = slot.lock().await;
        if let Some(running) = slot.as_mut() {
            if let Some(writer) = self.join(running).await? {
                return Ok(writer);
            }
            running.ended().await;
        }
        let (config, store, (remote, cli)) = self.open().await?;
        let (writer, requests, task) = self.launch(store, remote).await?;
        let writer = GitWriter { cli, ..writer };
        let (pushed, push_state, shared) = (writer.pushed.clone(), writer.push_state.clone(), self.shared);
        *slot = Some(Running { requests, pushed, push_state, config, shared, writers: 1, task });
        Ok(writer)
    }

    /// Starts a writer that shares its branch with no other one of this process, as another process would: for tests of races.
    /// It needs a state folder of its own.
    #[cfg(feature = "testing")]
    pub async fn start_apart(self) -> Result<GitWriter, OpenError> {
        let (_, store, (remote, cli)) = self.open().await?;
        Ok(GitWriter { cli, ..self.launch(store, remote).await?.0 })
    }

    async fn open(&self) -> Result<(StoreConfig, Store, Opened), OpenError> {
        self.try_signer().await?;
        let builder = self.clone();
        let open = move || {
            let config = builder.store_config()?;
            Ok::<_, OpenError>((config.clone(), Store::open(config)?))
        };
        let (config, mut store) = blocking(open).await?;
        let remote = match &config.repository {
            Some(git_dir) => self.own(git_dir),
            None => {
                let remote = self.cli(&config, 1).await?;
                if !store.has_state() {
                    store.begin_with(remote.tip(&self.branch).await?.object_format)?;
                }
                opened(remote.comparing_below(config.compared.clone())?)
            }
        };
        Ok((config, store, remote))
    }

    fn store_config(&self) -> Result<StoreConfig, OpenError> {
        let here = self.url.is_local_path().filter(|_| self.place == Place::Here);
        let (state_dir, repository) = match (&self.state_dir, here) {
            (Some(folder), Some(_)) => return Err(OpenError::OwnState { folder: folder.clone() }),
            (None, Some(folder)) => {
                let git_dir = store::repository_in(folder)?;
                (git_dir.join("reverser").join(self.branch.encoded()), Some(git_dir))
            }
            (Some(folder), None) => (folder.clone(), None),
            (None, None) => (default_state_dir(&self.url, &self.branch).ok_or(OpenError::NoStateDir)?, None),
        };
        let compared = Compared::default();
        compared.add(self.under.clone());
        Ok(StoreConfig {
            state_dir,
            repository,
            remote: self.url.to_string(),
            branch: self.branch.clone(),
            committer: self.committer.clone(),
            signer: self.signer.clone(),
            compression: self.shared.compression(),
            compared,
        })
    }

    /// Returns the remote as the nth writer of a store sees it.
    async fn cli(&self, config: &StoreConfig, writer: u32) -> Result<CliRemote, RemoteError> {
        let (git_dir, login_dir) = (config.git_dir(), config.login_dir(writer));
        let remote = CliRemote::open(self.url.clone(), self.access.clone(), &git_dir, &login_dir).await?;
        Ok(match self.transfer_limit {
            Some(limit) => remote.transfer_limit(limit),
            None => remote,
        })
    }

    /// Returns the repository that commits are made in as its own remote.
    fn own(&self, git_dir: &Path) -> Opened {
        (Arc::new(OwnRepository::new(self.url.clone(), git_dir.to_owned())), Weak::new())
    }

    async fn try_signer(&self) -> Result<(), OpenError> {
        match self.signer.clone() {
            Some(signer) => blocking(move || sign(signer.as_ref(), TRIAL)).await.map(drop).map_err(OpenError::Sign),
            None => Ok(()),
        }
    }

    /// Returns another writer of an owner; `None` when that one is about to end.
    async fn join(&self, running: &mut Running) -> Result<Option<GitWriter>, OpenError> {
        // Holds the owner for the time being.
        let Some(requests) = running.requests.upgrade() else { return Ok(None) };
        if let Some(asked) = self.state_dir.as_ref().filter(|folder| !running.is_in(folder)) {
            return Err(OpenError::SharedBranch {
                branch: self.branch.clone(),
                remote: running.config.remote.clone(),
                folder: running.config.state_dir.clone(),
                asked: asked.clone(),
            });
        }
        self.try_signer().await?;
        running.writers += 1;
        let (remote, cli) = match &running.config.repository {
            Some(git_dir) => self.own(git_dir),
            None => {
                let compared = running.config.compared.clone();
                compared.add(self.under.clone());
                opened(self.cli(&running.config, running.writers).await?.comparing_below(compared)?)
            }
        };
        match remote.tip(&self.branch).await {
            Err(error) if error.remedy() == Remedy::FixConfiguration => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the remote can't be reached, going on with the local repository"),
            Ok(_) => {}
        }
        let handle = Arc::new(Handle::new(remote));
        let (reply, joined) = oneshot::channel();
        let request = Request::Join { handle: Arc::downgrade(&handle), signer: self.signer.clone(), reply };
        if requests.send(request).await.is_err() {
            return Ok(None);
        }
        match joined.await {
            Ok(joined) => joined?,
            Err(_ended) => return Ok(None),
        }
        self.tell_what_is_not_taken(running);
        let line = Line::new(requests, handle);
        let writer = self.writer(line, running.pushed.clone(), running.push_state.clone());
        Ok(Some(GitWriter { cli, ..writer }))
    }

    /// Says what of this writer's choices doesn't count, as the first one has chosen otherwise.
    fn tell_what_is_not_taken(&self, running: &Running) {
        let options = running.shared.contradicted_by(&self.shared);
        if !options.is_empty() {
            tracing::warn!(
                remote = %self.url,
                branch = %self.branch,
                options = options.join(", "),
                "the branch has a writer that has chosen these otherwise, and its choices count: name the same for all writers \
                 of a branch, or leave them out"
            );
        }
    }

    /// Starts an owner.
    pub(super) async fn launch(
        &self,
        store: Store,
        remote: Arc<dyn Remote>,
    ) -> Result<(GitWriter, mpsc::WeakSender<Request>, JoinHandle<()>), OpenError> {
        let (requests, received) = mpsc::channel(REQUESTS);
        let (push_state, push_state_seen) = watch::channel(PushState::default());
        let (pushed, pushed_seen) = watch::channel(0);
        let span = tracing::info_span!("git_writer", remote = %self.url, branch = %self.branch);
        let handle = Arc::new(Handle::new(remote));
        let target = Target {
            url: self.url.clone(),
            branch: self.branch.clone(),
            on_conflict: self.shared.on_conflict(),
            start_at: self.shared.start_at(),
            pacing: self.shared.pacing(),
            unpushed_bytes: self.shared.unpushed_bytes(),
        };
        let owner = Owner::open(store, &handle, target, push_state, pushed);
        let owner = owner.instrument(span.clone()).await?;
        // Its end is seen by whoever holds a writer: every call says `Closed`.
        let task = tokio::spawn(owner.run(received).instrument(span));
        let weak = requests.downgrade();
        Ok((self.writer(Line::new(requests, handle), pushed_seen, push_state_seen), weak, task))
    }

    fn writer(&self, line: Line, pushed: watch::Receiver<u64>, push_state: watch::Receiver<PushState>) -> GitWriter {
        GitWriter {
            line: Arc::new(line),
            under: self.under.clone(),
            committer: self.committer.clone(),
            queue: Queue::new(self.queue_bytes),
            push_state,
            pushed,
            name: format!("{} of {}", self.branch, self.url).into(),
            cli: Weak::new(),
        }
    }
}

/// A writer's remote, and what of it takes other credentials, where there is such.
type Opened = (Arc<dyn Remote>, Weak<CliRemote>);

fn opened(remote: CliRemote) -> Opened {
    let remote = Arc::new(remote);
    let cli = Arc::downgrade(&remote);
    (remote, cli)
}

/// At most so many requests wait; the next caller waits until one is taken.
const REQUESTS: usize = 1024;

/// What is signed at the start, to see whether it can be; it is no commit.
const TRIAL: &[u8] = b"reverser tries its signer\n";
