//! The remote: passwords, latency, others who push, rules that refuse.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use reverser_git::{
    Batch, GitSink, GitWriter, OpenError, RemoteError, RemoteUrl,
    testing::{conforms, plan, put},
};
use reverser_testbed::{BareRepo, GitHttp, client_for, eventually, rule};
use reverser_tests::LIMIT;

use crate::scene::{Scene, assert_subjects, config_map, create, history, run, subjects};

#[test]
fn the_writer_conforms_over_http_with_a_password_and_latency() {
    run(async {
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        server.require(Some(("bot", "pass/word")));
        server.delay(Duration::from_millis(40));
        conforms_at(server.url_with("team.git", "bot", "pass%2Fword").parse().unwrap(), &repo).await;
    });
}

/// The writer passes its conformance suite on an empty repository, and git finds nothing to complain about.
pub(crate) async fn conforms_at(url: RemoteUrl, repo: &BareRepo) {
    let (state, credentials) = (tempfile::tempdir().unwrap(), url.credentials());
    let writer = GitWriter::open(url, credentials).state_dir(state.path().to_owned()).start().await.unwrap();
    conforms(&writer).await;
    let closed = writer.close(LIMIT).await.unwrap();
    assert_eq!(closed.unpushed, 0, "{:?}", closed.error);
    repo.fsck().await.unwrap();
    assert!(repo.log("main").await.unwrap().len() > 5);
}

/// Over HTTP as on a disk: one request more for the contents of a folder, none behind the writer's back, and whole copies of
/// servers that don't filter.
#[test]
fn contents_that_nobody_compares_stay_at_a_server_that_filters() {
    run(async {
        let server = GitHttp::start().await.unwrap();
        for (name, filters) in [("partial.git", true), ("full.git", false)] {
            let repo = server.create(name).await.unwrap();
            repo.git(&["config", "uploadpack.allowFilter", &filters.to_string()]).await.unwrap();
            for (n, path) in ["mine/a.yaml", "mine/a.yaml", "other/b.yaml", "other/c.yaml"].into_iter().enumerate() {
                repo.commit_as_other("main", path, &format!("n: {n}\n")).await.unwrap();
            }
            let state = tempfile::tempdir().unwrap();
            let open = async || {
                let builder = GitWriter::open(server.url(name).parse().unwrap(), reverser_git::Credentials::FromGit);
                builder.state_dir(state.path().to_owned()).under("mine".parse().unwrap()).start().await.unwrap()
            };
            let writer = open().await;
            let local = BareRepo::existing(state.path().join("repository.git"));
            let objects = local.git(&["cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"]).await.unwrap();
            let blobs = objects.lines().filter(|line| *line == "blob").count();
            assert_eq!(blobs, if filters { 1 } else { 4 }, "{name}");

            let before = server.requests();
            let plans =
                vec![reverser_git::testing::plan("change", [reverser_git::testing::put("a.yaml", "at: mine\n")])];
            let receipt = writer.commit(reverser_git::Batch { plans, ..Default::default() }).await.unwrap();
            writer.pushed(&receipt).await.unwrap();
            assert_eq!(server.requests() - before, 2, "a push asks for the refs, and sends; nothing is fetched");
            assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
            local.fsck().await.unwrap();
            repo.fsck().await.unwrap();
            assert_eq!(repo.read("main", "mine/a.yaml").await.unwrap(), "at: mine\n");
            assert_eq!(open().await.close(LIMIT).await.unwrap().unpushed, 0);
        }
    });
}

#[test]
fn writers_that_share_a_branch_push_with_whichever_credentials_are_taken() {
    run(async {
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        let state = tempfile::tempdir().unwrap();
        let open = |password: &str| {
            let url: RemoteUrl = server.url_with("team.git", "bot", password).parse().unwrap();
            let credentials = url.credentials();
            GitWriter::open(url, credentials)
        };
        let put = async |writer: &GitWriter, path: &str| {
            let plans = vec![plan(path, [put(path, "1")])];
            let receipt = writer.commit(Batch { plans, cursors: BTreeMap::new() }).await.unwrap();
            tokio::time::timeout(LIMIT, writer.pushed(&receipt)).await.expect("not pushed").unwrap();
        };
        server.require(Some(("bot", "first")));
        let first = open("first").state_dir(state.path().to_owned()).start().await.unwrap();
        put(&first, "a").await;
        // Who may not see the repository may not write there with the credentials of others.
        let error = open("wrong").start().await.unwrap_err();
        assert!(matches!(error, OpenError::Remote(RemoteError::Authentication { .. })), "{error:?}");
        put(&first, "b").await;
        server.require(Some(("bot", "second")));
        let second = open("second").start().await.unwrap();
        put(&first, "c").await;
        put(&second, "d").await;
        // Each has its file, which goes with it.
        let files =
            || std::fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let passwords = || files().filter(|name| name.starts_with("login")).count();
        assert_eq!(passwords(), 2);
        assert_eq!(first.close(LIMIT).await.unwrap().unpushed, 0);
        put(&second, "e").await;
        assert_eq!(passwords(), 1);
        assert_eq!(second.close(LIMIT).await.unwrap().unpushed, 0);
        assert_eq!(passwords(), 0);
        repo.fsck().await.unwrap();
        assert_subjects(&repo.log("main").await.unwrap(), &["a", "b", "c", "d", "e"]);
    });
}

#[test]
fn a_password_in_the_url_is_used_and_never_shown() {
    run(async {
        let scene = Scene::shared("password").await;
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        server.require(Some(("bot", "hunter2")));
        let watch = scene.watch_into(&server.url_with("team.git", "bot", "hunter2"), &[]).await;
        create(&scene.api(), config_map("web", "1")).await;
        history(&repo, 1).await;
        // Wrong from here on: what is said about that mustn't show it either.
        server.require(Some(("bot", "another")));
        create(&scene.api(), config_map("db", "1")).await;
        watch.says("a push failed").await;
        server.require(Some(("bot", "hunter2")));
        history(&repo, 2).await;
        // Git's credential helper reads it from this file, which is its owner's alone, and goes with the command.
        let holders = async || output(&["-rl", "hunter2", scene.home.path().to_str().unwrap()]).await;
        let found = holders().await;
        let files: Vec<_> = found.lines().map(Path::new).collect();
        assert!(files.len() == 1 && files[0].ends_with("credentials"), "{files:?}");
        assert_eq!(fs::metadata(files[0]).unwrap().permissions().mode() & 0o777, 0o600);
        let said = watch.terminate().await.exits_with(0);
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!(holders().await, "");
    });
}

#[test]
fn commits_of_others_stay_and_ours_come_on_top_of_them_with_their_authors() {
    run(async {
        let scene = Scene::shared("race").await;
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        repo.commit_as_other("main", "README.md", "hello\n").await.unwrap();
        let kubeconfig = scene.plane.user("racer", &[]).unwrap();
        scene.plane.grant("racer", Some("race"), vec![rule(&["create"], "", &["configmaps"])]).await.unwrap();
        let configs = Api::<ConfigMap>::namespaced(client_for(&kubeconfig).await.unwrap(), "race");
        let audit_log = scene.plane.audit_log().unwrap();
        let flags = ["-r", "configmaps", "--audit-log", audit_log.to_str().unwrap()];
        let watch = scene.watch_into(&server.url("team.git"), &flags).await;
        // Slow enough that the other is often in between a look at the remote and the push.
        server.delay(Duration::from_millis(30));
        const ROUNDS: usize = 10;
        for round in 0..ROUNDS {
            create(&configs, config_map(&format!("ours-{round}"), "1")).await;
            let theirs = format!("theirs-{round}");
            // Fails when our push comes in between: then again, as anybody would.
            eventually("the other's commit", LIMIT, async || repo.commit_as_other("main", &theirs, "1\n").await).await;
        }
        let log = history(&repo, 1 + 2 * ROUNDS).await;
        watch.terminate().await.exits_with(0);
        assert_eq!(log.len(), 1 + 2 * ROUNDS, "{log:?}");
        assert_eq!(repo.git(&["rev-list", "--min-parents=2", "--count", "main"]).await.unwrap(), "0");
        for round in 0..ROUNDS {
            let ours = format!("[CREATE] v1/configmaps/ours-{round}");
            let commits: Vec<_> = log.iter().filter(|commit| commit.subject() == ours).collect();
            assert_eq!(commits.len(), 1, "{ours}: {:?}", subjects(&log).collect::<Vec<_>>());
            assert_eq!((commits[0].author.as_str(), commits[0].committer.as_str()), ("racer", "reverser"));
            let theirs = format!("Edit theirs-{round}");
            assert!(log.iter().any(|commit| commit.subject() == theirs && commit.author == "other"), "{theirs}");
        }
        repo.fsck().await.unwrap();
    });
}

#[test]
fn a_protected_branch_is_reported_tried_again_and_pushed_to_when_it_is_open() {
    run(async {
        let scene = Scene::shared("protected").await;
        scene.repo.refuse_pushes(Some("main is protected: open a pull request")).unwrap();
        let watch = scene.watch(&[]).await;
        create(&scene.api(), config_map("web", "1")).await;
        watch.says("main is protected: open a pull request").await;
        create(&scene.api(), config_map("db", "1")).await;
        watch.says_times(2, r#""message":"committed""#).await;
        let said = watch.terminate().await.exits_with(1);
        assert!(said.contains("not pushed yet: 2 commits"), "{said}");
        assert!(scene.repo.log("main").await.unwrap().is_empty());

        scene.repo.refuse_pushes(None).unwrap();
        let watch = scene.watch(&[]).await;
        let log = scene.history(2).await;
        assert_subjects(&log, &["[CREATE] v1/configmaps/web", "[CREATE] v1/configmaps/db"]);
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_repository_at_a_path_is_made_and_named() {
    run(async {
        let scene = Scene::shared("made-for-you").await;
        let watch = scene.watch_into("./my-cluster.git", &["--branch", "live"]).await;
        create(&scene.api(), config_map("web", "1")).await;
        let repo = BareRepo::existing(scene.home.path().join("my-cluster.git"));
        eventually("the commit", LIMIT, async || match repo.log("live").await.unwrap() {
            log if log.len() == 1 => Ok(()),
            log => Err(log),
        })
        .await;
        let said = watch.terminate().await.exits_with(0);
        assert!(said.contains("created a bare repository at") && said.contains("my-cluster.git"), "{said}");
        assert_eq!(repo.git(&["symbolic-ref", "HEAD"]).await.unwrap(), "refs/heads/live");
    });
}

/// What grep finds; it fails where it finds nothing.
async fn output(arguments: &[&str]) -> String {
    let output = tokio::process::Command::new("grep").args(arguments).output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
