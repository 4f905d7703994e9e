//! The memory of a process that does nothing but write.

use std::{env, fs, path::Path, process::Command};

use crate::{
    Size,
    bed::{self, Bed, Layout},
    print,
};

/// The first argument of the process that is measured.
pub(crate) const ROLE: &str = "resident";

/// A turn whose contents no turn before had.
const AFTER: usize = 1_000;

/// At most, in megabytes, with 100,000 files.
const LIMIT_MB: f64 = 100.0;

/// Starts a process of its own for a repository that stands there, so that nothing else is counted.
pub(crate) async fn resident(size: Size) {
    let files = size.files[2];
    let bed = Bed::with_files(Layout::Spread, files).await;
    let output = Command::new(env::current_exe().unwrap())
        .args([ROLE, &bed.state_dir().to_string_lossy(), &files.to_string(), &size.commits.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let words: Vec<f64> =
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [loaded, most, anonymous, mapped] = words[..] else { panic!("not four figures: {words:?}") };
    print(&format!(
        "resident with {files} files: {loaded:.0} MB with all trees, {most:.0} MB at most with {} commits in one batch; ratio {:.2} (limit {LIMIT_MB} MB)",
        size.commits,
        most / LIMIT_MB
    ));
    print(&format!(
        "  after it {anonymous:.0} MB of its own, and {mapped:.0} MB of packs and program that are mapped from disk"
    ));
}

/// What the process does.
pub(crate) async fn run(state_dir: &Path, files: usize, commits: usize) {
    let remote = state_dir.with_file_name("remote.git");
    let writer = bed::start(&remote.to_string_lossy(), state_dir).await;
    // One edit of each folder loads all of them.
    let every = bed::plans(files.min(2_000), 0, |n| bed::update(Layout::Spread, n, files, 0, commits));
    bed::commit(&writer, every).await;
    bed::settle(&writer).await;
    let loaded = status("VmRSS");
    bed::commit(&writer, bed::plans(commits, AFTER, |n| bed::update(Layout::Spread, n, files, AFTER, commits))).await;
    print(&format!("{loaded} {} {} {}", status("VmHWM"), status("RssAnon"), status("RssFile")));
    bed::settle(&writer).await;
}

/// A row of /proc/self/status in megabytes; proc(5).
fn status(row: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(':')).unwrap();
    let kibibytes: f64 = value.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024.0 / 1e6
}
