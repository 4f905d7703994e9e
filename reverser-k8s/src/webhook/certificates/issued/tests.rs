//! What is kept, what a restart finds, and what is done about it.

use std::sync::Mutex;

use super::{
    super::super::{FileStore, tests::Told},
    *,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn issue() -> Issue {
    Issue::to(["reverser.example.com", "10.0.0.1"])
}

struct Folder {
    folder: tempfile::TempDir,
    told: Arc<Told>,
}

/// What a start has found or made.
struct Started {
    bundle: String,
    leaf: String,
}

impl Folder {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), told: Arc::default() }
    }

    async fn start(&self, issue: Issue) -> Started {
        let store = Arc::new(FileStore::open(self.folder.path()).await.unwrap());
        let (certificates, issued) = Issued::open(store, issue, self.told.clone()).await.unwrap();
        let bundle = certificates.bundle().borrow().clone().unwrap();
        let leaf = issued.kept.leaf.certified().unwrap();
        let authorities = issued.kept.authorities().map(|authority| authority.der().unwrap());
        verify(&leaf, authorities, &issued.names, Timestamp::now()).unwrap();
        Started { bundle, leaf: issued.kept.leaf.pem().to_owned() }
    }

    async fn keep(&self, kept: &Kept) {
        put(&FileStore::open(self.folder.path()).await.unwrap(), kept).await.unwrap();
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join(NAME)
    }
}

fn lives(issue: &Issue) -> Lives {
    Lives { authority: issue.authority_life, leaf: issue.leaf_life }
}

fn names() -> Vec<ServerName<'static>> {
    issue().names.iter().map(|name| server_name(name).unwrap()).collect()
}

fn made(at: Timestamp, lives: Lives) -> Kept {
    Kept::make(&names(), lives, at).unwrap()
}

#[tokio::test]
async fn a_restart_goes_on_with_what_is_kept() {
    let folder = Folder::new();
    let first = folder.start(issue()).await;
    let second = folder.start(issue()).await;
    assert_eq!((second.bundle, second.leaf), (first.bundle, first.leaf));
    assert!(!folder.told.has("CertificatesRemade"), "{}", folder.told.all());
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_for_another_name_is_replaced_by_the_same_authority() {
    let now = Timestamp::now();
    let folder = Folder::new();
    let long_ago = now.checked_sub(2 * HOUR).unwrap();
    let kept = made(long_ago, Lives { leaf: HOUR, ..lives(&issue()) });
    folder.keep(&kept).await;
    let started = folder.start(issue()).await;
    assert_eq!(started.bundle, kept.bundle());
    assert_ne!(started.leaf, kept.leaf.pem());
    // As it is kept from now on, and for other names.
    let kept = Kept::parse(&std::fs::read(folder.file()).unwrap(), now).unwrap();
    let started = folder.start(Issue::to(["[::1]", "other.example.com"])).await;
    assert_eq!(started.bundle, kept.bundle());
    assert_ne!(started.leaf, kept.leaf.pem());
    assert!(!folder.told.has("CertificatesRemade"), "{}", folder.told.all());
}

#[tokio::test]
async fn an_authority_that_has_expired_or_is_not_valid_yet_is_replaced_and_told() {
    let now = Timestamp::now();
    for (made_at, life, why) in [
        (now.checked_sub(3 * HOUR).unwrap(), HOUR, "the authority has expired"),
        (now.checked_add(3 * HOUR).unwrap(), 24 * HOUR, "the clock was set back"),
    ] {
        let folder = Folder::new();
        let kept = made(made_at, Lives { authority: life, leaf: life });
        folder.keep(&kept).await;
        assert_ne!(folder.start(issue()).await.bundle, kept.bundle());
        assert!(folder.told.has(why), "{}", folder.told.all());
    }
}

#[tokio::test]
async fn what_is_damaged_is_replaced_and_told_without_what_it_says() {
    let whole = serde_json::to_string(&made(Timestamp::now(), lives(&issue()))).unwrap();
    let other = made(Timestamp::now(), lives(&issue()));
    let mut mixed: Kept = serde_json::from_str(&whole).unwrap();
    mixed.newest.certificate = other.newest.certificate.clone();
    let mut damaged = vec![
        String::new(),
        "{}".into(),
        whole.replace("BEGIN CERTIFICATE", "BEGIN NOTHING"),
        serde_json::to_string(&mixed).unwrap(),
    ];
    damaged.extend((1..whole.len()).step_by(997).map(|length| whole[..length].to_owned()));
    for content in damaged {
        let folder = Folder::new();
        std::fs::write(folder.file(), &content).unwrap();
        let started = folder.start(issue()).await;
        assert!(!whole.contains(&started.bundle.replace('\n', "\\n")), "{content}");
        assert!(folder.told.has("CertificatesRemade"), "{content}");
        let told = folder.told.all();
        assert!(!told.contains("PRIVATE") && !told.contains("MII"), "{told}");
    }
}

#[tokio::test]
async fn what_can_not_be_a_name_is_refused() {
    let folder = Folder::new();
    for name in ["", "https://reverser.example.com", "a b", "reverser.example.com:8443", "[::1", "[reverser]"] {
        let store = Arc::new(FileStore::open(folder.folder.path()).await.unwrap());
        let refused = Issued::open(store, Issue::to([name]), folder.told.clone()).await.map(drop).unwrap_err();
        assert_eq!(refused.to_string(), format!("{name:?} is neither a DNS name nor an IP address"));
    }
}

/// A disk that is full for a while.
#[derive(Debug, Default)]
struct Full {
    content: Mutex<Option<Vec<u8>>>,
    is_full: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl Store for Full {
    async fn get(&self, _name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.content.lock().unwrap().clone())
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        if self.is_full.load(std::sync::atomic::Ordering::SeqCst) {
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(StoreError::Io { action: "write", what: name.to_owned(), source });
        }
        *self.content.lock().unwrap() = Some(content.to_vec());
        Ok(())
    }
}

#[tokio::test]
async fn nothing_is_served_that_can_not_be_kept() {
    let store = Arc::new(Full::default());
    let told = Arc::new(Told::default());
    // Old from the beginning on.
    let kept = made(Timestamp::now().checked_sub(HOUR).unwrap(), Lives { leaf: 2 * HOUR, ..lives(&issue()) });
    put(&*store, &kept).await.unwrap();
    let short = Issue { leaf_life: 10 * HOUR, ..issue() };
    let (certificates, mut issued) = Issued::open(store.clone(), short, told.clone()).await.unwrap();
    store.is_full.store(true, std::sync::atomic::Ordering::SeqCst);
    let failed = issued.keep().await.unwrap_err();
    assert!(chain(&failed).contains("could not keep the certificates: could not write certificates.json"), "{failed}");
    assert_eq!(issued.kept.leaf.pem(), kept.leaf.pem());
    store.is_full.store(false, std::sync::atomic::Ordering::SeqCst);
    issued.keep().await.unwrap();
    assert_ne!(issued.kept.leaf.pem(), kept.leaf.pem());
    assert_eq!(certificates.bundle().borrow().as_deref(), Some(kept.bundle().as_str()));
}
