//! A control plane with two users, a remote over HTTP, and the command as a child.

use std::env;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use reverser_testbed::{Audit, BareRepo, ControlPlane, ControlPlaneOptions, GitHttp, client_for};
use reverser_tests::{
    Home, Running,
    benchmark::{Usage, machine, say},
    free_port,
};
use serde_json::json;
use tokio::time::Instant;

use crate::landed::{Made, Report, Tips};

/// How many clients write at the same time: with more the API server takes no more.
const CONNECTIONS: usize = 8;

/// Who writes, in turns.
const USERS: [&str; 2] = ["ann", "ben"];

const REPOSITORY: &str = "burst.git";

/// What authors are named from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Authors {
    #[default]
    Admission,
    Audit,
    None,
}

pub(crate) struct Bench {
    plane: ControlPlane,
    server: GitHttp,
    repo: BareRepo,
    home: Home,
    tips: Tips,
    clients: Vec<Client>,
    namespaces: Vec<String>,
    authors: Authors,
    /// Of the admission endpoint.
    port: u16,
    watcher: Option<Running>,
    objects: usize,
    batches: usize,
}

impl Bench {
    pub(crate) async fn start(namespaces: usize, authors: Authors) -> anyhow::Result<Self> {
        let audit = if authors == Authors::Audit { Audit::Writes } else { Audit::Off };
        let plane = ControlPlane::start(ControlPlaneOptions { audit, ..ControlPlaneOptions::default() }).await?;
        let server = GitHttp::start().await?;
        let repo = server.create(REPOSITORY).await?;
        say(&machine(&plane).await?)?;

        let mut clients = Vec::new();
        for number in 0..CONNECTIONS {
            let kubeconfig = plane.user(USERS[number % USERS.len()], &["system:masters"])?;
            clients.push(client_for(&kubeconfig).await?);
        }
        let namespaces: Vec<_> = (0..namespaces).map(|number| format!("burst-{number}")).collect();
        for namespace in &namespaces {
            let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
            Api::<Namespace>::all(plane.client()).create(&PostParams::default(), &object).await?;
        }
        let tips = Tips::follow(repo.path());
        let home = Home::new(env::current_exe()?)?;
        let mut bench = Self {
            plane,
            server,
            repo,
            home,
            tips,
            clients,
            namespaces,
            authors,
            port: free_port()?,
            watcher: None,
            objects: 0,
            batches: 0,
        };
        bench.watch().await?;
        bench.watcher()?.says(r#""message":"watching""#).await;
        Ok(bench)
    }

    /// Starts the command.
    pub(crate) async fn watch(&mut self) -> anyhow::Result<()> {
        let kubeconfig = self.plane.kubeconfig().to_str().context("the temporary folder's name is not UTF-8")?;
        let url = self.server.url(REPOSITORY);
        let mut arguments = vec!["watch", "--log-format", "json", "--repo", &url, "--kubeconfig", kubeconfig];
        let endpoint = format!("https://127.0.0.1:{}", self.port);
        let log = self.plane.audit_log();
        match self.authors {
            Authors::Admission => arguments.extend(["--attribution", "admission", "--admission-url", &endpoint]),
            Authors::Audit => {
                let log = log.as_ref().and_then(|log| log.to_str()).context("the API server writes an audit log")?;
                arguments.extend(["--audit-log", log]);
            }
            Authors::None => {}
        }
        self.watcher = Some(self.home.start(&arguments));
        Ok(())
    }

    /// Ends the command.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let ended = self.watcher.take().context("it runs")?.terminate().await;
        ensure!(ended.status.success(), "the watcher failed:\n{}", ended.said);
        Ok(())
    }

    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.repo.fsck().await?;
        Ok(())
    }

    fn watcher(&self) -> anyhow::Result<&Running> {
        self.watcher.as_ref().context("the watcher runs")
    }

    /// Returns how many watches the API server has closed, of whomever, since their readers were too slow.
    pub(crate) async fn closed_watches(&self) -> anyhow::Result<u64> {
        let metrics = self.plane.client().request_text(http::Request::get("/metrics").body(vec![])?).await?;
        let closed = metrics.lines().filter(|line| line.starts_with("apiserver_terminated_watchers_total"));
        // There is no such line before the first.
        Ok(closed.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64)
    }

    /// Returns what the command has used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.watcher.as_ref().map(Usage::of).unwrap_or_default()
    }

    /// Waits until changes are on the remote, and tells of them. Who did it isn't asked where nobody is named.
    pub(crate) async fn landed(&self, made: &[Made]) -> anyhow::Result<Report> {
        let report = self.tips.report(&self.repo, made).await?;
        Ok(if self.authors == Authors::None { Report { unknown_authors: 0, ..report } } else { report })
    }

    /// Returns a number that no name has yet.
    pub(crate) fn batch(&mut self) -> usize {
        self.batches += 1;
        self.batches
    }

    /// Returns how many objects were created.
    pub(crate) fn objects(&self) -> usize {
        self.objects
    }

    /// Counts objects that were created over connections.
    pub(crate) fn created(&mut self, objects: usize) {
        self.objects += objects;
    }

    pub(crate) fn namespaces(&self) -> usize {
        self.namespaces.len()
    }

    /// Does something so many times, over all connections at once.
    pub(crate) async fn at_api_speed(
        &self,
        times: usize,
        one: impl AsyncFn(&Connection<'_>, usize) -> anyhow::Result<Made>,
    ) -> anyhow::Result<Vec<Made>> {
        let parts = (0..CONNECTIONS).map(async |part| {
            let mut made = Vec::new();
            for number in (part..times).step_by(CONNECTIONS) {
                made.push(one(&self.connection(part), number).await?);
            }
            anyhow::Ok(made)
        });
        Ok(try_join_all(parts).await?.concat())
    }

    /// Creates an object as one of the users.
    pub(crate) async fn create(&mut self, number: usize, name: &str) -> anyhow::Result<Made> {
        self.objects += 1;
        self.connection(number % CONNECTIONS).create(number, name).await
    }

    fn connection(&self, number: usize) -> Connection<'_> {
        Connection { client: &self.clients[number], user: USERS[number % USERS.len()], namespaces: &self.namespaces }
    }
}

/// One of a user's connections.
pub(crate) struct Connection<'a> {
    client: &'a Client,
    user: &'static str,
    namespaces: &'a [String],
}

impl Connection<'_> {
    pub(crate) async fn create(&self, number: usize, name: &str) -> anyhow::Result<Made> {
        let object = self.api(number).create(&PostParams::default(), &config_map(name)?).await?;
        self.made(object)
    }

    /// Gives an object, which is the `number`th modulo `objects`, a value that it hasn't had.
    pub(crate) async fn update(&self, number: usize, objects: usize, name: &str) -> anyhow::Result<Made> {
        let patch = Patch::Merge(json!({"data": {"key": format!("value-{number}")}}));
        let object = self.api(number % objects).patch(name, &PatchParams::default(), &patch).await?;
        self.made(object)
    }

    fn api(&self, number: usize) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespaces[number % self.namespaces.len()])
    }

    fn made(&self, object: ConfigMap) -> anyhow::Result<Made> {
        let version = object.metadata.resource_version.context("an answer of the API server has a version")?;
        Ok(Made { version, user: self.user, answered: Instant::now() })
    }
}

fn config_map(name: &str) -> anyhow::Result<ConfigMap> {
    let labels = json!({"app": name, "team": "speed"});
    let object = json!({"metadata": {"name": name, "labels": labels}, "data": {"key": "value", "name": name}});
    Ok(serde_json::from_value(object)?)
}
