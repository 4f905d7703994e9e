//! The database of a control plane.

use kube::{Client, Config};
use serde_json::{Value, json};

use super::{ControlPlane, describe};
use crate::error::Error;

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
