//! What callers can take of us, and what happens beyond.

use super::*;

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let limits = Limits { admission_bytes: 1 << 10, ..Limits::default() };
    let running = serve(limits, |routes, token| routes.admission(token, echo)).await;
    let path = running.token.path();
    let mut stream = running.connect().await;
    assert_eq!(exchange(&mut stream, &post(&path, "", &"x".repeat(1 << 10))).await.unwrap().status, 200);
    // Announced, and never sent.
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1025\r\n\r\n");
    let answer = exchange(&mut stream, &head).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (413, "the body is too large\n"));
    is_closed(&mut stream).await;
    // In chunks.
    let mut stream = running.connect().await;
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}");
    assert_eq!(exchange(&mut stream, &request).await.unwrap().status, 413);
    running.end().await;
}

#[tokio::test]
async fn the_largest_review_that_an_api_server_sends_is_read() {
    let limits = Limits { body: LIMIT, ..Limits::default() };
    let running = serve(limits, |routes, token| routes.admission(token, echo)).await;
    let body = "x".repeat(20 << 20);
    let answer = exchange(&mut running.connect().await, &post(&running.token.path(), "", &body)).await.unwrap();
    assert_eq!(answer.body, format!("{{\"bytes\":{}}}", 20 << 20));
    running.end().await;
}

#[tokio::test]
async fn whoever_is_slow_with_the_handshake_is_not_waited_for() {
    let limits = Limits { handshake: Duration::from_millis(200), ..Limits::default() };
    let running = serve(limits, |routes, token| routes.admission(token, echo)).await;
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(timeout(LIMIT, plain.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    running.told.hears(r#"NotConnected { reason: "handshake""#).await;
    running.end().await;
}

#[tokio::test]
async fn whoever_is_slow_with_the_first_head_is_not_waited_for() {
    let limits = Limits { introduction: Duration::from_millis(200), ..Limits::default() };
    let running = serve(limits, |routes, token| routes.admission(token, echo)).await;
    let mut stream = running.connect().await;
    // On a busy machine it is closed before.
    let _sent = stream.write_all(b"POST /admission").await;
    let _sent = stream.flush().await;
    is_closed(&mut stream).await;
    running.told.hears(r#"NotConnected { reason: "silent""#).await;
    running.end().await;
}

#[tokio::test]
async fn whoever_is_slow_with_a_body_is_not_waited_for() {
    let limits = Limits { body: Duration::from_millis(200), ..Limits::default() };
    let running = serve(limits, |routes, token| routes.admission(token, echo)).await;
    let mut stream = running.connect().await;
    let path = running.token.path();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf");
    assert_eq!(exchange(&mut stream, &head).await.unwrap().status, 408);
    is_closed(&mut stream).await;
    running.end().await;
}

#[tokio::test]
async fn a_connection_that_is_silent_after_a_request_is_closed() {
    // Long enough for the first request, too, for which it holds as well.
    let limits = Limits { idle: Duration::from_secs(1), ..Limits::default() };
    let running = serve(limits, |routes, token| routes.admission(token, echo)).await;
    let mut stream = running.connect().await;
    assert_eq!(exchange(&mut stream, &post(&running.token.path(), "", "{}")).await.unwrap().status, 200);
    is_closed(&mut stream).await;
    running.end().await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_another_to_end() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let running = serve(limits, |routes, token| routes.admission(token, echo)).await;
    let request = post(&running.token.path(), "", "{}");
    let mut first = running.connect().await;
    let mut second = running.connect().await;
    let mut waiting = Box::pin(running.connect());
    assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err(), "a third one is served");
    for stream in [&mut first, &mut second] {
        assert_eq!(exchange(stream, &request).await.unwrap().status, 200);
    }
    drop(first);
    let mut third = timeout(LIMIT, waiting).await.unwrap();
    assert_eq!(exchange(&mut third, &request).await.unwrap().status, 200);
    drop((second, third));
    running.end().await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_at_the_end_and_no_other_is_taken() {
    let running = serve(Limits::default(), |routes, token| routes.admission(token, echo)).await;
    let mut idle = running.connect().await;
    assert_eq!(exchange(&mut idle, &post(&running.token.path(), "", "{}")).await.unwrap().status, 200);
    let mut stream = running.connect().await;
    let request = post(&running.token.path(), "expect: 100-continue\r\n", "{}");
    let (head, body) = request.split_at(request.len() - 2);
    // By this answer it is under way.
    assert_eq!(exchange(&mut stream, head).await.unwrap().status, 100);
    drop(running.shutdown);
    is_closed(&mut idle).await;
    let answer = exchange(&mut stream, body).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"bytes":2}"#));
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    timeout(LIMIT, running.served).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_at_the_end() {
    let limits = Limits { farewell: Duration::from_millis(200), ..Limits::default() };
    let running = serve(limits, |routes, token| routes.admission(token, echo)).await;
    let mut stream = running.connect().await;
    let request = post(&running.token.path(), "expect: 100-continue\r\n", "{}");
    assert_eq!(exchange(&mut stream, &request[..request.len() - 2]).await.unwrap().status, 100);
    let told = Arc::clone(&running.told);
    running.end().await;
    is_closed(&mut stream).await;
    assert!(told.has("CutOff { connections: 1 }"), "{}", told.all());
}
