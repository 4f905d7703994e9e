//! What is read again after a crash, since an earlier change waited.
//!
//! ```text
//!       position                         mark
//!  ────────┼─── ○ ── ● ── ○ ── ○ ── ● ────┼─────────►   ● waited   ○ was committed, or nothing was to be
//!          └──────── is read again ───────┘
//! ```
//!
//! A source's position stays before a change that waits, for its author or to be coalesced, while later changes of other
//! objects are committed. Beside it stands a mark: how far the source had been read, and which of the changes up to there
//! waited. After a crash these are recorded, and the others are passed over.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write,
};

use super::item::{Item, What};

/// Begins the names under which marks stand among the positions; those of sources begin with a cluster.
const MARK: &str = "read/";

/// Returns the name under which a source's mark stands among the positions.
pub(crate) fn mark_of(source: &str) -> String {
    format!("{MARK}{source}")
}

/// Returns the source whose mark stands under this name, if it is one.
pub(crate) fn source_of_mark(name: &str) -> Option<&str> {
    name.strip_prefix(MARK)
}

/// Returns how far a source had been read, by its mark or its position. Versions of one resource compare as integers (KEP-5504).
pub(crate) fn version_of(text: &str) -> Option<u64> {
    text.split_once(':').map_or(text, |(until, _waited)| until).parse().ok()
}

/// Sources that are read again.
#[derive(Debug, Default)]
pub(super) struct Again(HashMap<String, Mark>);

/// How far a source has been read, and what waits of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) until: u64,
    /// By version.
    pub(super) waiting: BTreeSet<u64>,
}

impl Mark {
    /// Reads `107:103+2`: read up to 107, and 103 and 105 waited.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (until, waited) = text.split_once(':')?;
        let mut last = 0_u64;
        let waiting = waited.split('+').filter(|step| !step.is_empty()).map(|step| {
            last = last.checked_add(step.parse().ok()?)?;
            Some(last)
        });
        Some(Self { until: until.parse().ok()?, waiting: waiting.collect::<Option<_>>()? })
    }

    /// Returns what stands among the positions: of what waits the first, and of each other the distance to the one before it,
    /// since there may be thousands.
    pub(super) fn encode(&self) -> String {
        let mut text = format!("{}:", self.until);
        let (mut separator, mut last) = ("", 0);
        for version in &self.waiting {
            // Writing to a string doesn't fail.
            let _infallible = write!(text, "{separator}{}", version - last);
            (separator, last) = ("+", *version);
        }
        text
    }
}

impl Again {
    /// Reads the marks among positions.
    pub(super) fn of(cursors: &BTreeMap<String, String>) -> Self {
        let marks = cursors.iter().filter_map(|(name, mark)| Some((source_of_mark(name)?, Mark::parse(mark)?)));
        Self(marks.map(|(source, mark)| (source.to_owned(), mark)).collect())
    }

    /// Takes note of what has been read, and leaves nothing but its position where it has been dealt with.
    pub(super) fn read(&mut self, item: &mut Item) {
        let Some(mark) = self.0.get_mut(&*item.source) else { return };
        if matches!(item.what, What::List(_) | What::Restored) {
            // A list shows all of it, and follows what was set back.
            self.0.remove(&*item.source);
            return;
        }
        let Some(version) = item.cursor.as_deref().and_then(version_of) else { return };
        if version <= mark.until && !mark.waiting.remove(&version) {
            item.what = What::Nothing;
        }
        if version >= mark.until {
            self.0.remove(&*item.source);
        }
    }

    /// Returns what is still read again of each source.
    pub(super) fn marks(&self) -> impl Iterator<Item = (&String, &Mark)> {
        self.0.iter()
    }

    /// Returns whether nothing of a source is read again.
    pub(super) fn is_past(&self, source: &str) -> bool {
        !self.0.contains_key(source)
    }

    /// A source has listed all there is.
    pub(super) fn forget(&mut self, source: &str) {
        self.0.remove(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_what_it_writes() {
        for (waiting, text) in [(&[][..], "107:"), (&[103], "107:103"), (&[103, 104, 107], "107:103+1+3")] {
            let mark = Mark { until: 107, waiting: waiting.iter().copied().collect() };
            assert_eq!((mark.encode().as_str(), Mark::parse(text)), (text, Some(mark)));
        }
        for text in ["", "107", ":103", "107:a", "107:103+18446744073709551615"] {
            assert_eq!(Mark::parse(text), None, "{text}");
        }
        assert_eq!((version_of("107:103+1"), version_of("107"), version_of("x")), (Some(107), Some(107), None));
    }
}
