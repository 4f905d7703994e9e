//! `reverser demo`: for real, and as a recording where no control plane can be had.

use std::{env, os::unix::fs::symlink, time::Duration};

use reverser_testbed::{BareRepo, Tool, locate};
use reverser_tests::{Home, Running};

use crate::scene::{credits, home, run};

/// People click for ten seconds in it, and it starts a control plane.
const DEMO_LIMIT: Duration = Duration::from_secs(120);

const FALLBACK: &str = "replaying a recorded session instead of a live one";

#[test]
fn the_demo_runs_on_an_api_server_of_its_own() {
    run(async {
        // Else the demo would build them, within its own limit.
        locate([Tool::Etcd, Tool::KubeApiserver, Tool::KubeControllerManager])
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let home = home();
        let said = home.start(&["demo"]).end(DEMO_LIMIT).await.exits_with(0);
        assert!(said.contains("API server v1.") && !said.contains(FALLBACK), "{said}");
        assert!(said.contains("The history:") && said.contains("git -C reverser-demo/repo.git log"), "{said}");
        let log = told(&home).await;
        assert!(log[0].starts_with("reverser [SYNC] "), "{log:#?}");
        let session = "examples.configbutler.ai/v1alpha1/quizsessions";
        let submission = "examples.configbutler.ai/v1alpha1/quizsubmissions";
        let expected = [
            format!("speaker [CREATE] {session}/demo"),
            format!("speaker [CREATE] {session}/feedback"),
            format!("speaker [UPDATE] {session}/demo"),
            format!("voter-1 [CREATE] {submission}/voter-1"),
            format!("voter-2 [CREATE] {submission}/voter-2"),
            format!("voter-3 [CREATE] {submission}/voter-3"),
            format!("voter-4 [CREATE] {submission}/voter-4"),
            format!("voter-3 [UPDATE] {submission}/voter-3"),
            format!("moderator [DELETE] {submission}/voter-4"),
            format!("speaker [UPDATE] {session}/demo"),
            format!("speaker [DELETE] {session}/feedback"),
        ];
        assert_eq!(log[1..], expected);
        // And every one of them was shown as it happened.
        for commit in &expected {
            let (who, what) = (commit.split(' ').next().unwrap(), commit.rsplit('/').next().unwrap());
            assert!(
                said.lines().any(|line| line.contains(who) && line.contains(&format!("vote/{what}"))),
                "{commit}: {said}"
            );
        }
    });
}

#[test]
fn without_go_and_without_binaries_the_demo_replays_a_recording_and_says_so_in_one_line() {
    run(async {
        let home = home();
        // A machine with git and a shell, and nothing else.
        let programs = home.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        for name in ["git", "sh", "sleep", "cat"] {
            let found = env::split_paths(&env::var_os("PATH").unwrap())
                .map(|folder| folder.join(name))
                .find(|path| path.is_file());
            symlink(found.unwrap_or_else(|| panic!("{name} is not on PATH")), programs.join(name)).unwrap();
        }
        let mut command = home.command(&["demo"]);
        command
            .env("PATH", &programs)
            .env_remove("KUBEBUILDER_ASSETS")
            .env("CARGO_TARGET_DIR", home.path().join("target"));
        let said = Running::spawn(command).end(DEMO_LIMIT).await.exits_with(0);
        assert_eq!(said.lines().filter(|line| line.contains(FALLBACK)).count(), 1, "{said}");
        assert!(said.contains("The history:"), "{said}");
        let log = told(&home).await;
        assert!(
            log.iter()
                .any(|commit| commit == "voter-3 [UPDATE] examples.configbutler.ai/v1alpha1/quizsubmissions/voter-3"),
            "{log:#?}"
        );
    });
}

#[test]
fn the_demo_leaves_a_folder_alone_that_is_not_its_own() {
    run(async {
        let home = home();
        std::fs::create_dir(home.path().join("reverser-demo")).unwrap();
        std::fs::write(home.path().join("reverser-demo/mine"), "mine").unwrap();
        let said = home.run(&["demo"]).await.exits_with(1);
        assert!(said.contains("was not made by the demo"), "{said}");
        assert!(home.path().join("reverser-demo/mine").is_file());
    });
}

/// Returns author and subject of each commit.
async fn told(home: &Home) -> Vec<String> {
    let repo = BareRepo::existing(home.path().join("reverser-demo/repo.git"));
    let log = repo.log("main").await.unwrap();
    credits(&log)
}
