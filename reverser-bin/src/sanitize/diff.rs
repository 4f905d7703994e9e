//! What sanitizing removes, as a unified diff of the YAML before and after.

use std::{
    env,
    io::{self, IsTerminal, Write, stdout},
    time::Duration,
};

use reverser_core::yaml;
use serde_json::Value;
use similar::TextDiff;

/// After this a difference needn't be the smallest one: objects of a megabyte take a moment.
const LIMIT: Duration = Duration::from_secs(2);

/// Writes what differs, in colours on a terminal; nothing when nothing does.
pub(super) fn write(out: &mut impl Write, live: &Value, clean: &Value) -> io::Result<()> {
    let name = name(live);
    let (live, clean) = (yaml::to_string(live), yaml::to_string(clean));
    let lines = TextDiff::configure().timeout(LIMIT).diff_lines(&live, &clean);
    let text = lines.unified_diff().header(&format!("{name} (given)"), &format!("{name} (sanitized)")).to_string();
    if !is_coloured() {
        return out.write_all(text.as_bytes());
    }
    for (number, line) in text.lines().enumerate() {
        match colour(number, line) {
            Some(colour) => writeln!(out, "{colour}{line}\x1b[0m")?,
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

/// Returns the sequence that begins a line's colour, one of git's diffs; the first two lines name the object.
fn colour(number: usize, line: &str) -> Option<&'static str> {
    Some(match line.as_bytes().first() {
        _ if number < 2 => "\x1b[1m",
        Some(b'@') => "\x1b[36m",
        Some(b'-') => "\x1b[31m",
        Some(b'+') => "\x1b[32m",
        _ => return None,
    })
}

/// <https://no-color.org>
fn is_coloured() -> bool {
    let is_unset = |name: &str| env::var_os(name).is_none_or(|value| value.is_empty());
    stdout().is_terminal() && is_unset("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
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

    #[test]
    fn colours_are_those_of_git() {
        let colours = [(0, "--- a"), (1, "+++ b"), (2, "@@ -1 +1 @@"), (3, "--- x"), (4, "+b"), (5, " c")];
        let expected = [Some("\x1b[1m"), Some("\x1b[1m"), Some("\x1b[36m"), Some("\x1b[31m"), Some("\x1b[32m"), None];
        assert_eq!(colours.map(|(number, line)| colour(number, line)), expected);
    }
}
