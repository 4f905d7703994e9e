//! What led to a commit: file by file, in a repository on this machine, in a clone, and elsewhere.

use reverser_git::{At, Credentials, Files, GitHistory, GitReader, RemoteUrl, testing::path};
use reverser_testbed::GitHttp;

use crate::bed::{Bed, git};

async fn history(at: &str) -> GitHistory {
    let url: RemoteUrl = at.parse().unwrap();
    GitReader::open(url, Credentials::FromGit).under(path("mine")).history().await.unwrap()
}

// The server is on another thread than the gits that are waited for.
#[tokio::test(flavor = "multi_thread")]
async fn versions_of_a_file_are_found_everywhere() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("history").await.unwrap();
    git(repo.path(), &["config", "uploadpack.allowFilter", "true"]);
    for n in 0..30 {
        let file = if n % 3 == 0 { "mine/a/file.yaml" } else { "mine/other.yaml" };
        repo.commit_as_other("main", file, &format!("n: {n}\n")).await.unwrap();
    }
    repo.remove_as_other("main", "mine/a/file.yaml").await.unwrap();
    repo.commit_as_other("main", "mine/a/file.yaml", "n: 99\n").await.unwrap();
    let bed = Bed::new().await;
    git(&bed.folder(""), &["clone", "--quiet", &server.url("history"), "whole"]);
    git(&bed.folder(""), &["clone", "--quiet", "--depth=5", &server.url("history"), "shallow"]);
    let folder = |name: &str| bed.folder(name).to_str().unwrap().to_owned();
    for (at, is_cut) in
        [(repo.url(), false), (folder("whole"), false), (folder("shallow"), true), (server.url("history"), false)]
    {
        let history = history(&at).await;
        let tip = history.files().commit().id.clone();
        assert_eq!(history.files().read(&path("a/file.yaml")).await.unwrap().as_deref(), Some(&b"n: 99\n"[..]));
        let (mut versions, mut next) = (Vec::new(), Some(tip.clone()));
        while let Some(from) = next {
            let found = history.versions(&path("a/file.yaml"), &from, 7).await.unwrap();
            assert!(found.commits <= 7);
            assert!(found.next.is_some() || found.is_cut == is_cut, "{at}");
            versions.extend(found.versions);
            next = found.next;
        }
        let contents: Vec<_> = versions.iter().filter_map(|version| version.content).collect();
        let texts = history.contents(&contents).await.unwrap();
        let texts: Vec<_> = texts.iter().map(|text| String::from_utf8_lossy(text).trim().to_owned()).collect();
        let expected: Vec<_> = [99, 27, 24, 21, 18, 15, 12, 9, 6, 3, 0].map(|n| format!("n: {n}")).into();
        if is_cut {
            assert_eq!(texts[0], expected[0]);
        } else {
            assert_eq!((texts, versions.len()), (expected, 12), "{at}");
            assert_eq!((versions[0].before, versions[1].content), (None, None));
        }
        let changes = history.changes(&tip).await.unwrap();
        assert_eq!(changes.iter().map(|change| change.path.as_str()).collect::<Vec<_>>(), ["a/file.yaml"]);
        assert!(history.commit(&tip).await.unwrap().message.contains("file.yaml"));
        assert_eq!(history.note(&tip).await.unwrap(), None);
    }
    // From a commit in between.
    let url: RemoteUrl = server.url("history").parse().unwrap();
    let reader = GitReader::open(url, Credentials::FromGit).at(At::Named("main~10".into()));
    let between = reader.history().await.unwrap();
    let found = between.versions(&path("mine/a/file.yaml"), &between.files().commit().id, 1_000).await.unwrap();
    assert_eq!((found.versions.len(), found.commits), (8, 22));
}
