//! Who wrote a version of an object.

use std::sync::Arc;

use reverser_core::{Actor, Attribution, Evidence, Fingerprint, Operation, RequestInfo};

use super::{Event, Facts, Kind, Written, attribution};
use crate::attribute::fact::api_version;

/// What a request and an event have in common.
#[derive(Clone, Copy, Debug)]
enum Common {
    /// D1: the object.
    Content(u128),
    /// D2: its managed fields, where the same object is shown otherwise to the watch.
    Managed { digest: u128, api_version: u32 },
    /// The replicas, of a scale.
    Replicas(u128),
}

impl Common {
    fn joins(self, written: &Written) -> bool {
        match self {
            Self::Content(digest) => written.kind != Kind::Scale && written.content == digest,
            // Where the content must be the same, another content is another write, though the managed fields agree: those
            // of two writes in one second by one program do.
            Self::Managed { digest, api_version } => {
                let may_differ = written.may_differ || written.api_version != api_version;
                written.kind != Kind::Scale && written.managed == digest && may_differ
            }
            Self::Replicas(digest) => written.kind == Kind::Scale && written.content == digest,
        }
    }
}

impl Facts {
    /// Returns who made an event that isn't a deletion.
    pub(super) fn who_wrote(&self, event: &Event<'_>) -> Attribution {
        let Some(fingerprint) = event.fingerprint else { return Attribution::Unknown };
        let found = match (event.operation, event.replaced) {
            (Operation::Create, _) => self.who_created(event, fingerprint),
            (_, Some(replaced)) => self.who_replaced(event, fingerprint, replaced),
            (_, None) => self.who_wrote_last(event, fingerprint),
        };
        let (actors, is_by_managed_fields) = found;
        let info = RequestInfo { is_by_managed_fields, ..RequestInfo::default() };
        attribution(actors, Evidence::Admission, info)
    }

    /// A uid is given to one request for ever. What is shown to be there after a gap may have been written since.
    fn who_created(&self, event: &Event<'_>, fingerprint: &Fingerprint) -> Found<'_> {
        if self.latest_before(event) > 0 {
            return (vec![], false);
        }
        let created = || self.writes.of(&event.uid).map(|node| &node.value).filter(|it| it.kind == Kind::Create);
        let by_content: Vec<_> = created().filter(|it| it.content == fingerprint.content).map(|it| &it.actor).collect();
        if !by_content.is_empty() {
            return (by_content, false);
        }
        let managed = fingerprint.managed.unwrap_or_default();
        (created().filter(|it| managed != 0 && it.managed == managed).map(|it| &it.actor).collect(), true)
    }

    /// Of all who wanted to replace that version by this content, one did. Who lost may come again, to find it done; but so may
    /// who won, and a PUT that lost doesn't. No review says whether it is of a PUT or of a patch.
    fn who_replaced(&self, event: &Event<'_>, fingerprint: &Fingerprint, replaced: u64) -> Found<'_> {
        let may = |it: &Written| it.replaced == replaced && it.kind != Kind::Create;
        let by_content = self.who_asked(event, &[Common::Content(fingerprint.content)], may);
        if !by_content.is_empty() {
            return (by_content, false);
        }
        let api_version = api_version(&event.object.resource.version);
        // A version that was there before this run may have been replaced by somebody whose request was missed, and managed
        // fields are too little to tell them from others who lost against them.
        let is_older = self.writes.of(&event.uid).any(|node| node.value.replaced == replaced && node.value.is_recalled);
        let managed = fingerprint.managed.filter(|_| !is_older);
        let managed = managed.map(|digest| Common::Managed { digest, api_version });
        // Within one second a scale may leave the same managed fields as another write.
        let common: Vec<_> = managed.into_iter().chain(fingerprint.replicas.map(Common::Replicas)).collect();
        let is_by_managed_fields = managed.is_some_and(|managed| self.asked(event, &[managed], may).next().is_some());
        (self.who_asked(event, &common, may), is_by_managed_fields)
    }

    /// It isn't known which version was replaced, but a request that replaced any other than the last one that is known
    /// made an earlier version than this.
    fn who_wrote_last(&self, event: &Event<'_>, fingerprint: &Fingerprint) -> Found<'_> {
        let latest = self.latest_before(event);
        let may = |it: &Written| it.replaced == latest && it.kind == Kind::Update && !it.has_joined.get();
        (self.who_asked(event, &[Common::Content(fingerprint.content)], may), false)
    }

    fn who_asked(
        &self,
        event: &Event<'_>,
        common: &[Common],
        may: impl Fn(&Written) -> bool + Copy,
    ) -> Vec<&Arc<Actor>> {
        let actors = self.asked(event, common, may).map(|it| &it.actor).collect();
        if event.replaced.is_some() {
            self.asked(event, common, may).for_each(|it| it.has_joined.set(true));
        }
        actors
    }

    /// Returns the requests that would have made the event.
    fn asked(
        &self,
        event: &Event<'_>,
        common: &[Common],
        may: impl Fn(&Written) -> bool,
    ) -> impl Iterator<Item = &Written> {
        self.same(event, common).filter(move |it| !it.is_noop && may(it))
    }

    fn same(&self, event: &Event<'_>, common: &[Common]) -> impl Iterator<Item = &Written> {
        let written = self.writes.of(&event.uid).map(|node| &node.value);
        written.filter(move |it| common.iter().any(|common| common.joins(it)))
    }

    /// Returns the latest version of the object that is known to have been there before the event, 0 for none.
    fn latest_before(&self, event: &Event<'_>) -> u64 {
        let written = self.writes.of(&event.uid).map(|node| node.value.replaced);
        let known = written.chain(self.deletions_of(event.uid).map(|deleted| deleted.replaced));
        known.filter(|&version| version < event.version).max().unwrap_or_default()
    }
}

/// Who it may have been, and whether only the managed fields say so.
type Found<'a> = (Vec<&'a Arc<Actor>>, bool);
