//! A real control plane on loopback: etcd, kube-apiserver, kube-controller-manager.

use std::{
    collections::HashMap,
    fmt, fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, interval, timeout_at};

use crate::{
    authority::{Authority, SigningKey},
    binaries::{Tool, locate},
    child::Child,
    error::Error,
    eventually::POLL,
    port::free_port,
    tcp_proxy::TcpProxy,
};

mod etcd;
mod users;

use self::users::{Grant, write_kubeconfig};
pub use self::{
    etcd::SavedEtcd,
    users::{ServiceAccountUser, client_for, rule},
};

/// What a control plane is made of.
#[derive(Clone, Debug)]
pub struct ControlPlaneOptions {
    /// More flags for kube-apiserver, such as `--v=4`; of a flag given twice the last counts. Default: none.
    pub api_server_flags: Vec<String>,
    /// Admission plugins of kube-apiserver that are off. Default: `ServiceAccount`, which would hold back Pods until
    /// their service account is there.
    pub disabled_admission_plugins: Vec<String>,
    /// What the audit log records. Default: [`Audit::Writes`].
    pub audit: Audit,
    /// Whether there are controllers; without them nothing deletes a namespace's contents, makes service accounts or
    /// runs Deployments, and the control plane needs a quarter less memory. Default: yes.
    pub controller_manager: bool,
    /// Where logs, certificates and etcd's data go; made if absent, and left there. Data of an earlier control plane are
    /// used again; its certificates are not. Default: a temporary folder that goes away with the control plane.
    pub folder: Option<PathBuf>,
}

impl Default for ControlPlaneOptions {
    fn default() -> Self {
        Self {
            api_server_flags: vec![],
            disabled_admission_plugins: vec!["ServiceAccount".into()],
            audit: Audit::Writes,
            controller_manager: true,
            folder: None,
        }
    }
}

/// What the API server's audit log records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Nothing: there is no log.
    Off,
    /// Each write with its request and response, but for leases, events and reviews, one line of JSON each.
    Writes,
}

/// A running control plane; dropping it ends its processes and removes its temporary folder.
///
/// Any number run side by side. Its processes end with ours, however ours ends.
pub struct ControlPlane {
    options: ControlPlaneOptions,
    // Before the folder, so that nothing writes into it when it is removed.
    servers: Mutex<Servers>,
    folder: Folder,
    binaries: ServerBinaries,
    authority: Authority,
    client: Client,
    kubeconfig: PathBuf,
    etcd_port: u16,
    api_server_port: u16,
    /// How many users and roles have been made, to name the next.
    made: AtomicUsize,
    /// By user.
    grants: Mutex<HashMap<String, Vec<Grant>>>,
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane").field("url", &self.url()).field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// In the order in which they are to end.
#[derive(Debug, Default)]
struct Servers {
    controller_manager: Option<Child>,
    api_server: Option<Child>,
    etcd: Option<Child>,
}

impl Servers {
    fn running(&mut self) -> impl Iterator<Item = &mut Child> {
        [&mut self.etcd, &mut self.api_server, &mut self.controller_manager].into_iter().flatten()
    }
}

#[derive(Clone, Debug)]
struct ServerBinaries {
    etcd: PathBuf,
    api_server: PathBuf,
    controller_manager: Option<PathBuf>,
}

impl ServerBinaries {
    async fn locate(options: &ControlPlaneOptions) -> Result<Self, Error> {
        if options.controller_manager {
            let all = [Tool::Etcd, Tool::KubeApiserver, Tool::KubeControllerManager];
            let [etcd, api_server, controller_manager] = locate(all).await?;
            Ok(Self { etcd, api_server, controller_manager: Some(controller_manager) })
        } else {
            let [etcd, api_server] = locate([Tool::Etcd, Tool::KubeApiserver]).await?;
            Ok(Self { etcd, api_server, controller_manager: None })
        }
    }
}

#[derive(Debug)]
enum Folder {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

impl ControlPlane {
    /// Starts the servers, building them first where they are not on the machine, and returns when they are ready:
    /// the API answers, the namespace `default` is there, with controllers also its service account.
    pub async fn start(options: ControlPlaneOptions) -> Result<Self, Error> {
        let binaries = ServerBinaries::locate(&options).await?;
        let mut attempts = 1;
        loop {
            match Self::start_on_free_ports(&options, &binaries).await {
                Err(error) if error.is_port_taken() && attempts < PORT_ATTEMPTS => attempts += 1,
                other => return other,
            }
        }
    }

    async fn start_on_free_ports(options: &ControlPlaneOptions, binaries: &ServerBinaries) -> Result<Self, Error> {
        let folder = match &options.folder {
            Some(path) => {
                private_folder(path)?;
                Folder::Kept(path.clone())
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("reverser-testbed-").tempdir();
                Folder::Temporary(temporary.map_err(Error::io("create", std::env::temp_dir()))?)
            }
        };
        let (etcd_port, api_server_port) = (free_port()?, free_port()?);
        let authority = Authority::create()?;
        let kubeconfig = folder.path().join("admin.kubeconfig");
        let url = url_of(api_server_port);
        write_kubeconfig(&kubeconfig, &url, &authority, &authority.user("admin", &["system:masters"], None)?)?;
        let client = client_for(&kubeconfig).await?;
        let plane = Self {
            options: options.clone(),
            servers: Mutex::default(),
            folder,
            binaries: binaries.clone(),
            authority,
            client,
            kubeconfig,
            etcd_port,
            api_server_port,
            made: AtomicUsize::new(0),
            grants: Mutex::default(),
        };
        plane.write_files()?;
        plane.start_etcd().await?;
        plane.start_api_server().await?;
        plane.start_controller_manager().await?;
        Ok(plane)
    }

    /// Returns the address of the API server.
    pub fn url(&self) -> String {
        url_of(self.api_server_port)
    }

    /// Returns where the API server listens, for a [`TcpProxy`] before it.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.api_server_port).into()
    }

    /// Writes a kubeconfig of the administrator that goes through a proxy, and returns its path. The serving certificate is
    /// for each port of 127.0.0.1.
    pub fn kubeconfig_via(&self, proxy: &TcpProxy) -> Result<PathBuf, Error> {
        let port = proxy.address().port();
        let path = self.file(&format!("admin-via-{port}.kubeconfig"));
        write_kubeconfig(
            &path,
            &url_of(port),
            &self.authority,
            &self.authority.user("admin", &["system:masters"], None)?,
        )?;
        Ok(path)
    }

    /// Returns the path of the administrator's kubeconfig (user `admin`, group `system:masters`, context `testbed`).
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Returns a client of the administrator.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns who signs what it trusts.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the folder with logs, certificates and etcd's data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the path of the audit log, `None` with [`Audit::Off`]. As by default in Kubernetes, it is rotated
    /// after 100 MB.
    pub fn audit_log(&self) -> Option<PathBuf> {
        match self.options.audit {
            Audit::Off => None,
            Audit::Writes => Some(self.file("audit.log")),
        }
    }

    /// Returns the version that the API server reports, such as `v1.36.3`.
    pub async fn version(&self) -> Result<String, Error> {
        let version = self.client.apiserver_version().await.map_err(Error::kube("ask for the version"))?;
        Ok(version.git_version)
    }

    /// Returns the process ids of the running servers.
    pub fn pids(&self) -> Vec<u32> {
        self.servers().running().map(|server| server.id()).collect()
    }

    /// Ends the API server as a crash would; the others go on. Does nothing where it does not run.
    pub fn stop_api_server(&self) {
        let ended = self.servers().api_server.take();
        drop(ended); // reaped here, so that the port is free when this returns
    }

    /// Starts the API server on its port, with its certificates, and returns when it is ready. Does nothing where it
    /// runs.
    pub async fn start_api_server(&self) -> Result<(), Error> {
        {
            let mut servers = self.servers();
            if servers.api_server.is_none() {
                let flags = self.api_server_flags();
                servers.api_server = Some(self.child("kube-apiserver", &self.binaries.api_server, flags)?);
            }
        }
        self.until("the API server to be ready", || async {
            let ready = http::Request::get("/readyz").body(vec![]).map_err(describe)?;
            self.client.request_text(ready).await.map_err(describe)?;
            let namespaces = Api::<Namespace>::all(self.client());
            namespaces.get("default").await.map(drop).map_err(describe)
        })
        .await
    }

    /// Restarts the API server: its watch cache is empty then, so that every older resourceVersion answers 410 to a
    /// watch.
    pub async fn restart_api_server(&self) -> Result<(), Error> {
        self.stop_api_server();
        self.start_api_server().await
    }

    /// Returns a kubectl command for a kubeconfig, building kubectl where there is none. It reads no setting of the
    /// user who runs the tests.
    pub async fn kubectl(&self, kubeconfig: &Path) -> Result<tokio::process::Command, Error> {
        let [kubectl] = locate([Tool::Kubectl]).await?;
        let mut command = tokio::process::Command::new(kubectl);
        command
            .env("KUBECONFIG", kubeconfig)
            .env("KUBECACHEDIR", self.file("kubectl-cache")) // else two API servers share one by their port
            .env("KUBERC", "off")
            .kill_on_drop(true);
        Ok(command)
    }

    fn write_files(&self) -> Result<(), Error> {
        let serving = self.authority.serving()?;
        let service_accounts = SigningKey::create()?;
        for (name, text) in [
            ("ca.crt", self.authority.certificate_pem()),
            ("kube-apiserver.crt", &serving.certificate_pem),
            ("kube-apiserver.key", &serving.key_pem),
            ("service-accounts.key", &service_accounts.private_pem),
            ("service-accounts.pub", &service_accounts.public_pem),
            ("audit-policy.json", &audit_policy().to_string()),
        ] {
            write_private(&self.file(name), text)?;
        }
        let controller_manager = self.authority.user("system:kube-controller-manager", &[], None)?;
        let path = self.file("kube-controller-manager.kubeconfig");
        write_kubeconfig(&path, &self.url(), &self.authority, &controller_manager)
    }

    async fn start_controller_manager(&self) -> Result<(), Error> {
        let Some(program) = &self.binaries.controller_manager else { return Ok(()) };
        let kubeconfig = self.file("kube-controller-manager.kubeconfig");
        let flags = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--root-ca-file={}", self.file("ca.crt").display()),
            format!("--service-account-private-key-file={}", self.file("service-accounts.key").display()),
            // So that admission and audit see which controller it was, as in clusters of the real world.
            "--use-service-account-credentials=true".into(),
            "--leader-elect=false".into(), // seconds of waiting, and there is nobody to compete with
            "--secure-port=0".into(),      // nobody asks for its metrics
            // Each controller asks for a token; 20 requests a second make that 4 of the 7 seconds of a start.
            "--kube-api-qps=1000".into(),
            "--kube-api-burst=1000".into(),
        ];
        self.servers().controller_manager = Some(self.child("kube-controller-manager", program, flags)?);
        self.until("the controllers to make the default service account", || async {
            let accounts = Api::<ServiceAccount>::namespaced(self.client(), "default");
            accounts.get("default").await.map(drop).map_err(describe)
        })
        .await
    }

    fn api_server_flags(&self) -> Vec<String> {
        let file = |name: &str| self.file(name).display().to_string();
        let mut flags = vec![
            format!("--etcd-servers={}", self.etcd_url()),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", self.api_server_port),
            "--advertise-address=127.0.0.1".into(), // else it needs a default route
            "--endpoint-reconciler-type=none".into(), // endpoints can't be loopback addresses
            format!("--tls-cert-file={}", file("kube-apiserver.crt")),
            format!("--tls-private-key-file={}", file("kube-apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            "--authorization-mode=RBAC".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", file("service-accounts.key")),
            "--service-cluster-ip-range=10.0.0.0/24".into(),
            format!("--disable-admission-plugins={}", self.options.disabled_admission_plugins.join(",")),
            "--allow-privileged=true".into(),
        ];
        if let Some(log) = self.audit_log() {
            flags.push(format!("--audit-log-path={}", log.display()));
            flags.push(format!("--audit-policy-file={}", file("audit-policy.json")));
        }
        flags.extend_from_slice(&self.options.api_server_flags);
        flags
    }

    fn child(
        &self,
        name: &'static str,
        program: &Path,
        flags: impl IntoIterator<Item = String>,
    ) -> Result<Child, Error> {
        Child::start(name, program, flags, &self.file(&format!("{name}.log")))
    }

    /// Polls until the probe succeeds; notices at once when a server ends instead.
    async fn until<F>(&self, what: &str, mut probe: impl FnMut() -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<(), String>>,
    {
        let deadline = Instant::now() + READY_WITHIN;
        let mut ticks = interval(POLL);
        let mut seen = "no answer".to_owned();
        while timeout_at(deadline, ticks.tick()).await.is_ok() {
            self.servers().running().try_for_each(Child::alive)?;
            match timeout_at(deadline, probe()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => seen = error,
                Err(_) => break,
            }
        }
        Err(Error::NotReady { what: what.into(), limit: READY_WITHIN, seen })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        // A panic while it is held leaves the list of servers as it was.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn url_of(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let mut options = fs::File::options();
    let file = options.create(true).write(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(Error::io("write", path))
}

fn private_folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create", path))
}

/// Kubernetes' documentation, "Auditing": the first rule that matches counts.
fn audit_policy() -> Value {
    let none = |group: &str, resources: &[&str]| json!({"group": group, "resources": resources});
    let writes = json!(["create", "update", "patch", "delete", "deletecollection"]);
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "resources": [
                none("", &["events"]),
                none("events.k8s.io", &["events"]),
                none("coordination.k8s.io", &["leases"]),
                none("authentication.k8s.io", &["*"]),
                none("authorization.k8s.io", &["*"]),
                none("", &["serviceaccounts/token"]), // the response is a credential
            ]},
            // Who, and not what.
            {"level": "Metadata", "verbs": writes, "resources": [none("", &["secrets"])]},
            {"level": "RequestResponse", "verbs": writes},
            {"level": "None"},
        ],
    })
}

/// Returns the error with its sources, for the last line of a timeout.
fn describe(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// kube-apiserver is ready in 2.4 s, kube-controller-manager in less; this is for a machine that runs many.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A lost race for a port is rare already once.
const PORT_ATTEMPTS: usize = 5;

#[cfg(test)]
mod tests;
