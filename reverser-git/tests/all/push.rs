use std::{fs, time::Duration};

use reverser_git::{Files, GitSink, PushPhase, Remedy, RemoteError, SinkError, testing::path};
use reverser_testbed::write_script;

use crate::bed::{Bed, LIMIT, commit, failure, git, push, pushed};

#[tokio::test]
async fn a_push_race_loses_no_commit_of_anybody() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "ours-1", "1").await;
    bed.others_commit("theirs", "1");
    push(&writer, "ours-2", "2").await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put ours-1", "others: theirs", "put ours-2"]);
    let replayed = git(&bed.remote(), &["log", "-1", "--format=%an <%ae> %at %cn%n%B", "main"]);
    assert_eq!(replayed, "Ann <ann@example.com> 1700000000 bot\nput ours-2\n\nbody of ours-2\n\n");
    assert_eq!(bed.show("theirs"), "1");
    assert_eq!(bed.show("ours-2"), "2");
}

#[tokio::test]
async fn what_others_have_pushed_is_seen_by_one_that_has_nothing_to_push() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "ours", "1").await;
    for content in ["1", "2"] {
        bed.others_commit("theirs", content);
        writer.catch_up().await.unwrap();
        assert_eq!(writer.read(&path("theirs")).await.unwrap().as_deref(), Some(content.as_bytes()));
    }
    writer.catch_up().await.unwrap();
    push(&writer, "ours", "2").await;
    fs::rename(bed.remote(), bed.remote().with_extension("away")).unwrap();
    let error = writer.catch_up().await.unwrap_err();
    assert!(matches!(error, SinkError::Remote { .. }), "{error:?}");
    assert_eq!(writer.read(&path("theirs")).await.unwrap().as_deref(), Some(&b"2"[..]));
    fs::rename(bed.remote().with_extension("away"), bed.remote()).unwrap();
    writer.catch_up().await.unwrap();
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put ours", "others: theirs", "others: theirs", "put ours"]);
}

#[tokio::test]
async fn what_others_have_pushed_is_seen_by_one_that_pushes_all_the_time() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "ours", "0").await;
    bed.others_commit("theirs", "1");
    let busy = async {
        for count in 1.. {
            commit(&writer, "ours", &count.to_string()).await;
        }
    };
    let looks = async {
        for _ in 0..3 {
            writer.catch_up().await.unwrap();
            assert_eq!(writer.read(&path("theirs")).await.unwrap().as_deref(), Some(&b"1"[..]));
        }
    };
    tokio::select! {
        () = busy => unreachable!("it goes on"),
        looked = tokio::time::timeout(LIMIT, looks) => looked.expect("a look waits for ever"),
    }
    bed.finish(writer).await;
}

#[tokio::test]
async fn several_unpushed_commits_are_replayed_in_order_with_what_they_delete() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "old/file", "1").await;
    bed.refuse_pushes();
    let mut last = commit(&writer, "a", "1").await;
    failure(&writer).await;
    bed.allow_pushes();
    bed.others_commit("theirs", "1");
    for (path, content) in [("a", "2"), ("old", "a file where a folder was"), ("b", "1")] {
        last = commit(&writer, path, content).await;
    }
    pushed(&writer, &last).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put old/file", "others: theirs", "put a", "put a", "put old", "put b"]);
    let files = git(&bed.remote(), &["ls-tree", "-r", "--name-only", "main"]);
    assert_eq!(files, "a\nb\nold\ntheirs\n");
}

#[tokio::test]
async fn a_replayed_commit_that_changes_nothing_is_dropped() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "base", "1").await;
    bed.refuse_pushes();
    commit(&writer, "same", "1").await;
    failure(&writer).await;
    bed.allow_pushes();
    bed.others_commit("same", "1");
    push(&writer, "next", "1").await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put base", "others: same", "put next"]);
}

#[tokio::test]
async fn a_refused_push_says_why_and_goes_out_when_it_is_allowed() {
    let bed = Bed::new().await;
    bed.refuse_pushes();
    let writer = bed.start().await;
    let receipt = commit(&writer, "a", "1").await;
    let error = failure(&writer).await;
    assert!(matches!(&error, RemoteError::Refused { words, .. } if words == "no pushes on Friday"), "{error:?}");
    assert_eq!(error.remedy(), Remedy::FixConfiguration);
    let text = error.to_string();
    for part in [bed.remote().to_str().unwrap(), "refs/heads/main", "pre-receive hook declined", "no pushes on Friday"]
    {
        assert!(text.contains(part), "{text}");
    }
    let state = writer.push_state().borrow().clone();
    assert_eq!(state.unpushed, 1);
    assert!(state.unpushed_since.is_some() && state.last_push.is_none());
    bed.allow_pushes();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_branch_that_another_one_is_in_the_way_of_is_told_with_the_servers_words() {
    let bed = Bed::new().await;
    bed.others_commit("a", "1");
    let writer = bed.builder().branch("main/x".parse().unwrap()).start().await.unwrap();
    let receipt = commit(&writer, "b", "1").await;
    let error = failure(&writer).await;
    assert_eq!(error.remedy(), Remedy::Retry);
    let text = error.to_string();
    assert!(text.contains("'refs/heads/main' exists") && !text.contains("somebody else"), "{text}");
    git(&bed.remote(), &["branch", "-m", "main", "trunk"]);
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn of_a_hook_that_says_very_much_the_beginning_and_the_end_are_told() {
    let bed = Bed::new().await;
    bed.write_hook("echo first >&2\nseq 1 20000 >&2\necho last >&2\nexit 1\n");
    let writer = bed.start().await;
    commit(&writer, "a", "1").await;
    let text = failure(&writer).await.to_string();
    assert!(text.contains("first; 1; 2") && text.contains("20000; last"), "{text}");
    assert!(text.len() < 5000, "{}", text.len());
    let receipt = commit(&writer, "b", "1").await;
    bed.allow_pushes();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_remote_that_is_away_gets_everything_when_it_is_back() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.take_remote_away();
    let receipt = commit(&writer, "b", "1").await;
    let error = failure(&writer).await;
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");
    bed.bring_remote_back();
    pushed(&writer, &receipt).await;
    let mut state = writer.push_state();
    let idle = state.wait_for(|state| matches!(state.phase, PushPhase::Idle) && state.unpushed == 0);
    let state = tokio::time::timeout(LIMIT, idle).await.unwrap().unwrap().clone();
    assert_eq!((state.totals.pushes, state.totals.conflicts, state.totals.rewrites), (2, 0, 0));
    assert!(state.totals.failures >= 1, "{:?}", state.totals);
    assert!(state.last_push.is_some_and(|push| push.waited > Duration::ZERO));
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b"]);
}

#[tokio::test]
async fn the_branch_that_is_checked_out_is_refused_with_advice() {
    let bed = Bed::new().await;
    let tree = bed.folder("tree");
    git(&bed.folder("."), &["init", "--quiet", "--initial-branch=main", "tree"]);
    let url = tree.to_str().unwrap().parse().unwrap();
    let writer = reverser_git::GitWriter::open(url, reverser_git::Credentials::FromGit).state_dir(bed.state_dir());
    let writer = writer.start().await.unwrap();
    commit(&writer, "a", "1").await;
    let text = failure(&writer).await.to_string();
    assert!(text.contains("checked out") && text.contains("push to a bare repository"), "{text}");
    let closed = writer.close(Duration::ZERO).await.unwrap();
    assert_eq!(closed.unpushed, 1);
}

#[tokio::test]
async fn closing_ends_at_a_refusal_and_says_what_is_left() {
    let bed = Bed::new().await;
    bed.refuse_pushes();
    let writer = bed.start().await;
    commit(&writer, "a", "1").await;
    let closed = writer.close(LIMIT).await.unwrap();
    assert_eq!(closed.unpushed, 1);
    assert!(matches!(closed.error, Some(RemoteError::Refused { .. })), "{:?}", closed.error);
    assert!(matches!(writer.cursors().await, Err(SinkError::Closed { .. })));
    assert!(matches!(writer.close(LIMIT).await, Err(SinkError::Closed { .. })));
}

#[tokio::test]
async fn two_writers_on_one_branch_lose_nothing() {
    let bed = Bed::new().await;
    let one = bed.start().await;
    let two = bed.builder().state_dir(bed.folder("state-2")).start_apart().await.unwrap();
    let write = |writer: reverser_git::GitWriter, name: &'static str| async move {
        let mut last = None;
        for n in 0..30 {
            last = Some(commit(&writer, &format!("{name}/{n}"), "x").await);
        }
        pushed(&writer, &last.unwrap()).await;
        writer
    };
    let (one, two) = tokio::join!(tokio::spawn(write(one, "one")), tokio::spawn(write(two, "two")));
    two.unwrap().close(LIMIT).await.unwrap();
    bed.finish(one.unwrap()).await;
    let mut subjects = bed.subjects();
    assert_eq!(subjects.len(), 60);
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), 60, "none doubled");
}

#[tokio::test]
async fn the_users_hooks_do_not_run() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    let hook = bed.local().join("hooks/pre-push");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    write_script(&hook, "exit 1").unwrap();
    push(&writer, "a", "1").await;
    assert_eq!(writer.read(&path("a")).await.unwrap().as_deref(), Some(&b"1"[..]));
    bed.finish(writer).await;
}
