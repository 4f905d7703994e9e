//! Numbers, and whether all is well, for those who ask over HTTP.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use reverser_git::GitWriter;
use reverser_k8s::{
    Metrics, Reverser,
    metrics::{Registry, Server},
};
use tokio::task::JoinSet;

use crate::{args::ListenArgs, output::Output};

/// What is counted, and the tasks that tell it; they end when this is dropped.
pub(crate) struct Telemetry {
    pub(crate) metrics: Metrics,
    tasks: JoinSet<()>,
}

impl Telemetry {
    /// Listens where the flags say, if anywhere.
    pub(crate) async fn start(args: ListenArgs, output: &Output) -> anyhow::Result<Self> {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let mut tasks = JoinSet::new();
        if let Some(address) = args.metrics_listen {
            let server = Server::bind(address).await.context("--metrics-listen")?;
            output.say(&format!("metrics at {}", url(server.address())));
            let served = server.serve(Arc::new(registry), metrics.clone());
            tasks.spawn(async move {
                if let Err(error) = served.await {
                    tracing::error!(%error, "metrics are no longer served");
                }
            });
        }
        Ok(Self { metrics, tasks })
    }

    /// Measures what flows.
    pub(crate) fn follow(&mut self, reverser: &Reverser, git: &GitWriter) {
        self.metrics.measure(reverser.load());
        self.tasks.spawn(self.metrics.clone().follow(git.push_state()));
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/metrics")
}
