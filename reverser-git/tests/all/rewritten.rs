//! Somebody takes commits out of the remote's history.

use std::fs;

use reverser_git::{GitSink, testing};

use crate::bed::{Bed, LIMIT, batch, commit, failure, git, push, pushed};

#[tokio::test]
async fn files_of_ours_that_a_rewritten_history_lacks_are_written_again() {
    let bed = Bed::new().await;
    bed.others_commit("ours/theirs", "purged later");
    bed.others_commit("readme", "theirs");
    let writer = bed.builder().under(testing::path("ours")).start().await.unwrap();
    for path in ["a", "b", "c"] {
        push(&writer, path, "1").await;
    }
    let delete = writer.commit(batch([testing::plan("delete", [testing::delete("c")])])).await.unwrap();
    pushed(&writer, &delete).await;
    let was = git(&bed.remote(), &["rev-parse", "main"]).trim().to_owned();

    let clone = bed.others_clone();
    git(&clone, &["checkout", "--quiet", "--orphan", "fresh"]);
    git(&clone, &["rm", "--quiet", "-r", "--cached", "ours"]);
    fs::write(clone.join("ours/b"), "2").unwrap();
    fs::write(clone.join("ours/c"), "1").unwrap();
    fs::write(clone.join("ours/new"), "theirs").unwrap();
    git(&clone, &["add", "ours/b", "ours/c", "ours/new"]);
    git(&clone, &["commit", "--quiet", "-m", "rewritten"]);
    bed.others_push(&["--force"]);
    push(&writer, "d", "1").await;

    let rewrite = writer.push_state().borrow().last_rewrite.clone().unwrap();
    assert_eq!((rewrite.was.as_str(), rewrite.restored), (was.as_str(), 3));
    let is = git(&bed.remote(), &["rev-parse", "main~2"]);
    assert_eq!(rewrite.is.as_ref().map(|id| id.as_str()), Some(is.trim()));
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["rewritten", "[RESTORE] 3 files of a rewritten history", "put d"]);
    let message = git(&bed.remote(), &["log", "-1", "--format=%an%n%b", "main~1"]);
    assert!(message.starts_with("bot\n") && message.contains(&was) && message.contains(is.trim()), "{message}");
    // Theirs stay away, and what they added stays.
    let files = git(&bed.remote(), &["ls-tree", "-r", "--name-only", "main"]);
    assert_eq!(files, "ours/a\nours/b\nours/d\nours/new\nreadme\n");
    assert_eq!(bed.show("ours/b"), "1");
}

#[tokio::test]
async fn a_branch_that_was_rewound_to_our_ancestor_gets_our_state_and_not_the_commits() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.others_commit("theirs", "taken back");
    push(&writer, "removed", "1").await;
    git(&bed.remote(), &["update-ref", "refs/heads/main", "main~2"]);
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "[RESTORE] 1 file of a rewritten history", "put b"]);
    let files = git(&bed.remote(), &["ls-tree", "--name-only", "main"]);
    assert_eq!(files, "a\nb\nremoved\n", "somebody else's file may have been taken back on purpose");
}

#[tokio::test]
async fn a_rewrite_that_kept_our_files_restores_none() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    push(&writer, "b", "1").await;
    let clone = bed.others_clone();
    git(&clone, &["reset", "--quiet", "--soft", "HEAD~1"]);
    git(&clone, &["commit", "--quiet", "--amend", "-m", "squashed"]);
    bed.others_push(&["--force"]);
    push(&writer, "c", "1").await;
    assert_eq!(writer.push_state().borrow().last_rewrite.as_ref().map(|rewrite| rewrite.restored), Some(0));
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["squashed", "put c"]);
}

#[tokio::test]
async fn a_rewrite_is_found_at_the_start_too() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
    git(&bed.remote(), &["update-ref", "refs/heads/main", "main~1"]);
    let writer = bed.start().await;
    assert_eq!(writer.push_state().borrow().last_rewrite.as_ref().map(|rewrite| rewrite.restored), Some(1));
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "[RESTORE] 1 file of a rewritten history"]);
}

#[tokio::test]
async fn a_branch_that_is_gone_is_pushed_again() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    git(&bed.remote(), &["update-ref", "-d", "refs/heads/main"]);
    push(&writer, "b", "1").await;
    let rewrite = writer.push_state().borrow().last_rewrite.clone().unwrap();
    assert_eq!(rewrite.is, None);
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b"]);
}

#[tokio::test]
async fn that_a_branch_is_gone_survives_a_restart() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    push(&writer, "b", "1").await;
    bed.finish(writer).await;
    git(&bed.remote(), &["update-ref", "-d", "refs/heads/main"]);
    bed.refuse_pushes();
    let writer = bed.start().await;
    assert_eq!(writer.push_state().borrow().unpushed, 2);
    failure(&writer).await;
    // A failure on this disk makes the writer read its state again.
    let (objects, away) = (bed.local().join("objects"), bed.local().join("away"));
    fs::rename(&objects, &away).unwrap();
    writer.commit(batch([testing::plan("lost", [testing::put("lost", "1")])])).await.unwrap_err();
    fs::rename(&away, &objects).unwrap();
    commit(&writer, "c", "1").await;
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 3);

    bed.take_remote_away();
    let writer = bed.start().await;
    assert_eq!(writer.push_state().borrow().unpushed, 3);
    bed.bring_remote_back();
    bed.allow_pushes();
    writer.retry_now().await.unwrap();
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b", "put c"]);
}

#[tokio::test]
async fn a_branch_that_somebody_made_anew_gets_our_state_and_not_the_old_history() {
    let bed = Bed::new().await;
    bed.others_commit("theirs", "old");
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    git(&bed.remote(), &["update-ref", "-d", "refs/heads/main"]);
    bed.refuse_pushes();
    commit(&writer, "b", "1").await;
    failure(&writer).await;
    bed.allow_pushes();
    let clone = bed.folder("clone");
    git(&clone, &["checkout", "--quiet", "--orphan", "anew"]);
    git(&clone, &["rm", "--quiet", "-r", "-f", "."]);
    fs::write(clone.join("anew"), "1").unwrap();
    git(&clone, &["add", "--all"]);
    git(&clone, &["commit", "--quiet", "-m", "anew"]);
    bed.others_push(&[]);
    writer.retry_now().await.unwrap();
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["anew", "[RESTORE] 1 file of a rewritten history", "put b"]);
    assert_eq!(bed.log("main", "%cn"), ["Bob", "bot", "bot"]);
    assert_eq!(git(&bed.remote(), &["ls-tree", "--name-only", "main"]), "a\nanew\nb\n");
}

#[tokio::test]
async fn commits_that_do_not_descend_from_where_the_branch_is_are_not_pushed() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    let seen = bed.local().join("refs/remotes/origin/main");
    let before = fs::read(&seen).unwrap();
    bed.others_commit("theirs", "taken back later");
    bed.refuse_pushes();
    commit(&writer, "b", "1").await;
    failure(&writer).await;
    writer.retry_now().await.unwrap();
    failure(&writer).await;
    writer.close(LIMIT).await.unwrap();
    // As a crash leaves it between the replay and the note of the tip that it stands on, with a remote that is rewound then.
    fs::write(&seen, before).unwrap();
    git(&bed.remote(), &["update-ref", "refs/heads/main", "main~1"]);
    bed.allow_pushes();
    bed.take_remote_away();
    let writer = bed.start().await;
    bed.bring_remote_back();
    writer.retry_now().await.unwrap();
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b"]);
}
