//! The contract of [`Seal`].

use std::{error::Error, sync::Arc};

use crate::{ObjectRef, Resource, Seal};

/// Checks a seal against the contract of [`Seal`] with a Secret; panics where it breaks it. One that has no key passes
/// when its error shows nothing.
///
/// ```
/// use reverser_core::{RefuseSecrets, testing::seal_conforms};
///
/// seal_conforms(&RefuseSecrets);
/// ```
pub fn seal_conforms(seal: &dyn Seal) {
    let resource = Resource::new("", "v1", "Secret", "secrets").without_status();
    assert!(seal.is_sensitive(&resource), "Secrets are sensitive");
    let object =
        ObjectRef { resource: Arc::new(resource), namespace: Some("shop".into()), name: "password".into(), uid: None };
    let plain = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: password\n  namespace: shop\ndata:\n  a: {BASE64}\nstringData:\n  b: {PLAIN}\n"
    );
    match seal.seal(&object, &plain) {
        Ok(sealed) => {
            assert_hidden(&sealed, "the sealed text");
            for line in ["apiVersion: v1", "kind: Secret", "  name: password", "  namespace: shop"] {
                assert!(sealed.lines().any(|sealed| sealed == line), "the sealed text has to keep {line:?}");
            }
        }
        Err(error) => {
            assert_hidden(&format!("{error:?}"), "Debug of the error");
            let mut next: Option<&dyn Error> = Some(&error);
            while let Some(error) = next {
                assert_hidden(&error.to_string(), "the error");
                next = error.source();
            }
        }
    }
    assert_hidden(&format!("{seal:?}"), "Debug of the seal");
}

fn assert_hidden(text: &str, what: &str) {
    assert!(!text.contains(PLAIN) && !text.contains(BASE64), "{what} shows the plain text");
}

const PLAIN: &str = "correct-horse-battery-staple";
/// The same, as it stands in `data`.
const BASE64: &str = "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==";
