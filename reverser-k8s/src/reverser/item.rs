//! What goes from the pumps to the recorder.

use std::sync::Arc;

use reverser_core::{Change, Edit, LeftOut, Wanted};
use tokio::time::Instant;

use super::lists::RenderedList;

/// What a pump hands to the recorder.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) source: Arc<str>,
    pub(super) cursor: Option<String>,
    pub(super) what: What,
    pub(super) arrived: Instant,
}

#[derive(Debug)]
pub(super) enum What {
    Change {
        change: Change,
        edit: Edit,
        /// Whether it is recorded, which may depend on who made it.
        wanted: Wanted,
        /// Whether it may be coalesced, which depends on that, too.
        coalesced: Wanted,
    },
    /// An update of an object that isn't selected: it may have been before.
    Leave {
        change: Change,
        why: LeftOut,
    },
    List(RenderedList),
    /// Only the position moves.
    Nothing,
    /// The API server's versions have begun anew: later ones are lower than what was written before. In the queue, so that
    /// it comes behind what the source said before.
    Restored,
}

impl Item {
    /// Returns whether it is a complete list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.what, What::List(_))
    }

    /// Returns the change, if it is one.
    pub(super) fn change(&self) -> Option<&Change> {
        match &self.what {
            What::Change { change, .. } | What::Leave { change, .. } => Some(change),
            What::List(_) | What::Nothing | What::Restored => None,
        }
    }

    /// Returns the change, if it is one.
    pub(super) fn change_mut(&mut self) -> Option<&mut Change> {
        match &mut self.what {
            What::Change { change, .. } | What::Leave { change, .. } => Some(change),
            What::List(_) | What::Nothing | What::Restored => None,
        }
    }

    /// Roughly what it takes of the queue.
    pub(super) fn bytes(&self) -> usize {
        let edit = |edit: &Edit| match edit {
            Edit::Delete { path } => path.as_str().len(),
            Edit::Put { path, content } => path.as_str().len() + content.len(),
        };
        size_of::<Self>()
            + match &self.what {
                What::Change { change, edit: one, .. } => {
                    edit(one) + change.annotated.as_ref().map_or(0, reverser_core::reason::Annotated::bytes)
                }
                What::List(list) => list.edits.iter().map(edit).sum(),
                What::Leave { .. } | What::Nothing | What::Restored => 0,
            }
    }
}
