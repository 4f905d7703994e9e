//! `reverser demo`: the whole way from an API to Git, on an API server of its own.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use reverser_core::yaml;
use reverser_git::RemoteUrl;
use reverser_testbed::{ControlPlane, ControlPlaneOptions, client_for, git, rule};
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::sleep};

use crate::{
    args::{
        AttributionArgs, CleanArgs, ClusterArgs, CoalesceArgs, ConflictChoice, DemoArgs, FilesArgs, FilterArgs,
        GroupArgs, IdentityArgs, ListenArgs, OutputArgs, PlaceArgs, ReplayArgs, RepoArgs, SelectArgs, WatchArgs,
    },
    output::Output,
    replay, repository,
    sign::SignArgs,
    size::Size,
    watch,
};

/// Where the demo leaves what it makes, below the current folder.
const FOLDER: &str = "reverser-demo";

/// Says that a folder of that name is ours, so that the next demo may begin afresh there.
const MARKER: &str = ".made-by-reverser-demo";

/// How fast people click and type.
const PACE: Duration = Duration::from_millis(900);

/// How long a commit may take to land; it takes a fraction of a second.
const LANDS: Duration = Duration::from_secs(30);

const GROUP: &str = "examples.configbutler.ai";
const NAMESPACE: &str = "vote";

/// Recorded from a run of this demo, with `--record`.
const RECORDING: &str = include_str!("../demo/recording.audit.log");
const SESSION_CRD: &str = include_str!("../demo/quizsession-crd.yaml");
const SUBMISSION_CRD: &str = include_str!("../demo/quizsubmission-crd.yaml");
const SESSION: &str = include_str!("../demo/quizsession-demo.yaml");
const FEEDBACK: &str = include_str!("../demo/quizsession-feedback.yaml");
const SUBMISSION: &str = include_str!("../demo/quizsubmission-example.yaml");

pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let output = Output::for_people();
    let code = demo(args, &output).await;
    output.finish();
    code
}

async fn demo(args: DemoArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let folder = begin_afresh()?;
    let repo = folder.join("repo.git");
    let plane = tokio::select! {
        plane = ControlPlane::start(ControlPlaneOptions::default()) => plane,
        () = repository::stopped() => return Ok(ExitCode::FAILURE),
    };
    match plane {
        Ok(plane) => live(args, output, &plane, &repo).await?,
        Err(error) if error.is_go_missing() => {
            output.say(&format!("replaying a recorded session instead of a live one: {error}"));
            replay_recording(output, &folder, &repo).await?;
        }
        Err(error) => return Err(error).context("could not bring up the demo's API server"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Plays the session against a real API server while `watch` records it.
async fn live(args: DemoArgs, output: &Output, plane: &ControlPlane, repo: &Path) -> anyhow::Result<()> {
    output.say(&format!("API server {} is up at {}", plane.version().await?, plane.url()));
    let stage = Stage::set(plane).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let watching = watch_args(plane, repo)?;
    let watcher = tokio::spawn({
        let output = output.clone();
        async move {
            let stopped = async {
                let _dropped = stopped.await;
            };
            watch::watch(watching, &output, stopped).await
        }
    });
    let played = tokio::select! {
        played = play(&stage, repo) => played,
        () = repository::stopped() => bail!("stopped"),
    };
    if played.is_ok() && args.keep {
        output.say(&format!(
            "\nThe API server and the watcher stay up. In another terminal:\n  \
             export KUBECONFIG={}\n  kubectl get quizsessions -n {NAMESPACE}\n  \
             kubectl edit quizsession demo -n {NAMESPACE}     # and see the commit appear here\nCtrl-C ends.\n",
            plane.kubeconfig().display()
        ));
        repository::stopped().await;
    }
    // The watcher ends after all that was played has landed, so that it has nothing left to read.
    let _gone = stop.send(());
    watcher.await.context("the watcher ended unseen")??;
    played?;
    if let (Some(record), Some(log)) = (args.record, plane.audit_log()) {
        std::fs::write(&record, recording(&std::fs::read_to_string(log)?))
            .with_context(|| format!("--record {}", record.display()))?;
    }
    show(output, repo).await
}

/// The users of the voting API, each with a client of their own.
struct Stage {
    speaker: Client,
    moderator: Client,
    voters: Vec<Client>,
}

impl Stage {
    /// Installs the voting API and gives each user the rights that they need, and no others.
    async fn set(plane: &ControlPlane) -> anyhow::Result<Self> {
        let admin = plane.client();
        let crds = Api::<CustomResourceDefinition>::all(admin.clone());
        for text in [SESSION_CRD, SUBMISSION_CRD] {
            let crd: CustomResourceDefinition = serde_json::from_value(manifest(text)?)?;
            crds.create(&PostParams::default(), &crd).await?;
            let name = crd.name_any();
            let established = await_condition(crds.clone(), &name, is_crd_established());
            tokio::time::timeout(LANDS, established).await.context("the voting API was not established in time")??;
        }
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        Api::all(admin).create(&PostParams::default(), &namespace).await?;

        let user = async |name: &str, rules| -> anyhow::Result<Client> {
            let kubeconfig = plane.user(name, &[])?;
            plane.grant(name, Some(NAMESPACE), rules).await?;
            Ok(client_for(&kubeconfig).await?)
        };
        let write = ["get", "create", "patch", "delete"];
        let speaker = user("speaker", vec![rule(&write, GROUP, &["quizsessions"])]).await?;
        let moderator = user("moderator", vec![rule(&["get", "delete"], GROUP, &["quizsubmissions"])]).await?;
        let mut voters = Vec::new();
        for number in 1..=4 {
            voters.push(user(&format!("voter-{number}"), vec![rule(&write, GROUP, &["quizsubmissions"])]).await?);
        }
        Ok(Self { speaker, moderator, voters })
    }
}

/// What the users do, at human speed. Returns when the last of it is in the repository.
async fn play(stage: &Stage, repo: &Path) -> anyhow::Result<()> {
    // The first commit says that the watcher is there: what happens from here on is seen as it happens.
    landed(repo, "[SYNC]").await?;
    let sessions = |client: &Client| api(client, "QuizSession", "quizsessions");
    let submissions = |client: &Client| api(client, "QuizSubmission", "quizsubmissions");

    let mut demo = manifest(SESSION)?;
    demo["spec"]["state"] = "draft".into();
    create(&sessions(&stage.speaker), demo).await?;
    create(&sessions(&stage.speaker), manifest(FEEDBACK)?).await?;
    patch(&sessions(&stage.speaker), "demo", json!({"spec": {"state": "live"}})).await?;

    let votes =
        [("Git", "No", "Curious"), ("API", "No", "Convinced"), ("GUI", "Yes", "Sceptical"), ("API", "No", "Convinced")];
    for ((number, voter), (start, likes, feels)) in (1..).zip(&stage.voters).zip(votes) {
        let mut vote = manifest(SUBMISSION)?;
        vote["metadata"]["name"] = format!("voter-{number}").into();
        for (question, answer) in [(1, start), (2, likes), (3, feels)] {
            vote["spec"]["answers"][question]["singleChoice"] = answer.into();
        }
        create(&submissions(voter), vote).await?;
    }
    let mut answers = manifest(SUBMISSION)?["spec"]["answers"].take();
    answers[3]["singleChoice"] = "Convinced".into();
    patch(&submissions(&stage.voters[2]), "voter-3", json!({"spec": {"answers": answers}})).await?;
    submissions(&stage.moderator).delete("voter-4", &Default::default()).await?;
    sleep(PACE).await;
    patch(
        &sessions(&stage.speaker),
        "demo",
        json!({"spec": {"state": "closed", "title": "KubeCon 2026 Demo (closed)"}}),
    )
    .await?;
    sessions(&stage.speaker).delete("feedback", &Default::default()).await?;
    landed(repo, &format!("[DELETE] {GROUP}/v1alpha1/quizsessions/feedback")).await
}

async fn create(api: &Api<DynamicObject>, object: Value) -> anyhow::Result<()> {
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    sleep(PACE).await;
    Ok(())
}

async fn patch(api: &Api<DynamicObject>, name: &str, change: Value) -> anyhow::Result<()> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await?;
    sleep(PACE).await;
    Ok(())
}

fn api(client: &Client, kind: &str, plural: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(GROUP, "v1alpha1", kind);
    Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk_with_plural(&kind, plural))
}

fn manifest(text: &str) -> anyhow::Result<Value> {
    yaml::parse(text)?.pop().context("a manifest of the demo is empty")
}

/// Waits until the repository's newest commit has this subject.
async fn landed(repo: &Path, subject: &str) -> anyhow::Result<()> {
    let mut again = tokio::time::interval(Duration::from_millis(50));
    let looking = async {
        loop {
            again.tick().await;
            // Fails until the first commit is there.
            let newest = git(repo, &["log", "-1", "--format=%s", "main"]).await;
            if newest.is_ok_and(|newest| newest.starts_with(subject)) {
                return;
            }
        }
    };
    tokio::time::timeout(LANDS, looking)
        .await
        .with_context(|| format!("no commit {subject} within {} s", LANDS.as_secs()))
}

/// What a reader wants to see at the end: the history, the files, and how to go on looking.
async fn show(output: &Output, repo: &Path) -> anyhow::Result<()> {
    let log = git(repo, &["log", "--reverse", "--format=  %h  %<(10,trunc)%an  %s", "main"]).await?;
    let tree = git(repo, &["ls-tree", "-r", "--name-only", "main"]).await?;
    let tree: String = tree.lines().map(|path| format!("  {path}\n")).collect();
    let session = format!("{GROUP}/v1alpha1/quizsessions/{NAMESPACE}/demo.yaml");
    output.say(&format!(
        "\nThe history:\n\n{}\n\nThe files:\n\n{tree}\nLook around:\n\n  \
         git -C {FOLDER}/repo.git log --stat main\n  \
         git -C {FOLDER}/repo.git log -p main -- {session}\n  \
         git clone {FOLDER}/repo.git && git -C repo blame {session}\n",
        log.trim_end()
    ));
    Ok(())
}

async fn replay_recording(output: &Output, folder: &Path, repo: &Path) -> anyhow::Result<()> {
    let log = folder.join("recording.audit.log");
    std::fs::write(&log, RECORDING).with_context(|| format!("could not write {}", log.display()))?;
    let args = ReplayArgs {
        logs: vec![log],
        repo: repo_args(repo)?,
        filters: FilterArgs::default(),
        clean: CleanArgs::default(),
        group: GroupArgs::default(),
        coalesce: CoalesceArgs::default(),
        identity: IdentityArgs::default(),
        output: OutputArgs::default(),
    };
    replay::replay(args, output).await?;
    show(output, repo).await
}

fn watch_args(plane: &ControlPlane, repo: &Path) -> anyhow::Result<WatchArgs> {
    Ok(WatchArgs {
        repo: repo_args(repo)?,
        cluster: ClusterArgs { kubeconfig: Some(plane.kubeconfig().to_owned()), context: None },
        select: SelectArgs {
            resource: vec![],
            namespace: vec![],
            selector: None,
            include: vec![],
            filters: FilterArgs::default(),
        },
        clean: CleanArgs::default(),
        group: GroupArgs::default(),
        coalesce: CoalesceArgs::default(),
        identity: IdentityArgs::default(),
        output: OutputArgs::default(),
        listen: ListenArgs::default(),
        attribution: AttributionArgs { audit_log: plane.audit_log(), ..AttributionArgs::default() },
        verify_interval: Duration::from_secs(3600),
        allow_mass_delete: false,
        queue_bytes: Size(64 << 20),
    })
}

fn repo_args(repo: &Path) -> anyhow::Result<RepoArgs> {
    let url: RemoteUrl = repo.to_str().context("the current folder's name is not UTF-8")?.parse()?;
    let state_dir = repo.with_file_name("state");
    Ok(RepoArgs {
        repo: url,
        place: PlaceArgs {
            files: FilesArgs {
                branch: "main".parse()?,
                path: None,
                access: crate::access::AccessArgs::default(),
                layout: None,
                transfer_limit: Duration::from_secs(600),
            },
            orphan: false,
            on_conflict: ConflictChoice::default(),
            state_dir: Some(state_dir),
            state_limit: Size(1 << 30),
            committer: repository::committer(),
            sign: SignArgs::default(),
            compression: reverser_git::CompressionLevel::default(),
            message: None,
            group_message: None,
            sync_message: None,
            push_interval: Duration::ZERO,
            push_max_commits: None,
        },
    })
}

/// Removes what an earlier demo left, and nothing else.
fn begin_afresh() -> anyhow::Result<PathBuf> {
    let folder = std::path::absolute(FOLDER)?;
    let context = || format!("could not prepare {}", folder.display());
    if folder.exists() {
        if !folder.join(MARKER).exists() {
            bail!("{} was not made by the demo: move it away, or run the demo elsewhere", folder.display());
        }
        std::fs::remove_dir_all(&folder).with_context(context)?;
    }
    std::fs::create_dir(&folder).with_context(context)?;
    std::fs::write(folder.join(MARKER), "made by `reverser demo`, and removed by the next one\n")
        .with_context(context)?;
    Ok(folder)
}

/// Returns the lines of an audit log that are about the voting API: what `RECORDING` is made of.
fn recording(log: &str) -> String {
    let is_ours = |line: &&str| {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let object = &event["objectRef"];
        let name = object["name"].as_str().unwrap_or_default();
        object["apiGroup"] == GROUP
            || (object["resource"] == "customresourcedefinitions" && name.ends_with(GROUP))
            || (object["resource"] == "namespaces" && name == NAMESPACE)
    };
    log.lines().filter(is_ours).map(|line| format!("{line}\n")).collect()
}
