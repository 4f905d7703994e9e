//! A local copy that has the trees of everything, and of contents only what is compared.

use std::{fs, io::Write, path::Path, process::Stdio};

use reverser_git::{BranchName, Files, OpenError, Outcome, remote::create_bare, testing::path};

use crate::bed::{Bed, command, commit, failure, git, push};

#[tokio::test]
async fn contents_of_history_and_of_other_folders_stay_at_the_remote() {
    let bed = remote_with_history(20).await;
    let under = "mine".parse().unwrap();
    let writer = bed.builder().under(under).start().await.unwrap();
    assert_eq!(blobs(&bed.local()), FILES / 40);
    assert_eq!(writer.list(None).await.unwrap().len(), FILES / 40);

    // What means the same is no change; what others push is compared with, and nothing else of theirs comes.
    let receipt = commit(&writer, "file-0.yaml", "{n: 0, version: 19}").await;
    assert_eq!(receipt.outcomes, [Outcome::Unchanged]);
    push(&writer, "file-1.yaml", "n: 1\nversion: ours\n").await;
    bed.others_commit("mine/file-2.yaml", "n: 2\nversion: theirs\n");
    bed.others_commit("other/file-3.yaml", "n: 3\nversion: theirs\n");
    push(&writer, "file-4.yaml", "n: 4\nversion: ours\n").await;
    let receipt = commit(&writer, "file-2.yaml", "{n: 2, version: theirs}").await;
    assert_eq!(receipt.outcomes, [Outcome::Unchanged]);
    assert_eq!(blobs(&bed.local()), FILES / 40 + 3);
    bed.finish(writer).await;
    assert_eq!(bed.show("other/file-3.yaml"), "n: 3\nversion: theirs\n");
    assert_eq!(bed.subjects().len(), 20 + 4);
}

#[tokio::test]
async fn a_start_without_the_remote_reads_and_commits() {
    let bed = remote_with_history(3).await;
    let start = async |folder: &str| bed.builder().under(folder.parse().unwrap()).start().await;
    let writer = start("mine").await.unwrap();
    bed.finish(writer).await;
    bed.take_remote_away();
    let writer = start("mine").await.unwrap();
    assert_eq!(writer.read(&path("file-7.yaml")).await.unwrap().unwrap(), b"n: 7\nversion: 2\n");
    commit(&writer, "file-7.yaml", "n: 7\nversion: ours\n").await;
    writer.close(Default::default()).await.unwrap();

    // Another folder's contents aren't here, and can't come.
    let error = start("other").await.unwrap_err();
    assert!(matches!(error, OpenError::Remote(_)), "{error:?}");
    bed.bring_remote_back();
    let writer = start("other").await.unwrap();
    let file = format!("file-{}.yaml", FILES - 1);
    assert!(writer.read(&path(&file)).await.unwrap().is_some());
    bed.finish(writer).await;
    assert_eq!(bed.show("mine/file-7.yaml"), "n: 7\nversion: ours\n");
}

#[tokio::test]
async fn a_remote_that_does_not_filter_is_copied_whole() {
    let bed = remote_with_history(3).await;
    git(&bed.remote(), &["config", "uploadpack.allowFilter", "false"]);
    let writer = bed.builder().under("mine".parse().unwrap()).start().await.unwrap();
    assert_eq!(blobs(&bed.local()), FILES * 3);
    push(&writer, "file-1.yaml", "n: 1\nversion: ours\n").await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_server_that_sends_no_contents_by_their_ids_is_copied_whole() {
    let bed = Bed::new().await;
    bed.finish(bed.start().await).await;
    // Servers of protocol 0 send what refs name, and nothing else.
    git(&bed.local(), &["config", "protocol.version", "0"]);
    import(&bed.remote(), 3);
    let writer = bed.builder().under("mine".parse().unwrap()).start().await.unwrap();
    assert_eq!(blobs(&bed.local()), FILES * 3);
    push(&writer, "file-1.yaml", "n: 1\nversion: ours\n").await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn a_branch_that_is_gone_is_pushed_again_with_what_it_left_behind_or_says_what_is_lost() {
    let bed = remote_with_history(3).await;
    let start = async || bed.builder().under("mine".parse().unwrap()).start().await.unwrap();
    let writer = start().await;
    push(&writer, "file-1.yaml", "n: 1\nversion: ours\n").await;
    git(&bed.remote(), &["update-ref", "-d", "refs/heads/main"]);
    push(&writer, "file-2.yaml", "n: 2\nversion: ours\n").await;
    assert_eq!(blobs(&bed.local()), FILES * 3 + 2, "all contents had to come, to be pushed");
    bed.finish(writer).await;
    assert_eq!(bed.subjects().len(), 3 + 2);

    // Another repository in its place has none of them.
    fs::remove_dir_all(bed.state_dir()).unwrap();
    let writer = start().await;
    push(&writer, "file-3.yaml", "n: 3\nversion: ours\n").await;
    bed.take_remote_away();
    create_bare(&bed.remote(), &BranchName::default()).await.unwrap();
    commit(&writer, "file-4.yaml", "n: 4\nversion: ours\n").await;
    let error = failure(&writer).await.to_string();
    assert!(error.contains("contents of files went with it"), "{error}");
    assert_eq!(writer.close(Default::default()).await.unwrap().unpushed, 3 + 2 + 2);
}

#[tokio::test]
async fn packs_of_a_partial_copy_are_joined_by_their_class() {
    let bed = remote_with_history(3).await;
    let writer = bed.builder().under("mine".parse().unwrap()).start_apart().await.unwrap();
    let others = bed.builder().state_dir(bed.folder("state-2")).start_apart().await.unwrap();
    // In turns, so that each push is refused once and what the other one pushed is fetched.
    for n in 0..30 {
        push(&others, "theirs", &n.to_string()).await;
        push(&writer, &format!("ours-{n}"), "x").await;
    }
    assert!(bed.packs() < 50, "{} packs", bed.packs());
    assert_eq!(others.close(crate::bed::LIMIT).await.unwrap().unpushed, 0);
    assert_eq!(blobs(&bed.local()), FILES / 40 + 1, "one content of ours, thirty times");
    let names = fs::read_dir(bed.local().join("objects/pack")).unwrap();
    let promised = names.filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|end| end == "promisor"));
    assert!((1..30).contains(&promised.count()));
    bed.finish(writer).await;
    assert_eq!(bed.subjects().len(), 3 + 60);
}

async fn remote_with_history(versions: usize) -> Bed {
    let bed = Bed::new().await;
    import(&bed.remote(), versions);
    bed
}

/// Makes versions of files, a fortieth of them in the folder `mine`.
fn import(remote: &Path, versions: usize) {
    git(remote, &["config", "uploadpack.allowFilter", "true"]);
    let mut stream = String::new();
    for version in 0..versions {
        stream.push_str("commit refs/heads/main\ncommitter A <a@example.com> 1700000000 +0000\ndata 1\nv\n");
        for n in 0..FILES {
            let (folder, content) =
                (if n < FILES / 40 { "mine" } else { "other" }, format!("n: {n}\nversion: {version}\n"));
            stream.push_str(&format!("M 644 inline {folder}/file-{n}.yaml\ndata {}\n{content}\n", content.len()));
        }
    }
    let mut import = command(remote, &["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
}

fn blobs(repository: &Path) -> usize {
    let types = git(repository, &["cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"]);
    types.lines().filter(|line| *line == "blob").count()
}

const FILES: usize = 2_000;
