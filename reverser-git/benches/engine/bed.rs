//! Repositories with files as a cluster has them, and commits to make in them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use reverser_core::{CommitPlan, Edit, Signature};
use reverser_git::{Batch, BranchName, Credentials, GitSink, GitWriter, Outcome, remote::create_bare};
use tempfile::TempDir;

/// How files lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All in one folder.
    Flat,
    /// Five kinds in up to 100 namespaces, as the default layout has them: 200 in a folder with 100,000 files.
    Spread,
    /// Likewise in up to 20 namespaces: 1,000 in a folder.
    Wide,
}

impl Layout {
    /// Returns where the file is that is the `n`th of `files`.
    pub(crate) fn path(self, n: usize, files: usize) -> String {
        if self == Self::Flat {
            return format!("v1/configmaps/shop/config-{n:06}.yaml");
        }
        let kinds =
            ["apps/v1/deployments", "v1/configmaps", "v1/services", "batch/v1/jobs", "networking.k8s.io/v1/ingresses"];
        let namespaces = (files / 250).clamp(2, if self == Self::Wide { 20 } else { 100 });
        let (kind, namespace) = (kinds[n % kinds.len()], n / kinds.len() % namespaces);
        format!("{kind}/team-{namespace:02}/workload-{n:06}.yaml")
    }
}

/// Returns the `version`th content of a file: some 900 bytes, as manifests have.
pub(crate) fn content(n: usize, version: usize) -> String {
    format!(
        "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: workload-{n:06}
  namespace: team-{team:02}
  labels:
    app.kubernetes.io/name: workload-{n:06}
    app.kubernetes.io/part-of: shop
spec:
  replicas: {replicas}
  selector:
    matchLabels:
      app.kubernetes.io/name: workload-{n:06}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: workload-{n:06}
    spec:
      containers:
        - name: web
          image: registry.example.com/shop/workload-{n:06}:{version}.{n}.{replicas}
          ports:
            - containerPort: 8080
              name: http
              protocol: TCP
          readinessProbe:
            httpGet:
              path: /readyz
              port: http
            periodSeconds: 10
          resources:
            limits:
              memory: {memory}Mi
            requests:
              cpu: {cpu}m
              memory: {memory}Mi
",
        team = n % 20,
        replicas = 1 + (n + version) % 7,
        memory = 64 + n * 31 % 999,
        cpu = 50 + n * 17 % 333,
    )
}

/// The commits of a turn: `count` plans, each with an author of its own and one edit.
pub(crate) fn plans(count: usize, turn: usize, edit: impl Fn(usize) -> Edit) -> Vec<CommitPlan> {
    (0..count)
        .map(|n| CommitPlan {
            author: Some(Signature::new(&format!("User {n}"), &format!("user-{n}@example.com"))),
            date: Timestamp::from_second(1_700_000_000 + (turn * count + n) as i64).unwrap(),
            message: format!(
                "[UPDATE] apps/v1/deployments/workload-{n:06}\n\nNamespace: team-{:02}\n\nReverser-Actor: user-{n}\n\
                 Reverser-Evidence: audit\nReverser-Resource-Version: {}\n",
                n % 20,
                turn * count + n
            ),
            edits: vec![edit(n)],
        })
        .collect()
}

/// Returns the edit that gives the `n`th of `files` another content. Neighbours in time are none in place.
pub(crate) fn update(layout: Layout, n: usize, files: usize, turn: usize, count: usize) -> Edit {
    let file = (turn * count + n) * 7_919 % files;
    put(&layout.path(file, files), content(file, 1 + turn * count + n))
}

/// Returns an edit as a rollout makes it: a reason in words, the image, replicas and a longer list of arguments. Only reading
/// both versions as YAML tells that it is another one.
pub(crate) fn rollout(layout: Layout, n: usize, files: usize, turn: usize, count: usize) -> Edit {
    let (file, version) = ((turn * count + n) * 7_919 % files, 1 + turn * count + n);
    let reason = format!("  annotations:\n    kubernetes.io/change-cause: \"rollout {version}: raise the limits\"\n");
    let arguments: String = (0..=version % 5).map(|n| format!("            - --feature-{n}={version}\n")).collect();
    let content = content(file, version).replacen("  labels:\n", &format!("{reason}  labels:\n"), 1).replacen(
        "          ports:\n",
        &format!("          args:\n{arguments}          ports:\n"),
        1,
    );
    put(&layout.path(file, files), content)
}

pub(crate) fn put(path: &str, content: String) -> Edit {
    Edit::Put { path: path.parse().unwrap(), content: content.into_bytes() }
}

/// A remote and a state folder, gone with it.
pub(crate) struct Bed {
    pub(crate) folder: TempDir,
}

impl Bed {
    /// Both with `files` files, all of them pushed.
    pub(crate) async fn with_files(layout: Layout, files: usize) -> Self {
        let bed = Self { folder: tempfile::tempdir().unwrap() };
        create_bare(&bed.remote(), &BranchName::default()).await.unwrap();
        let writer = bed.start().await;
        let mut first = plans(1, 0, |_| Edit::Delete { path: "absent".parse().unwrap() });
        first[0].edits = (0..files).map(|n| put(&layout.path(n, files), content(n, 0))).collect();
        commit(&writer, first).await;
        bed.close(writer).await;
        bed
    }

    pub(crate) fn remote(&self) -> PathBuf {
        self.folder.path().join("remote.git")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn local(&self) -> PathBuf {
        self.state_dir().join("repository.git")
    }

    pub(crate) async fn start(&self) -> GitWriter {
        start(&self.remote().to_string_lossy(), &self.state_dir()).await
    }

    /// Ends the writer with everything on the remote.
    pub(crate) async fn close(&self, writer: GitWriter) {
        let closed = writer.close(LIMIT).await.unwrap();
        assert_eq!(closed.unpushed, 0, "{:?}", closed.error);
    }

    /// Returns the names and sizes of the local packs.
    pub(crate) fn packs(&self) -> BTreeMap<String, u64> {
        let packs = fs::read_dir(self.local().join("objects/pack")).unwrap().map(|entry| entry.unwrap());
        packs
            .map(|pack| (pack.file_name().to_string_lossy().into_owned(), pack.metadata().unwrap().len()))
            .filter(|(name, _)| name.ends_with(".pack"))
            .collect()
    }
}

pub(crate) async fn start(remote: &str, state_dir: &Path) -> GitWriter {
    let writer = GitWriter::open(remote.parse().unwrap(), Credentials::FromGit);
    writer.state_dir(state_dir.to_owned()).committer(committer()).queue_bytes(1 << 30).start().await.unwrap()
}

pub(crate) fn committer() -> Signature {
    Signature::new("reverser", "reverser@example.com")
}

/// Commits the plans as one batch; returns how long it took until they were on disk.
pub(crate) async fn commit(writer: &GitWriter, plans: Vec<CommitPlan>) -> Duration {
    let count = plans.len();
    let started = Instant::now();
    let receipt = writer.commit(Batch { plans, cursors: BTreeMap::new() }).await.unwrap();
    let took = started.elapsed();
    let made = receipt.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Committed(_))).count();
    assert_eq!(made, count, "a commit is missing");
    took
}

/// Waits until all that was committed is on the remote, so that no push runs beside what is measured next.
pub(crate) async fn settle(writer: &GitWriter) {
    let receipt = writer.commit(Batch::default()).await.unwrap();
    tokio::time::timeout(LIMIT, writer.pushed(&receipt)).await.unwrap().unwrap();
}

pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = command(folder, arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?} in {}: {output:?}", folder.display());
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// git without any configuration of the machine's.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "gc.auto=0", "-c", "maintenance.auto=0"]).args(arguments);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command
}

/// Longer than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);
