use std::time::Instant;

use tokio::net::TcpStream;

use super::*;
use crate::{LoggedCommit, eventually, git};

#[tokio::test]
async fn a_push_over_http_is_there_and_sound() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let clone = Checkout::of(&server.url("team.git")).await;
    // More than one chunk each way, and more than git sends without asking first.
    let noise: String = (0..400_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    clone.commit("noise.txt", &noise).await;
    clone.push().await.unwrap();
    assert_eq!(repo.files("main").await.unwrap(), ["noise.txt"]);
    assert_eq!(repo.log("main").await.unwrap()[0].subject(), "Add noise.txt");
    repo.fsck().await.unwrap();
    let second = Checkout::of(&server.url("team.git")).await;
    let read = std::fs::read_to_string(second.folder.path().join("noise.txt")).unwrap();
    assert!(read == noise, "{} bytes differ", read.len());
    assert_eq!(server.pushes(), 1);
}

#[tokio::test]
async fn another_committer_shows_up_in_a_fetch() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let first = repo.commit_as_other("main", "a b.txt", "1\n").await.unwrap();
    let clone = Checkout::of(&server.url("team.git")).await;
    let second = repo.commit_as_other("main", "a b.txt", "2\n").await.unwrap();
    assert_ne!(first, second);
    assert_eq!(repo.read("main", "a b.txt").await.unwrap(), "2\n");
    clone.commit("c.txt", "3\n").await;
    let refused = clone.push().await.unwrap_err().to_string();
    assert!(refused.contains("[rejected]"), "{refused}");
    clone.git(&["pull", "--quiet", "--rebase"]).await.unwrap();
    clone.push().await.unwrap();
    repo.remove_as_other("main", "a b.txt").await.unwrap();
    assert_eq!(repo.files("main").await.unwrap(), ["c.txt"]);
    let log = repo.log("main").await.unwrap();
    let subjects: Vec<_> = log.iter().map(LoggedCommit::subject).collect();
    assert_eq!(subjects, ["Edit a b.txt", "Edit a b.txt", "Add c.txt", "Remove a b.txt"]);
    assert_eq!((&*log[0].author, &*log[0].author_email), ("other", "other@example.invalid"));
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_of_a_push_leaves_no_git_behind() {
    let server = GitHttp::start().await.unwrap();
    server.create("team.git").await.unwrap();
    let mut client = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /team.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 464\r\n\
                Content-Type: application/x-git-receive-pack-request\r\n\r\n";
    client.write_all(format!("{head}00a5").as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = vec![];
    let read = tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut answer)).await;
    read.expect("git waits for what never comes").unwrap();
}

#[tokio::test]
async fn without_the_right_password_nothing_can_be_read() {
    let server = GitHttp::start().await.unwrap();
    server.create("team.git").await.unwrap();
    server.require(Some(("robot", "pass:word")));
    let read = async |url: String| git(Path::new("/"), &["ls-remote", &url]).await;
    let none = read(server.url("team.git")).await.unwrap_err().to_string();
    assert!(none.contains("could not read Username"), "{none}");
    let wrong = read(server.url_with("team.git", "robot", "guess")).await.unwrap_err().to_string();
    assert!(wrong.contains("Authentication failed"), "{wrong}");
    read(server.url_with("team.git", "robot", "pass%3Aword")).await.unwrap();
    server.require(None);
    read(server.url("team.git")).await.unwrap();
}

#[tokio::test]
async fn a_refused_push_carries_the_hooks_message() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    repo.refuse_pushes(Some("main is protected: it's \"frozen\"")).unwrap();
    let clone = Checkout::of(&server.url("team.git")).await;
    clone.commit("a.txt", "1\n").await;
    let refused = clone.push().await.unwrap_err().to_string();
    assert!(refused.contains("[remote rejected] main -> main (pre-receive hook declined)"), "{refused}");
    assert!(refused.contains("remote: main is protected: it's \"frozen\""), "{refused}");
    assert_eq!(repo.tip("main").await.unwrap(), None);
    repo.refuse_pushes(None).unwrap();
    clone.push().await.unwrap();
}

#[tokio::test]
async fn an_outage_fails_every_request_until_it_ends() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let clone = Checkout::of(&server.url("team.git")).await;
    clone.commit("a.txt", "1\n").await;
    server.fail(Some(Outage::Unavailable));
    let refused = clone.push().await.unwrap_err().to_string();
    assert!(refused.contains("503"), "{refused}");
    server.fail(Some(Outage::DropConnections));
    let dropped = clone.push().await.unwrap_err().to_string();
    assert!(dropped.contains("Empty reply from server") || dropped.contains("reset"), "{dropped}");
    assert_eq!(repo.tip("main").await.unwrap(), None);
    server.fail(None);
    clone.push().await.unwrap();
}

#[tokio::test]
async fn a_dropped_answer_hides_a_push_that_arrived() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    let clone = Checkout::of(&server.url("team.git")).await;
    clone.commit("a.txt", "1\n").await;
    server.fail(Some(Outage::DropAnswers));
    clone.push().await.unwrap_err();
    assert_eq!(repo.files("main").await.unwrap(), ["a.txt"]);
}

#[tokio::test]
async fn latency_delays_each_request() {
    let server = GitHttp::start().await.unwrap();
    server.create("team.git").await.unwrap();
    server.delay(Duration::from_millis(300));
    let (start, before) = (Instant::now(), server.requests());
    git(Path::new("/"), &["ls-remote", &server.url("team.git")]).await.unwrap();
    let requests = u32::try_from(server.requests() - before).unwrap();
    assert!(requests > 0 && start.elapsed() >= Duration::from_millis(300) * requests, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_dropped_server_frees_its_port() {
    let server = GitHttp::start().await.unwrap();
    let address = server.address;
    drop(server);
    eventually("the port to be closed", Duration::from_secs(5), || async {
        match TcpStream::connect(address).await {
            Ok(_) => Err("connected"),
            Err(_) => Ok(()),
        }
    })
    .await;
}

/// A checkout of one branch, `main`.
struct Checkout {
    folder: TempDir,
}

impl Checkout {
    async fn of(url: &str) -> Self {
        let folder = TempDir::new().unwrap();
        git(folder.path(), &["clone", "--quiet", url, "."]).await.unwrap();
        Self { folder }
    }

    async fn commit(&self, path: &str, content: &str) {
        std::fs::write(self.folder.path().join(path), content).unwrap();
        self.git(&["add", "."]).await.unwrap();
        self.git(&["commit", "--quiet", "-m", &format!("Add {path}")]).await.unwrap();
    }

    async fn push(&self) -> Result<String, Error> {
        self.git(&["push", "origin", "main"]).await
    }

    async fn git(&self, arguments: &[&str]) -> Result<String, Error> {
        git(self.folder.path(), arguments).await
    }
}
