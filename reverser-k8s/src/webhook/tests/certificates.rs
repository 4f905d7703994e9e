//! Certificates are renewed while API servers call.

use std::collections::HashSet;

use tokio::time::{Instant, sleep};

use super::*;

/// An API server trusts what was published, and connects anew each time; another one keeps its connection.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_certificates_and_authorities_are_renewed() {
    let state = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(state.path()).await.unwrap());
    let told = Arc::new(Told::default());
    let token = Token::open(&*store).await.unwrap();
    let issue = Issue {
        // A third of it is left when the next one is made, and a busy machine takes its time.
        authority_life: Duration::from_secs(9),
        leaf_life: Duration::from_secs(6),
        settle: Duration::from_millis(100),
        ..Issue::to(["127.0.0.1"])
    };
    let (certificates, keeper) = Certificates::issued(store, issue, told.clone()).await.unwrap();
    let routes = Routes::new(told.clone()).admission(token.clone(), echo);
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    let trusted = Arc::new(Mutex::new(certificates.bundle().borrow().clone().unwrap()));
    let first = trusted.lock().unwrap().clone();

    let serving = certificates.clone();
    let server = tokio::spawn(async move { server.serve(&serving, routes, std::future::pending()).await });
    let keeper = tokio::spawn(keeper.run());
    // The registration, which takes its time.
    let (mut bundle, publishing, publisher) = (certificates.bundle(), certificates.clone(), Arc::clone(&trusted));
    let registration = tokio::spawn(async move {
        while bundle.changed().await.is_ok() {
            sleep(Duration::from_millis(50)).await;
            let bundle = bundle.borrow().clone().unwrap();
            publisher.lock().unwrap().clone_from(&bundle);
            publishing.published(&bundle);
        }
    });

    let request = post(&token.path(), "", "{}");
    let mut kept = connect(address, &first, None).await.unwrap();
    let (mut served, mut requests) = (HashSet::new(), 0);
    let deadline = Instant::now() + 3 * LIMIT;
    // Three certificates after the first, and an authority that signs in the place of another.
    while served.len() < 4 || trusted.lock().unwrap().contains(first.trim()) || requests < 300 {
        assert!(Instant::now() < deadline, "{} certificates, told of\n{}", served.len(), told.all());
        let bundle = trusted.lock().unwrap().clone();
        let connected = connect(address, &bundle, None).await;
        // What it trusts may have been replaced while it connected.
        if connected.is_err() && *trusted.lock().unwrap() != bundle {
            continue;
        }
        let mut stream = connected.expect("what is trusted is served");
        served.insert(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec());
        for stream in [&mut stream, &mut kept] {
            assert_eq!(exchange(stream, &request).await.expect("an answer").status, 200);
            requests += 1;
        }
    }
    assert!(told.has("AuthorityAdded"));
    assert!(!told.has("CertificateFailed") && !told.has("CertificatesRemade"), "{}", told.all());
    for task in [server.abort_handle(), keeper.abort_handle(), registration.abort_handle()] {
        task.abort();
    }
}
