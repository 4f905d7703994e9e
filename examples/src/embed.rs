//! An operator that owns an API and records what its users change through it, in-process.
//!
//! The platform's portal writes a `Greeting` for its users and names them in an annotation. The operator reconciles
//! greetings, as it would without reverser; when a user's change has been accepted and carried out, it hands the object
//! to [`Reverser::record`], with the user's name and words. No second deployment, no webhook, no audit log.
//!
//! ```text
//! portal ─► API server ─► Controller::reconcile ─► (the operator's own work)
//!                                   └────────────► Reverser::record ─► commit by the user ─► push
//! ```

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, CustomResource, CustomResourceExt, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        Controller,
        conditions::is_crd_established,
        controller::Action,
        finalizer::{self, Event, finalizer},
        wait::await_condition,
        watcher,
    },
};
use reverser_core::{Actor, Change};
use reverser_git::GitWriter;
use reverser_k8s::{
    RecordError, Reverser,
    change::{self, ChangeError},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The user on whose behalf the portal wrote; the portal is the only one who may set it.
pub const REQUESTED_BY: &str = "examples.configbutler.ai/requested-by";

/// Why, in the user's words.
pub const REASON: &str = "examples.configbutler.ai/reason";

/// Keeps a deleted greeting until its deletion is recorded.
const FINALIZER: &str = "examples.configbutler.ai/recorded";

/// How long an API server may take to serve a new API; it takes a second.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// How long the last push may take at the end; what isn't pushed by then goes out with the next start.
const LAST_PUSH: Duration = Duration::from_secs(20);

/// What a user of this platform may ask for.
#[derive(Clone, Debug, PartialEq, Eq, CustomResource, Deserialize, Serialize, JsonSchema)]
#[kube(group = "examples.configbutler.ai", version = "v1", kind = "Greeting", namespaced)]
pub struct GreetingSpec {
    /// What to say.
    pub text: String,
}

/// Installs the API that the operator serves, and waits until it is there.
pub async fn install(client: Client) -> anyhow::Result<()> {
    let crds = Api::<CustomResourceDefinition>::all(client);
    let crd = Greeting::crd();
    let name = crd.name_any();
    crds.patch(&name, &PatchParams::apply("embed").force(), &Patch::Apply(&crd)).await?;
    let established = await_condition(crds, &name, is_crd_established());
    tokio::time::timeout(ESTABLISHED, established).await??;
    Ok(())
}

/// What reconciling needs.
struct Operator {
    client: Client,
    reverser: Reverser,
}

/// Runs the operator until `shutdown`; then commits and pushes what is left.
pub async fn run(
    client: Client,
    git: GitWriter,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let operator = Arc::new(Operator { client: client.clone(), reverser: Reverser::new(git.clone()).build() });
    Controller::new(Api::<Greeting>::all(client), watcher::Config::default())
        .graceful_shutdown_on(shutdown)
        .run(reconcile, retry, operator)
        .for_each(|_reconciled| std::future::ready(()))
        .await;
    let closed = git.close(LAST_PUSH).await?;
    if closed.unpushed > 0 {
        anyhow::bail!("{} commits are not pushed; they go out with the next start", closed.unpushed);
    }
    Ok(())
}

async fn reconcile(greeting: Arc<Greeting>, operator: Arc<Operator>) -> Result<Action, finalizer::Error<NotRecorded>> {
    let namespace = greeting.namespace().unwrap_or_default();
    let api = Api::<Greeting>::namespaced(operator.client.clone(), &namespace);
    finalizer(&api, FINALIZER, greeting, async |event| {
        // The operator's own work would stand here. Recording comes last: Git gets what was carried out. Reconciling
        // the same greeting again records nothing: its file is what it would be.
        let (change, greeting) = match &event {
            Event::Apply(greeting) if greeting.metadata.generation == Some(1) => {
                (change::created(&**greeting)?, greeting)
            }
            Event::Apply(greeting) => (change::updated(&**greeting)?, greeting),
            Event::Cleanup(greeting) => (change::deleted(&**greeting)?, greeting),
        };
        operator.reverser.record(with_user(change, greeting)).await?;
        Ok(Action::await_change())
    })
    .await
}

/// Says who asked for it, and why, as the portal left it on the object.
fn with_user(change: Change, greeting: &Greeting) -> Change {
    let annotation = |key: &str| greeting.annotations().get(key).cloned();
    let change = match annotation(REQUESTED_BY) {
        Some(user) => change.by(Actor::user(user)),
        None => change,
    };
    match annotation(REASON) {
        Some(reason) => change.because(reason),
        None => change,
    }
}

/// An accepted change is recorded in the end: what fails is tried again.
fn retry(_greeting: Arc<Greeting>, _error: &finalizer::Error<NotRecorded>, _operator: Arc<Operator>) -> Action {
    Action::requeue(Duration::from_secs(5))
}

/// A greeting could not be recorded.
#[derive(Debug, thiserror::Error)]
enum NotRecorded {
    #[error("could not describe the change")]
    Change(#[from] ChangeError),
    #[error("could not record the change")]
    Record(#[from] RecordError),
}
