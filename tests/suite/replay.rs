//! `reverser replay`: the recorded session of the demo, and logs with flaws.

use std::fs;

use reverser_testbed::BareRepo;
use reverser_tests::Home;
use serde_json::Value;

use crate::scene::{credits, home, run};

/// What `reverser demo` falls back to, recorded from a real API server.
const RECORDING: &str = include_str!("../../reverser-bin/demo/recording.audit.log");

#[test]
fn the_recorded_session_becomes_this_history() {
    run(async {
        let home = home();
        let repo = replay(&home, RECORDING, 0).await.0;
        insta::assert_snapshot!("recording", told(&repo).await);
        repo.fsck().await.unwrap();
    });
}

#[test]
fn replaying_again_adds_nothing() {
    run(async {
        let home = home();
        let (repo, _) = replay(&home, RECORDING, 0).await;
        let before = repo.tip("main").await.unwrap();
        let (_, said) = replay(&home, RECORDING, 0).await;
        assert_eq!(repo.tip("main").await.unwrap(), before);
        assert!(said.contains("already there from an earlier run: 13 writes"), "{said}");
        // Also where nothing of the first run is left but its commits.
        fs::remove_dir_all(home.path().join(".local")).unwrap();
        replay(&home, RECORDING, 0).await;
        let files = repo.git(&["rev-parse", "main^{tree}"]).await.unwrap();
        assert_eq!(files, repo.git(&["rev-parse", &format!("{}^{{tree}}", before.unwrap())]).await.unwrap());
    });
}

#[test]
fn a_longer_log_goes_on_where_the_shorter_one_ended() {
    run(async {
        let at_once = home();
        let whole = replay(&at_once, RECORDING, 0).await.0;
        let home = home();
        let lines: Vec<_> = RECORDING.lines().collect();
        replay(&home, &format!("{}\n", lines[..lines.len() / 2].join("\n")), 0).await;
        let (repo, _) = replay(&home, RECORDING, 0).await;
        assert_eq!(told(&repo).await, told(&whole).await);
    });
}

#[test]
fn a_grouped_log_gives_the_same_files_in_fewer_commits_and_the_same_ones_each_time() {
    run(async {
        let ungrouped = home();
        let whole = replay(&ungrouped, RECORDING, 0).await.0;
        let tree = |repo: BareRepo| async move { repo.git(&["rev-parse", "main^{tree}"]).await.unwrap() };
        let whole = tree(whole).await;
        for (grouping, commits) in [("actor", 7), ("interval", 2)] {
            let mut histories = Vec::new();
            for _ in 0..2 {
                let home = home();
                fs::write(home.path().join("audit.log"), RECORDING).unwrap();
                home.run(&["replay", "audit.log", "--repo", "repo.git", "--group", grouping]).await.exits_with(0);
                let repo = BareRepo::existing(home.path().join("repo.git"));
                let log = repo.git(&["log", "--format=%an %ae %aI%n%B", "main"]).await.unwrap();
                assert_eq!(repo.log("main").await.unwrap().len(), commits, "{log}");
                repo.fsck().await.unwrap();
                assert_eq!(tree(repo).await, whole, "{grouping}");
                histories.push(log);
            }
            assert_eq!(histories[0], histories[1]);
        }
    });
}

#[test]
fn a_broken_line_is_named_skipped_and_shown_in_the_exit_code() {
    run(async {
        let lines: Vec<_> = RECORDING.lines().collect();
        let broken = [&lines[..3], &[&lines[3][..100]], &lines[3..]].concat().join("\n");
        let (flawed, flawless) = (home(), home());
        let (repo, said) = replay(&flawed, &broken, 1).await;
        assert!(said.contains("broken, and skipped: 1 line") && said.contains("recorded.log:4: "), "{said}");
        let whole = replay(&flawless, RECORDING, 0).await.0;
        assert_eq!(told(&repo).await, told(&whole).await);
    });
}

#[test]
fn writes_whose_bodies_were_not_logged_are_counted_as_unusable() {
    run(async {
        let metadata = RECORDING.lines().map(|line| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            event["level"] = "Metadata".into();
            for body in ["requestObject", "responseObject"] {
                event.as_object_mut().unwrap().remove(body);
            }
            format!("{event}\n")
        });
        let home = home();
        let (repo, said) = replay(&home, &metadata.collect::<String>(), 0).await;
        assert!(said.contains("unusable") && said.contains("RequestResponse"), "{said}");
        assert!(said.contains("× create quizsubmissions.examples.configbutler.ai"), "{said}");
        assert!(repo.files("main").await.unwrap().is_empty());
    });
}

#[test]
fn only_the_changes_that_filters_take_become_history() {
    run(async {
        let home = home();
        fs::write(home.path().join("recorded.log"), RECORDING).unwrap();
        let filters = [
            "--only",
            "user=voter-* resource=quizsubmissions.*",
            "--except",
            "user=voter-1",
            "--except",
            "operation=update",
        ];
        let replay = ["replay", "recorded.log", "--repo", "./replayed.git"];
        home.run(&[&replay, &filters[..]].concat()).await.exits_with(0);
        let repo = BareRepo::existing(home.path().join("replayed.git"));
        let log = repo.log("main").await.unwrap();
        let told = credits(&log);
        let subject = "[CREATE] examples.configbutler.ai/v1alpha1/quizsubmissions";
        let expected = ["voter-2", "voter-3", "voter-4"].map(|voter| format!("{voter} {subject}/{voter}"));
        assert_eq!(told, expected);
    });
}

/// Replays a log as the command would be called, into a repository of its home.
async fn replay(home: &Home, log: &str, code: i32) -> (BareRepo, String) {
    fs::write(home.path().join("recorded.log"), log).unwrap();
    let said = home.run(&["replay", "recorded.log", "--repo", "./replayed.git"]).await.exits_with(code);
    (BareRepo::existing(home.path().join("replayed.git")), said)
}

/// Returns the history and the files, as a person would look at them.
async fn told(repo: &BareRepo) -> String {
    let mut text = String::new();
    for commit in repo.log("main").await.unwrap() {
        let line = format!("{} {} <{}> {}\n", commit.authored_at, commit.author, commit.author_email, commit.subject());
        text.push_str(&line);
    }
    for path in repo.files("main").await.unwrap() {
        let content = repo.read("main", &path).await.unwrap();
        text.push_str(&format!("\n--- {path}\n{content}"));
    }
    text
}
