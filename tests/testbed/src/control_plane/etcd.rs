//! The database of a control plane.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ControlPlane, describe};
use crate::error::Error;

/// etcd's data at one moment.
#[derive(Debug)]
pub struct SavedEtcd(TempDir);

impl SavedEtcd {
    fn data(&self) -> PathBuf {
        self.0.path().join("etcd")
    }
}

impl ControlPlane {
    /// Drops all history before the current revision from etcd and returns that revision, as etcd's compaction every
    /// five minutes does.
    pub async fn compact(&self) -> Result<i64, Error> {
        // `AA==`: the key `\0`; every answer carries the revision in its header.
        let range = self.etcd("kv/range", json!({"key": "AA==", "count_only": true})).await?;
        let revision = range["header"]["revision"].as_str().unwrap_or_default(); // 64 bits, so a string in JSON
        let revision: i64 = serde_json::from_str(revision)
            .map_err(kube::Error::SerdeError)
            .map_err(Error::kube(format!("read etcd's revision in {range}")))?;
        self.etcd("kv/compaction", json!({"revision": revision, "physical": true})).await?;
        Ok(revision)
    }

    /// Holds etcd, as a disk does that doesn't answer; the API server's requests wait, until `--request-timeout`.
    pub fn pause_etcd(&self) -> Result<(), Error> {
        self.servers().etcd.as_ref().map_or(Ok(()), |etcd| etcd.signal("STOP"))
    }

    /// Lets etcd go on.
    pub fn resume_etcd(&self) -> Result<(), Error> {
        self.servers().etcd.as_ref().map_or(Ok(()), |etcd| etcd.signal("CONT"))
    }

    /// Copies etcd's data as they are.
    pub fn save_etcd(&self) -> Result<SavedEtcd, Error> {
        let folder = tempfile::Builder::new().prefix("reverser-testbed-").tempdir();
        let saved = SavedEtcd(folder.map_err(Error::io("create", std::env::temp_dir()))?);
        // Held, so that the copy is what a crash at one moment would leave.
        self.pause_etcd()?;
        let copied = copy_folder(&self.file("etcd"), &saved.data());
        self.resume_etcd()?;
        copied.map(|()| saved)
    }

    /// Puts etcd back to what was saved and starts all servers again, as etcd's manual ("Disaster recovery") says: objects
    /// and resourceVersions are those of then.
    pub async fn restore_etcd(&self, saved: &SavedEtcd) -> Result<(), Error> {
        let ended = std::mem::take(&mut *self.servers());
        drop(ended);
        let data = self.file("etcd");
        fs::remove_dir_all(&data).map_err(Error::io("remove", &data))?;
        copy_folder(&saved.data(), &data)?;
        self.start_etcd().await?;
        self.start_api_server().await?;
        self.start_controller_manager().await
    }

    pub(super) async fn start_etcd(&self) -> Result<(), Error> {
        let url = self.etcd_url();
        let name = self.etcd_name();
        let flags = [
            format!("--name={name}"),
            format!("--data-dir={}", self.file("etcd").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            // There are no peers; 0 lets the kernel choose a port that nobody needs to know.
            "--listen-peer-urls=http://127.0.0.1:0".into(),
            format!("--initial-cluster={name}=http://localhost:2380"),
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ];
        self.servers().etcd = Some(self.child("etcd", &self.binaries.etcd, flags)?);
        // The name tells it from another control plane's etcd that took the port before ours could.
        self.until("etcd to be ready", || async {
            let members = self.etcd("cluster/member/list", json!({})).await.map_err(describe)?;
            if members["members"][0]["name"] == name { Ok(()) } else { Err(members.to_string()) }
        })
        .await
    }

    /// Asks etcd through its JSON gateway.
    async fn etcd(&self, method: &str, request: Value) -> Result<Value, Error> {
        let action = || format!("ask etcd for {method}");
        let url = self.etcd_url().parse().expect("a loopback address and a port make a URL");
        let client = Client::try_from(Config::new(url)).map_err(Error::kube(action()))?;
        let request = http::Request::post(format!("/v3/{method}"))
            .body(request.to_string().into_bytes())
            .expect("the paths are constants");
        client.request(request).await.map_err(Error::kube(action()))
    }

    pub(super) fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    /// Differs from that of any other etcd on the machine.
    fn etcd_name(&self) -> String {
        format!("testbed-{}-{}", std::process::id(), self.etcd_port)
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    super::private_folder(to)?; // etcd warns of any other
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        let entry = entry.map_err(Error::io("read", from))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            copy_folder(&from, &to)?;
        } else {
            fs::copy(&from, &to).map_err(Error::io("copy", &from))?;
        }
    }
    Ok(())
}
