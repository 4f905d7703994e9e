//! A server that breaks off in the middle of a push.

use std::time::Duration;

use reverser_git::{
    Batch, Credentials, GitSink, GitWriter, PushPhase, RemoteError,
    testing::{plan, put},
};
use reverser_testbed::{BareRepo, GitHttp, Outage, eventually};
use reverser_tests::LIMIT;
use tempfile::TempDir;

use crate::scene::run;

#[test]
fn a_connection_that_breaks_anywhere_in_a_push_loses_and_doubles_nothing() {
    run(async {
        let scene = Scene::new(LIMIT).await;
        scene.commit("begin").await;
        scene.has(1).await;
        // A push has some 700 bytes, of which the first 180 name the ref; its answer, like that of a look at the refs, has 300.
        let cuts = [0, 1, 100, 200, 400, 600];
        let outages = cuts.into_iter().flat_map(|bytes| [Outage::CutPushes(bytes), Outage::CutAnswers(bytes)]);
        for (number, outage) in outages.chain([Outage::DropAnswers, Outage::DropConnections]).enumerate() {
            let requests = scene.server.requests();
            scene.server.fail(Some(outage));
            scene.commit(&format!("during {outage:?}")).await;
            // Without connections there are no requests to be seen.
            if outage != Outage::DropConnections {
                let is_met = async || (scene.server.requests() > requests).then_some(()).ok_or("no request");
                eventually("a request", LIMIT, is_met).await;
            }
            scene.server.fail(None);
            scene.commit(&format!("after {outage:?}")).await;
            scene.has(1 + 2 * (number + 1)).await;
        }
        scene.finish().await;
    });
}

#[test]
fn a_server_that_does_not_answer_is_given_up_and_asked_again() {
    run(async {
        let scene = Scene::new(Duration::from_secs(2)).await;
        scene.commit("begin").await;
        scene.has(1).await;
        scene.server.delay(LIMIT);
        scene.commit("during").await;
        let mut state = scene.writer.push_state();
        let waiting = state.wait_for(|state| matches!(state.phase, PushPhase::Waiting { .. }));
        let phase = tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap().phase.clone();
        assert!(matches!(&phase, PushPhase::Waiting { error: RemoteError::TimeOut { .. }, .. }), "{phase:?}");
        scene.server.delay(Duration::ZERO);
        scene.has(2).await;
        scene.finish().await;
    });
}

struct Scene {
    server: GitHttp,
    repo: BareRepo,
    writer: GitWriter,
    subjects: std::cell::RefCell<Vec<String>>,
    _state: TempDir,
}

impl Scene {
    async fn new(limit: Duration) -> Self {
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("team.git").await.unwrap();
        let state = tempfile::tempdir().unwrap();
        let url = server.url("team.git").parse().unwrap();
        let writer = GitWriter::open(url, Credentials::FromGit).state_dir(state.path().to_owned());
        let writer = writer.transfer_limit(limit).start().await.unwrap();
        Self { server, repo, writer, subjects: Vec::new().into(), _state: state }
    }

    async fn commit(&self, subject: &str) {
        let plans = vec![plan(subject, [put("file", subject)])];
        self.writer.commit(Batch { plans, cursors: [].into() }).await.unwrap();
        self.subjects.borrow_mut().push(subject.to_owned());
    }

    /// Waits until the remote has so many commits.
    async fn has(&self, commits: usize) {
        eventually("all to be pushed", LIMIT, async || {
            let log = self.repo.log("main").await.unwrap();
            if log.len() == commits { Ok(()) } else { Err(log) }
        })
        .await;
    }

    async fn finish(self) {
        assert_eq!(self.writer.close(LIMIT).await.unwrap().unpushed, 0);
        self.repo.fsck().await.unwrap();
        let log = self.repo.log("main").await.unwrap();
        let subjects: Vec<_> = log.iter().map(|commit| commit.subject().to_owned()).collect();
        assert_eq!(subjects, *self.subjects.borrow());
    }
}
