//! What is news, and which reason is told with it: both are remembered, and asked of each change in its turn.

use std::sync::{MutexGuard, PoisonError};

use reverser_core::{Change, Edit, Reasons};

use super::{Reverser, lists::RenderedList};

impl Reverser {
    /// Returns whether an edit is to be written. Then comes [`note_change`](Self::note_change) or
    /// [`leave_out`](Self::leave_out).
    pub(super) fn is_news(&self, change: &Change, edit: &Edit) -> bool {
        self.lock_reasons().saw(change);
        self.lock_written().is_news(change, edit)
    }

    /// Notes an edit that is about to be written for `change`, which gets the reason that its object's annotations give for it.
    pub(super) fn note_change(&self, change: &mut Change, edit: &Edit) {
        self.lock_reasons().tell(change);
        self.lock_written().note_change(change, edit);
    }

    /// Notes an edit that would have been written, and isn't, as nobody asked for its change.
    pub(super) fn leave_out(&self, change: &Change, edit: &Edit) {
        self.lock_reasons().leave_out(change);
        self.lock_written().leave_out(edit);
    }

    /// A change has made no commit: its reason is that of the next one.
    pub(super) fn untell_reason(&self, change: &Change) {
        self.lock_reasons().untell(change);
    }

    pub(super) fn note_listed_reasons(&self, list: &RenderedList) {
        let objects = list.annotated.iter().map(|(object, annotated)| (object, annotated));
        self.lock_reasons().listed(&list.resource, list.namespace.as_deref(), objects);
    }

    fn lock_reasons(&self) -> MutexGuard<'_, Reasons> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
