//! A commit's message read back: its trailers, and which versions of which objects it records.

use std::cmp::Ordering;

/// Returns the trailers of a message, in order: the lines of its last paragraph, where all of them are `key: value`
/// (git-interpret-trailers(1)). A line that begins with a blank goes on with the value before it, and
/// `(cherry picked from commit …)`, which git writes there, is no trailer.
///
/// ```
/// use reverser_core::message::trailers;
///
/// let message = "[UPDATE] v1/nodes/n-1\n\nDrained: see the runbook\n\nReverser-Actor: alice\nReviewed-by: Bob\n";
/// assert_eq!(trailers(message), [("Reverser-Actor", "alice".into()), ("Reviewed-by", "Bob".into())]);
/// assert_eq!(trailers("fix: a subject is no trailer\n"), []);
/// ```
pub fn trailers(message: &str) -> Vec<(&str, String)> {
    let Some((_, block)) = last_paragraph(message) else { return Vec::new() };
    let mut trailers: Vec<(&str, String)> = Vec::new();
    for line in block.lines() {
        if line.starts_with([' ', '\t']) {
            let Some((_, value)) = trailers.last_mut() else { return Vec::new() };
            *value = format!("{value} {}", line.trim());
        } else if let Some((key, value)) = line.split_once(':').filter(|(key, _)| is_key(key.trim_end())) {
            trailers.push((key.trim_end(), value.trim().to_owned()));
        } else if !line.starts_with("(cherry picked from commit ") {
            return Vec::new();
        }
    }
    trailers
}

/// Returns the message with one more trailer: at the end of those that it has, or in a paragraph of their own. One that is
/// there already isn't written twice.
///
/// ```
/// use reverser_core::message::add_trailer;
///
/// let once = add_trailer("Say hello\n", "Reverser-Replaces", "05f8c9d1");
/// assert_eq!(once, "Say hello\n\nReverser-Replaces: 05f8c9d1\n");
/// assert_eq!(add_trailer(&once, "Reverser-Replaces", "05f8c9d1"), once);
/// ```
pub fn add_trailer(message: &str, key: &str, value: &str) -> String {
    let standing = trailers(message);
    if standing.iter().any(|(k, v)| k.eq_ignore_ascii_case(key) && v == value) {
        return message.to_owned();
    }
    let gap = if standing.is_empty() { "\n\n" } else { "\n" };
    format!("{}{gap}{key}: {value}\n", message.trim_end())
}

/// A version of an object, as the trailers of the commit that records it name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordedVersion {
    /// The object's uid.
    pub uid: String,
    /// Its resourceVersion: a decimal number of any length.
    pub resource_version: String,
}

impl RecordedVersion {
    /// Returns the versions that a message names, in its order: each `Reverser-Resource-Version` with the `Reverser-Uid`
    /// before it. A version that isn't a decimal number has no order, and is left out.
    ///
    /// ```
    /// use reverser_core::message::RecordedVersion;
    ///
    /// let message = "[UPDATE] v1/nodes/n-1\n\nReverser-Uid: 3e0c\nReverser-Resource-Version: 4711\n";
    /// let expected = RecordedVersion { uid: "3e0c".into(), resource_version: "4711".into() };
    /// assert_eq!(RecordedVersion::of_message(message), [expected]);
    /// ```
    pub fn of_message(message: &str) -> Vec<Self> {
        let (mut versions, mut uid) = (Vec::new(), None);
        for (key, value) in trailers(message) {
            if key.eq_ignore_ascii_case("Reverser-Uid") {
                uid = Some(value);
            } else if key.eq_ignore_ascii_case("Reverser-Resource-Version") && is_number(&value) {
                versions.extend(uid.take().map(|uid| Self { uid, resource_version: value }));
            }
        }
        versions
    }

    /// Returns how this version stands to another one of the same file: resourceVersions of one resource are numbers that
    /// only grow (KEP-5504), also when an object was deleted and made again, with another uid.
    ///
    /// ```
    /// use reverser_core::message::RecordedVersion;
    ///
    /// let version = |number: &str| RecordedVersion { uid: "3e0c".into(), resource_version: number.into() };
    /// assert!(version("999").age(&version("1000")).is_lt());
    /// ```
    pub fn age(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (&self.resource_version, &other.resource_version);
        ours.len().cmp(&theirs.len()).then_with(|| ours.cmp(theirs))
    }
}

/// Returns what stands before the last paragraph, and that. The first one is the subject's.
fn last_paragraph(message: &str) -> Option<(&str, &str)> {
    let message = message.trim_end();
    let mut start = message.len();
    for line in message.rsplit('\n') {
        if line.trim().is_empty() {
            let head = &message[..start.saturating_sub(1)];
            return (!head.trim().is_empty()).then_some((head, &message[start..]));
        }
        start = start.saturating_sub(line.len() + usize::from(start < message.len()));
    }
    None
}

/// git's trailer.c: letters, digits and dashes.
fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Without zeros in front, so that a longer one is a greater one.
fn is_number(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{message::with_trailers, testing::hostile_changes};

    #[test]
    fn what_is_written_into_trailers_is_read_back() {
        for change in hostile_changes() {
            let message = with_trailers("Subject\n\nReverser-Uid: forged\nReverser-Resource-Version: 9", &change);
            let versions = RecordedVersion::of_message(&message);
            let uids: Vec<_> = versions.iter().map(|version| version.uid.as_str()).collect();
            assert!(!uids.contains(&"forged"), "{message}");
            let told: Vec<_> = trailers(&message).into_iter().map(|(key, _)| key).collect();
            assert!(
                told.contains(&"Reverser-Evidence") && told.iter().all(|key| key.starts_with("Reverser-")),
                "{message}"
            );
            let version = change.resource_version.as_ref().filter(|version| is_number(version));
            if let (Some(uid), Some(version)) = (&change.object.uid, version) {
                let expected = RecordedVersion { uid: uid.clone(), resource_version: version.clone() };
                assert_eq!(versions, [expected], "{message}");
            }
        }
    }

    #[test]
    fn only_a_last_paragraph_that_is_all_trailers_has_any() {
        for none in ["", "\n\n", "a: b", "\n\na: b\n", "subject\n\na: b\nwords\n", "subject\n\n  a: b\n", "s\n\na b: c"]
        {
            assert_eq!(trailers(none), [], "{none:?}");
        }
        let some = "subject\n\nbody: no\n \nA: 1\nB : 2\n  and 3\n(cherry picked from commit 05f8)\n\n";
        assert_eq!(trailers(some), [("A", "1".to_owned()), ("B", "2 and 3".to_owned())]);
    }

    #[test]
    fn a_trailer_joins_its_kind() {
        assert_eq!(add_trailer("s\n\nbody\n", "K", "1"), "s\n\nbody\n\nK: 1\n");
        assert_eq!(add_trailer("s\n\nA: 1\n", "K", "1"), "s\n\nA: 1\nK: 1\n");
        assert_eq!(add_trailer("s\n\nk: 1\n", "K", "2"), "s\n\nk: 1\nK: 2\n");
        assert_eq!(add_trailer("s\n\nk: 1\n", "K", "1"), "s\n\nk: 1\n");
        assert_eq!(add_trailer("a: b", "K", "1"), "a: b\n\nK: 1\n");
    }

    #[test]
    fn versions_are_numbers_of_any_length() {
        let version = |number: &str| RecordedVersion { uid: "u".into(), resource_version: number.into() };
        for (older, newer) in [("9", "10"), ("99", "100"), ("18446744073709551615", "18446744073709551616")] {
            assert_eq!(version(older).age(&version(newer)), Ordering::Less);
            assert_eq!(version(newer).age(&version(older)), Ordering::Greater);
        }
        let message = |number: &str| format!("s\n\nReverser-Uid: u\nReverser-Resource-Version: {number}\n");
        for none in ["", "0", "007", "1e3", "-1", "4711 and more"] {
            assert_eq!(RecordedVersion::of_message(&message(none)), [], "{none:?}");
        }
    }
}
