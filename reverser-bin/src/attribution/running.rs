//! What names authors, while changes are recorded.

use std::{convert::Infallible, sync::Arc};

use reverser_k8s::{
    Captured, Notice, Reporter,
    registration::{Registered, RegistrationError, RegistrationNews, command_to_remove},
    report::chain,
};
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use super::{Opened, not_registered};
use crate::output::Output;

/// Endpoints that are served, a log that is followed, a registration that is kept.
pub(crate) struct Running {
    /// Whatever ends before the end has failed.
    endpoints: JoinSet<anyhow::Error>,
    /// What never ends.
    others: JoinSet<Infallible>,
    registration: Option<Registering>,
    /// Ends the endpoints when it is dropped.
    serving: watch::Sender<()>,
    reporter: Arc<dyn Reporter>,
}

/// A registration that is made, or kept.
struct Registering {
    name: String,
    task: JoinHandle<Result<Registered, RegistrationError>>,
    /// Says that it was made.
    made: Option<oneshot::Receiver<()>>,
    /// Ends it when it is dropped.
    keeping: oneshot::Sender<()>,
}

impl Opened {
    /// Serves, follows, and begins to register what is captured.
    pub(crate) async fn start(
        self,
        captured: watch::Receiver<Captured>,
        reporter: Arc<dyn Reporter>,
    ) -> anyhow::Result<Running> {
        let (serving, is_over) = watch::channel(());
        let (mut endpoints, mut others) = (JoinSet::new(), JoinSet::new());
        if let Some(log) = self.log {
            others.spawn(async move {
                log.follow().await;
                std::future::pending().await
            });
        }
        let mut registration = None;
        if let Some(opened) = self.endpoints {
            let (certificates, path) = (opened.certificates.clone(), opened.path.clone());
            opened.serve(&mut endpoints, &mut others, &is_over).await?;
            if let (Some(registering), Some(path)) = (self.registering, path) {
                let (made, is_made) = oneshot::channel();
                let (keeping, is_kept) = oneshot::channel::<()>();
                let (making, reporter) = (registering.at(&path), Arc::clone(&reporter));
                let task = tokio::spawn(async move {
                    let mut registered = making.register(captured, certificates.bundle()).await?;
                    // Whoever waited for it may be gone.
                    let _gone = made.send(());
                    let published = |bundle: &str| certificates.published(bundle);
                    registered.keep(&published, &*reporter, async { drop(is_kept.await) }).await;
                    Ok(registered)
                });
                let name = registering.name().to_owned();
                registration = Some(Registering { name, task, made: Some(is_made), keeping });
            }
        }
        Ok(Running { endpoints, others, registration, serving, reporter })
    }
}

impl Running {
    /// Returns once all that it takes is registered.
    pub(crate) async fn registered(&mut self) -> anyhow::Result<()> {
        let Some(Registering { task, made: Some(made), .. }) = &mut self.registration else { return Ok(()) };
        if made.await.is_ok() {
            return Ok(());
        }
        let ended = task.await;
        self.registration = None;
        match ended {
            Ok(Err(error)) => Err(not_registered(error)),
            Ok(Ok(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns why nobody is named any more, as soon as that is so.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        let Self { endpoints, others, .. } = self;
        let ended = tokio::select! {
            Some(ended) = endpoints.join_next() => ended,
            Some(ended) = others.join_next() => ended.map(|never| match never {}),
            else => std::future::pending().await,
        };
        ended.unwrap_or_else(anyhow::Error::from).context("authors can't be named any more")
    }

    /// Unregisters, and then ends the endpoints: nobody calls them any more.
    pub(crate) async fn end(self, output: &Output) {
        let Self { mut endpoints, mut others, registration, serving, reporter } = self;
        if let Some(Registering { name, task, keeping, .. }) = registration {
            drop(keeping);
            match task.await {
                Ok(Ok(registered)) => {
                    if let Err(error) = registered.unregister().await {
                        reporter.report(Notice::Registration(RegistrationNews::Remains { error: &error }));
                    }
                }
                // It was told, or nothing was made.
                Ok(Err(error)) => tracing::debug!(error = %chain(&error), "nothing was registered"),
                Err(error) => {
                    output.say(&format!("{error}; remove the registration with `{}`", command_to_remove(&name)))
                }
            }
        }
        drop(serving);
        // They take a moment for what is under way, and no more.
        while endpoints.join_next().await.is_some() {}
        others.shutdown().await;
    }
}
