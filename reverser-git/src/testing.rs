//! The conformance suites of [`Files`], [`GitSink`] and [`Signer`]: every implementation passes its own, users' too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reverser_core::{CommitPlan, Edit, RepoPath, Signature};

use crate::{
    objects::{Kind, ObjectFormat},
    sign::{Signer, sign},
    sink::{Batch, Files, GitSink, Note, Outcome},
};

/// The points of the crash tests: [`ON_DISK`](faults::ON_DISK), where a write may fail, [`BETWEEN`](faults::BETWEEN), and
/// [`SELDOM`](faults::SELDOM), which some histories alone lead to. A process is made to die at one by `REVERSER_FAULT=<point>:<n>`, and has it fail as on a full disk by
/// `REVERSER_FAULT=<point>:<n>:full`.
pub mod faults {
    pub use crate::fault::armed::{BETWEEN, ON_DISK, SELDOM};
}

/// Checks an empty sink against the contract of [`GitSink`]; panics where it breaks it. Waits for a push.
pub async fn conforms(sink: &dyn GitSink) {
    a_put_is_read_back(sink).await;
    what_changes_nothing_is_unchanged(sink).await;
    edits_apply_in_order(sink).await;
    files_and_folders_take_each_others_place(sink).await;
    deletions_touch_files_alone(sink).await;
    cursors_are_kept(sink).await;
    facts_are_noted(sink).await;
    batches_are_counted(sink).await;
}

/// Checks that `files` are exactly these, by path and content, against the contract of [`Files`]; panics where they aren't.
pub async fn reads<F: Files + ?Sized>(files: &F, expected: &BTreeMap<&str, &str>) {
    let below = |folder: &str| {
        let is_below = |path: &&str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        expected.keys().copied().filter(is_below).collect::<Vec<_>>()
    };
    assert_eq!(list(files, None).await, expected.keys().copied().collect::<Vec<_>>(), "all files");
    for (at, content) in expected {
        assert_eq!(read(files, at).await.as_deref(), Some(*content), "{at}");
        assert!(list(files, Some(at)).await.is_empty(), "{at} is no folder");
        assert_eq!(read(files, &format!("{at}.not-there")).await, None, "beside {at}");
        for (end, _) in at.match_indices('/') {
            let folder = &at[..end];
            assert_eq!(list(files, Some(folder)).await, below(folder), "below {folder}");
            assert_eq!(read(files, folder).await, None, "{folder} is a folder");
        }
    }
}

/// Checks a signer against the contract of [`Signer`]; panics where it breaks it. `verifies` says whether a signature is one
/// of the payload, by other means than the signer.
pub fn signs(signer: &dyn Signer, verifies: impl Fn(&[u8], &str) -> bool) {
    // More than a pipe holds, and bytes that are no text.
    let large = [b"tree 4b825dc6\n\n\0\xff\r\n".repeat(1 << 16), b"no line break at the end".to_vec()].concat();
    let payloads = [&b""[..], b"\n", b"tree 4b825dc6\n\nsubject\n", b"tree 4b825dc6\n\nanother\n", &large];
    let signed = |payload: &[u8]| sign(signer, payload).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let signatures: Vec<_> = std::thread::scope(|scope| {
        let threads = payloads.map(|payload| scope.spawn(move || signed(payload)));
        threads.map(|thread| thread.join().expect("every payload is signed, several at once")).into()
    });
    for (at, (payload, signature)) in payloads.iter().zip(&signatures).enumerate() {
        assert!(verifies(payload, signature), "payload {at}: the signature isn't its own:\n{signature}");
        let other = &signatures[(at + 1) % signatures.len()];
        assert!(!verifies(payload, other), "payload {at}: the signature of another one passes:\n{other}");
    }
    assert!(verifies(payloads[2], &signed(payloads[2])), "the same payload is signed again");
}

/// Returns a plan of a user, with a fixed date.
pub fn plan<const N: usize>(message: &str, edits: [Edit; N]) -> CommitPlan {
    CommitPlan {
        author: Some(Signature::new("Ann", "ann@example.com")),
        date: Timestamp::UNIX_EPOCH,
        message: message.to_owned(),
        edits: edits.into(),
    }
}

/// Returns the edit that puts a file.
pub fn put(at: &str, content: &str) -> Edit {
    Edit::Put { path: path(at), content: content.into() }
}

/// Returns the edit that deletes a file.
pub fn delete(at: &str) -> Edit {
    Edit::Delete { path: path(at) }
}

/// Returns the id that git gives a file of this content in a SHA-1 repository, in hexadecimal.
pub fn blob_id(content: &[u8]) -> String {
    ObjectFormat::Sha1.hash_object(Kind::Blob, content).expect("no text of a test attacks SHA-1").to_string()
}

/// Returns the path; panics when it isn't one.
pub fn path(path: &str) -> RepoPath {
    path.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

async fn a_put_is_read_back(sink: &dyn GitSink) {
    assert_eq!(list(sink, None).await, [""; 0], "the sink isn't empty");
    let edits = [put("a/b/c.yaml", "n: 1\n"), put("a/b.yaml", "n: 2\n"), put("a-b.yaml", "n: 3\n"), put("a/bc", "")];
    assert!(is_change(&commit_one(sink, plan("put", edits)).await));
    let expected = [("a/b/c.yaml", "n: 1\n"), ("a/b.yaml", "n: 2\n"), ("a-b.yaml", "n: 3\n"), ("a/bc", "")];
    reads(sink, &BTreeMap::from(expected)).await;
    assert_eq!(read(sink, "a/b.yaml/x").await, None);
    assert_eq!(list(sink, Some("a/x")).await, [""; 0]);
}

async fn what_changes_nothing_is_unchanged(sink: &dyn GitSink) {
    let theirs = "# a comment of the author's\nn:   4\n";
    commit_one(sink, plan("put", [put("mean.yaml", theirs), put("mean.txt", theirs)])).await;
    for edits in [[put("mean.yaml", theirs), delete("absent")], [put("mean.yaml", "n: 4\n"), delete("absent/x")]] {
        assert_eq!(commit_one(sink, plan("same", edits)).await, Outcome::Unchanged);
    }
    assert_eq!(read(sink, "mean.yaml").await.as_deref(), Some(theirs));
    assert!(is_change(&commit_one(sink, plan("bytes", [put("mean.txt", "n: 4\n")])).await), "only YAML has a meaning");
    assert_eq!(commit_one(sink, plan("nothing", [])).await, Outcome::Unchanged);
}

async fn edits_apply_in_order(sink: &dyn GitSink) {
    let edits = [put("order", "1"), delete("order"), put("order", "2"), put("order", "3")];
    assert!(is_change(&commit_one(sink, plan("later wins", edits)).await));
    assert_eq!(read(sink, "order").await.as_deref(), Some("3"));

    let plans =
        vec![plan("first", [put("order", "4")]), plan("same", [put("order", "4")]), plan("gone", [delete("order")])];
    let receipt = sink.commit(Batch { plans, cursors: BTreeMap::new() }).await.expect("a batch is committed");
    let changes: Vec<_> = receipt.outcomes.iter().map(is_change).collect();
    assert_eq!(changes, [true, false, true]);
    assert_eq!(read(sink, "order").await, None);
}

async fn files_and_folders_take_each_others_place(sink: &dyn GitSink) {
    commit_one(sink, plan("file", [put("place", "file")])).await;
    assert!(is_change(&commit_one(sink, plan("folder", [put("place/x/y", "below")])).await));
    assert_eq!(list(sink, Some("place")).await, ["place/x/y"]);
    assert_eq!(read(sink, "place").await, None);
    assert!(is_change(&commit_one(sink, plan("file again", [put("place", "file")])).await));
    assert_eq!(list(sink, Some("place")).await, [""; 0]);
    assert_eq!(read(sink, "place").await.as_deref(), Some("file"));
}

async fn deletions_touch_files_alone(sink: &dyn GitSink) {
    commit_one(sink, plan("put", [put("d/e/f", "1"), put("d/g", "2")])).await;
    assert_eq!(commit_one(sink, plan("a folder", [delete("d"), delete("d/e")])).await, Outcome::Unchanged);
    assert!(is_change(&commit_one(sink, plan("a file", [delete("d/e/f")])).await));
    assert_eq!(list(sink, Some("d")).await, ["d/g"]);
}

async fn cursors_are_kept(sink: &dyn GitSink) {
    let cursors = |rows: &[(&str, &str)]| -> BTreeMap<String, String> {
        rows.iter().map(|(source, position)| ((*source).to_owned(), (*position).to_owned())).collect()
    };
    let batch = Batch { plans: Vec::new(), cursors: cursors(&[("a watch\n%", "1"), ("b", "2")]) };
    sink.commit(batch).await.expect("cursors need no plan");
    let plans = vec![plan("nothing", [delete("absent")])];
    let receipt = sink.commit(Batch { plans, cursors: cursors(&[("b", "3 ")]) }).await.expect("a batch is committed");
    assert_eq!(receipt.outcomes, [Outcome::Unchanged]);
    let kept = sink.cursors().await.expect("cursors are read");
    assert_eq!(kept, cursors(&[("a watch\n%", "1"), ("b", "3 ")]), "sources that aren't named keep theirs");
    sink.commit(Batch { plans: Vec::new(), cursors: cursors(&[("b", "")]) }).await.expect("cursors need no plan");
    let kept = sink.cursors().await.expect("cursors are read");
    assert_eq!(kept, cursors(&[("a watch\n%", "1")]), "an empty one is taken away");
}

async fn batches_are_counted(sink: &dyn GitSink) {
    let first = sink.commit(Batch::default()).await.expect("an empty batch is committed");
    let plans = vec![plan("last", [put("last", "1")])];
    let second = sink.commit(Batch { plans, cursors: BTreeMap::new() }).await.expect("a batch is committed");
    assert!(second.sequence > first.sequence);
    sink.pushed(&second).await.expect("a batch is pushed");
    sink.pushed(&first).await.expect("what came before it too");
}

async fn facts_are_noted(sink: &dyn GitSink) {
    let outcome = commit_one(sink, plan("noted", [put("noted", "1")])).await;
    let Outcome::Committed(commit) = outcome else { return };
    for text in ["Fact: one", "Fact: two", "Fact: one"] {
        sink.note(Note { commit: commit.clone(), text: text.to_owned() }).await.expect("a fact is noted");
    }
    assert_eq!(commit_one(sink, plan("the same", [put("noted", "1")])).await, Outcome::Unchanged, "no file is touched");
}

async fn commit_one(sink: &dyn GitSink, plan: CommitPlan) -> Outcome {
    let receipt =
        sink.commit(Batch { plans: vec![plan], cursors: BTreeMap::new() }).await.expect("a batch is committed");
    assert_eq!(receipt.outcomes.len(), 1, "one outcome a plan");
    receipt.outcomes.into_iter().next().expect("there is one")
}

fn is_change(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Committed(_) | Outcome::Written => true,
        Outcome::Unchanged => false,
    }
}

async fn read<F: Files + ?Sized>(files: &F, at: &str) -> Option<String> {
    let content = files.read(&path(at)).await.expect("a file is read")?;
    Some(String::from_utf8(content).expect("the suite puts text"))
}

async fn list<F: Files + ?Sized>(files: &F, folder: Option<&str>) -> Vec<String> {
    let folder = folder.map(path);
    let paths = files.list(folder.as_ref()).await.expect("files are listed");
    paths.iter().map(ToString::to_string).collect()
}
