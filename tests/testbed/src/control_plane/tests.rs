use std::{collections::HashSet, net::TcpListener, panic::AssertUnwindSafe, process::Command, time::SystemTime};

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Config,
    api::{DeleteParams, PostParams, WatchEvent, WatchParams},
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};

use super::*;
use crate::{child::is_running, eventually};

const BARE: ControlPlaneOptions = ControlPlaneOptions {
    api_server_flags: vec![],
    disabled_admission_plugins: vec![],
    audit: Audit::Off,
    controller_manager: false,
    folder: None,
};

#[tokio::test]
async fn two_control_planes_run_side_by_side_and_end_when_dropped() {
    let (one, two) = tokio::join!(ControlPlane::start(BARE), ControlPlane::start(BARE));
    let (one, two) = (one.unwrap(), two.unwrap());
    write(&one, "only-in-one").await;
    let other = config_maps(&two).get_opt("only-in-one").await.unwrap();
    assert!(other.is_none(), "{other:?}");
    let pids: HashSet<u32> = one.pids().into_iter().chain(two.pids()).collect();
    assert_eq!(pids.len(), 4);
    let folder = one.folder().to_owned();
    drop((one, two));
    assert!(pids.iter().all(|pid| !is_running(*pid)), "{pids:?}");
    assert!(!folder.exists(), "{}", folder.display());
}

#[tokio::test]
async fn a_panic_ends_the_processes() {
    let mut pids = vec![];
    let panics = AssertUnwindSafe(async {
        let plane = ControlPlane::start(BARE).await.unwrap();
        pids = plane.pids();
        panic!("as a failed assertion does");
    });
    panics.catch_unwind().await.unwrap_err();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| !is_running(*pid)), "{pids:?}");
}

#[tokio::test]
async fn a_flag_that_the_api_server_refuses_is_in_the_error() {
    let options = ControlPlaneOptions { api_server_flags: vec!["--no-such-flag".into()], ..BARE };
    let error = ControlPlane::start(options).await.unwrap_err().to_string();
    assert!(error.contains("kube-apiserver ended") && error.contains("unknown flag: --no-such-flag"), "{error}");
}

#[tokio::test]
async fn a_port_that_stays_taken_is_in_the_error() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = ControlPlaneOptions { api_server_flags: vec![format!("--secure-port={port}")], ..BARE };
    let error = ControlPlane::start(options).await.unwrap_err();
    assert!(error.is_port_taken() && error.to_string().contains(&port.to_string()), "{error}");
}

#[tokio::test]
async fn a_restored_etcd_has_the_objects_and_the_versions_of_then() {
    let plane = ControlPlane::start(BARE).await.unwrap();
    let before = write(&plane, "before").await;
    let saved = plane.save_etcd().unwrap();
    write(&plane, "after").await;
    // More than an API server writes itself when it starts.
    for number in 0..300 {
        write(&plane, &format!("after-{number}")).await;
    }
    let last = write(&plane, "last").await;
    for _ in 0..2 {
        plane.restore_etcd(&saved).await.unwrap();
        assert_eq!(config_maps(&plane).get("before").await.unwrap().metadata.resource_version, Some(before.clone()));
        assert!(config_maps(&plane).get_opt("after").await.unwrap().is_none());
        let again = write(&plane, "again").await;
        assert!(again.parse::<u64>().unwrap() <= last.parse().unwrap(), "{again} {last}");
    }
}

#[tokio::test]
async fn requests_wait_while_etcd_is_held() {
    let plane = ControlPlane::start(BARE).await.unwrap();
    write(&plane, "before").await;
    plane.pause_etcd().unwrap();
    tokio::time::timeout(Duration::from_millis(300), write(&plane, "held")).await.unwrap_err();
    plane.resume_etcd().unwrap();
    write(&plane, "after").await;
}

#[tokio::test]
async fn a_folder_that_is_kept_keeps_the_objects() {
    let folder = tempfile::tempdir().unwrap();
    let options = ControlPlaneOptions { folder: Some(folder.path().join("plane")), ..BARE };
    let plane = ControlPlane::start(options.clone()).await.unwrap();
    let version = write(&plane, "kept").await;
    drop(plane);
    let plane = ControlPlane::start(options).await.unwrap();
    let kept = config_maps(&plane).get("kept").await.unwrap();
    assert_eq!(kept.metadata.resource_version, Some(version));
}

/// One control plane for all that leaves it running: a start is what takes the time.
#[tokio::test]
async fn the_whole_control_plane_keeps_its_promises() {
    let plane = ControlPlane::start(ControlPlaneOptions::default()).await.unwrap();
    the_version_is_that_of_the_binary(&plane).await;
    a_user_may_do_what_was_granted_and_no_more(&plane).await;
    what_was_granted_can_be_revoked(&plane).await;
    a_rotated_token_counts_and_the_one_before_no_more(&plane).await;
    an_expired_certificate_is_refused(&plane).await;
    the_audit_log_has_writes_with_their_user_and_body(&plane).await;
    kubectl_reads_its_kubeconfig_alone(&plane).await;
    a_proxy_is_a_way_to_it(&plane).await;
    a_deleted_namespace_goes_away(&plane).await;
    a_restart_and_a_compaction_make_old_versions_410(&plane).await;
}

async fn the_version_is_that_of_the_binary(plane: &ControlPlane) {
    let version = plane.version().await.unwrap();
    let output = Command::new(&plane.binaries.api_server).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), format!("Kubernetes {version}"));
}

async fn a_user_may_do_what_was_granted_and_no_more(plane: &ControlPlane) {
    let client = client_for(&plane.user("alice", &["devs", "voters"]).unwrap()).await.unwrap();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let request = http::Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews");
    let answer: Value = client.request(request.body(review.to_string().into_bytes()).unwrap()).await.unwrap();
    let user = &answer["status"]["userInfo"];
    assert_eq!(
        (&user["username"], &user["groups"]),
        (&json!("alice"), &json!(["devs", "voters", "system:authenticated"]))
    );

    let here = Api::<ConfigMap>::namespaced(client.clone(), "default");
    assert_eq!(code(here.list(&Default::default()).await), Err(403));
    plane.grant("alice", Some("default"), vec![rule(&["get", "list", "create"], "", &["configmaps"])]).await.unwrap();
    assert_eq!(code(here.list(&Default::default()).await), Ok(()));
    assert_eq!(code(here.create(&PostParams::default(), &config_map("by-alice")).await), Ok(()));
    assert_eq!(code(here.delete("by-alice", &DeleteParams::default()).await), Err(403));
    let everywhere = Api::<ConfigMap>::all(client);
    assert_eq!(code(everywhere.list(&Default::default()).await), Err(403));
    plane.grant("alice", None, vec![rule(&["list"], "", &["configmaps"])]).await.unwrap();
    assert_eq!(code(everywhere.list(&Default::default()).await), Ok(()));

    let error = plane.user("bob", &["a", "b", "c"]).unwrap_err();
    assert!(matches!(error, Error::TooManyGroups { count: 3, .. }), "{error}");
}

async fn what_was_granted_can_be_revoked(plane: &ControlPlane) {
    let client = client_for(&plane.user("dave", &[]).unwrap()).await.unwrap();
    plane.grant("dave", None, vec![rule(&["list"], "", &["configmaps"])]).await.unwrap();
    plane.grant("dave", Some("default"), vec![rule(&["list"], "", &["secrets"])]).await.unwrap();
    let secrets = Api::<Secret>::namespaced(client.clone(), "default");
    assert_eq!(code(secrets.list(&Default::default()).await), Ok(()));
    plane.revoke("dave").await.unwrap();
    assert_eq!(code(secrets.list(&Default::default()).await), Err(403));
    assert_eq!(code(Api::<ConfigMap>::all(client).list(&Default::default()).await), Err(403));
}

async fn a_rotated_token_counts_and_the_one_before_no_more(plane: &ControlPlane) {
    let mut robot = plane.service_account("default", "robot").await.unwrap();
    plane.grant(&robot.user, None, vec![rule(&["list"], "", &["configmaps"])]).await.unwrap();
    let with_its_token = async |robot: &ServiceAccountUser| {
        // Clients read the file when they start.
        Api::<ConfigMap>::namespaced(client_for(&robot.kubeconfig).await.unwrap(), "default")
    };
    let before = with_its_token(&robot).await;
    assert_eq!(code(before.list(&Default::default()).await), Ok(()));
    plane.rotate(&mut robot).await.unwrap();
    let after = with_its_token(&robot).await;
    assert_eq!(code(after.list(&Default::default()).await), Ok(()));
    let token = fs::read_to_string(&robot.token_file).unwrap();
    plane.rotate(&mut robot).await.unwrap();
    // A client of its own: kube's read the file again.
    let answer = async || {
        let mut config = Config::from_custom_kubeconfig(
            Kubeconfig::read_from(&robot.kubeconfig).unwrap(),
            &KubeConfigOptions::default(),
        )
        .await
        .unwrap();
        config.auth_info = AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() };
        code(Client::try_from(config).unwrap().apiserver_version().await)
    };
    let is_refused = async || if answer().await == Err(401) { Ok(()) } else { Err("not refused") };
    eventually("a refusal", Duration::from_secs(30), is_refused).await;
}

async fn an_expired_certificate_is_refused(plane: &ControlPlane) {
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    let kubeconfig = plane.user_until("carol", &["system:masters"], yesterday).unwrap();
    let client = client_for(&kubeconfig).await.unwrap();
    assert_eq!(code(client.apiserver_version().await), Err(401));
}

async fn the_audit_log_has_writes_with_their_user_and_body(plane: &ControlPlane) {
    let log = plane.audit_log().unwrap();
    let is_it = |event: &Value| event["objectRef"]["name"] == "by-alice" && event["responseStatus"]["code"] == 201;
    // The server answers before it writes the line.
    let event = eventually("alice's write in the audit log", Duration::from_secs(5), || async {
        let text = fs::read_to_string(&log).unwrap();
        let mut events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.find(is_it).ok_or(text.len())
    })
    .await;
    assert_eq!(event["user"]["username"], "alice");
    assert_eq!(event["stage"], "ResponseComplete");
    let body = &event["responseObject"];
    assert_eq!(body["data"]["key"], "value");
    assert!(body["metadata"]["managedFields"].is_array() && body["metadata"]["resourceVersion"].is_string(), "{body}");
    let text = fs::read_to_string(&log).unwrap();
    let verbs: HashSet<_> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["verb"].as_str().map(str::to_owned))
        .collect();
    assert!(!verbs.contains("get") && !verbs.contains("list") && !verbs.contains("watch"), "{verbs:?}");
}

async fn kubectl_reads_its_kubeconfig_alone(plane: &ControlPlane) {
    let mut kubectl = plane.kubectl(plane.kubeconfig()).await.unwrap();
    let output = kubectl.args(["get", "configmap", "by-alice", "-o", "name"]).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "configmap/by-alice\n", "{output:?}");
}

async fn a_proxy_is_a_way_to_it(plane: &ControlPlane) {
    let proxy = TcpProxy::start(plane.address()).await.unwrap();
    let client = client_for(&plane.kubeconfig_via(&proxy).unwrap()).await.unwrap();
    let seen = Api::<ConfigMap>::namespaced(client, "default").get("by-alice").await.unwrap();
    assert_eq!(seen.data.unwrap()["key"], "value");
    assert!(proxy.connections() > 0 && proxy.received() > 0, "{proxy:?}");
}

async fn a_deleted_namespace_goes_away(plane: &ControlPlane) {
    let namespaces = Api::<Namespace>::all(plane.client());
    let short_lived = serde_json::from_value(json!({"metadata": {"name": "short-lived"}})).unwrap();
    namespaces.create(&PostParams::default(), &short_lived).await.unwrap();
    let contents = Api::<ConfigMap>::namespaced(plane.client(), "short-lived");
    contents.create(&PostParams::default(), &config_map("within")).await.unwrap();
    namespaces.delete("short-lived", &DeleteParams::default()).await.unwrap();
    eventually("the namespace to be gone", Duration::from_secs(30), || async {
        namespaces.get_opt("short-lived").await.unwrap().map_or(Ok(()), Err)
    })
    .await;
}

async fn a_restart_and_a_compaction_make_old_versions_410(plane: &ControlPlane) {
    let old = write(plane, "before-the-restart").await;
    let later = write(plane, "later").await;
    assert_eq!(watch_from(plane, &old).await.map(|_| ()), Ok(()));
    let url = plane.url();
    plane.restart_api_server().await.unwrap();
    assert_eq!(plane.url(), url);
    assert_eq!(watch_from(plane, &old).await, Err(410));

    // etcd still has its history: an exact read sees the past, until it is compacted.
    let exact = || async {
        let request = format!(
            "/api/v1/namespaces/default/configmaps?resourceVersion={old}&resourceVersionMatch=Exact\
             &fieldSelector=metadata.name%3Dlater"
        );
        plane.client.request::<Value>(http::Request::get(request).body(vec![]).unwrap()).await
    };
    assert_eq!(exact().await.unwrap()["items"], json!([]));
    let revision = plane.compact().await.unwrap();
    assert!(revision >= later.parse().unwrap(), "{revision} {later}");
    assert_eq!(code(exact().await), Err(410));
}

/// Returns the first event of a watch from a version on, or the code with which the watch is refused.
async fn watch_from(plane: &ControlPlane, version: &str) -> Result<String, u16> {
    let api = config_maps(plane);
    let mut events = api.watch(&WatchParams::default().timeout(10), version).await.unwrap().boxed();
    match events.next().await.expect("an event or an error").unwrap() {
        WatchEvent::Error(status) => Err(status.code),
        event => Ok(format!("{event:?}")),
    }
}

async fn write(plane: &ControlPlane, name: &str) -> String {
    let written = config_maps(plane).create(&PostParams::default(), &config_map(name)).await.unwrap();
    written.metadata.resource_version.unwrap()
}

fn config_maps(plane: &ControlPlane) -> Api<ConfigMap> {
    Api::namespaced(plane.client(), "default")
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": "value"}})).unwrap()
}

fn code<T>(result: Result<T, kube::Error>) -> Result<(), u16> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.code),
        Err(error) => panic!("no answer of the API server: {error}"),
    }
}
