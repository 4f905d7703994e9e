//! What is read of files that others replace.

use std::{fs, os::unix::fs::symlink};

use super::{super::super::tests::Told, *};
use crate::webhook::certificates::authority::{Authority, Leaf};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A mounted Secret: files that lead into a folder by a symbolic link, which is what is replaced.
struct Mount {
    folder: tempfile::TempDir,
    told: Arc<Told>,
    versions: usize,
}

impl Mount {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
        }
        Self { folder, told: Arc::default(), versions: 0 }
    }

    /// As kubelet does it: a folder that is whole, then a link to it under another name, which is moved into place.
    fn replace(&mut self, certificate: &str, key: &str, authority: &str) {
        self.versions += 1;
        let version = format!("..{}", self.versions);
        let path = self.folder.path().join(&version);
        fs::create_dir(&path).unwrap();
        for (name, content) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", authority)] {
            fs::write(path.join(name), content).unwrap();
        }
        let link = self.folder.path().join("..data_tmp");
        symlink(version, &link).unwrap();
        fs::rename(link, self.folder.path().join("..data")).unwrap();
    }

    fn mounted(&self) -> Mounted {
        let file = |name| self.folder.path().join(name);
        let short = Duration::from_millis(20);
        let names = vec!["localhost".to_owned()];
        Mounted { poll: short, settle: short, names, ..Mounted::new(file("tls.crt"), file("tls.key")) }
    }

    fn with_authorities(&self) -> Mounted {
        Mounted { authorities: Some(self.folder.path().join("ca.crt")), ..self.mounted() }
    }

    async fn refusal(&self, mounted: Mounted) -> String {
        chain(&Follower::open(mounted, self.told.clone()).await.map(drop).unwrap_err())
    }
}

fn signed(name: &str, life: Duration) -> (Authority, Leaf) {
    let now = Timestamp::now();
    let authority = Authority::make(now, DAY).unwrap();
    let leaf = authority.sign(&[server_name(name).unwrap()], now, life).unwrap();
    (authority, leaf)
}

/// Returns what is served, in DER.
fn served(certificates: &Certificates) -> Vec<u8> {
    certificates.0.serving.now().cert[0].to_vec()
}

fn der(leaf: &Leaf) -> Vec<u8> {
    leaf.certified().unwrap().cert[0].to_vec()
}

async fn serves(certificates: &Certificates, leaf: &Leaf) {
    let serves = async {
        while served(certificates) != der(leaf) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), serves).await.expect("the other certificate is served");
}

#[tokio::test]
async fn a_link_that_is_moved_is_noticed_and_a_pair_that_does_not_fit_is_told_and_left() {
    let mut mount = Mount::new();
    let (one, two, three) = (signed("localhost", DAY), signed("localhost", DAY), signed("localhost", DAY));
    mount.replace(one.1.pem(), one.1.key_pem(), "");
    let (certificates, follower) = Follower::open(mount.mounted(), mount.told.clone()).await.unwrap();
    let running = tokio::spawn(follower.run());
    assert_eq!(served(&certificates), der(&one.1));
    assert_eq!(*certificates.bundle().borrow(), None);
    mount.replace(two.1.pem(), two.1.key_pem(), "");
    serves(&certificates, &two.1).await;
    mount.replace(three.1.pem(), two.1.key_pem(), "");
    mount.told.hears("CertificateFailed { why: \"can't use ").await;
    assert_eq!(served(&certificates), der(&two.1));
    mount.replace(three.1.pem(), three.1.key_pem(), "");
    serves(&certificates, &three.1).await;
    fs::remove_file(mount.folder.path().join("..data")).unwrap();
    mount.told.hears("CertificateFailed { why: \"could not read ").await;
    assert_eq!(served(&certificates), der(&three.1));
    assert_eq!(mount.told.all().matches("CertificateFailed").count(), 2, "{}", mount.told.all());
    running.abort();
}

#[tokio::test]
async fn other_authorities_are_published_before_what_they_have_signed_is_served() {
    let mut mount = Mount::new();
    let (one, two) = (signed("localhost", DAY), signed("localhost", DAY));
    mount.replace(one.1.pem(), one.1.key_pem(), &one.0.certificate);
    let (certificates, follower) = Follower::open(mount.with_authorities(), mount.told.clone()).await.unwrap();
    let running = tokio::spawn(follower.run());
    let mut bundle = certificates.bundle();
    assert_eq!(bundle.borrow_and_update().as_deref(), Some(one.0.certificate.as_str()));
    mount.replace(two.1.pem(), two.1.key_pem(), &two.0.certificate);
    bundle.changed().await.unwrap();
    let both = bundle.borrow_and_update().clone().unwrap();
    assert!(both.contains(one.0.certificate.trim()) && both.contains(two.0.certificate.trim()), "{both}");
    assert_eq!(served(&certificates), der(&one.1));
    certificates.published(&both);
    serves(&certificates, &two.1).await;
    bundle.changed().await.unwrap();
    assert_eq!(bundle.borrow().as_deref(), Some(two.0.certificate.as_str()));
    running.abort();
}

#[tokio::test]
async fn what_nobody_publishes_is_served_after_a_while() {
    let mut mount = Mount::new();
    let (one, two) = (signed("localhost", DAY), signed("localhost", DAY));
    mount.replace(one.1.pem(), one.1.key_pem(), &one.0.certificate);
    let mounted = Mounted { patience: Duration::from_millis(20), ..mount.with_authorities() };
    let (certificates, follower) = Follower::open(mounted, mount.told.clone()).await.unwrap();
    let running = tokio::spawn(follower.run());
    mount.replace(two.1.pem(), two.1.key_pem(), &two.0.certificate);
    serves(&certificates, &two.1).await;
    running.abort();
}

#[tokio::test]
async fn a_certificate_that_nobody_has_replaced_in_time_is_told() {
    let mut mount = Mount::new();
    // It has to be taken before it has expired, also on a busy machine.
    let (_, brief) = signed("localhost", Duration::from_secs(5));
    mount.replace(brief.pem(), brief.key_pem(), "");
    let (certificates, follower) = Follower::open(mount.mounted(), mount.told.clone()).await.unwrap();
    let running = tokio::spawn(follower.run());
    mount.told.hears("the certificate has expired").await;
    assert_eq!(served(&certificates), der(&brief));
    running.abort();
}

#[tokio::test]
async fn what_can_not_be_used_at_the_start_is_an_error_that_says_why() {
    let mut mount = Mount::new();
    assert!(mount.refusal(mount.mounted()).await.contains("could not read"));
    let (one, other) = (signed("localhost", DAY), signed("reverser.example.com", DAY));
    mount.replace("", one.1.key_pem(), "");
    assert!(mount.refusal(mount.mounted()).await.ends_with("/tls.crt has no certificate in PEM"));
    mount.replace(one.1.pem(), "", "");
    let refusal = mount.refusal(mount.mounted()).await;
    assert!(refusal.ends_with("/tls.key has no private key without a passphrase in PEM"), "{refusal}");
    mount.replace(one.1.pem(), other.1.key_pem(), "");
    assert!(mount.refusal(mount.mounted()).await.ends_with("the key is that of another certificate"));
    mount.replace(other.1.pem(), other.1.key_pem(), "");
    assert!(mount.refusal(mount.mounted()).await.ends_with("the certificate isn't for localhost"));
    mount.replace(one.1.pem(), one.1.key_pem(), &other.0.certificate);
    assert!(mount.refusal(mount.with_authorities()).await.ends_with("has signed the certificate"));
    mount.replace(one.1.pem(), one.1.key_pem(), "");
    assert!(mount.refusal(mount.with_authorities()).await.ends_with("/ca.crt has no certificate in PEM"));
    let ago = Timestamp::now().checked_sub(2 * DAY).unwrap();
    let authority = Authority::make(ago, 10 * DAY).unwrap();
    let expired = authority.sign(&[server_name("localhost").unwrap()], ago, DAY).unwrap();
    mount.replace(expired.pem(), expired.key_pem(), "");
    assert!(mount.refusal(mount.mounted()).await.ends_with("the certificate has expired"));
}
