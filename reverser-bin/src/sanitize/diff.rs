//! What sanitizing removes, as a unified diff of the YAML before and after.

use std::io::{self, Write};

use reverser_core::yaml;
use serde_json::Value;

use crate::unified::{self, is_coloured, unified};

/// Writes what differs, in colours on a terminal; nothing when nothing does.
pub(super) fn write(out: &mut impl Write, live: &Value, clean: &Value) -> io::Result<()> {
    let name = name(live);
    let (live, clean) = (yaml::to_string(live), yaml::to_string(clean));
    let diff = unified((&format!("{name} (given)"), &live), (&format!("{name} (sanitized)"), &clean));
    unified::write(out, &diff, is_coloured())
}

/// Returns `apps/v1 Deployment shop/web`. What stands there may be anything, and ends up on terminals.
fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().replace(char::is_control, " ");
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().map(|_| format!("{}/", text(&metadata["namespace"])));
    format!(
        "{} {} {}{}",
        text(&object["apiVersion"]),
        text(&object["kind"]),
        namespace.unwrap_or_default(),
        text(&metadata["name"])
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_removed_stands_below_the_objects_name() {
        let live = json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "x", "namespace": "n", "uid": "1"}});
        let clean = json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "x", "namespace": "n"}});
        let mut out = vec![];
        write(&mut out, &live, &clean).unwrap();
        write(&mut out, &clean, &clean).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        --- v1 A n/x (given)
        +++ v1 A n/x (sanitized)
        @@ -3,4 +3,3 @@
         metadata:
           name: x
           namespace: "n"
        -  uid: "1"
        "#);
    }
}
