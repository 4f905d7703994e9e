//! Somebody else pushes changes of the same files: another writer of ours, or a person.

use std::os::unix::fs::symlink;

use reverser_core::{CommitPlan, Edit};
use reverser_git::{ConflictOutcome, Files, GitSink, GitWriter, OnConflict, PushPhase, PushState, Remedy, RemoteError};

use crate::bed::{Bed, LIMIT, batch, commit, failure, git, plan, push, pushed};

#[tokio::test]
async fn a_change_that_another_writer_has_overtaken_is_dropped() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    // As numbers: 10 is later than 9.
    bed.others_say(&recorded("theirs", "u", "10"), &[("a", Some("newer"))]);
    let receipt = writer.commit(batch([version("a", Some("older"), "u", "9"), plan("b", "1")])).await.unwrap();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "theirs", "put b"]);
    assert_eq!(bed.show("a"), "newer");
}

#[tokio::test]
async fn an_overtaken_change_is_dropped_also_where_the_file_is_as_it_was() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.others_say(&recorded("to", "u", "4"), &[("a", Some("2"))]);
    bed.others_say(&recorded("fro", "u", "5"), &[("a", Some("1"))]);
    bed.others_say("a person's, of another file", &[("c", Some("1"))]);
    let receipt = writer.commit(batch([version("a", Some("2"), "u", "4")])).await.unwrap();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "to", "fro", "a person's, of another file"]);
    assert_eq!(bed.show("a"), "1");
}

#[tokio::test]
async fn a_later_version_than_another_writers_is_no_conflict() {
    for on_conflict in [OnConflict::Branch, OnConflict::Ours, OnConflict::Stop] {
        let bed = Bed::new().await;
        let writer = bed.builder().on_conflict(on_conflict).start().await.unwrap();
        push(&writer, "a", "1").await;
        bed.others_say(&recorded("theirs", "u", "99"), &[("a", Some("older"))]);
        let receipt = writer.commit(batch([version("a", Some("newer"), "u", "100")])).await.unwrap();
        pushed(&writer, &receipt).await;
        assert_eq!(writer.push_state().borrow().last_conflict, None);
        bed.finish(writer).await;
        assert_eq!(bed.subjects(), ["put a", "theirs", "ours"]);
        assert_eq!(bed.show("a"), "newer");
        assert_eq!(trailer(&bed, "main", "Reverser-Replaces"), "");
    }
}

#[tokio::test]
async fn a_deletion_may_be_told_with_the_version_that_it_deletes() {
    // Theirs and ours are (file, uid, version); the last one says what stands there in the end.
    type Side = (Option<&'static str>, &'static str, &'static str);
    let cases: [(Side, Side, Option<&str>); 6] = [
        ((Some("theirs"), "u", "5"), (None, "u", "5"), None),
        ((None, "u", "5"), (Some("ours"), "u", "5"), None),
        ((Some("theirs"), "u", "5"), (Some("ours"), "u", "5"), Some("theirs")),
        ((Some("made again"), "v", "7"), (None, "u", "6"), Some("made again")),
        ((None, "u", "6"), (Some("made again"), "v", "7"), Some("made again")),
        ((Some("made again"), "v", "7"), (Some("ours"), "u", "5"), Some("made again")),
    ];
    for (theirs, ours, expected) in cases {
        let bed = Bed::new().await;
        let writer = bed.start().await;
        push(&writer, "a", "1").await;
        push(&writer, "b", "1").await;
        bed.others_say(&recorded("theirs", theirs.1, theirs.2), &[("a", theirs.0)]);
        let receipt = writer.commit(batch([version("a", ours.0, ours.1, ours.2)])).await.unwrap();
        pushed(&writer, &receipt).await;
        bed.finish(writer).await;
        let files = git(&bed.remote(), &["ls-tree", "--name-only", "main"]);
        let content = files.lines().any(|file| file == "a").then(|| bed.show("a"));
        assert_eq!(content.as_deref(), expected, "{theirs:?} {ours:?}");
    }
}

#[tokio::test]
async fn ours_replaces_a_persons_change_and_says_whose() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    push(&writer, "folder/x", "1").await;
    bed.others_say("earlier", &[("a", Some("theirs, at first"))]);
    let theirs = bed.others_say("theirs", &[("a", Some("theirs"))]);
    let file = bed.others_say("a file where our folder is", &[("folder/x", None), ("folder", Some("file"))]);
    let plans = [version("a", Some("ours"), "u", "7"), plan("folder/y", "2"), plan("a", "ours, later")];
    let receipt = writer.commit(batch(plans)).await.unwrap();
    pushed(&writer, &receipt).await;
    let conflict = writer.push_state().borrow().last_conflict.clone().unwrap();
    assert_eq!((conflict.path.as_str(), conflict.files, conflict.theirs.as_str()), ("a", 2, theirs.as_str()));
    assert_eq!(conflict.outcome, ConflictOutcome::Replaced);
    bed.finish(writer).await;

    assert_eq!(
        bed.subjects()[2..],
        ["earlier", "theirs", "a file where our folder is", "ours", "put folder/y", "put a"]
    );
    assert_eq!((bed.show("a"), bed.show("folder/y")), ("ours, later".to_owned(), "2".to_owned()));
    let message = git(&bed.remote(), &["log", "-1", "--format=%an <%ae> %at%n%B", "main~2"]);
    let expected = format!(
        "Ann <ann@example.com> 1700000000\nours\n\nReverser-Uid: u\nReverser-Resource-Version: 7\nReverser-Replaces: {theirs}\n\n"
    );
    assert_eq!(message, expected);
    assert_eq!(trailer(&bed, "main~2", "Reverser-Replaces"), theirs);
    assert_eq!(trailer(&bed, "main~1", "Reverser-Replaces"), file, "a message without trailers gets a paragraph");
    assert_eq!(trailer(&bed, "main", "Reverser-Replaces"), "", "it replaces ours");
}

#[tokio::test]
async fn a_change_that_meets_several_foreign_pushes_names_each_once() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.refuse_pushes();
    let receipt = commit(&writer, "a", "ours").await;
    failure(&writer).await;
    let mut theirs = Vec::new();
    for (path, content) in [("a", "theirs"), ("a", "theirs again"), ("other", "1")] {
        let id = bed.others_say(content, &[(path, Some(content))]);
        writer.retry_now().await.unwrap();
        // Replayed on it, and refused again.
        until(&writer, |state| {
            let is_met = state.last_conflict.as_ref().is_some_and(|conflict| conflict.theirs.as_str() == id);
            (is_met || path == "other") && matches!(state.phase, PushPhase::Waiting { .. })
        })
        .await;
        theirs.push(id);
    }
    bed.allow_pushes();
    writer.retry_now().await.unwrap();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "theirs", "theirs again", "1", "put a"]);
    assert_eq!(trailer(&bed, "main", "Reverser-Replaces"), theirs[..2].join("\n"));
}

#[tokio::test]
async fn what_is_in_conflict_goes_to_a_branch_of_its_own() {
    let bed = Bed::new().await;
    let writer = bed.builder().on_conflict(OnConflict::Branch).start().await.unwrap();
    push(&writer, "a", "1").await;
    let theirs = bed.others_say("theirs", &[("a", Some("theirs"))]);
    let mut both = plan("b", "2");
    both.edits.extend(plan("a", "ours").edits);
    let receipt = writer.commit(batch([both, plan("c", "3"), plan("a", "ours, later")])).await.unwrap();
    pushed(&writer, &receipt).await;
    let conflict = writer.push_state().borrow().last_conflict.clone().unwrap();
    let ConflictOutcome::Aside(branch) = conflict.outcome.clone() else { panic!("{conflict:?}") };
    assert!(branch.as_str().starts_with("main-reverser-"), "{branch}");
    assert_eq!((conflict.files, conflict.theirs.as_str()), (1, theirs.as_str()), "two commits, and one file");
    assert!(writer.push_state().borrow().aside.is_empty(), "it is pushed");
    // The next change of that file is no race any more.
    push(&writer, "a", "ours, much later").await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "theirs", "put b", "put c", "put a"]);
    assert_eq!(bed.log(branch.as_str(), "%s %an"), ["put a Ann", "theirs Bob", "put b Ann", "put a Ann"]);
    let files = git(&bed.remote(), &["ls-tree", "--name-only", branch.as_str()]);
    assert_eq!(files, "a\n", "nothing but what is in conflict");
    assert_eq!(git(&bed.remote(), &["cat-file", "blob", &format!("{branch}:a")]), "ours, later");
}

#[tokio::test]
async fn what_was_put_aside_survives_a_restart() {
    let bed = Bed::new().await;
    let writer = bed.builder().on_conflict(OnConflict::Branch).start().await.unwrap();
    push(&writer, "a", "1").await;
    bed.refuse_pushes();
    commit(&writer, "a", "ours").await;
    failure(&writer).await;
    bed.others_say("theirs", &[("a", Some("theirs"))]);
    writer.retry_now().await.unwrap();
    let state = until(&writer, |state| !state.aside.is_empty()).await;
    assert_eq!(state.unpushed, 1, "{state:?}");
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 1);

    let writer = bed.start().await;
    assert_eq!(writer.push_state().borrow().aside, state.aside);
    bed.allow_pushes();
    writer.retry_now().await.unwrap();
    bed.finish(writer).await;
    assert_eq!(bed.log(state.aside[0].as_str(), "%s"), ["put a", "theirs", "put a"]);
    assert_eq!(bed.subjects(), ["put a", "theirs"]);
}

#[tokio::test]
async fn a_writer_that_stops_at_conflicts_goes_on_when_theirs_is_taken_back() {
    let bed = Bed::new().await;
    let writer = bed.builder().on_conflict(OnConflict::Stop).start().await.unwrap();
    push(&writer, "a", "1").await;
    let theirs = bed.others_say("theirs", &[("a", Some("theirs"))]);
    commit(&writer, "a", "ours").await;
    let error = failure(&writer).await;
    assert!(matches!(error, RemoteError::Conflict { .. }), "{error:?}");
    assert_eq!(error.remedy(), Remedy::FixConfiguration);
    let text = error.to_string();
    for part in [bed.remote().to_str().unwrap(), "refs/heads/main", ": a,", &theirs[..8], "until that is taken back"] {
        assert!(text.contains(part), "{text}");
    }
    let last = commit(&writer, "b", "kept meanwhile").await;
    assert_eq!(writer.read(&"a".parse().unwrap()).await.unwrap().as_deref(), Some(&b"ours"[..]));
    bed.others_say("taken back", &[("a", Some("1"))]);
    writer.retry_now().await.unwrap();
    pushed(&writer, &last).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put a", "theirs", "taken back", "put a", "put b"]);
}

#[tokio::test]
async fn a_writer_that_stopped_at_a_conflict_goes_on_when_it_is_started_to_replace() {
    let bed = Bed::new().await;
    let writer = bed.builder().on_conflict(OnConflict::Stop).start().await.unwrap();
    push(&writer, "a", "1").await;
    bed.others_say("theirs", &[("a", Some("theirs"))]);
    commit(&writer, "a", "ours").await;
    failure(&writer).await;
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 1);
    // The conflict is met at the start, too.
    let writer = bed.builder().on_conflict(OnConflict::Stop).start().await.unwrap();
    assert!(matches!(failure(&writer).await, RemoteError::Conflict { .. }));
    let closed = writer.close(LIMIT).await.unwrap();
    assert!(matches!(closed.error, Some(RemoteError::Conflict { .. })), "{closed:?}");

    bed.finish(bed.start().await).await;
    assert_eq!(bed.subjects(), ["put a", "theirs", "put a"]);
    assert_eq!(bed.show("a"), "ours");
}

#[tokio::test]
async fn a_replay_replaces_no_link_and_no_mode_of_somebodys() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    for path in ["tool", "link", "folder/x"] {
        push(&writer, path, "1").await;
    }
    let clone = bed.others_clone();
    git(&clone, &["rm", "--quiet", "-r", "link", "folder"]);
    for link in ["link", "folder"] {
        symlink("tool", clone.join(link)).unwrap();
    }
    git(&clone, &["add", "--all"]);
    git(&clone, &["update-index", "--chmod=+x", "tool"]);
    git(&clone, &["commit", "--quiet", "-m", "theirs"]);
    bed.others_push(&[]);
    let delete = reverser_git::testing::plan("delete", [reverser_git::testing::delete("link")]);
    let plans = [plan("tool", "2"), plan("link", "2"), plan("folder/x", "2"), delete, plan("last", "1")];
    let receipt = writer.commit(batch(plans)).await.unwrap();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
    assert_eq!(bed.subjects()[3..], ["theirs", "put tool", "put last"]);
    let tree = git(&bed.remote(), &["ls-tree", "main"]);
    let modes: Vec<_> = tree.lines().map(|line| (&line[..6], line.rsplit('\t').next().unwrap())).collect();
    assert_eq!(modes, [("120000", "folder"), ("100644", "last"), ("120000", "link"), ("100755", "tool")]);
}

#[tokio::test]
async fn a_merge_of_somebodys_is_taken_for_what_it_changed() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    // Bob works on the old tip while ours go on, and merges: the first parent is his.
    let clone = bed.others_clone();
    std::fs::write(clone.join("theirs"), "1").unwrap();
    git(&clone, &["add", "--all"]);
    git(&clone, &["commit", "--quiet", "-m", "theirs"]);
    push(&writer, "a", "2").await;
    git(&clone, &["fetch", "--quiet", "origin"]);
    git(&clone, &["merge", "--quiet", "-m", "merge", "origin/main"]);
    bed.others_push(&[]);
    push(&writer, "a", "3").await;
    assert_eq!(writer.push_state().borrow().last_conflict, None);
    bed.finish(writer).await;
    assert_eq!(bed.show("a"), "3");
    assert_eq!(trailer(&bed, "main", "Reverser-Replaces"), "");
    assert_eq!(git(&bed.remote(), &["log", "--format=%s", "main"]).lines().count(), 5);
}

/// A message as the flow writes it for one version of one object.
fn recorded(subject: &str, uid: &str, version: &str) -> String {
    format!("{subject}\n\nReverser-Uid: {uid}\nReverser-Resource-Version: {version}\n")
}

fn version(path: &str, content: Option<&str>, uid: &str, version: &str) -> CommitPlan {
    let at = path.parse().unwrap();
    let edit = match content {
        Some(content) => Edit::Put { path: at, content: content.into() },
        None => Edit::Delete { path: at },
    };
    CommitPlan { message: recorded("ours", uid, version), edits: vec![edit], ..plan(path, "") }
}

/// What git reads from a commit's trailers.
fn trailer(bed: &Bed, commit: &str, key: &str) -> String {
    let format = format!("--format=%(trailers:key={key},valueonly)");
    git(&bed.remote(), &["log", "-1", &format, commit]).trim().to_owned()
}

async fn until(writer: &GitWriter, is: impl Fn(&PushState) -> bool) -> PushState {
    let mut seen = writer.push_state();
    let state = tokio::time::timeout(LIMIT, seen.wait_for(|state| is(state))).await;
    state.unwrap_or_else(|_| panic!("{:?}", *writer.push_state().borrow())).unwrap().clone()
}
