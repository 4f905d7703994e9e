//! What the pure stages make of a change, with what has to be remembered for that.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
};

use jiff::Timestamp;
use reverser_core::{Attribution, Change, Edit, LeftOut, Made, ObjectRef, Operation, Rendered, Wanted};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Reverser,
    item::{Item, What},
    lists::RenderedList,
};
use crate::{report::Notice, source::Event};

impl Reverser {
    /// Returns what the recorder has to do about an event. `is_new`: what is listed has been made since.
    pub(super) fn items(&self, source: &Arc<str>, event: Event, is_new: bool) -> Vec<Item> {
        let arrived = Instant::now();
        let item = |what, cursor| Item { source: Arc::clone(source), cursor, what, arrived };
        match event {
            Event::Change { change, cursor } => vec![item(self.render(change), cursor)],
            Event::Cursor(cursor) => vec![item(What::Nothing, Some(cursor))],
            Event::Listed(listed) if is_new => {
                let changes = listed.objects.into_iter().filter_map(|object| {
                    let reference = ObjectRef::of(&listed.resource, &object)?;
                    Some(Change::new(reference, Operation::Create, Some(object)))
                });
                let mut items: Vec<_> = changes.map(|change| item(self.render(change), None)).collect();
                // An API that was away and is back: what was deleted meanwhile is only seen by what is missing. What isn't
                // recorded leaves its file as it is.
                let alive = items.iter().filter_map(|item| match &item.what {
                    What::Change { edit: edit @ Edit::Put { .. }, .. }
                    | What::Change { edit, wanted: Wanted::No, .. } => Some(edit.path().clone()),
                    _ => None,
                });
                let list = RenderedList {
                    alive: alive.collect(),
                    resource: Arc::clone(&listed.resource),
                    namespace: listed.namespace,
                    edits: vec![],
                    // Each is a change of its own.
                    dying: HashSet::new(),
                    annotated: vec![],
                };
                items.push(item(What::List(list), Some(listed.cursor)));
                items
            }
            Event::Listed(listed) => {
                let cursor = listed.cursor.clone();
                vec![item(What::List(self.render_list(listed)), Some(cursor))]
            }
            Event::Failed(error) if error.is_restored() => vec![item(What::Restored, None)],
            Event::Failed(_) | Event::Gap(_) | Event::Resumed => vec![],
        }
    }

    fn render(&self, mut change: Change) -> What {
        // Before anything is left out: what comes of it later may depend on it.
        self.actors.saw(&change);
        let coalesced = self.coalescing.takes(&change);
        match self.render_change(&mut change) {
            Rendered::Leave(why) if change.operation == Operation::Update => What::Leave { change, why },
            Rendered::Leave(_) => What::Nothing,
            Rendered::Refuse(error) => {
                self.reporter.report(Notice::Refused(&error));
                What::Nothing
            }
            Rendered::Skip(edit) => What::Change { change, edit, wanted: Wanted::No, coalesced },
            Rendered::Write(edit) => What::Change { change, edit, wanted: Wanted::Yes, coalesced },
            Rendered::WriteIfBy(users, edit) => What::Change { change, edit, wanted: Wanted::By(users), coalesced },
        }
    }

    /// Renders a change; one of a field manager whose changes are ignored isn't wanted. Nobody else being known, its manager
    /// is named. The changes of an object have to come in their order.
    pub(super) fn render_change(&self, change: &mut Change) -> Rendered {
        let now = change.at.unwrap_or_else(Timestamp::now);
        let Made { is_ignored, manager } =
            self.writers.lock().unwrap_or_else(PoisonError::into_inner).made(change, now);
        if let Some(manager) = manager.map(str::to_owned).filter(|_| change.attribution == Attribution::Unknown) {
            change.attribution = Attribution::Manager(manager);
        }
        match self.pipeline.render(change) {
            Rendered::Write(edit) | Rendered::WriteIfBy(_, edit) if is_ignored => Rendered::Skip(edit),
            rendered => rendered,
        }
    }

    /// Renders an object of a list.
    pub(super) fn render_object(&self, object: &ObjectRef, body: Value) -> Rendered {
        self.actors.listed(object, &body);
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
