//! Which failures are worth telling: an API server that is away fails all of its watches, over and over.

use std::collections::{BTreeSet, HashMap};

use crate::api_error::ApiError;

/// Sources that can't go on.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Those that wait for a person, by id, and what was told of them.
    told: HashMap<String, String>,
    /// Those whose failure will pass. As a rule all of them fail together: only the first is told.
    passing: BTreeSet<String>,
    /// Those whose API server was restored from a backup, until they have listed. It comes after a failure, and is news.
    restored: BTreeSet<String>,
}

impl Troubles {
    /// Notes a failure; returns whether it is news.
    pub(super) fn failed(&mut self, source: &str, error: &ApiError) -> bool {
        if error.is_for_a_person() {
            let text = error.to_string();
            return self.told.insert(source.to_owned(), text.clone()) != Some(text);
        }
        let is_first_restored = error.is_restored() && self.restored.is_empty();
        if error.is_restored() {
            self.restored.insert(source.to_owned());
        }
        let is_first = self.passing.is_empty();
        self.passing.insert(source.to_owned());
        is_first || is_first_restored
    }

    /// Notes that a source goes on; returns whether that is news: it was told of, or the last of many is back. `None`: it
    /// hadn't failed.
    pub(super) fn went_on(&mut self, source: &str) -> Option<bool> {
        self.restored.remove(source);
        let was_told = self.told.remove(source).is_some();
        let was_passing = self.passing.remove(source);
        (was_told || was_passing).then_some(was_told || self.passing.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> ApiError {
        ApiError::NotServed { resource: "x/v1/y".into() }
    }

    #[test]
    fn an_outage_is_told_once_and_over_when_the_last_is_back() {
        let mut troubles = Troubles::default();
        let told: Vec<_> = ["a", "b", "a"].iter().map(|source| troubles.failed(source, &ApiError::Expired)).collect();
        assert_eq!(told, [true, false, false]);
        assert_eq!(troubles.went_on("a"), Some(false));
        assert_eq!(troubles.went_on("b"), Some(true));
        assert_eq!(troubles.went_on("b"), None);
    }

    #[test]
    fn a_restored_api_server_is_told_once_in_the_middle_of_an_outage() {
        let restored = ApiError::Restored { resource: "y".into(), cursor: "2".into(), current: "1".into() };
        let mut troubles = Troubles::default();
        assert!(troubles.failed("a", &ApiError::Expired) && !troubles.failed("b", &ApiError::Expired));
        assert!(troubles.failed("a", &restored) && !troubles.failed("b", &restored));
        assert_eq!((troubles.went_on("a"), troubles.went_on("b")), (Some(false), Some(true)));
        assert!(troubles.failed("b", &restored), "once more, later");
    }

    #[test]
    fn each_refusal_is_told_once() {
        let mut troubles = Troubles::default();
        assert!(troubles.failed("a", &refused()));
        assert!(!troubles.failed("a", &refused()));
        assert!(troubles.failed("b", &refused()));
        assert_eq!(troubles.went_on("a"), Some(true));
        assert!(troubles.failed("a", &refused()));
    }
}
