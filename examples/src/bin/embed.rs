//! `cargo run -p reverser-examples --bin embed -- REPO`: an operator of greetings that records them; see [`reverser_examples::embed`].

use anyhow::Context;
use kube::Client;
use reverser_examples::embed;
use reverser_git::GitWriter;
use tokio::signal::ctrl_c;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let repo: reverser_git::RemoteUrl = std::env::args().nth(1).context("usage: embed REPO")?.parse()?;
    let credentials = repo.credentials();
    let git = GitWriter::open(repo, credentials).under("platform".parse()?).start().await?;
    let client = Client::try_default().await?;
    embed::install(client.clone()).await?;
    embed::run(client, git, async {
        // Without a handler for it Ctrl-C ends the program as always.
        let _unheard = ctrl_c().await;
    })
    .await
}
