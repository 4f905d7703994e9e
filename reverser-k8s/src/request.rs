//! What all requests about a resource have in common: where it is, how long an answer may take, how a refusal is read.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http_body_util::BodyExt;
use kube::{
    Client,
    client::Body,
    core::{Status, response::StatusDetails},
};
use reverser_core::Resource;
use tokio::time::timeout;

use crate::renew::Once;

/// A request, where its parameters make one.
pub(crate) type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// Objects in one page of a list: what kubectl asks for.
pub(crate) const PAGE: u32 = 500;

/// Longer texts of refusals come from elsewhere: pages of proxies.
const REFUSAL_LIMIT: usize = 64 << 10;

/// Returns the URL's path of a resource in a namespace, or everywhere.
pub(crate) fn path(resource: &Resource, namespace: Option<&str>) -> String {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let place = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    format!("{root}/{}{place}/{}", resource.api_version(), resource.plural)
}

/// Marks a request whose sender decides by itself when to try again.
pub(crate) fn once(request: Built) -> Built {
    request.map(|mut request| {
        request.extensions_mut().insert(Once);
        request
    })
}

/// Bounds a request in time.
pub(crate) async fn within<T>(
    limit: Duration,
    ask: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let late = || kube::Error::Service(format!("no answer within {} s", limit.as_secs()).into());
    timeout(limit, ask).await.unwrap_or_else(|_elapsed| Err(late()))
}

/// Sends a request; returns the answer when it is a success. Of a refusal the error has the time for which the server wants
/// to be left alone, which kube reads from the body alone.
pub(crate) async fn send(
    client: &Client,
    request: http::Request<Vec<u8>>,
) -> Result<http::Response<Body>, kube::Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
