//! Several writers of one branch in a process: one owner.

use std::{collections::BTreeMap, fs, time::Duration};

use reverser_core::Signature;
use reverser_git::{
    Batch, Credentials, Files, GitSink, GitWriter, GitWriterBuilder, OnConflict, OpenError, RemoteError, SinkError,
    testing, testing::path,
};

use crate::{
    bed::{Bed, LIMIT, commit, failure, git, push, pushed},
    log::Log,
};

/// With the state folder left to whoever came first.
fn by_address(address: &str) -> GitWriterBuilder {
    GitWriter::open(address.parse().unwrap(), Credentials::FromGit).committer(Signature::new("two", "two@example.com"))
}

#[tokio::test]
async fn all_addresses_of_a_path_share_one_owner() {
    let bed = Bed::new().await;
    let remote = bed.remote().to_str().unwrap().to_owned();
    let link = bed.folder("link");
    std::os::unix::fs::symlink(bed.folder("."), &link).unwrap();
    let first = bed.start().await;
    let addresses =
        [format!("{remote}/"), format!("file://{remote}"), format!("{}/remote.git", link.display()), remote.clone()];
    let mut writers = vec![first];
    for address in &addresses {
        writers.push(by_address(address).start().await.unwrap());
    }
    for (n, writer) in writers.iter().enumerate() {
        commit(writer, &format!("file-{n}"), "x").await;
        assert_eq!(writer.list(None).await.unwrap().len(), n + 1, "each sees what the others have committed");
    }
    let last = writers.pop().unwrap();
    for writer in writers {
        assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0);
    }
    bed.finish(last).await;
    assert_eq!(bed.subjects(), ["put file-0", "put file-1", "put file-2", "put file-3", "put file-4"]);
    assert_eq!(bed.log("main", "%cn"), ["bot", "two", "two", "two", "two"]);
}

#[tokio::test]
async fn writers_that_start_at_once_find_one_owner() {
    let bed = Bed::new().await;
    let starts: Vec<_> = (0..8).map(|_| tokio::spawn(bed.builder().start())).collect();
    let mut writers = Vec::new();
    for start in starts {
        writers.push(start.await.unwrap().unwrap());
    }
    for (n, writer) in writers.iter().enumerate() {
        commit(writer, &n.to_string(), "x").await;
    }
    let last = writers.pop().unwrap();
    drop(writers);
    bed.finish(last).await;
    assert_eq!(bed.subjects().len(), 8);
}

#[tokio::test]
async fn two_writers_in_folders_of_their_own_conform_side_by_side() {
    let bed = Bed::new().await;
    let start = |folder: &str| bed.builder().under(path(folder)).start();
    let (a, b) = (start("a").await.unwrap(), start("a-b/c").await.unwrap());
    // The suite looks at all cursors, which are one map for a branch, so only one of the two may run it.
    let (_, commits) = tokio::join!(testing::conforms(&a), async {
        for n in 0..50 {
            let batch = crate::bed::batch([crate::bed::plan(&format!("{n}.yaml"), &format!("n: {n}\n"))]);
            b.commit(batch).await.unwrap();
        }
        b.list(None).await.unwrap()
    });
    assert_eq!(commits.len(), 50);
    assert_eq!(b.read(&path("7.yaml")).await.unwrap().as_deref(), Some(&b"n: 7\n"[..]));
    assert_eq!(b.read(&path("order")).await.unwrap(), None);
    a.close(LIMIT).await.unwrap();
    testing::conforms(&start("a/below").await.unwrap()).await;
    bed.finish(b).await;
    assert_eq!(bed.show("a/last"), "1");
    assert_eq!(bed.show("a-b/c/7.yaml"), "n: 7\n");
    assert_eq!(bed.show("a/below/last"), "1");
    let of_b: Vec<_> = bed.subjects().into_iter().filter(|subject| subject.ends_with(".yaml")).collect();
    assert_eq!(of_b, (0..50).map(|n| format!("put {n}.yaml")).collect::<Vec<_>>());
}

#[tokio::test]
async fn cursors_of_one_branch_are_one_map() {
    let bed = Bed::new().await;
    let (one, two) = (bed.start().await, bed.start().await);
    let cursor = |source: &str| Batch { plans: vec![], cursors: BTreeMap::from([(source.to_owned(), "1".to_owned())]) };
    one.commit(cursor("one")).await.unwrap();
    two.commit(cursor("two")).await.unwrap();
    let both = BTreeMap::from([("one".to_owned(), "1".to_owned()), ("two".to_owned(), "1".to_owned())]);
    assert_eq!(one.cursors().await.unwrap(), both);
    one.close(LIMIT).await.unwrap();
    bed.finish(two).await;
    let again = bed.start().await;
    assert_eq!(again.cursors().await.unwrap(), both);
    bed.finish(again).await;
}

#[tokio::test]
async fn a_replay_keeps_each_writers_committer() {
    let bed = Bed::new().await;
    let one = bed.start().await;
    let two = bed.builder().committer(Signature::new("two", "two@example.com")).start().await.unwrap();
    push(&one, "base", "1").await;
    bed.refuse_pushes();
    commit(&one, "a", "1").await;
    failure(&one).await;
    commit(&two, "b", "1").await;
    commit(&one, "c", "1").await;
    bed.allow_pushes();
    bed.others_commit("theirs", "1");
    push(&two, "d", "1").await;
    drop(one);
    bed.finish(two).await;
    assert_eq!(
        bed.log("main", "%cn %s")[1..],
        ["Bob others: theirs", "bot put a", "two put b", "bot put c", "two put d"]
    );
}

#[tokio::test]
async fn another_state_folder_for_a_branch_is_refused_and_says_which_one_is_in_use() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    let error = bed.builder().state_dir(bed.folder("other")).start().await.unwrap_err();
    assert!(matches!(error, OpenError::SharedBranch { .. }), "{error:?}");
    let text = error.to_string();
    for part in [bed.remote(), bed.state_dir(), bed.folder("other")] {
        assert!(text.contains(part.to_str().unwrap()), "{text}");
    }
    assert!(!bed.folder("other").exists());
    let link = bed.folder("link");
    std::os::unix::fs::symlink(bed.state_dir(), &link).unwrap();
    bed.builder().state_dir(link).start().await.unwrap();
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_choice_that_another_writer_has_made_otherwise_before_is_named_in_a_warning() {
    let bed = Bed::new().await;
    let first = bed.builder().on_conflict(OnConflict::Branch).unpushed_bytes(1 << 20).start().await.unwrap();
    let log = Log::begin();
    let is_told = || log.text().contains("has chosen these otherwise");
    let like_the_first = bed.builder().on_conflict(OnConflict::Branch).start().await.unwrap();
    assert!(!is_told(), "{}", log.text());
    let other = bed.builder().on_conflict(OnConflict::Stop).unpushed_bytes(1 << 30).start().await.unwrap();
    assert!(is_told() && log.text().contains("on_conflict, unpushed_bytes"), "{}", log.text());
    for writer in [like_the_first, other] {
        writer.close(LIMIT).await.unwrap();
    }
    bed.finish(first).await;
}

#[tokio::test]
async fn other_branches_have_owners_of_their_own() {
    let bed = Bed::new().await;
    bed.others_commit("theirs", "1");
    let main = bed.start().await;
    let other = bed.builder().branch("other".parse().unwrap()).state_dir(bed.folder("state-2")).start().await.unwrap();
    push(&main, "a", "1").await;
    push(&other, "b", "1").await;
    other.close(LIMIT).await.unwrap();
    bed.finish(main).await;
    assert_eq!(bed.subjects(), ["others: theirs", "put a"]);
    assert_eq!(bed.log("other", "%s"), ["others: theirs", "put b"]);
}

#[tokio::test]
async fn closing_one_writer_pushes_its_commits_and_leaves_the_others_at_work() {
    let bed = Bed::new().await;
    let (one, two) = (bed.start().await, bed.start().await);
    let clone = one.clone();
    commit(&one, "a", "1").await;
    let closed = one.close(LIMIT).await.unwrap();
    assert_eq!((closed.unpushed, closed.error.is_none()), (0, true));
    assert_eq!(bed.subjects(), ["put a"]);
    for writer in [&one, &clone] {
        let error = writer.commit(Batch::default()).await.unwrap_err();
        assert!(matches!(error, SinkError::Closed { .. }), "{error:?}");
        assert!(matches!(writer.close(LIMIT).await, Err(SinkError::Closed { .. })));
    }
    push(&two, "b", "1").await;
    // Neither a clone of what is closed nor one of what is dropped keeps the owner.
    bed.finish(two).await;
    let again = bed.builder().start_apart().await.unwrap();
    bed.finish(again).await;
    drop(clone);
}

#[tokio::test]
async fn closing_one_writer_ends_at_a_refusal_and_the_others_push_it_later() {
    let bed = Bed::new().await;
    bed.refuse_pushes();
    let (one, two) = (bed.start().await, bed.start().await);
    let receipt = commit(&one, "a", "1").await;
    failure(&two).await;
    let closed = one.close(LIMIT).await.unwrap();
    assert_eq!(closed.unpushed, 1);
    assert!(matches!(closed.error, Some(RemoteError::Refused { .. })), "{:?}", closed.error);
    bed.allow_pushes();
    pushed(&two, &receipt).await;
    bed.finish(two).await;
    assert_eq!(bed.subjects(), ["put a"]);
}

#[tokio::test]
async fn closing_one_writer_ends_at_its_limit() {
    let bed = Bed::new().await;
    bed.hold_pushes();
    let (one, two) = (bed.start().await, bed.start().await);
    commit(&one, "a", "1").await;
    let closed = one.close(Duration::from_millis(10)).await.unwrap();
    assert_eq!((closed.unpushed, closed.error.is_none()), (1, true));
    bed.allow_pushes();
    bed.finish(two).await;
    assert_eq!(bed.subjects(), ["put a"]);
}

#[tokio::test]
async fn all_writers_closed_at_once_hear_that_all_is_pushed() {
    let bed = Bed::new().await;
    let mut writers = Vec::new();
    for n in 0..6 {
        let writer = bed.start().await;
        commit(&writer, &n.to_string(), "1").await;
        writers.push(writer);
    }
    let closings: Vec<_> = writers.iter().cloned().map(|w| tokio::spawn(async move { w.close(LIMIT).await })).collect();
    for closing in closings {
        let closed = closing.await.unwrap().unwrap();
        assert_eq!((closed.unpushed, closed.error.is_none()), (0, true));
    }
    assert_eq!(bed.subjects().len(), 6);
    bed.finish(bed.builder().start_apart().await.unwrap()).await;
}

#[tokio::test]
async fn two_closings_at_once_hear_the_same_and_commits_before_them_are_made() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    let commits: Vec<_> = (0..40)
        .map(|n| {
            let writer = writer.clone();
            tokio::spawn(async move {
                let batch = crate::bed::batch([crate::bed::plan(&format!("file-{n}"), "x")]);
                writer.commit(batch).await.is_ok()
            })
        })
        .collect();
    let closings = [writer.clone(), writer.clone()].map(|w| tokio::spawn(async move { w.close(LIMIT).await }));
    for closing in closings {
        let closed = closing.await.unwrap().unwrap();
        assert_eq!((closed.unpushed, closed.error.is_none()), (0, true));
    }
    let mut acknowledged = 0;
    for commit in commits {
        acknowledged += usize::from(commit.await.unwrap());
    }
    assert_eq!(git(&bed.remote(), &["rev-list", "--count", "--all"]).trim(), acknowledged.to_string());
    bed.finish(bed.start().await).await;
}

#[tokio::test]
async fn a_closing_that_nobody_waits_for_is_done() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    commit(&writer, "a", "1").await;
    {
        let closing = writer.close(LIMIT);
        tokio::pin!(closing);
        assert!(tokio::time::timeout(Duration::ZERO, closing).await.is_err());
    }
    // The second one waits for the first one's end.
    assert_eq!(writer.close(Duration::ZERO).await.unwrap().unpushed, 0);
    assert_eq!(bed.subjects(), ["put a"]);
    bed.finish(bed.start().await).await;
}

#[tokio::test]
async fn a_start_while_the_last_writer_closes_waits_for_its_end() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    for round in 0..10 {
        commit(&writer, &round.to_string(), "1").await;
    }
    let (closed, again) = tokio::join!(writer.close(LIMIT), bed.start());
    assert_eq!(closed.unwrap().unpushed, 0);
    push(&again, "last", "1").await;
    bed.finish(again).await;
    assert_eq!(bed.subjects().len(), 11);
}

#[tokio::test]
async fn pushes_go_on_when_the_first_writer_is_dropped() {
    let bed = Bed::new().await;
    let (one, two) = (bed.start().await, bed.start().await);
    push(&one, "a", "1").await;
    drop(one);
    push(&two, "b", "1").await;
    bed.finish(two).await;
    assert_eq!(bed.subjects(), ["put a", "put b"]);
}

#[tokio::test]
async fn an_address_that_no_longer_leads_there_leaves_pushing_to_the_next_writer() {
    let bed = Bed::new().await;
    let link = bed.folder("link.git");
    std::os::unix::fs::symlink(bed.remote(), &link).unwrap();
    let one = by_address(link.to_str().unwrap()).state_dir(bed.state_dir()).start().await.unwrap();
    let two = bed.start().await;
    push(&one, "a", "1").await;
    fs::remove_file(&link).unwrap();
    push(&one, "b", "1").await;
    one.close(LIMIT).await.unwrap();
    push(&two, "c", "1").await;
    bed.finish(two).await;
    assert_eq!(bed.subjects(), ["put a", "put b", "put c"]);
}

#[tokio::test]
async fn whoever_joins_needs_an_address_that_works() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    bed.take_remote_away();
    let error = bed.builder().start().await.unwrap_err();
    assert!(matches!(error, OpenError::Remote(RemoteError::NotFound { .. })), "{error:?}");
    bed.bring_remote_back();
    bed.finish(writer).await;
}

#[tokio::test]
async fn writers_that_come_and_go_lose_nothing() {
    let bed = Bed::new().await;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let builder = bed.builder().under(path(&task.to_string()));
            tokio::spawn(async move {
                for round in 0..5 {
                    let writer = builder.clone().start().await.unwrap();
                    commit(&writer, &round.to_string(), "1").await;
                    match (task + round) % 4 {
                        0 => drop(writer),
                        1 => drop(tokio::time::timeout(Duration::ZERO, writer.close(LIMIT)).await),
                        2 => assert!(writer.close(Duration::ZERO).await.is_ok()),
                        _ => assert_eq!(writer.close(LIMIT).await.unwrap().unpushed, 0),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(LIMIT, task).await.expect("it hangs").unwrap();
    }
    let writer = bed.start().await;
    assert_eq!(writer.list(None).await.unwrap().len(), 40);
    bed.finish(writer).await;
    assert_eq!(bed.subjects().len(), 40);
}

#[test]
fn an_owner_whose_runtime_is_gone_is_replaced() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let first = runtime();
    let (bed, writer) = first.block_on(async {
        let bed = Bed::new().await;
        let writer = bed.start().await;
        push(&writer, "a", "1").await;
        (bed, writer)
    });
    drop(first);
    runtime().block_on(async {
        let error = writer.commit(Batch::default()).await.unwrap_err();
        assert!(matches!(error, SinkError::Closed { .. }), "{error:?}");
        assert!(matches!(writer.close(LIMIT).await, Err(SinkError::Closed { .. })));
        let again = bed.start().await;
        push(&again, "b", "1").await;
        bed.finish(again).await;
        assert_eq!(bed.subjects(), ["put a", "put b"]);
    });
}
