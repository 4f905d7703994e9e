//! What a CustomResourceDefinition defines.

use reverser_core::Resource;
use serde_json::Value;

/// Returns what a manifest defines, a resource for each version that is served, with its short names; nothing when it is no
/// CustomResourceDefinition.
pub(crate) fn defines(body: &Value) -> impl Iterator<Item = (Resource, Vec<String>)> {
    let is_definition = body["kind"] == "CustomResourceDefinition"
        && body["apiVersion"].as_str().is_some_and(|version| version.starts_with("apiextensions.k8s.io/"));
    let spec = &body["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let versions = spec["versions"].as_array().filter(|_| is_definition).into_iter().flatten();
    versions.filter(|version| version["served"] == true).map(move |version| {
        let names = &spec["names"];
        let resource =
            Resource::new(text(&spec["group"]), text(&version["name"]), text(&names["kind"]), text(&names["plural"]));
        let resource = Resource {
            namespaced: spec["scope"] == "Namespaced",
            has_status: !version["subresources"]["status"].is_null(),
            ..resource
        };
        let others = names["shortNames"].as_array().into_iter().flatten().map(text);
        let singular = names["singular"].as_str().map(str::to_owned);
        (resource, others.chain(singular).collect())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_tells_what_will_be_served() {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"]},
                "versions": [
                    {"name": "v1", "served": true, "subresources": {"status": {}}},
                    {"name": "v1beta1", "served": true},
                    {"name": "v1alpha1", "served": false},
                ],
            },
        });
        let defined: Vec<_> = defines(&definition).collect();
        assert_eq!(defined.len(), 2);
        let (widgets, names) = &defined[0];
        assert_eq!(
            (widgets.to_string().as_str(), widgets.has_status, names.as_slice()),
            ("example.com/v1/widgets", true, &["wd".to_owned()][..])
        );
        assert!(!defined[1].0.has_status);
        assert_eq!(defines(&json!({"apiVersion": "v1", "kind": "ConfigMap"})).count(), 0);
    }
}
