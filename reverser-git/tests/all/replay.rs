//! Whatever two sides write at the same time: ours stands on top of theirs, file by file.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reverser_core::{CommitPlan, Edit, Signature};
use reverser_git::{GitSink, GitWriter, Outcome, testing};

use crate::bed::{Bed, batch, git, pushed};

/// Files by path.
type Files = BTreeMap<String, String>;

proptest! {
    // Each case runs a dozen of git's commands.
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn ours_stands_on_top_of_theirs(before in edits(0..6), theirs in edits(1..6), ours in edits(1..8)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(both_write(before, theirs, ours));
    }
}

async fn both_write(before: Vec<Edit>, theirs: Vec<Edit>, ours: Vec<Edit>) {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    write(&writer, "Ann", &before).await;
    let bob = Signature::new("Bob", "bob@example.com");
    let other = bed.builder().committer(bob).state_dir(bed.folder("theirs")).start_apart().await.unwrap();
    let of_theirs = write(&other, "Bob", &theirs).await;
    write(&writer, "Ann", &ours).await;
    bed.finish(writer).await;
    other.close(crate::bed::LIMIT).await.unwrap();

    let (mut files, mut expected) = (Files::new(), Vec::new());
    expected.extend(before.iter().filter(|edit| apply(&mut files, edit)).map(|_| "Ann"));
    let mut ours_alone = files.clone();
    expected.extend(theirs.iter().filter(|edit| apply(&mut files, edit)).map(|_| "Bob"));
    assert_eq!(expected.iter().filter(|author| **author == "Bob").count(), of_theirs);
    // What changed nothing when it was committed isn't a change of ours.
    let ours = ours.iter().filter(|edit| apply(&mut ours_alone, edit));
    expected.extend(ours.filter(|edit| apply(&mut files, edit)).map(|_| "Ann"));

    let listed = git(&bed.remote(), &["for-each-ref", "refs/heads/main"]);
    let (authors, found) =
        if listed.is_empty() { (Vec::new(), Files::new()) } else { (bed.log("main", "%an"), read(&bed)) };
    assert_eq!(found, files);
    assert_eq!(authors, expected);
}

/// Commits each edit by itself and pushes; returns how many changed something.
async fn write(writer: &GitWriter, author: &str, edits: &[Edit]) -> usize {
    let author = Signature::new(author, "");
    let plan = |edit: &Edit| CommitPlan { author: Some(author.clone()), ..testing::plan("an edit", [edit.clone()]) };
    let receipt = writer.commit(batch(edits.iter().map(plan))).await.unwrap();
    pushed(writer, &receipt).await;
    receipt.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Committed(_))).count()
}

/// Returns whether the edit changes anything.
fn apply(files: &mut Files, edit: &Edit) -> bool {
    let path = edit.path().as_str();
    let before = files.clone();
    match edit {
        Edit::Delete { .. } => drop(files.remove(path)),
        Edit::Put { content, .. } => {
            let is_below =
                |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
            files.retain(|other, _| !is_below(other, path) && !is_below(path, other));
            files.insert(path.to_owned(), String::from_utf8(content.clone()).unwrap());
        }
    }
    *files != before
}

fn read(bed: &Bed) -> Files {
    let names = git(&bed.remote(), &["ls-tree", "-r", "--name-only", "main"]);
    names.lines().map(|name| (name.to_owned(), bed.show(name))).collect()
}

/// Few paths and contents, so that they meet.
fn edits(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Edit>> {
    let path = prop::sample::select(vec!["a", "b", "d", "d/x", "d/y", "d/e/f", "d/e"]);
    let edit = (path, prop::option::weighted(0.7, 0..4_u8)).prop_map(|(path, content)| match content {
        Some(content) => testing::put(path, &content.to_string()),
        None => testing::delete(path),
    });
    prop::collection::vec(edit, count)
}

/// `REVERSER_REPLAY_CASES=1000 cargo test -p reverser-git replay::` looks longer.
fn cases() -> u32 {
    std::env::var("REVERSER_REPLAY_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(16)
}
