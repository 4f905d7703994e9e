use reverser_git::{DirectorySink, Files, GitSink, MemorySink, Outcome, testing};

use crate::bed::{Bed, batch, plan};

#[tokio::test]
async fn a_writer_conforms() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    testing::conforms(&writer).await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_writer_below_a_folder_conforms_and_touches_nothing_else() {
    let bed = Bed::new().await;
    bed.others_commit("clusters/readme", "theirs");
    bed.others_commit("clusters/one-more/x.yaml", "n: 1\n");
    let writer = bed.builder().under(testing::path("clusters/one")).start().await.unwrap();
    testing::conforms(&writer).await;
    bed.finish(writer).await;
    assert_eq!(bed.show("clusters/readme"), "theirs");
    assert_eq!(bed.show("clusters/one-more/x.yaml"), "n: 1\n");
    assert_eq!(bed.show("clusters/one/last"), "1");
}

#[tokio::test]
async fn a_directory_conforms() {
    let bed = Bed::new().await;
    let sink = DirectorySink::open(bed.folder("plain/below")).await.unwrap();
    testing::conforms(&sink).await;
}

#[tokio::test]
async fn a_directory_follows_no_symbolic_link() {
    let bed = Bed::new().await;
    let (inside, outside) = (bed.folder("plain"), bed.folder("outside"));
    let sink = DirectorySink::open(inside.clone()).await.unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "theirs").unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    std::os::unix::fs::symlink(outside.join("file"), inside.join("linked")).unwrap();
    let plans = ["link/new", "link/file", "linked", "after"].map(|path| plan(path, "ours"));
    let receipt = sink.commit(batch(plans)).await.unwrap();
    let obstructed: Vec<_> =
        receipt.obstructed.iter().map(|obstructed| (obstructed.path.as_str(), &*obstructed.at)).collect();
    assert_eq!(obstructed, [("link/new", "link"), ("link/file", "link"), ("linked", "linked")]);
    assert_eq!(receipt.outcomes[2..], [Outcome::Unchanged, Outcome::Written]);
    let deletes = ["link/file", "linked"].map(testing::delete);
    let receipt = sink.commit(batch([testing::plan("delete", deletes)])).await.unwrap();
    assert_eq!(receipt.outcomes, [Outcome::Unchanged]);
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "theirs");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(sink.list(None).await.unwrap(), [testing::path("after")]);
    assert!(inside.join("linked").is_symlink() && inside.join("link").is_symlink());

    sink.commit(batch([plan("folder/x", "ours")])).await.unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("folder/link")).unwrap();
    let receipt = sink.commit(batch([plan("folder", "ours")])).await.unwrap();
    let text = receipt.obstructed[0].to_string();
    assert!(text.starts_with("folder is not written: folder/link is a symbolic link"), "{text}");
}

#[tokio::test]
async fn memory_conforms_and_shows_its_commits() {
    let sink = MemorySink::new();
    testing::conforms(&sink).await;
    let before = sink.commits().len();
    let edits = [testing::put("a", "1"), testing::put("last", "1")];
    let receipt = sink.commit(batch([testing::plan("one", edits)])).await.unwrap();
    let commits = sink.commits();
    assert_eq!(commits.len(), before + 1);
    let commit = commits.last().unwrap();
    assert_eq!(receipt.outcomes, [Outcome::Committed(commit.id.clone())]);
    assert_eq!(commit.plan.edits, [testing::put("a", "1")], "only what changed");
}
