use std::collections::BTreeMap;

use reverser_core::CommitPlan;
use reverser_git::{Batch, Files, GitSink, Obstacle, Outcome, SinkError, testing::path};

use crate::bed::{Bed, batch, commit, git, id, plan, push, pushed};

#[tokio::test]
async fn a_commit_has_the_authors_date_and_the_committers_name() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    let receipt = commit(&writer, "a/b.yaml", "n: 1\n").await;
    pushed(&writer, &receipt).await;
    let log = bed.log("main", "%H %an <%ae> %at %cn <%ce>|%B");
    let expected = format!("{} Ann <ann@example.com> 1700000000 bot <bot@example.com>|put a/b.yaml", id(&receipt));
    assert_eq!(log[0], expected);
    assert_eq!(log[1..], ["", "body of a/b.yaml", ""]);
    let last_push = writer.push_state().borrow().last_push.clone().unwrap();
    assert_eq!(last_push.commit, id(&receipt));
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_plan_without_an_author_is_the_committers() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    writer.commit(batch([CommitPlan { author: None, ..plan("a", "1") }])).await.unwrap();
    bed.finish(writer).await;
    assert_eq!(bed.log("main", "%an"), ["bot"]);
}

#[tokio::test]
async fn batches_of_many_callers_are_all_there_once_and_in_order() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    let callers = (0..8).map(|caller| {
        let writer = writer.clone();
        tokio::spawn(async move {
            for n in 0..40 {
                commit(&writer, &format!("{caller}/{n}"), "x").await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    bed.finish(writer).await;
    let subjects = bed.subjects();
    assert_eq!(subjects.len(), 8 * 40);
    for caller in 0..8 {
        let of_caller: Vec<_> =
            subjects.iter().filter(|subject| subject.starts_with(&format!("put {caller}/"))).collect();
        let expected: Vec<_> = (0..40).map(|n| format!("put {caller}/{n}")).collect();
        assert_eq!(of_caller, expected.iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_batch_larger_than_the_queue_goes_alone() {
    let bed = Bed::new().await;
    let writer = bed.builder().queue_bytes(100).start().await.unwrap();
    push(&writer, "large", &"x".repeat(10_000)).await;
    push(&writer, "next", "y").await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn packs_are_joined_before_they_are_many() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    for n in 0..100 {
        push(&writer, &format!("file-{n}"), "x").await;
    }
    assert!(bed.packs() < 50, "{} packs", bed.packs());
    assert_eq!(writer.read(&path("file-0")).await.unwrap().as_deref(), Some(&b"x"[..]));
    bed.finish(writer).await;
    assert_eq!(bed.subjects().len(), 100);
}

#[tokio::test]
async fn what_others_wrote_keeps_its_mode_and_its_place() {
    let bed = Bed::new().await;
    bed.others_commit("tool.sh", "old");
    let clone = bed.folder("clone");
    git(&clone, &["update-index", "--chmod=+x", "tool.sh"]);
    std::os::unix::fs::symlink("tool.sh", clone.join("link")).unwrap();
    git(&clone, &["add", "link"]);
    let module = "160000,1234567890123456789012345678901234567890,module";
    git(&clone, &["update-index", "--add", "--cacheinfo", module]);
    git(&clone, &["commit", "--quiet", "-m", "modes"]);
    git(&clone, &["push", "--quiet", "origin", "HEAD:main"]);

    let writer = bed.start().await;
    push(&writer, "tool.sh", "new").await;
    let listed: Vec<_> = writer.list(None).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["tool.sh"], "a link and a submodule are no files");
    assert_eq!(writer.read(&path("link")).await.unwrap(), None);

    let deletes = ["link", "module", "link/x"].map(reverser_git::testing::delete);
    let plans = ["link", "link/x", "module", "module/a/b"].map(|path| plan(path, "ours"));
    let receipt = writer.commit(batch([reverser_git::testing::plan("delete", deletes)])).await.unwrap();
    assert_eq!((receipt.outcomes, receipt.obstructed), (vec![Outcome::Unchanged], vec![]));
    let receipt = writer.commit(batch(plans.into_iter().chain([plan("ours", "1")]))).await.unwrap();
    let obstructed: Vec<_> =
        receipt.obstructed.iter().map(|obstructed| (&*obstructed.at, obstructed.obstacle)).collect();
    let (link, module) = (("link", Obstacle::SymbolicLink), ("module", Obstacle::Submodule));
    assert_eq!(obstructed, [link, link, module, module]);
    assert_eq!(receipt.obstructed[3].path, path("module/a/b"));
    assert_eq!(receipt.outcomes[..4], [Outcome::Unchanged, Outcome::Unchanged, Outcome::Unchanged, Outcome::Unchanged]);
    assert!(matches!(receipt.outcomes[4], Outcome::Committed(_)));
    bed.finish(writer).await;
    let tree = git(&bed.remote(), &["ls-tree", "main"]);
    let modes: Vec<_> = tree.lines().map(|line| (&line[..6], line.rsplit('\t').next().unwrap())).collect();
    assert_eq!(modes, [("120000", "link"), ("160000", "module"), ("100644", "ours"), ("100755", "tool.sh")]);
}

#[tokio::test]
async fn the_branch_may_become_empty_again() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    let plan = reverser_git::testing::plan("delete", [reverser_git::testing::delete("a")]);
    let receipt = writer.commit(batch([plan])).await.unwrap();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
    assert_eq!(git(&bed.remote(), &["ls-tree", "-r", "main"]), "");
    let writer = bed.start().await;
    push(&writer, "b", "2").await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn cursors_alone_make_no_commit_and_survive_a_restart() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    let cursors = BTreeMap::from([("configmaps v1".to_owned(), "4711".to_owned())]);
    let receipt = writer.commit(Batch { plans: vec![], cursors: cursors.clone() }).await.unwrap();
    pushed(&writer, &receipt).await;
    bed.finish(writer).await;
    assert_eq!(git(&bed.remote(), &["for-each-ref"]), "");

    let writer = bed.start().await;
    assert_eq!(writer.cursors().await.unwrap(), cursors);
    push(&writer, "a", "1").await;
    bed.finish(writer).await;
    let writer = bed.start().await;
    assert_eq!(writer.cursors().await.unwrap(), cursors);
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_commit_that_failed_leaves_nothing_behind() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "before", "1").await;
    // The disk is gone for a while.
    let (objects, away) = (bed.local().join("objects"), bed.local().join("away"));
    std::fs::rename(&objects, &away).unwrap();
    let failed = writer.commit(batch([plan("lost-1", "1"), plan("lost-2", "1")])).await.unwrap_err();
    assert!(matches!(failed, SinkError::Store { .. }), "{failed:?}");
    std::fs::rename(&away, &objects).unwrap();
    push(&writer, "after", "1").await;
    let listed: Vec<_> = writer.list(None).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["after", "before"]);
    bed.finish(writer).await;
    assert_eq!(bed.subjects(), ["put before", "put after"]);
}

#[tokio::test]
async fn a_branch_may_have_any_name_that_git_takes() {
    let bed = Bed::new().await;
    for (n, branch) in ["tmp_x", "a/b", "ü%2F", "locks"].into_iter().enumerate() {
        let writer = bed.builder().branch(branch.parse().unwrap()).start().await.unwrap();
        push(&writer, &format!("file-{n}"), "1").await;
        bed.finish(writer).await;
        let again = bed.builder().branch(branch.parse().unwrap()).start().await.unwrap();
        assert_eq!(again.list(None).await.unwrap().len(), 1, "{branch}");
        bed.finish(again).await;
        assert_eq!(bed.log(branch, "%s"), [format!("put file-{n}")]);
    }
}
