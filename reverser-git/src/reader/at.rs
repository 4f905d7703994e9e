//! Which commit is meant, as users write it.

use jiff::{Span, Timestamp, tz::TimeZone};

use crate::sink::CommitId;

/// Which commit is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// The one that git knows by this name: the id of a commit or its first digits (at least four), a tag, a branch, or
    /// whatever else gitrevisions(7) has, such as `main~3`. Among equal names, tags come before branches.
    Named(String),
    /// The one that was the branch's tip at this time: going back from the tip by first parents, the first that was not
    /// committed later, by the date of its committer. A commit whose clock ran ahead is passed over until its date has
    /// come; one whose clock was behind stands for times before it was made.
    /// [`clock_was_wrong`](crate::ReadCommit::clock_was_wrong) says when dates aren't in order.
    Time(Timestamp),
    /// The branch's last.
    #[default]
    Tip,
}

impl At {
    /// Reads a time (`2026-11-21T10:00:00Z`, or a span before `now` such as `2h ago` and `1 day 30m ago`; days have 24
    /// hours), or else the name of a commit.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, AtError> {
        let wrong = |fault: String| AtError { text: text.to_owned(), fault };
        if text.trim().is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        if text.contains(|c: char| c.is_control()) || text.starts_with('-') {
            return Err(wrong("no commit is called so".to_owned()));
        }
        if text.ends_with(" ago") {
            let before = text.parse::<Span>().and_then(|span| now.to_zoned(TimeZone::UTC).checked_add(span));
            return before.map(|before| Self::Time(before.timestamp())).map_err(|error| wrong(error.to_string()));
        }
        if begins_with_a_date(text) {
            return text.parse().map(Self::Time).map_err(|error: jiff::Error| wrong(error.to_string()));
        }
        Ok(Self::Named(text.to_owned()))
    }
}

/// What was written is neither a time nor a commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is neither a time nor a commit ({fault}): write a time like 2026-11-21T10:00:00Z or '2h ago', or a commit's id, a tag or a branch"
)]
pub struct AtError {
    text: String,
    fault: String,
}

/// Whether it can only be meant as a time: `2026-11-21T…` or with a blank. A date alone may be a tag's name.
fn begins_with_a_date(text: &str) -> bool {
    let shape: String = text.chars().take(11).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    ["0000-00-00T", "0000-00-00t", "0000-00-00 "].contains(&shape.as_str())
}

/// Returns the place of the commit that stands for a time, and whether one before it says that it is later. The commits are a
/// branch's first parents, the latest first.
pub(super) fn at_time(commits: &[(CommitId, Timestamp)], time: Timestamp) -> Option<(usize, bool)> {
    let place = commits.iter().position(|(_, committed_at)| *committed_at <= time)?;
    Some((place, commits[place..].iter().any(|(_, committed_at)| *committed_at > time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Result<At, AtError> {
        At::parse(text, time("2026-11-21T10:00:00Z"))
    }

    #[test]
    fn times_are_told_from_names() {
        for (text, meant) in [
            ("2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"),
            ("2026-11-21T09:00:00+02:00", "2026-11-21T07:00:00Z"),
            ("2026-11-21 09:00:00.5Z", "2026-11-21T09:00:00.5Z"),
            ("2h ago", "2026-11-21T08:00:00Z"),
            ("1h 30m ago", "2026-11-21T08:30:00Z"),
            ("2 days ago", "2026-11-19T10:00:00Z"),
            ("1mo ago", "2026-10-21T10:00:00Z"),
        ] {
            assert_eq!(at(text), Ok(At::Time(time(meant))), "{text}");
        }
        for name in ["05f8a3a7", "v1.2", "main", "team/main~3", "2026-11-21", "ago", "2h", "yesterday", "HEAD^2"] {
            assert_eq!(at(name), Ok(At::Named(name.to_owned())));
        }
    }

    #[test]
    fn what_is_neither_says_how_to_write_one() {
        for text in ["", " ", "--all", "a\nb", "2026-11-21T10:00", "2026-13-01T00:00:00Z", "soon ago", "9999999y ago"] {
            let error = at(text).unwrap_err().to_string();
            assert!(error.contains("2026-11-21T10:00:00Z or '2h ago'"), "{text}: {error}");
        }
    }

    #[test]
    fn the_last_commit_that_is_not_later_stands_for_a_time() {
        let commits = |seconds: &[i64]| -> Vec<_> {
            let row = |second: &i64| (CommitId::new(second), Timestamp::from_second(*second).unwrap());
            seconds.iter().map(row).collect()
        };
        let at_second = |history: &[i64], second| at_time(&commits(history), Timestamp::from_second(second).unwrap());
        let rising = [40, 30, 30, 20];
        assert_eq!(at_second(&rising, 50), Some((0, false)));
        assert_eq!(at_second(&rising, 40), Some((0, false)));
        assert_eq!(at_second(&rising, 39), Some((1, false)));
        assert_eq!(at_second(&rising, 20), Some((3, false)));
        assert_eq!(at_second(&rising, 19), None);
        // The second one's clock ran ahead, then was put right.
        let ahead = [40, 30, 90, 20];
        assert_eq!(at_second(&ahead, 35), Some((1, true)));
        assert_eq!(at_second(&ahead, 25), Some((3, false)));
        // The third one's clock was behind.
        let behind = [40, 5, 20, 10];
        assert_eq!(at_second(&behind, 15), Some((1, true)));
        assert_eq!(at_second(&behind, 30), Some((1, false)));
    }
}
