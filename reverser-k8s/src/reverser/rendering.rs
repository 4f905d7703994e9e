//! What the pure stages make of a change, with what has to be remembered for that.

use std::sync::PoisonError;

use jiff::Timestamp;
use reverser_core::{Change, LeftOut, ObjectRef, Rendered};
use serde_json::Value;

use super::Reverser;

impl Reverser {
    /// Renders a change; one of a field manager whose changes are ignored isn't wanted. The changes of an object have to
    /// come in their order.
    pub(super) fn render_change(&self, change: &mut Change) -> Rendered {
        let now = change.at.unwrap_or_else(Timestamp::now);
        let is_ignored = self.writers.lock().unwrap_or_else(PoisonError::into_inner).ignores(change, now);
        match self.pipeline.render(change) {
            Rendered::Write(edit) | Rendered::WriteIfBy(_, edit) if is_ignored => Rendered::Skip(edit),
            rendered => rendered,
        }
    }

    /// Renders an object of a list.
    pub(super) fn render_object(&self, object: &ObjectRef, body: Value) -> Rendered {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).listed(object, &body);
        self.pipeline.render_listed(object, body)
    }

    /// Returns what the commit says of an object whose file goes although the object is there.
    pub(super) fn why_left(&self, why: LeftOut) -> String {
        match (why, &self.pipeline.selector.opt_out) {
            (LeftOut::OptedOut, Some(annotation)) => {
                format!("The object asks to be left out, by its annotation {annotation}: its file is removed.")
            }
            _ => "The object is no longer selected: its file is removed.".to_owned(),
        }
    }
}
