//! Real servers on loopback, for tests, benchmarks and `reverser demo`: no mocks.
//!
//! ```text
//! KUBEBUILDER_ASSETS, PATH ──┐
//! go build of the pins in go/ ┴─► etcd ◄── kube-apiserver ◄── kube-controller-manager
//!                                               ├───► ExtensionServer, behind an APIService
//!                                               ├───► Receiver, a webhook
//!                                               ▲ users with certificates and RBAC, kubectl
//!      what is tested: reads the API ───────────┘ TcpProxy: cuts, stalls, slows
//!                      pushes ──┬───► GitHttp ──► git http-backend ──► BareRepo
//!                               │       ▲ HttpProxy
//!                               ├───► Sshd ─────► git receive-pack ──────┘
//!                               └───► Gitea: tokens, deploy keys, protected branches
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), reverser_testbed::Error> {
//! use reverser_testbed::{ControlPlane, ControlPlaneOptions, GitHttp};
//!
//! let plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
//! let server = GitHttp::start().await?;
//! let repo = server.create("team.git").await?;
//! println!("{} {}", plane.kubeconfig().display(), server.url("team.git"));
//! assert!(repo.log("main").await?.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! Everything ends when it is dropped, and the processes end with ours, however ours ends.
#![cfg(unix)]

mod authority;
mod binaries;
mod child;
mod control_plane;
mod error;
mod eventually;
mod extension;
mod git;
mod git_http;
mod gitea;
mod port;
mod proxy;
mod python;
mod receiver;
mod script;
mod sshd;
mod tcp_proxy;

pub use crate::{
    binaries::{Tool, kubernetes_version, locate},
    control_plane::{Audit, ControlPlane, ControlPlaneOptions, SavedEtcd, ServiceAccountUser, client_for, rule},
    error::Error,
    eventually::{eventually, try_eventually},
    extension::ExtensionServer,
    git::{BareRepo, LoggedCommit, git},
    git_http::{Certificates, GitHttp, Outage},
    gitea::{Access, Gitea},
    port::free_port,
    proxy::HttpProxy,
    python::{Python, python},
    receiver::Receiver,
    script::write_script,
    sshd::{SshAgent, Sshd},
    tcp_proxy::{Ending, Faults, TcpProxy},
};
