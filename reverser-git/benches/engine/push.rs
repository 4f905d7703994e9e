//! Pushes over HTTP to a server on this machine, ours and those of `git push`, with the same commits.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use reverser_git::{Batch, GitSink};
use reverser_testbed::GitHttp;

use crate::{
    Size,
    bed::{self, LIMIT, Layout, command, git},
    print,
};

pub(crate) async fn beside_git(size: Size) {
    let files = size.files[1];
    let server = GitHttp::start().await.unwrap();
    let (ours, theirs) = (server.create("ours.git").await.unwrap(), server.create("theirs.git").await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (state, clone) = (folder.path().join("state"), folder.path().join("clone.git"));
    let writer = bed::start(&server.url("ours.git"), &state).await;
    let mut first = bed::plans(1, 0, |_| bed::put("x", String::new()));
    first[0].edits = (0..files).map(|n| bed::put(&Layout::Spread.path(n, files), bed::content(n, 0))).collect();
    bed::commit(&writer, first).await;
    bed::settle(&writer).await;
    git(folder.path(), &["clone", "--quiet", "--bare", &ours.path().to_string_lossy(), "clone.git"]);
    let url = server.url("theirs.git");
    git(&clone, &["push", "--quiet", &url, "main"]);

    for (turn, commits) in [1, 100, size.commits].into_iter().enumerate() {
        // A single push is short, so what else the machine does shows.
        let turns = if commits == 1 { 10 * size.turns } else { size.turns };
        let (mut fastest, mut fastest_git) = (Duration::MAX, Duration::MAX);
        for again in 0..turns {
            let number = turn * 100 + again;
            let plans = bed::plans(commits, number, |n| bed::update(Layout::Spread, n, files, number, commits));
            let receipt = writer.commit(Batch { plans, cursors: BTreeMap::new() }).await.unwrap();
            let started = Instant::now();
            tokio::time::timeout(LIMIT, writer.pushed(&receipt)).await.unwrap().unwrap();
            fastest = fastest.min(started.elapsed());

            git(&clone, &["fetch", "--quiet", &state.join("repository.git").to_string_lossy(), "+main:main"]);
            let mut push = command(&clone, &["push", "--quiet", &url, "main"]);
            let started = Instant::now();
            // Off the runtime's threads: the server is on them.
            let status = tokio::task::spawn_blocking(move || push.status()).await.unwrap().unwrap();
            fastest_git = fastest_git.min(started.elapsed());
            assert!(status.success(), "git push: {status}");
            assert_eq!(
                ours.git(&["rev-parse", "main"]).await.unwrap(),
                theirs.git(&["rev-parse", "main"]).await.unwrap()
            );
        }
        print(&format!(
            "push of {commits} commits over HTTP: {fastest:.1?}, git push {fastest_git:.1?}; ratio {:.2}",
            fastest.div_duration_f64(fastest_git)
        ));
    }
    writer.close(LIMIT).await.unwrap();
}
