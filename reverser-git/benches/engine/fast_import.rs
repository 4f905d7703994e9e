//! `git fast-import` making the same commits.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use reverser_core::{CommitPlan, Edit};

use crate::bed::{Bed, command, committer, git};

/// A repository that a bed's remote was cloned into.
pub(crate) struct FastImport {
    repository: PathBuf,
    stream: PathBuf,
}

impl FastImport {
    pub(crate) fn clone_of(bed: &Bed) -> Self {
        let folder = bed.folder.path();
        git(folder, &["clone", "--quiet", "--bare", "--no-local", "remote.git", "fast-import.git"]);
        Self { repository: folder.join("fast-import.git"), stream: folder.join("stream") }
    }

    /// Makes the commits; returns how long the process took to its end, and how large its pack is.
    pub(crate) fn commit(&self, plans: &[CommitPlan]) -> (Duration, u64) {
        self.write_stream(plans);
        let before = self.packs();
        let mut git = command(&self.repository, &["fast-import", "--quiet", "--done"]);
        git.stdin(File::open(&self.stream).unwrap());
        let started = Instant::now();
        let status = git.status().unwrap();
        let took = started.elapsed();
        assert!(status.success(), "git fast-import: {status}");
        (took, self.packs() - before)
    }

    /// Fails unless both have the same files, and `git fsck` finds both in order.
    pub(crate) fn check(&self, bed: &Bed) {
        let tree = |repository: &Path| git(repository, &["rev-parse", "refs/heads/main^{tree}"]);
        assert_eq!(tree(&self.repository), tree(&bed.local()), "the same commits gave other files");
        for repository in [&self.repository, &bed.local()] {
            git(repository, &["fsck", "--full", "--strict", "--no-dangling"]);
        }
    }

    /// The bytes of all packs.
    fn packs(&self) -> u64 {
        let packs = fs::read_dir(self.repository.join("objects/pack")).unwrap().map(|entry| entry.unwrap());
        packs
            .filter(|pack| pack.path().extension().is_some_and(|extension| extension == "pack"))
            .map(|pack| pack.metadata().unwrap().len())
            .sum()
    }

    /// As git-fast-import(1) has it.
    fn write_stream(&self, plans: &[CommitPlan]) {
        let mut stream = BufWriter::new(File::create(&self.stream).unwrap());
        for (n, plan) in plans.iter().enumerate() {
            let (author, second) = (plan.author.as_ref().unwrap(), plan.date.as_second());
            writeln!(stream, "commit refs/heads/main\nauthor {author} {second} +0000").unwrap();
            writeln!(stream, "committer {} {second} +0000\ndata {}", committer(), plan.message.len()).unwrap();
            stream.write_all(plan.message.as_bytes()).unwrap();
            if n == 0 {
                writeln!(stream, "from refs/heads/main^0").unwrap();
            }
            for edit in &plan.edits {
                match edit {
                    Edit::Delete { path } => writeln!(stream, "D {path}").unwrap(),
                    Edit::Put { path, content } => {
                        writeln!(stream, "M 100644 inline {path}\ndata {}", content.len()).unwrap();
                        stream.write_all(content).unwrap();
                        writeln!(stream).unwrap();
                    }
                }
            }
        }
        writeln!(stream, "done").unwrap();
        stream.into_inner().unwrap();
    }
}
