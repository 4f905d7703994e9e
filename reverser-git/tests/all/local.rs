//! A repository without a remote: the bed's remote, in which the writer makes its commits.

use std::{fs, time::Duration};

use reverser_core::Signature;
use reverser_git::{
    Credentials, Files, GitSink, GitWriter, GitWriterBuilder, OpenError, Remedy, RemoteError, SinkError, testing,
    testing::path,
};

use crate::bed::{Bed, LIMIT, commit, failure, git, id, push, pushed};

fn builder(bed: &Bed) -> GitWriterBuilder {
    GitWriter::local(&bed.remote()).unwrap().committer(Signature::new("bot", "bot@example.com"))
}

async fn start(bed: &Bed) -> GitWriter {
    builder(bed).start().await.unwrap()
}

#[tokio::test]
async fn a_repository_without_a_remote_conforms() {
    let bed = Bed::new().await;
    let writer = start(&bed).await;
    testing::conforms(&writer).await;
    bed.finish_local(writer).await;
    assert_eq!(bed.subjects().last().unwrap(), "last");
    assert_eq!(bed.show("last"), "1");
}

#[tokio::test]
async fn a_repository_is_made_where_nothing_is_and_can_be_cloned() {
    let bed = Bed::new().await;
    let folder = bed.folder("a/b/made");
    let writer = GitWriter::local(&folder).unwrap().under(path("below")).start().await.unwrap();
    testing::conforms(&writer).await;
    let head = id(&commit(&writer, "head", "1").await);
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    git(&folder, &["fsck", "--full", "--strict", "--no-dangling"]);
    git(&bed.folder("."), &["clone", "--quiet", "a/b/made", "cloned"]);
    assert_eq!(git(&bed.folder("cloned"), &["rev-parse", "HEAD"]).trim(), head.as_str());
    assert_eq!(fs::read_to_string(bed.folder("cloned/below/last")).unwrap(), "1");
}

#[tokio::test]
async fn what_others_push_stays_and_ours_stand_on_it() {
    let bed = Bed::new().await;
    bed.others_commit("theirs-0", "1");
    let writer = start(&bed).await;
    assert_eq!(writer.read(&path("theirs-0")).await.unwrap().as_deref(), Some(&b"1"[..]));
    for n in 1..4 {
        push(&writer, &format!("ours-{n}"), "1").await;
        bed.others_commit(&format!("theirs-{n}"), "1");
    }
    push(&writer, "last", "1").await;
    bed.finish_local(writer).await;
    let expected: Vec<_> = (0..4).flat_map(|n| [format!("put ours-{n}"), format!("others: theirs-{n}")]).collect();
    let subjects = bed.subjects();
    assert_eq!((&subjects[..7], subjects[7].as_str()), (&expected[1..], "put last"));
}

#[tokio::test]
async fn a_restart_goes_on_with_cursors_and_what_a_crash_left_behind_the_branch() {
    let bed = Bed::new().await;
    let writer = start(&bed).await;
    push(&writer, "a", "1").await;
    let tip = git(&bed.remote(), &["rev-parse", "main"]);
    let mut batch = crate::bed::batch([crate::bed::plan("b", "1")]);
    batch.cursors.insert("source".to_owned(), "7".to_owned());
    let receipt = writer.commit(batch).await.unwrap();
    pushed(&writer, &receipt).await;
    bed.finish_local(writer).await;
    // As a crash between the state and the branch leaves it.
    git(&bed.remote(), &["update-ref", "refs/heads/main", tip.trim()]);
    git(&bed.remote(), &["update-ref", "refs/reverser-moved/main", tip.trim()]);

    let writer = start(&bed).await;
    pushed(&writer, &commit(&writer, "c", "1").await).await;
    assert_eq!(writer.cursors().await.unwrap()["source"], "7");
    bed.finish_local(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b", "put c"]);
}

#[tokio::test]
async fn other_tools_may_pack_refs_and_collect_garbage() {
    let bed = Bed::new().await;
    let writer = start(&bed).await;
    for n in 0..10 {
        push(&writer, &n.to_string(), "1").await;
        git(&bed.remote(), if n % 2 == 0 { &["gc", "--quiet", "--prune=now"] } else { &["pack-refs", "--all"] });
    }
    bed.finish_local(writer).await;
    assert_eq!(bed.subjects().len(), 10);
    let writer = start(&bed).await;
    assert_eq!(writer.list(None).await.unwrap().len(), 10);
    bed.finish_local(writer).await;
}

#[tokio::test]
async fn refs_packed_while_commits_are_made_lose_none() {
    let bed = Bed::new().await;
    let writer = start(&bed).await;
    let (remote, (stop, stopped)) = (bed.remote(), std::sync::mpsc::channel::<()>());
    let packing = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            // One that meets a lock gives up, as it may.
            let _ = crate::bed::command(&remote, &["pack-refs", "--all", "--prune"]).output().unwrap();
        }
    });
    for n in 0..50 {
        commit(&writer, &n.to_string(), "1").await;
    }
    drop(stop);
    packing.join().unwrap();
    bed.finish_local(writer).await;
    assert_eq!(bed.subjects(), (0..50).map(|n| format!("put {n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_branch_that_is_checked_out_is_refused_with_advice() {
    let bed = Bed::new().await;
    let tree = bed.folder("tree");
    git(&bed.folder("."), &["init", "--quiet", "--initial-branch=main", "tree"]);
    let error = GitWriter::local(&tree).unwrap().start().await.unwrap_err();
    assert!(matches!(error, OpenError::Remote(RemoteError::Refused { .. })), "{error:?}");
    assert_eq!(error.remedy(), Remedy::FixConfiguration);
    let text = error.to_string();
    for part in ["refs/heads/main", "checked out", tree.to_str().unwrap(), "check another branch out there"] {
        assert!(text.contains(part), "{text}");
    }
    // Another one is no obstacle.
    let writer = GitWriter::local(&tree).unwrap().branch("live".parse().unwrap()).start().await.unwrap();
    push(&writer, "a", "1").await;
    assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    assert_eq!(git(&tree, &["log", "--format=%s", "live"]), "put a\n");
    assert_eq!(git(&tree, &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_working_tree_holds_the_branch_and_gives_it_back() {
    let bed = Bed::new().await;
    let writer = start(&bed).await;
    push(&writer, "a", "1").await;
    git(&bed.remote(), &["worktree", "add", "--quiet", "../tree", "main"]);
    let receipt = commit(&writer, "b", "1").await;
    let error = failure(&writer).await;
    assert!(matches!(error, RemoteError::Refused { .. }) && error.to_string().contains("checked out"), "{error}");
    let tree = bed.folder("tree");
    fs::write(tree.join("theirs"), "1").unwrap();
    git(&tree, &["add", "theirs"]);
    git(
        &tree,
        &["-c", "user.name=Bob", "-c", "user.email=bob@example.com", "commit", "--quiet", "-m", "others: theirs"],
    );
    git(&bed.remote(), &["worktree", "remove", "../tree"]);
    // A new writer wakes it.
    let another = start(&bed).await;
    pushed(&writer, &receipt).await;
    drop(another);
    bed.finish_local(writer).await;
    assert_eq!(bed.subjects(), ["put a", "others: theirs", "put b"]);
}

#[tokio::test]
async fn locks_that_others_hold_are_waited_for_and_named() {
    let bed = Bed::new().await;
    let writer = start(&bed).await;
    push(&writer, "a", "1").await;
    let lock = bed.remote().join("refs/heads/main.lock");
    fs::write(&lock, "").unwrap();
    let receipt = commit(&writer, "b", "1").await;
    let error = failure(&writer).await;
    assert_eq!(error.remedy(), Remedy::Retry);
    assert!(error.to_string().contains(lock.to_str().unwrap()), "{error}");
    fs::remove_file(&lock).unwrap();
    pushed(&writer, &receipt).await;

    let lock = bed.remote().join("refs/reverser/main.lock");
    fs::write(&lock, "").unwrap();
    let error = writer.commit(crate::bed::batch([crate::bed::plan("c", "1")])).await.unwrap_err();
    assert!(matches!(error, SinkError::Store { .. }), "{error:?}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains(lock.to_str().unwrap()) && source.contains("remove it"), "{source}");
    assert!(lock.exists(), "it isn't ours");
    fs::remove_file(&lock).unwrap();
    push(&writer, "d", "1").await;
    bed.finish_local(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b", "put d"]);
}

#[tokio::test]
async fn several_branches_of_a_repository_are_written_side_by_side() {
    let bed = Bed::new().await;
    // All begin before there is a commit for them to begin at.
    let mut writers = Vec::new();
    for branch in ["main", "team/a", "team/b"] {
        writers.push(builder(&bed).branch(branch.parse().unwrap()).start().await.unwrap());
    }
    let write = |writer: GitWriter| async move {
        for n in 0..10 {
            commit(&writer, &n.to_string(), "1").await;
        }
        writer.close(LIMIT).await.unwrap().unpushed
    };
    let tasks: Vec<_> = writers.into_iter().map(|writer| tokio::spawn(write(writer))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 0);
    }
    let expected: Vec<_> = (0..10).map(|n| format!("put {n}")).collect();
    for branch in ["main", "team/a", "team/b"] {
        assert_eq!(bed.log(branch, "%s"), expected, "{branch}");
    }
    git(&bed.remote(), &["fsck", "--full", "--strict", "--no-dangling"]);
}

#[tokio::test]
async fn who_pushes_there_in_the_same_process_joins() {
    let bed = Bed::new().await;
    let writer = start(&bed).await;
    let url = format!("{}/", bed.remote().display()).parse().unwrap();
    let joined = GitWriter::open(url, Credentials::FromGit).start().await.unwrap();
    commit(&writer, "a", "1").await;
    commit(&joined, "b", "1").await;
    joined.close(LIMIT).await.unwrap();
    bed.finish_local(writer).await;
    assert_eq!(bed.subjects(), ["put a", "put b"]);
    // And the other way round.
    let pushing = bed.start().await;
    let joined = start(&bed).await;
    push(&joined, "c", "1").await;
    drop(joined);
    bed.finish(pushing).await;
}

#[tokio::test]
async fn a_branch_of_a_repository_has_one_process() {
    let bed = Bed::new().await;
    let writer = start(&bed).await;
    let error = builder(&bed).start_apart().await.unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    bed.finish_local(writer).await;
}

#[tokio::test]
async fn a_folder_of_other_things_and_a_state_folder_are_refused() {
    let bed = Bed::new().await;
    let folder = bed.folder("things");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "mine").unwrap();
    let error = GitWriter::local(&folder).unwrap().start().await.unwrap_err();
    assert!(matches!(error, OpenError::NoRepository { .. }), "{error:?}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    let error = builder(&bed).state_dir(bed.state_dir()).start().await.unwrap_err();
    assert!(matches!(error, OpenError::OwnState { .. }), "{error:?}");
    assert!(error.to_string().contains(bed.state_dir().to_str().unwrap()), "{error}");
    assert!(!bed.state_dir().exists());
    let closed = start(&bed).await.close(Duration::ZERO).await.unwrap();
    assert_eq!(closed.unpushed, 0);
}
