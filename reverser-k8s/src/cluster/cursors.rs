//! Which of the positions in a repository's state still mean something.

use std::collections::{BTreeMap, BTreeSet};

use crate::reverser::{mark_of, source_of_mark, version_of};

/// A source's id, taken apart: `cluster/scope/group/version/plural[/namespace]`; the core group has no name.
struct Id<'a> {
    cluster: &'a str,
    scope: &'a str,
    /// Resource and namespace.
    rest: &'a str,
}

impl<'a> Id<'a> {
    fn of(id: &'a str) -> Option<Self> {
        let mut parts = id.splitn(3, '/');
        Some(Self { cluster: parts.next()?, scope: parts.next()?, rest: parts.next()? })
    }

    /// Returns whether both are of runs that write to the same place.
    fn has_place_of(&self, other: &Self) -> bool {
        let place = |scope: &'a str| scope.split_once('-').map_or(scope, |(place, _selection)| place);
        self.cluster == other.cluster && place(self.scope) == place(other.scope)
    }
}

/// Returns where the watch `id` of `resource` in `namespace` may go on. Not where it stopped when a run with another
/// selection, into the same place, has read further since: that one has recorded some of what lies between, and reading it
/// again would turn back time. Versions of one resource compare as integers (KEP-5504).
pub(super) fn resumable(
    id: &str,
    resource: &str,
    namespace: Option<&str>,
    cursors: &BTreeMap<String, String>,
) -> Option<String> {
    let own = cursors.get(id)?;
    let watch = Id::of(id)?;
    // Namespaces of one run stand at different versions, and none of them has read what another one reads.
    let has_read_this = |other: &Id<'_>| {
        let scope = other.rest.strip_prefix(resource);
        let scope = scope.and_then(|scope| if scope.is_empty() { Some(scope) } else { scope.strip_prefix('/') });
        other.has_place_of(&watch)
            && match (scope, namespace) {
                (None, _) => false,
                (Some(""), _) | (Some(_), None) => true,
                (Some(other), Some(namespace)) => other == namespace,
            }
    };
    let read = |(other, cursor): (&String, &String)| {
        // Its own mark: what lies between is read again as marks are.
        let other = source_of_mark(other).filter(|source| *source != id).unwrap_or(other);
        Id::of(other).filter(has_read_this).and_then(|_has| version_of(cursor))
    };
    let is_latest = own.parse::<u64>().ok() >= cursors.iter().filter_map(read).max();
    is_latest.then(|| own.clone())
}

/// Returns the positions at which nothing will go on, of those that are in `cursors`: of what the run `cluster/scope` doesn't
/// watch, and of runs with another selection into the same place that one of `watched` has overtaken. Marks go with them.
pub(super) fn unused(run: &str, watched: &BTreeSet<&str>, cursors: &BTreeMap<String, String>) -> Vec<String> {
    let version = |cursor: Option<&String>| cursor.and_then(|cursor| cursor.parse::<u64>().ok());
    let overtakes = |watch: &str, other: &Id<'_>, cursor: &String| {
        Id::of(watch).is_some_and(|own| own.rest == other.rest && own.has_place_of(other))
            && version(cursors.get(watch)) > version(Some(cursor))
    };
    let is_unused = |(id, cursor): &(&String, &String)| {
        let Some(other) = Id::of(id) else { return false };
        match id.strip_prefix(run).and_then(|rest| rest.strip_prefix('/')) {
            Some(_) => !watched.contains(id.as_str()),
            None => watched.iter().any(|watch| overtakes(watch, &other, cursor)),
        }
    };
    let unused: Vec<_> = cursors.iter().filter(is_unused).map(|(id, _)| id.clone()).collect();
    let marks = unused.iter().map(|id| mark_of(id)).filter(|mark| cursors.contains_key(mark));
    marks.chain(unused.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
        rows.iter().map(|(id, cursor)| ((*id).to_owned(), (*cursor).to_owned())).collect()
    }

    fn pods(id: &str, namespace: Option<&str>, rows: &[(&str, &str)]) -> Option<String> {
        resumable(id, "v1/pods", namespace, &cursors(rows))
    }

    #[test]
    fn a_run_goes_on_unless_another_selection_has_read_further_into_the_same_place() {
        assert_eq!(pods("c/p-1/v1/pods", None, &[("c/p-1/v1/pods", "10")]).as_deref(), Some("10"));
        assert_eq!(pods("c/p-1/v1/pods", None, &[]), None);
        for (other, cursor, may) in [
            ("c/p-2/v1/pods", "9", true),
            ("c/p-2/v1/pods", "11", false),
            ("c/p-2/v1/pods/shop", "11", false),
            ("c/q-2/v1/pods", "11", true),
            ("d/p-2/v1/pods", "11", true),
            ("c/p-2/v1/podsets", "11", true),
            ("c/p-2/v1/services", "11", true),
            ("read/c/p-1/v1/pods", "11:10", true),
            ("read/c/p-2/v1/pods", "9:7", true),
            ("read/c/p-2/v1/pods", "11:7+2", false),
        ] {
            let rows = [("c/p-1/v1/pods", "10"), (other, cursor)];
            assert_eq!(pods("c/p-1/v1/pods", None, &rows).is_some(), may, "{other}");
        }
        let rows = [("c/p-1/v1/pods/shop", "10"), ("c/p-2/v1/pods/bank", "11")];
        assert!(pods("c/p-1/v1/pods/shop", Some("shop"), &rows).is_some());
    }

    #[test]
    fn positions_of_what_is_gone_or_overtaken_are_unused() {
        let rows = [
            ("c/p-1/v1/pods", "10"),
            ("c/p-1/v1/services", "10"),
            ("c/p-2/v1/pods", "9"),
            ("c/p-3/v1/pods", "11"),
            ("c/p-2/v1/services", "9"),
            ("c/q-1/v1/pods", "9"),
            ("d/p-1/v1/pods", "9"),
            ("audit", "9"),
            ("read/c/p-1/v1/pods", "12"),
            ("read/c/p-1/v1/services", "12"),
        ];
        let unused = unused("c/p-1", &["c/p-1/v1/pods"].into(), &cursors(&rows));
        assert_eq!(unused, ["read/c/p-1/v1/services", "c/p-1/v1/services", "c/p-2/v1/pods"]);
    }
}
