//! Whether a user may list and watch.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{
    Api, Client,
    api::{ListParams, PostParams, VersionMatch},
    core::Request,
};
use reverser_core::Resource;

use super::scope::CONNECT_LIMIT;
use crate::{
    api_error::ApiError,
    list::RawPage,
    request::{once, path, within},
};

/// Returns whether `resource` may be listed in `namespace`: one object is asked for.
pub async fn may_list(client: &Client, resource: &Resource, namespace: Option<&str>) -> Result<(), ApiError> {
    newest(client, resource, namespace).await.map(drop)
}

/// Returns the resourceVersion up to which the server's cache has `resource`: a watch from there tells what comes.
pub(crate) async fn newest(client: &Client, resource: &Resource, namespace: Option<&str>) -> Result<String, ApiError> {
    // Version 0 is answered from the server's cache: nothing is read from etcd.
    let one = ListParams {
        limit: Some(1),
        version_match: Some(VersionMatch::NotOlderThan),
        resource_version: Some("0".into()),
        ..ListParams::default()
    };
    let error = |error| ApiError::of(error, "list", resource, namespace);
    let request = once(Request::new(path(resource, namespace)).list(&one));
    Ok(RawPage::ask(client, request).await.map_err(error)?.version().to_owned())
}

/// Returns whether `resource` may be watched in `namespace`, as the API server's own authorizer says.
pub async fn may_watch(client: &Client, resource: &Resource, namespace: Option<&str>) -> Result<(), ApiError> {
    may(client, "watch", resource, namespace).await
}

/// Asks the API server's own authorizer; an error when it says no.
pub(crate) async fn may(
    client: &Client,
    verb: &'static str,
    resource: &Resource,
    namespace: Option<&str>,
) -> Result<(), ApiError> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(resource.group.clone()),
                version: Some(resource.version.clone()),
                resource: Some(resource.plural.clone()),
                namespace: namespace.map(str::to_owned),
                verb: Some(verb.into()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    match within(CONNECT_LIMIT, reviews.create(&PostParams::default(), &review)).await {
        Ok(review) if review.status.as_ref().is_some_and(|status| status.allowed) => Ok(()),
        Ok(_) => Err(ApiError::forbidden(verb, resource, namespace)),
        Err(error) => Err(ApiError::of(error, verb, resource, namespace)),
    }
}
