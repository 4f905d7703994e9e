//! How fast the versions of one file are found in a long history.

use std::time::{Duration, Instant};

use reverser_git::{Credentials, GitReader, RemoteUrl};

use crate::{
    Size,
    bed::{self, Bed, Layout, git},
    print,
};

/// A file that changes seldom, in a repository where others change all the time: what `reverser blame` reads, contents included,
/// beside `git log` of the same file, which reads none.
pub(crate) async fn of_one_file(size: Size) {
    let (files, commits) = (size.files[1], 2 * size.commits);
    let bed = Bed::with_files(Layout::Spread, files).await;
    let writer = bed.start().await;
    for turn in 0..2 {
        let edit = |n| bed::update(Layout::Spread, n, files, turn, size.commits);
        bed::commit(&writer, bed::plans(size.commits, turn, edit)).await;
        bed::settle(&writer).await;
    }
    bed.close(writer).await;
    let remote = bed.folder.path().join("remote.git");
    let path = Layout::Spread.path(0, files);
    let (mut ours, mut theirs, mut versions) = (Duration::MAX, Duration::MAX, 0);
    for _ in 0..size.turns {
        let started = Instant::now();
        let url: RemoteUrl = remote.to_str().unwrap().parse().unwrap();
        let history = GitReader::open(url, Credentials::FromGit).history().await.unwrap();
        let tip = history.files().commit().id.clone();
        let found = history.versions(&path.parse().unwrap(), &tip, usize::MAX).await.unwrap();
        let contents: Vec<_> = found.versions.iter().filter_map(|version| version.content).collect();
        history.contents(&contents).await.unwrap();
        ours = ours.min(started.elapsed());
        let started = Instant::now();
        let log = git(&remote, &["log", "--first-parent", "--format=%H", "main", "--", &path]);
        theirs = theirs.min(started.elapsed());
        versions = found.versions.len();
        assert_eq!(log.lines().count(), versions, "the same commits");
    }
    print(&format!(
        "{versions} versions of a file in {commits} commits, {files} files: {ours:.1?}, git log {theirs:.1?}; ratio {:.2}",
        ours.div_duration_f64(theirs)
    ));
}
