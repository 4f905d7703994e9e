//! Where the servers' binaries come from: what is there already, else a build of our own.
//!
//! 1. the folder in `KUBEBUILDER_ASSETS`, the convention of the Kubernetes world: taken as it is;
//! 2. `PATH`, if it runs there and is not older than what we pin;
//! 3. built with `go` from the module in `go/`, once, into `<target>/reverser-testbed/`.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::error::Error;

pub(crate) mod build;
pub(crate) mod openssh;

/// A program that the test bed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tool {
    /// The API server's storage.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Namespaces, service accounts, garbage collection, Deployments, Jobs, …
    KubeControllerManager,
    /// The command line client.
    Kubectl,
}

impl Tool {
    /// Returns the name of its file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
        }
    }

    /// Returns the main package that it is built from.
    fn package(self) -> &'static str {
        match self {
            Self::Etcd => ETCD_MODULE,
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
        }
    }

    /// Returns whether the program runs and can do what the test bed asks of it.
    fn is_usable(self, program: &Path) -> bool {
        let arguments: &[&str] = match self {
            Self::Kubectl => &["version", "--client"],
            _ => &["--version"],
        };
        let Ok(output) = Command::new(program).args(arguments).stdin(Stdio::null()).output() else { return false };
        let version = minor_version(&String::from_utf8_lossy(&output.stdout));
        let wanted = match self {
            Self::Etcd => minor_version(pinned(ETCD_MODULE)),
            Self::KubeApiserver | Self::KubeControllerManager => minor_version(kubernetes_version()),
            Self::Kubectl => None, // any speaks to any server well enough
        };
        output.status.success() && version >= wanted
    }
}

/// `etcd`, `kube-apiserver`, …: the name of its file.
impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns a path for each tool, building what is missing; that takes minutes the first time, shows its progress on
/// stderr, and leaves nothing half-done when it is interrupted. Processes that build at the same time wait for one another.
///
/// # Errors
/// [`Error::is_go_missing`] when something has to be built and can't.
pub async fn locate<const N: usize>(tools: [Tool; N]) -> Result<[PathBuf; N], Error> {
    match tokio::task::spawn_blocking(move || locate_blocking(tools)).await {
        Ok(paths) => paths,
        Err(error) => std::panic::resume_unwind(error.into_panic()), // nobody cancels it
    }
}

/// Returns the Kubernetes version that the test bed builds, such as `v1.36.3`.
pub fn kubernetes_version() -> &'static str {
    pinned("k8s.io/kubernetes")
}

fn locate_blocking<const N: usize>(tools: [Tool; N]) -> Result<[PathBuf; N], Error> {
    let there = tools.map(on_this_machine);
    let missing: Vec<_> = tools.iter().zip(&there).filter(|(_, path)| path.is_none()).map(|(tool, _)| *tool).collect();
    let folder = build::folder();
    if !missing.is_empty() {
        build::build(&missing, &folder)?;
    }
    let mut paths = there.into_iter();
    Ok(tools.map(|tool| paths.next().flatten().unwrap_or_else(|| folder.join(tool.name()))))
}

fn on_this_machine(tool: Tool) -> Option<PathBuf> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(|folder| Path::new(&folder).join(tool.name()));
    if let Some(program) = assets.filter(|program| program.is_file()) {
        return Some(program);
    }
    let path = env::var_os("PATH")?;
    let program = env::split_paths(&path).map(|folder| folder.join(tool.name())).find(|program| program.is_file())?;
    tool.is_usable(&program).then_some(program)
}

/// Returns the first `major.minor` in a text: `Kubernetes v1.36.3`, `etcd Version: 3.6.8`.
fn minor_version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

/// Returns the version of a module that `go.mod` requires.
fn pinned(module: &str) -> &'static str {
    build::GO_MOD
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .find_map(|(name, version)| (name == module).then_some(version))
        .expect("go.mod requires each module that this file names")
}

const ETCD_MODULE: &str = "go.etcd.io/etcd/server/v3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_tools_print() {
        assert_eq!(minor_version("Kubernetes v1.36.3"), Some((1, 36)));
        assert_eq!(minor_version("etcd Version: 3.6.8\nGit SHA: Not provided\nGo Version: go1.26.8\n"), Some((3, 6)));
        assert_eq!(minor_version("Client Version: v1.32.0\nKustomize Version: v5.5.0"), Some((1, 32)));
        assert_eq!(minor_version("command not found"), None);
    }

    #[test]
    fn the_pins_are_read_from_go_mod() {
        assert!(minor_version(kubernetes_version()).is_some());
        assert!(minor_version(pinned(ETCD_MODULE)).is_some());
    }

    #[test]
    fn an_older_server_on_the_path_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("kube-apiserver");
        let script = |version: &str| {
            crate::write_script(&program, &format!("echo Kubernetes {version}")).unwrap();
        };
        script("v1.20.0");
        assert!(!Tool::KubeApiserver.is_usable(&program));
        script(kubernetes_version());
        assert!(Tool::KubeApiserver.is_usable(&program));
    }
}
