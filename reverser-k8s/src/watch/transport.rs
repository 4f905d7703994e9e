//! Answers of the API server as they come over the wire.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream::BoxStream};
use http::header::{ACCEPT_ENCODING, HeaderValue, RETRY_AFTER};
use http_body_util::BodyExt;
use kube::{
    Client,
    client::Body,
    core::{Status, response::StatusDetails},
};
use tokio::time::timeout;

use crate::renew::Once;

/// How long a stream may be without a byte. An API server sends a bookmark each minute to whoever wants them, also
/// while nothing changes (59 to 61 s, measured with Kubernetes 1.36), so that two of them are missing.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(150);

/// Longer texts of refusals come from elsewhere: pages of proxies.
const REFUSAL_LIMIT: usize = 64 << 10;

/// Why a stream of lines has ended early.
#[derive(Debug)]
pub(super) enum Break {
    Error(kube::Error),
    /// No byte came for so long that nobody is there.
    Silence,
}

/// Returns the lines of the answer to a watch. What follows the last line break is half an event, and is left out.
pub(super) async fn lines(
    client: &Client,
    mut request: http::Request<Vec<u8>>,
    idle_limit: Duration,
) -> Result<BoxStream<'static, Result<Bytes, Break>>, kube::Error> {
    // A compressed stream may keep an event back.
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let answer = send(client, request).await?;
    Ok(split(answer.into_body().into_data_stream(), idle_limit).boxed())
}

/// Sends a request; returns the answer when it is a success. Of a refusal the error has the time for which the server wants
/// to be left alone, which kube reads from the body alone.
pub(super) async fn send(
    client: &Client,
    mut request: http::Request<Vec<u8>>,
) -> Result<http::Response<Body>, kube::Error> {
    // The machine says when.
    request.extensions_mut().insert(Once);
    let answer = client.send(request.map(Body::from)).await?;
    let code = answer.status();
    if code.is_success() {
        return Ok(answer);
    }
    // RFC 9110 has dates, too; API servers send seconds.
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = http_body_util::Limited::new(answer.into_body(), REFUSAL_LIMIT).collect().await;
    let text = body.map(|body| body.to_bytes()).unwrap_or_default();
    let mut status = serde_json::from_slice(&text).unwrap_or_else(|_no_status| {
        Status::failure(String::from_utf8_lossy(&text).trim(), code.canonical_reason().unwrap_or_default())
    });
    status.code = code.as_u16();
    if let Some(seconds) = retry_after {
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: vec![],
            retry_after_seconds: 0,
        };
        status.details.get_or_insert(details).retry_after_seconds = seconds;
    }
    Err(kube::Error::Api(status.boxed()))
}

fn split(
    chunks: impl Stream<Item = Result<Bytes, kube::Error>> + Send + Unpin + 'static,
    idle_limit: Duration,
) -> impl Stream<Item = Result<Bytes, Break>> + Send {
    struct Lines<S> {
        chunks: S,
        /// Begins with the next line, as far as it has come.
        read: BytesMut,
        /// So far there is no line break.
        searched: usize,
    }
    let lines = Lines { chunks, read: BytesMut::new(), searched: 0 };
    futures::stream::unfold(lines, move |mut lines| async move {
        loop {
            if let Some(end) = lines.read[lines.searched..].iter().position(|byte| *byte == b'\n') {
                let line = lines.read.split_to(lines.searched + end + 1).freeze();
                lines.searched = 0;
                return Some((Ok(line), lines));
            }
            lines.searched = lines.read.len();
            match timeout(idle_limit, lines.chunks.next()).await {
                Ok(Some(Ok(chunk))) => lines.read.extend_from_slice(&chunk),
                Ok(Some(Err(error))) => return Some((Err(Break::Error(error)), lines)),
                Ok(None) => return None,
                Err(_elapsed) => return Some((Err(Break::Silence), lines)),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn lines_are_put_together_and_half_a_line_at_the_end_is_none() {
        let chunks = ["{\"a\"", ":1}\n{}", "\n", "\n{\"b\":2}\n{\"c\""].map(|chunk| Ok(Bytes::from(chunk)));
        let lines: Vec<_> = split(stream::iter(chunks), IDLE_LIMIT).map(|line| line.unwrap()).collect().await;
        assert_eq!(lines, ["{\"a\":1}\n", "{}\n", "\n", "{\"b\":2}\n"]);
    }

    #[tokio::test]
    async fn a_refusal_tells_for_how_long_the_server_wants_to_be_left_alone() {
        // As kube-apiserver writes it when too many requests are in flight, and as proxies do.
        for (code, retry_after, body, expected) in [
            (429, Some("7"), "Too many requests, please try again later.", 7),
            (503, Some("soon"), "<html>", 0),
            (429, None, r#"{"kind":"Status","message":"slow","code":429,"details":{"retryAfterSeconds":3}}"#, 3),
            (504, Some("1"), r#"{"kind":"Status","message":"Too large resource version: 9","code":504}"#, 1),
        ] {
            let service = tower::service_fn(move |_request: http::Request<Body>| async move {
                let mut answer = http::Response::builder().status(code);
                if let Some(seconds) = retry_after {
                    answer = answer.header(RETRY_AFTER, seconds);
                }
                answer.body(Body::from(body.as_bytes().to_vec()))
            });
            let client = Client::new(service, "default");
            let request = http::Request::get("/api/v1/configmaps").body(vec![]).unwrap();
            let Err(kube::Error::Api(status)) = send(&client, request).await else { panic!("{code} is a refusal") };
            assert_eq!(status.code, code);
            assert!(!status.message.is_empty());
            assert_eq!(status.details.map_or(0, |details| details.retry_after_seconds), expected, "{body}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_a_byte_is_given_up_and_each_byte_begins_the_time_anew() {
        let begun = Instant::now();
        let slow = stream::iter(["{", "}", "\n"]).then(|chunk| async move {
            tokio::time::sleep(IDLE_LIMIT - Duration::from_secs(1)).await;
            Ok(Bytes::from(chunk))
        });
        let mut lines = Box::pin(split(Box::pin(slow.chain(stream::pending())), IDLE_LIMIT));
        assert_eq!(lines.next().await.unwrap().unwrap(), "{}\n");
        // Whoever looks in between doesn't begin the time anew.
        for _ in 0..10 {
            let look = timeout(Duration::from_secs(10), lines.next()).await;
            assert!(look.is_err(), "{look:?}");
        }
        assert!(matches!(lines.next().await, Some(Err(Break::Silence))));
        assert_eq!(begun.elapsed().as_secs(), 3 * (IDLE_LIMIT.as_secs() - 1) + IDLE_LIMIT.as_secs());
    }
}
