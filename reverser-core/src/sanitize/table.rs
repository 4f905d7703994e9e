//! The deny-list, compiled: one tree of paths for each kind, so that an object is walked once.

use std::{collections::HashMap, sync::LazyLock};

use serde_json::Value;

use super::rules::{Objects, RULES, Rule, Sharing};
use crate::field_path::{At, FieldPath, Step};

/// The rows about objects of one kind.
#[derive(Debug, Default)]
pub(super) struct Rows {
    root: Node,
    /// Whether a row asks who wrote a value.
    pub(super) has_shared: bool,
}

/// A place that rows lead to, or through.
#[derive(Debug, Default)]
struct Node {
    rows: Vec<&'static Rule>,
    next: Vec<(Step, Self)>,
}

/// Returns the rows about objects of that group and kind.
pub(super) fn rows_of(group: &str, kind: &str) -> &'static Rows {
    static TABLE: LazyLock<Table> = LazyLock::new(Table::compile);
    let of_kind = TABLE.kinds.get(kind).and_then(|groups| groups.iter().find(|(its, _)| *its == group));
    of_kind.map_or(&TABLE.others, |(_, rows)| rows)
}

struct Table {
    /// By kind; a list, since few kinds are in two groups.
    kinds: HashMap<&'static str, Vec<(&'static str, Rows)>>,
    /// For kinds that no row names.
    others: Rows,
}

impl Table {
    fn compile() -> Self {
        let mut kinds: HashMap<_, Vec<(_, Rows)>> = HashMap::new();
        for (group, kind) in RULES.iter().flat_map(Rule::kinds) {
            let groups = kinds.entry(kind).or_default();
            if groups.iter().all(|(its, _)| *its != group) {
                groups.push((
                    group,
                    Rows::compile(|rule| rule.kinds().is_empty() || rule.kinds().contains(&(group, kind))),
                ));
            }
        }
        Self { kinds, others: Rows::compile(|rule| matches!(rule.objects, Objects::All)) }
    }
}

impl Rows {
    fn compile(is_about: impl Fn(&Rule) -> bool) -> Self {
        let mut rows = Self::default();
        for rule in RULES.iter().filter(|rule| is_about(rule)) {
            rows.has_shared |= rule.sharing != Sharing::Never;
            let path: FieldPath = rule.path.parse().expect("a test parses every row");
            path.steps().iter().fold(&mut rows.root, |node, step| node.after(step)).rows.push(rule);
        }
        rows
    }

    /// Calls `found` with each row and each value that stands at its path, and with the value's location.
    pub(super) fn walk<'v>(
        &'static self,
        object: &'v Value,
        found: &mut dyn FnMut(&'static Rule, &'v Value, &[At<'v>]),
    ) {
        self.root.walk(object, &mut vec![], found);
    }
}

impl Node {
    fn after(&mut self, step: &Step) -> &mut Self {
        let index = self.next.iter().position(|(its, _)| its == step).unwrap_or_else(|| {
            self.next.push((step.clone(), Self::default()));
            self.next.len() - 1
        });
        &mut self.next[index].1
    }

    fn walk<'v>(
        &'static self,
        value: &'v Value,
        location: &mut Vec<At<'v>>,
        found: &mut dyn FnMut(&'static Rule, &'v Value, &[At<'v>]),
    ) {
        for rule in &self.rows {
            found(rule, value, location);
        }
        for (step, node) in &self.next {
            step.each(value, |at, part| {
                location.push(at);
                node.walk(part, location, found);
                location.pop();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_path_that_reads_back_as_it_stands() {
        for rule in RULES {
            let path: FieldPath = rule.path.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(path.to_string().replace('"', "'"), rule.path);
        }
    }

    #[test]
    fn a_kind_has_its_own_rows_and_those_about_all() {
        let paths = |group, kind| {
            let mut paths = vec![];
            let object =
                serde_json::json!({"metadata": {"uid": "u"}, "spec": {"nodeName": "n", "clusterIP": "10.0.0.1"}});
            rows_of(group, kind).walk(&object, &mut |rule, _, _| paths.push(rule.path));
            paths
        };
        assert_eq!(paths("", "Pod"), [".metadata.uid", ".spec.nodeName"]);
        assert_eq!(paths("", "Service"), [".metadata.uid", ".spec.clusterIP"]);
        assert_eq!(paths("serving.knative.dev", "Service"), [".metadata.uid"]);
        assert!(rows_of("", "Pod").has_shared && !rows_of("", "ConfigMap").has_shared);
    }
}
