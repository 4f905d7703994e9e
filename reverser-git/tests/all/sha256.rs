//! Repositories whose objects are named by SHA-256.

use std::fs;

use reverser_git::{
    Credentials, Files, GitWriter, ObjectFormat, Remedy, Remote, RemoteError, RemoteProbe, RemoteUrl,
    remote::CliRemote, testing,
};
use reverser_testbed::GitHttp;

use crate::bed::{Bed, LIMIT, commit, failure, git, id, push, pushed};

/// Puts an empty repository of the format in the place of a bed's remote.
fn init(bed: &Bed, format: ObjectFormat) {
    if bed.remote().exists() {
        fs::remove_dir_all(bed.remote()).unwrap();
    }
    let format = format!("--object-format={format}");
    git(&bed.folder(""), &["init", "--quiet", "--bare", "--initial-branch=main", &format, "remote.git"]);
}

async fn sha256_bed() -> Bed {
    let bed = Bed::new().await;
    init(&bed, ObjectFormat::Sha256);
    bed
}

fn url(bed: &Bed) -> RemoteUrl {
    bed.remote().to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_writer_to_a_sha256_repository_conforms() {
    let bed = sha256_bed().await;
    let writer = bed.start().await;
    testing::conforms(&writer).await;
    assert_eq!(id(&commit(&writer, "file", "1").await).as_str().len(), 64);
    bed.finish(writer).await;
    for repository in [bed.local(), bed.remote()] {
        assert_eq!(git(&repository, &["rev-parse", "--show-object-format"]).trim_end(), "sha256");
    }
}

#[tokio::test]
async fn a_branch_with_history_is_fetched_and_somebody_elses_commits_are_built_upon() {
    let bed = sha256_bed().await;
    let writer = bed.start().await;
    push(&writer, "first", "1").await;
    bed.finish(writer).await;
    bed.others_commit("theirs/1", "1");

    // Another machine: nothing is known there.
    let writer = bed.builder().state_dir(bed.folder("elsewhere")).start().await.unwrap();
    assert_eq!(writer.read(&testing::path("theirs/1")).await.unwrap().unwrap(), b"1");
    push(&writer, "second", "2").await;
    bed.others_commit("theirs/2", "2");
    let receipt = commit(&writer, "third", "3").await;
    pushed(&writer, &receipt).await;
    writer.close(LIMIT).await.unwrap();
    git(&bed.folder("elsewhere/repository.git"), &["fsck", "--full", "--strict", "--no-dangling"]);

    // The first goes on from what it has on disk.
    let writer = bed.start().await;
    push(&writer, "fourth", "4").await;
    bed.finish(writer).await;
    let files = ["put first", "others: theirs/1", "put second", "others: theirs/2", "put third", "put fourth"];
    assert_eq!(bed.subjects(), files);
}

#[tokio::test]
async fn packs_of_a_sha256_repository_are_read_after_a_start_and_after_they_were_joined() {
    let bed = sha256_bed().await;
    let writer = bed.start().await;
    for n in 0..40 {
        push(&writer, &format!("folder/{n}"), "content").await;
    }
    bed.finish(writer).await;
    assert!(bed.packs() < 40, "{} packs", bed.packs());
    let writer = bed.start().await;
    assert_eq!(writer.list(None).await.unwrap().len(), 40);
    assert_eq!(writer.read(&testing::path("folder/7")).await.unwrap().unwrap(), b"content");
    bed.finish(writer).await;
}

#[tokio::test]
async fn an_empty_repository_behind_http_says_its_format() {
    let server = GitHttp::start().await.unwrap();
    let bare = server.create("team.git").await.unwrap();
    fs::remove_dir_all(bare.path()).unwrap();
    let name = bare.path().to_str().unwrap();
    git(bare.path().parent().unwrap(), &["init", "--quiet", "--bare", "--object-format=sha256", "-b", "main", name]);
    git(bare.path(), &["config", "http.receivepack", "true"]);
    let bed = Bed::new().await;
    let url = server.url("team.git").parse().unwrap();
    let writer = GitWriter::open(url, Credentials::FromGit).state_dir(bed.state_dir()).start().await.unwrap();
    push(&writer, "file", "1").await;
    writer.close(LIMIT).await.unwrap();
    assert_eq!(git(bare.path(), &["rev-parse", "main"]).trim_end().len(), 64);
    git(bare.path(), &["fsck", "--full", "--strict"]);
}

#[tokio::test]
async fn a_remote_that_changed_its_format_is_told_and_nothing_is_lost() {
    for (before, after) in [(ObjectFormat::Sha1, ObjectFormat::Sha256), (ObjectFormat::Sha256, ObjectFormat::Sha1)] {
        let bed = Bed::new().await;
        init(&bed, before);
        let writer = bed.start().await;
        push(&writer, "file", "1").await;
        init(&bed, after);
        let receipt = commit(&writer, "file", "2").await;
        let error = failure(&writer).await;
        assert!(matches!(error, RemoteError::OtherFormat { .. }), "{error:?}");
        assert_eq!(error.remedy(), Remedy::FixConfiguration);
        assert!(error.to_string().contains("new state folder"), "{error}");
        writer.close(LIMIT).await.unwrap();
        git(&bed.local(), &["cat-file", "commit", id(&receipt).as_str()]);

        // What the message says helps.
        let writer = bed.builder().state_dir(bed.folder("new")).start().await.unwrap();
        push(&writer, "file", "2").await;
        writer.close(LIMIT).await.unwrap();
    }
}

#[tokio::test]
async fn a_probe_may_write_to_a_sha256_repository() {
    let bed = sha256_bed().await;
    let branch = "main".parse().unwrap();
    let probe = RemoteProbe::open(url(&bed), Credentials::FromGit).await.unwrap();
    assert_eq!(probe.readable(&branch).await.unwrap().object_format, ObjectFormat::Sha256);
    probe.writable(&branch).await.unwrap();
}

#[tokio::test]
async fn a_tip_tells_the_format_by_its_id_and_of_an_empty_repository_by_the_protocol() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let bed = Bed::new().await;
        init(&bed, format);
        let branch = "main".parse().unwrap();
        let answer_file = bed.folder("answer");
        let remote = CliRemote::open(url(&bed), Credentials::FromGit, &bed.remote(), &answer_file).await.unwrap();
        let tip = remote.tip(&branch).await.unwrap();
        assert_eq!((tip.branch, tip.object_format), (None, format));
        let writer = bed.start().await;
        push(&writer, "file", "1").await;
        bed.finish(writer).await;
        let tip = remote.tip(&branch).await.unwrap();
        assert!(tip.branch.is_some() && tip.object_format == format);
    }
}
