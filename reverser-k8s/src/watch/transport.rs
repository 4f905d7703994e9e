//! The answer to a watch as it comes over the wire: lines.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream::BoxStream};
use http::header::{ACCEPT_ENCODING, HeaderValue};
use http_body_util::BodyExt;
use kube::Client;
use tokio::time::timeout;

use crate::request::send;

/// How long a stream may be without a byte. An API server sends a bookmark each minute to whoever wants them, also
/// while nothing changes (59 to 61 s, measured with Kubernetes 1.36), so that two of them are missing.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(150);

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
