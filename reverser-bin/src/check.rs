//! `reverser check`: would `watch` work? A line for each thing that has to be right.

mod attribution;

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::Context;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use kube::Client;
use reverser_core::Identities;
use reverser_git::{RemoteProbe, remote::git_version};
use reverser_k8s::{
    identities::FollowedIdentities,
    report::chain,
    watch::{may_list, may_watch},
};

use crate::{
    args::CheckArgs,
    connect::{Connected, connect},
    output::print_line,
    sign::SignArgs,
};

/// How many resources are tried at the same time.
const CHECKS: usize = 8;

/// How far the clocks may be apart: commits of several machines would look out of order.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// How long the API server has to tell its version and time.
const LIMIT: Duration = Duration::from_secs(10);

/// Prints what was looked at, and remembers whether all of it was right.
#[derive(Default)]
struct Findings {
    wrong: usize,
}

impl Findings {
    fn right(&self, what: &str) {
        print_line(&format!("ok    {what}"));
    }

    /// What may be all right, and isn't seen from here.
    fn hint(&self, what: &str) {
        print_line(&format!("hint  {what}"));
    }

    fn wrong(&mut self, what: &str) {
        self.wrong += 1;
        print_line(&format!("FAIL  {what}"));
    }
}

pub(crate) async fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let feeds = args.attribution.clone().feeds()?;
    args.select.filters.check_users(!feeds.is_empty())?;
    let mut findings = Findings::default();
    git(&mut findings).await;
    let connected = match connect(&args.cluster, &args.select, &args.clean, &args.repo.place.files).await {
        Ok(connected) => Some(connected),
        Err(error) if error.is::<crate::Usage>() => return Err(error),
        Err(error) => {
            findings.wrong(&format!("API server: {}", chain(error.as_ref())));
            None
        }
    };
    if let Some(connected) = &connected {
        cluster(connected, &mut findings).await;
        identities(&args, connected.client.clone(), &mut findings).await;
    }
    repository(&args, &mut findings).await;
    signing(&args.repo.place.sign, &mut findings).await;
    attribution::attribution(&feeds, connected.as_ref(), &args.repo, &mut findings).await;
    Ok(if findings.wrong == 0 {
        print_line("all is well: `reverser watch` with the same arguments will work");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads the rules that name users.
async fn identities(args: &CheckArgs, client: Client, findings: &mut Findings) {
    let Some(source) = &args.identities else { return };
    match FollowedIdentities::open(source.clone(), Some(client), Identities::default()).await {
        Ok(_) => findings.right(&format!("identities {source}: readable, and right")),
        Err(error) => findings.wrong(&format!("identities {}", chain(&error))),
    }
}

async fn cluster(connected: &Connected, findings: &mut Findings) {
    match server(&connected.client).await {
        Ok((version, skew)) => {
            findings.right(&format!("API server {}: {version}", connected.address));
            match skew {
                Some(skew) if skew.abs() > SKEW => findings.wrong(&format!(
                    "clock: this machine's differs by {skew:#} from the API server's; let both follow NTP"
                )),
                Some(_) => findings.right("clock: as the API server's"),
                None => findings.right("clock: the API server doesn't tell its time"),
            }
        }
        Err(error) => findings.wrong(&format!("API server {}: {}", connected.address, chain(error.as_ref()))),
    }
    for stale in connected.cluster.catalog().stale() {
        findings.wrong(&format!(
            "{stale}: the server behind this APIService doesn't answer; `kubectl get apiservices` says more"
        ));
    }
    let choice = connected.cluster.choose(&connected.pipeline);
    let scopes: Vec<_> = connected
        .cluster
        .watches(&choice.resources, &connected.pipeline, &Default::default())
        .into_iter()
        .map(|watch| (watch.resource().clone(), watch.namespace().map(str::to_owned)))
        .collect();
    let total = scopes.len();
    let refused: Vec<_> = stream::iter(scopes)
        .map(|(resource, namespace)| async move {
            may_list(&connected.client, &resource, namespace.as_deref()).await?;
            may_watch(&connected.client, &resource, namespace.as_deref()).await
        })
        .buffered(CHECKS)
        .filter_map(|checked| futures::future::ready(checked.err()))
        .collect()
        .await;
    findings.right(&format!("{} of {total} resources may be listed and watched", total - refused.len()));
    for error in refused {
        findings.wrong(&chain(&error));
    }
    if !choice.sensitive.is_empty() {
        findings.right("Secrets are left out: there is nothing to encrypt them with yet");
    }
}

/// Returns the API server's version and how far its clock is from ours.
async fn server(client: &Client) -> anyhow::Result<(String, Option<SignedDuration>)> {
    let version = tokio::time::timeout(LIMIT, client.apiserver_version()).await.context("no answer in time")??;
    let request = http::Request::get("/version").body(kube::client::Body::empty())?;
    let answer = tokio::time::timeout(LIMIT, client.send(request)).await.context("no answer in time")??;
    let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    let there = date.and_then(|date| rfc2822::parse(date).ok()).map(|there| there.timestamp());
    // The header has whole seconds.
    let skew =
        there.map(|there| Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(there).duration_since(there));
    Ok((version.git_version, skew))
}

async fn git(findings: &mut Findings) {
    match git_version().await {
        Ok(version) => findings.right(&format!("git {version}")),
        Err(error) => findings.wrong(&chain(&error)),
    }
}

/// Makes a folder and takes it away again: permissions alone don't tell, mounts and quotas have a say.
fn may_create(above: &Path) -> std::io::Result<()> {
    let trial = above.join(format!(".reverser-check-{}", std::process::id()));
    std::fs::create_dir(&trial)?;
    std::fs::remove_dir(&trial)
}

async fn repository(args: &CheckArgs, findings: &mut Findings) {
    let (url, branch) = (&args.repo.repo, &args.repo.place.files.branch);
    if let Some(folder) = url.is_local_path()
        && !folder.exists()
    {
        match folder.ancestors().find(|above| above.exists()) {
            Some(above) if above.is_dir() => match may_create(above) {
                Ok(()) => findings.right(&format!("repository {url}: will be created")),
                Err(error) => {
                    findings.wrong(&format!("repository {url}: can't be created: {}: {error}", above.display()))
                }
            },
            Some(above) => {
                findings.wrong(&format!("repository {url}: {} is no folder; give another path", above.display()));
            }
            None => findings.wrong(&format!("repository {url}: there is no such place; give another path")),
        }
        return;
    }
    let probe = match RemoteProbe::open(url.clone(), args.repo.place.files.access.access()).await {
        Ok(probe) => probe,
        Err(error) => return findings.wrong(&format!("repository: {}", chain(&error))),
    };
    match probe.readable(branch).await {
        Ok(tip) => findings.right(&match (tip.branch, tip.default_branch) {
            (Some(tip), _) => format!("repository {url}: readable, {branch} is at {}", tip.short()),
            (None, Some((default, _))) => format!("repository {url}: readable, {branch} will be made from {default}"),
            (None, None) => format!("repository {url}: readable, and empty"),
        }),
        Err(error) => return findings.wrong(&format!("repository: {}", chain(&error))),
    }
    match probe.writable(branch).await {
        Ok(()) => findings
            .right("repository: may be pushed to (a protected branch or a hook shows only when something is pushed)"),
        Err(error) => findings.wrong(&format!("repository: {}", chain(&error))),
    }
}

/// Signs something that is no commit.
async fn signing(args: &SignArgs, findings: &mut Findings) {
    let (signer, words) = match args.signer() {
        Ok(Some(signer)) => signer,
        Ok(None) => return,
        Err(error) => return findings.wrong(&chain(error.as_ref())),
    };
    match tokio::task::spawn_blocking(move || signer.sign(b"reverser check\n")).await {
        Ok(Ok(_)) => findings.right(&format!("signing: with {words}")),
        Ok(Err(error)) => findings.wrong(&format!("signing: {}", chain(&error))),
        Err(error) => findings.wrong(&format!("signing: {error}")),
    }
}
