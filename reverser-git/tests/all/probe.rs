use reverser_git::{BranchName, Credentials, RemoteError, RemoteProbe, RemoteUrl, remote};

use crate::bed::{Bed, git};

async fn probe(bed: &Bed) -> RemoteProbe {
    let url: RemoteUrl = bed.remote().to_str().unwrap().parse().unwrap();
    RemoteProbe::open(url, Credentials::FromGit).await.unwrap()
}

#[tokio::test]
async fn a_probe_changes_nothing() {
    let bed = Bed::new().await;
    let main = BranchName::default();
    let empty = probe(&bed).await;
    assert_eq!(empty.readable(&main).await.unwrap().branch, None);
    empty.writable(&BranchName::default()).await.unwrap();
    assert_eq!(git(&bed.remote(), &["for-each-ref"]), "");

    bed.others_commit("a", "1");
    let look = || git(&bed.remote(), &["for-each-ref"]) + &git(&bed.remote(), &["count-objects", "-v"]);
    let before = look();
    let probe = probe(&bed).await;
    let tip = probe.readable(&main).await.unwrap();
    assert_eq!(tip.branch.unwrap().to_string(), git(&bed.remote(), &["rev-parse", "main"]).trim_end());
    assert_eq!(tip.default_branch.unwrap().0, main);
    probe.writable(&BranchName::default()).await.unwrap();
    assert_eq!(look(), before);
}

#[tokio::test]
async fn a_remote_that_is_not_there_is_neither_readable_nor_writable() {
    let bed = Bed::new().await;
    bed.take_remote_away();
    let probe = probe(&bed).await;
    let error = probe.readable(&BranchName::default()).await.unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");
    let error = probe.writable(&BranchName::default()).await.unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_a_network_failure() {
    // Port 1 of this machine: nothing listens there.
    let url: RemoteUrl = "http://bot:s3cret@127.0.0.1:1/a.git".parse().unwrap();
    let probe = RemoteProbe::open(url, Credentials::FromGit).await.unwrap();
    let error = probe.readable(&BranchName::default()).await.unwrap_err();
    assert!(matches!(error, RemoteError::Network { .. }), "{error:?}");
    assert!(!format!("{error} {error:?} {probe:?}").contains("s3cret"));
}

#[tokio::test]
async fn the_installed_git_is_new_enough() {
    assert!(remote::git_version().await.unwrap() >= remote::MINIMUM_GIT_VERSION);
}
