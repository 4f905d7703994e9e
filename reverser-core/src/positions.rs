//! How far sources have been read, past changes that wait.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Tells how far each source counts as read, where changes go on in another order than they came in: never further than up to a
/// change that waits, so that after a crash the source goes on before it.
///
/// ```
/// use std::sync::Arc;
///
/// use reverser_core::Positions;
///
/// let (mut positions, source) = (Positions::default(), Arc::from("configmaps"));
/// assert_eq!(positions.pass(&source, Some("1".into())).as_deref(), Some("1"));
/// let waits = positions.wait(&source, Some("2".into()));
/// assert_eq!(positions.pass(&source, Some("3".into())), None);
/// assert_eq!(positions.let_go(&source, waits).as_deref(), Some("3"));
/// ```
#[derive(Debug, Default)]
pub struct Positions {
    /// How many changes and positions have come: their order.
    count: u64,
    sources: HashMap<Arc<str>, OfSource>,
}

/// How far one source has been read, as far as that isn't passed on.
#[derive(Debug, Default)]
struct OfSource {
    /// Its changes that wait, by number.
    waiting: BTreeSet<u64>,
    /// Positions behind changes, by number: of those with no waiting one between them, the last.
    reached: BTreeMap<u64, String>,
}

impl Positions {
    /// A source has been read up to `position`, and what came goes on at once; `None`: more of the same position follows. Returns
    /// the position that may go on with it, if any.
    pub fn pass(&mut self, source: &Arc<str>, position: Option<String>) -> Option<String> {
        self.count += 1;
        let number = self.count;
        let positions = self.of(source);
        if let Some(position) = position {
            positions.reach(number, position);
        }
        positions.free()
    }

    /// A source has been read up to `position`, and what came waits; returns its number, by which it is
    /// [let go](Self::let_go). Later ones have higher numbers.
    pub fn wait(&mut self, source: &Arc<str>, position: Option<String>) -> u64 {
        self.count += 1;
        let number = self.count;
        let positions = self.of(source);
        positions.waiting.insert(number);
        if let Some(position) = position {
            positions.reach(number, position);
        }
        number
    }

    /// What waited as `number` goes on, or something else has taken its place; returns how far its source counts as read then, if
    /// further than before.
    pub fn let_go(&mut self, source: &str, number: u64) -> Option<String> {
        let positions = self.sources.get_mut(source)?;
        positions.waiting.remove(&number);
        positions.free()
    }

    fn of(&mut self, source: &Arc<str>) -> &mut OfSource {
        self.sources.entry(Arc::clone(source)).or_default()
    }
}

impl OfSource {
    fn reach(&mut self, number: u64, position: String) {
        if let Some((last, _)) =
            self.reached.last_key_value().filter(|(last, _)| self.waiting.range(**last..).next().is_none())
        {
            let last = *last;
            self.reached.remove(&last);
        }
        self.reached.insert(number, position);
    }

    /// Returns the last position that no waiting change is before, unless it was returned already.
    fn free(&mut self) -> Option<String> {
        let held = match self.waiting.first() {
            Some(first) => self.reached.split_off(first),
            None => BTreeMap::new(),
        };
        std::mem::replace(&mut self.reached, held).pop_last().map(|(_, position)| position)
    }
}
