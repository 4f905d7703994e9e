//! `Source`: a stream of what happened. The flow's beginning, seen from the right.

use std::{fmt::Debug, sync::Arc};

use reverser_core::{Change, Resource};
use serde_json::Value;

use crate::{api_error::ApiError, list::Lister};

/// Something that knows of changes: a watch, an audit log.
///
/// # Contract
/// - Events come in the order in which the changes happened, per object.
/// - Before it reports changes it says once where it stands: [`Event::Listed`] or [`Event::Resumed`], or
///   [`Event::Failed`] when it can do neither; after a failure it tries again by itself, without end.
/// - `next` waits; dropping the future it returned loses no event.
///
/// Not promised: that an event changed anything that Git holds.
#[async_trait::async_trait]
pub trait Source: Debug + Send {
    /// Names its position among the cursors; stable over restarts, and different for each cluster, resource and scope.
    fn id(&self) -> &str;

    /// Returns what happened next, or `None` when nothing will any more.
    async fn next(&mut self) -> Option<Event>;

    /// Says that [`next`](Self::next) isn't called for a while: whoever has the other end of an open stream waits for its
    /// reader, and shouldn't have to. The next call goes on where the last one stopped. By default nothing is done.
    fn pause(&mut self) {}

    /// Says that what it tells up to `version`, further on than where it goes on, was read earlier by whoever reads it now. Should
    /// it have to make up for a gap in between, it also tells what became of the objects that there were then. Default: nothing
    /// is done.
    fn was_read(&mut self, _version: u64) {}

    /// Returns what lists all that it tells of, at the versions that are its positions, so that Git can be verified. Default:
    /// nothing does.
    fn lister(&self) -> Option<Arc<dyn Lister>> {
        None
    }
}

/// What a source reports.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all events are changes")]
pub enum Event {
    /// An object was changed. `cursor`: how far the source has been read once this is durable.
    Change {
        /// What happened.
        change: Change,
        /// `None` when more of the same position follows.
        cursor: Option<String>,
    },
    /// Nothing happened up to here.
    Cursor(String),
    /// It can't go on for the moment, and tries again by itself.
    Failed(ApiError),
    /// It had a gap behind it, and this is what became of it.
    Gap(Gap),
    /// These are all the objects there are: whatever else Git has in this scope is gone.
    Listed(Listed),
    /// It goes on where it stood, at the start or after a failure; nothing has been missed.
    Resumed,
}

impl Event {
    /// Returns up to where everything has been read with this event.
    pub(crate) fn cursor(&self) -> Option<&str> {
        match self {
            Self::Change { cursor, .. } => cursor.as_deref(),
            Self::Cursor(cursor) => Some(cursor),
            Self::Listed(listed) => Some(&listed.cursor),
            Self::Failed(_) | Self::Gap(_) | Self::Resumed => None,
        }
    }

    /// Returns whether what was told before counts no more: it shows all there is, or versions begin anew.
    pub(crate) fn begins_anew(&self) -> bool {
        match self {
            Self::Listed(_) => true,
            Self::Failed(error) => error.is_restored(),
            Self::Change { .. } | Self::Cursor(_) | Self::Gap(_) | Self::Resumed => false,
        }
    }
}

/// What became of a time that a source hasn't seen. `from` and `until` are resourceVersions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// Not all of it can be known any more: a complete list follows, and is one commit.
    Lost {
        /// The last version before it.
        from: String,
        /// Up to where it isn't known; what came then is recovered. `None`: until now.
        until: Option<String>,
        /// Why.
        why: &'static str,
    },
    /// Each version of each object that lived at its beginning or at its end was reported as a change.
    Recovered {
        /// How many there were.
        changes: usize,
        /// The last version before it.
        from: String,
        /// The last version in it.
        until: String,
    },
}

/// A complete list of one resource's objects.
pub struct Listed {
    /// What was listed.
    pub resource: Arc<Resource>,
    /// The namespace it was listed in; `None`: everywhere.
    pub namespace: Option<String>,
    /// The objects as the API server returned them.
    pub objects: Vec<Value>,
    /// Where changes go on.
    pub cursor: String,
}

/// Never shows the objects: an event may end up in a log.
impl std::fmt::Debug for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listed")
            .field("resource", &self.resource)
            .field("namespace", &self.namespace)
            .field("objects", &self.objects.len())
            .field("cursor", &self.cursor)
            .finish()
    }
}

/// Says what it was given and then nothing more: a source for tests.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct Scripted {
    id: String,
    events: std::collections::VecDeque<Event>,
    then_waits: bool,
    lister: Option<Arc<dyn Lister>>,
}

#[cfg(any(test, feature = "testing"))]
impl Scripted {
    /// Returns a source that ends after `events`.
    pub fn new(id: impl Into<String>, events: impl IntoIterator<Item = Event>) -> Self {
        Self { id: id.into(), events: events.into_iter().collect(), then_waits: false, lister: None }
    }

    /// Stays open after its last event, as a watch does.
    #[must_use]
    pub fn then_waits(mut self) -> Self {
        self.then_waits = true;
        self
    }

    /// Can be verified by this.
    #[must_use]
    pub fn listed_by(mut self, lister: Arc<dyn Lister>) -> Self {
        self.lister = Some(lister);
        self
    }
}

#[cfg(any(test, feature = "testing"))]
#[async_trait::async_trait]
impl Source for Scripted {
    fn id(&self) -> &str {
        &self.id
    }

    async fn next(&mut self) -> Option<Event> {
        match self.events.pop_front() {
            None if self.then_waits => std::future::pending().await,
            event => event,
        }
    }

    fn lister(&self) -> Option<Arc<dyn Lister>> {
        self.lister.clone()
    }
}

#[cfg(test)]
mod tests {
    use reverser_core::{ObjectRef, Operation};
    use serde_json::json;

    use super::*;
    use crate::{fixture::configmaps, testing::conforms};

    fn change(operation: Operation, name: &str) -> Event {
        let body = json!({"metadata": {"name": name, "resourceVersion": "1"}});
        let change = Change::new(ObjectRef::of(&configmaps(), &body).unwrap(), operation, Some(body));
        Event::Change { cursor: change.resource_version.clone(), change }
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_conforms() {
        let changes = [(Operation::Create, "a"), (Operation::Create, "b"), (Operation::Update, "a")];
        let events = || [Event::Resumed].into_iter().chain(changes.map(|(operation, name)| change(operation, name)));
        conforms(&mut Scripted::new("s", events()), &changes, async {}).await;
        conforms(&mut Scripted::new("s", events()).then_waits(), &changes, async {}).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "it says first where it stands")]
    async fn a_source_that_says_not_where_it_stands_does_not_conform() {
        let mut source = Scripted::new("s", [change(Operation::Create, "a")]);
        conforms(&mut source, &[(Operation::Create, "a")], async {}).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the next change of")]
    async fn a_source_that_tells_twice_does_not_conform() {
        let events = [Event::Resumed, change(Operation::Create, "a"), change(Operation::Create, "a")];
        conforms(&mut Scripted::new("s", events), &[(Operation::Create, "a")], async {}).await;
    }
}
