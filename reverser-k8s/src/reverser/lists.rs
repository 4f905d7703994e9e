//! Complete lists, and the files whose objects are gone.

use std::{collections::HashSet, sync::Arc};

use reverser_core::{Edit, ObjectRef, Rendered, RepoPath, Resource, reason::Annotated};
use reverser_git::SinkError;

use super::{Reverser, persist::Persistent};
use crate::{
    compare::{Orphan, orphans},
    report::Notice,
    source::Listed,
};

/// A sweep that would delete more files than this, and more than half of what is there, is held.
const SWEEP: usize = 20;

/// Returns whether a mistake, such as the wrong cluster, is more likely than that so many are to go.
pub(crate) fn is_mass_deletion(removed: usize, of: usize) -> bool {
    removed > SWEEP && removed * 2 > of
}

/// A complete list, ready to be compared with Git.
#[derive(Debug)]
pub(super) struct RenderedList {
    pub(super) resource: Arc<Resource>,
    pub(super) namespace: Option<String>,
    pub(super) edits: Vec<Edit>,
    pub(super) alive: HashSet<RepoPath>,
    /// Where the files of objects are whose deletion was accepted: seen, not concluded from what is missing.
    pub(super) dying: HashSet<RepoPath>,
    /// What annotations give as reasons.
    pub(super) annotated: Vec<(ObjectRef, Annotated)>,
}

/// What to do about files whose objects are gone.
pub(super) enum Sweep {
    /// Only these are removed: of objects that have moved to another version, and deletions that were seen.
    Held(Vec<Edit>),
    /// All of these are.
    Remove(Vec<Edit>),
}

impl Reverser {
    /// Returns the deletions of files whose objects are gone: those that this pipeline would have written for the listed
    /// scope, in whatever version. Held when those of missing objects are suspiciously many; then the position of the list must not be saved, so
    /// that the next start lists, and asks, again.
    pub(super) async fn sweep(&self, list: &RenderedList) -> Result<Sweep, SinkError> {
        let (mut seen, mut removed) = (Vec::new(), Vec::new());
        let mut found = |orphan: Orphan| {
            let files = if orphan.has_moved || list.dying.contains(&orphan.path) { &mut seen } else { &mut removed };
            files.push(Edit::Delete { path: orphan.path });
        };
        let (files, namespace) = (Persistent(self), list.namespace.as_deref());
        let kept = orphans(&self.pipeline, &files, &list.resource, namespace, &list.alive, &mut found).await?;
        let in_scope = kept + seen.len() + removed.len();
        if is_mass_deletion(removed.len(), in_scope) && !self.allow_mass_delete {
            self.reporter.report(Notice::Held { resource: &list.resource, files: removed.len(), of: in_scope });
            return Ok(Sweep::Held(seen));
        }
        // Outside of the limit: these objects are where the listed ones are now, or on their way out.
        removed.extend(seen);
        Ok(Sweep::Remove(removed))
    }

    pub(super) fn render_list(&self, listed: Listed) -> RenderedList {
        let Listed { resource, namespace, objects, cursor: _ } = listed;
        let (mut edits, mut dying, mut annotated) = (Vec::new(), HashSet::new(), Vec::new());
        for object in objects {
            let Some(reference) = ObjectRef::of(&resource, &object) else { continue };
            let reasons = Annotated::of(&object);
            if !reasons.is_empty() {
                annotated.push((reference.clone(), reasons));
            }
            match self.render_object(&reference, object) {
                Rendered::Write(edit @ Edit::Put { .. }) => edits.push(edit),
                // On its way out: the sweep finds its file without an object.
                Rendered::Write(Edit::Delete { path }) => drop(dying.insert(path)),
                Rendered::Leave(_) => {}
                // Of changes alone.
                Rendered::Skip(_) | Rendered::WriteIfBy(..) => {}
                Rendered::Refuse(error) => self.reporter.report(Notice::Refused(&error)),
            }
        }
        let alive = edits.iter().map(|edit| edit.path().clone()).collect();
        RenderedList { resource, namespace, edits, alive, dying, annotated }
    }
}
