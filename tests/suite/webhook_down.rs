//! The API keeps working whatever happens to the endpoint that is told of requests: each write succeeds, and takes one
//! timeout longer at most.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use k8s_openapi::api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::ConfigMap};
use kube::{Api, api::ListParams};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use reverser_testbed::{Faults, LoggedCommit, TcpProxy, eventually};
use reverser_tests::{LIMIT, Running, free_port};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    authors::user,
    scene::{Scene, config_map, create, patch, run},
};

#[test]
fn a_killed_endpoint_delays_no_write_and_its_registration_is_taken_over() {
    run(async {
        let down = Down::begin("down-killed").await;
        let watch = down.watch(&[]).await;
        down.is_named("first").await;
        watch.kill().await;
        down.writes_go_on("killed").await;
        let watch = down.watch(&[]).await;
        down.is_named("second").await;
        assert_eq!(down.registrations().await, 1, "what the killed one left behind is taken over");
        watch.terminate().await.exits_with(0);
        assert_eq!(down.registrations().await, 0, "who ends by itself leaves nothing");
    });
}

#[test]
fn an_endpoint_that_stands_still_delays_a_write_by_one_timeout() {
    run(async {
        let down = Down::begin("down-held").await;
        let watch = down.watch(&[]).await;
        down.is_named("first").await;
        watch.pause().await;
        down.writes_go_on("held").await;
        watch.resume().await;
        down.is_named("second").await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn an_endpoint_that_nobody_reaches_delays_a_write_by_one_timeout() {
    run(async {
        let down = Down::begin("down-network").await;
        let way = TcpProxy::start(([127, 0, 0, 1], down.port).into()).await.unwrap();
        let url = format!("https://127.0.0.1:{}", way.address().port());
        let listen = format!("127.0.0.1:{}", down.port);
        let arguments = ["--attribution", "admission", "--admission-url", &url, "--admission-listen", &listen];
        let watch = down.scene.watch(&[&["-r", "configmaps"][..], &arguments].concat()).await;
        down.is_named("first").await;
        for (state, faults) in [
            ("stalled", Faults { stalls: true, ..Faults::default() }),
            ("refused", Faults { refuses: true, ..Faults::default() }),
        ] {
            way.set(faults);
            down.writes_go_on(state).await;
            way.heal();
        }
        down.is_named("second").await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn an_endpoint_whose_certificate_has_expired_delays_no_write_and_a_new_one_is_served_at_once() {
    run(async {
        let down = Down::begin("down-expired").await;
        let folder = tempfile::tempdir().unwrap();
        // Within it the watch starts and a first change is named, also on a busy machine.
        let life = Duration::from_secs(20);
        let ca = Issued::into(folder.path(), life);
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (cert, key, bundle) = (file("tls.crt"), file("tls.key"), file("ca.crt"));
        let issued = Instant::now();
        let watch = down.watch(&["--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &bundle]).await;
        down.is_named("first").await;
        // The certificate's end, and nothing else, is waited for.
        tokio::time::sleep_until(issued + life + Duration::from_secs(1)).await;
        down.writes_go_on("expired").await;
        ca.issue(folder.path(), Duration::from_secs(3600));
        down.is_named_in_the_end("second").await;
        watch.terminate().await.exits_with(0);
    });
}

struct Down {
    scene: Scene,
    ann: Api<ConfigMap>,
    port: u16,
}

impl Down {
    /// On a control plane of its own: the others' writes shouldn't wait for a dead endpoint.
    async fn begin(namespace: &str) -> Self {
        let scene = Scene::unwatched(namespace).await;
        let ann = user(&scene, "ann").await;
        Self { scene, ann, port: free_port().unwrap() }
    }

    async fn watch(&self, more: &[&str]) -> Running {
        let url = format!("https://127.0.0.1:{}", self.port);
        let arguments = ["-r", "configmaps", "--attribution", "admission", "--admission-url", &url];
        self.scene.watch(&[&arguments[..], more].concat()).await
    }

    /// Checks that the author of a change is known.
    async fn is_named(&self, name: &str) {
        create(&self.ann, config_map(name, "1")).await;
        let commit = self.commit(&format!("[CREATE] v1/configmaps/{name}")).await;
        assert_eq!(commit.author, "ann", "{}", commit.message);
        assert!(commit.message.contains("Reverser-Evidence: admission"), "{}", commit.message);
    }

    /// Waits until the authors of changes are known.
    async fn is_named_in_the_end(&self, name: &str) {
        create(&self.ann, config_map(name, "1")).await;
        let number = AtomicU32::new(0);
        eventually("a change with an author", LIMIT, async || {
            let number = number.fetch_add(1, Ordering::Relaxed);
            patch(&self.ann, name, json!({"data": {"key": format!("again-{number}")}})).await;
            let log = self.scene.repo.log("main").await.unwrap();
            let subject = format!("[UPDATE] v1/configmaps/{name}");
            let is_named = log.iter().any(|commit| commit.subject() == subject && commit.author == "ann");
            if is_named { Ok(()) } else { Err(log.last().map(|commit| commit.message.clone())) }
        })
        .await;
    }

    async fn commit(&self, subject: &str) -> LoggedCommit {
        eventually(subject, LIMIT, async || {
            let log = self.scene.repo.log("main").await.unwrap();
            log.iter().find(|commit| commit.subject() == subject).cloned().ok_or(log.len())
        })
        .await
    }

    /// Checks that writes succeed, and tells how long they take. `state` is what their objects are called by.
    async fn writes_go_on(&self, state: &str) {
        // The second on top is for a machine that is busy with other things, and so is another try: one that waited for a longer
        // timeout would wait for it each time.
        let is_timely = |took: &Duration| *took <= TIMEOUT + Duration::from_secs(1);
        let mut times = vec![];
        for number in 0..5 {
            for attempt in 0..5 {
                let begun = Instant::now();
                create(&self.ann, config_map(&format!("{state}-{number}-{attempt}"), "1")).await;
                times.push(begun.elapsed());
                if times.last().is_some_and(is_timely) {
                    break;
                }
            }
            assert!(times.last().is_some_and(is_timely), "{state}: {times:?}");
        }
        eprintln!("{state}: writes took {times:?}");
    }

    async fn registrations(&self) -> usize {
        let webhooks = Api::<ValidatingWebhookConfiguration>::all(self.scene.plane.client());
        webhooks.list(&ListParams::default()).await.unwrap().items.len()
    }
}

/// The timeout that is registered.
const TIMEOUT: Duration = Duration::from_secs(1);

/// An authority of the test's own.
struct Issued(Issuer<'static, KeyPair>);

impl Issued {
    /// Makes one, with a first certificate that lives for so long.
    fn into(folder: &Path, life: Duration) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issued = Self(Issuer::new(params, key));
        issued.issue(folder, life);
        issued
    }

    /// Puts a certificate there that lives for so long.
    fn issue(&self, folder: &Path, life: Duration) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_after = (std::time::SystemTime::now() + life).into();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap().pem();
        for (name, text) in [("tls.key", key.serialize_pem()), ("tls.crt", cert)] {
            let temporary = folder.join(format!("{name}.new"));
            std::fs::write(&temporary, text).unwrap();
            std::fs::rename(temporary, folder.join(name)).unwrap();
        }
    }
}
