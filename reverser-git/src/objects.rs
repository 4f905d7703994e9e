//! Git objects: ids, what is in the repository, and what a batch adds to it. The only file that names gix.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use crate::{
    delta::Delta,
    sink::{CommitId, SinkError},
};

/// The objects of one repository, with those of the batch that is being built on top.
pub(crate) struct Objects {
    repository: gix::Repository,
    pending: HashMap<Id, usize>,
    /// In the order in which they were added, as the pack will have them.
    added: Vec<Object>,
    /// For errors.
    sink: String,
}

impl Objects {
    /// Opens the bare repository without a look at any configuration but its own.
    pub(crate) fn open(git_dir: &Path) -> Result<Self, SinkError> {
        let sink = git_dir.display().to_string();
        let repository = gix::open::Options::isolated()
            .object_store_slots(gix::odb::store::init::Slots::Given(MOST_PACKS))
            .open_path_as_is(true)
            // The lock says that it is ours.
            .with(gix::sec::Trust::Full)
            .open(git_dir)
            .map_err(|error| SinkError::store("open", &sink, error))?
            .to_thread_local();
        if repository.object_hash() != gix::hash::Kind::Sha1 {
            return Err(SinkError::store("open", &sink, "it isn't a SHA-1 repository"));
        }
        Ok(Self { repository, pending: HashMap::new(), added: Vec::new(), sink })
    }

    /// Adds an object to the batch; returns its id.
    pub(crate) fn add(&mut self, kind: Kind, data: Vec<u8>) -> Result<Id, SinkError> {
        let id = self.hash(kind, &data)?;
        self.push(id, kind, Body::Whole(data));
        Ok(id)
    }

    /// Adds the tree that takes the place of `before`: as what is different, where that one is of this batch, too.
    pub(crate) fn add_tree(&mut self, data: &[u8], before: Option<Id>) -> Result<Id, SinkError> {
        let id = self.hash(Kind::Tree, data)?;
        if before == Some(id) || self.pending.contains_key(&id) {
            return Ok(id);
        }
        let data = data.to_vec();
        let base = before.and_then(|before| self.pending.get(&before)).and_then(|at| self.added.get_mut(*at));
        let body = match base {
            Some(base) => base.body.next(base.id, data),
            None => Body::Whole(data),
        };
        self.push(id, Kind::Tree, body);
        Ok(id)
    }

    fn push(&mut self, id: Id, kind: Kind, body: Body) {
        let (pending, added) = (&mut self.pending, &mut self.added);
        pending.entry(id).or_insert_with(|| {
            added.push(Object { id, kind, body });
            added.len() - 1
        });
    }

    /// Takes what the batch has added.
    pub(crate) fn take_added(&mut self) -> Vec<Object> {
        self.pending.clear();
        std::mem::take(&mut self.added)
    }

    /// Returns an object's content, from the batch or from the repository.
    pub(crate) fn read(&self, id: Id, kind: Kind) -> Result<Vec<u8>, SinkError> {
        let mismatch = || SinkError::store("read from", &self.sink, format!("{id} is not a {kind:?}"));
        if let Some(object) = self.pending.get(&id).and_then(|index| self.added.get(*index)) {
            if object.kind != kind {
                return Err(mismatch());
            }
            return match &object.body {
                Body::Whole(data) | Body::Delta { whole: Some(data), .. } => Ok(data.clone()),
                Body::Delta { base, delta, .. } => Ok(delta.apply(&self.read(*base, kind)?)),
            };
        }
        if id == Id::EMPTY_TREE {
            return Ok(Vec::new());
        }
        let id = gix::ObjectId::from_bytes_or_panic(&id.0);
        let object =
            self.repository.find_object(id).map_err(|error| SinkError::store("read from", &self.sink, error))?;
        if object.kind != kind.into() {
            return Err(mismatch());
        }
        Ok(object.detach().data)
    }

    /// Returns the id that an object of this content has.
    pub(crate) fn hash(&self, kind: Kind, data: &[u8]) -> Result<Id, SinkError> {
        hash_object(kind, data).map_err(|error| SinkError::store("hash an object for", &self.sink, error))
    }

    /// Returns the error for an object that isn't what its type says.
    pub(crate) fn malformed(&self, id: Id) -> SinkError {
        SinkError::store("read from", &self.sink, format!("{id} is malformed"))
    }

    /// Returns what a ref names, or `None` when there is no such ref.
    pub(crate) fn reference(&self, name: &str) -> Result<Option<Id>, SinkError> {
        let failed = |error: gix::Error| SinkError::store("read a ref of", &self.sink, error);
        let Some(reference) = self.repository.try_find_reference(name).map_err(failed)? else { return Ok(None) };
        Ok(reference.try_id().map(|id| Id::from_gix(&id)))
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("sink", &self.sink).field("added", &self.added.len()).finish_non_exhaustive()
    }
}

/// One object of a batch.
pub(crate) struct Object {
    pub(crate) id: Id,
    pub(crate) kind: Kind,
    pub(crate) body: Body,
}

/// An object's content.
#[derive(Debug)]
pub(crate) enum Body {
    /// As what makes it from another object of the batch.
    Delta {
        base: Id,
        delta: Delta,
        /// How many objects have to be read for it besides.
        depth: usize,
        /// Until another delta has been made from it.
        whole: Option<Vec<u8>>,
    },
    Whole(Vec<u8>),
}

impl Body {
    /// Returns what a pack has of it, before it is compressed.
    pub(crate) fn packed(&self) -> &[u8] {
        match self {
            Self::Delta { delta, .. } => delta.as_bytes(),
            Self::Whole(data) => data,
        }
    }

    /// Returns the body of the version that follows this one, whose id is `base`.
    fn next(&mut self, base: Id, data: Vec<u8>) -> Self {
        let (depth, before) = match self {
            Self::Delta { depth, whole, .. } => (*depth, whole.as_ref()),
            Self::Whole(whole) => (0, Some(&*whole)),
        };
        let delta = before.filter(|_| depth < DEEPEST).map(|before| Delta::new(before, &data));
        // Nothing more is made from this one; it can still be made from its own base.
        if let Self::Delta { whole, .. } = self {
            *whole = None;
        }
        match delta {
            Some(delta) if delta.len() < data.len() / 2 => {
                Self::Delta { base, delta, depth: depth + 1, whole: Some(data) }
            }
            _ => Self::Whole(data),
        }
    }
}

/// How many deltas may stand on one another: what `git fast-import` allows, so that reading the last one stays cheap.
const DEEPEST: usize = 50;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob,
    Commit,
    Tree,
}

impl From<Kind> for gix::objs::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Blob => Self::Blob,
            Kind::Commit => Self::Commit,
            Kind::Tree => Self::Tree,
        }
    }
}

/// An object's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) [u8; Self::BYTES]);

impl Id {
    /// Of SHA-1.
    pub(crate) const BYTES: usize = 20;

    /// The tree without entries, which every git knows.
    pub(crate) const EMPTY_TREE: Self = Self([
        0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5, 0x4b, 0xf8, 0xd6, 0x92, 0x88, 0xfb, 0xee,
        0x49, 0x04,
    ]);

    /// Reads 40 hexadecimal digits.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        gix::ObjectId::from_hex(text.as_bytes()).ok().and_then(|id| Self::from_bytes(id.as_slice()))
    }

    /// Reads as many bytes as an id has.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn from_gix(id: &gix::oid) -> Self {
        // A repository of another hash isn't opened.
        Self::from_bytes(id.as_bytes()).expect("SHA-1 ids have 20 bytes")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Fails for an id of SHA-256.
impl TryFrom<&CommitId> for Id {
    type Error = SinkError;

    fn try_from(id: &CommitId) -> Result<Self, SinkError> {
        let not_sha1 = || SinkError::store("use", id.as_str(), "it isn't a SHA-1 id");
        Self::from_hex(id.as_str()).ok_or_else(not_sha1)
    }
}

impl From<Id> for CommitId {
    fn from(id: Id) -> Self {
        Self::new(id)
    }
}

/// Returns the id of an object of this content.
pub(crate) fn hash_object(kind: Kind, data: &[u8]) -> Result<Id, gix::Error> {
    gix::objs::compute_hash(gix::hash::Kind::Sha1, kind.into(), data).map(|id| Id::from_gix(&id))
}

/// Returns the SHA-1 of `data`, for the trailers of packs and their indices.
pub(crate) fn sha1(data: &[u8]) -> Result<Id, Arc<dyn std::error::Error + Send + Sync>> {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(data);
    let id =
        hasher.try_finalize().map_err(|error| Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(error)))?;
    Ok(Id::from_gix(&id))
}

/// How many packs gix can see at once; far more than consolidation lets stand.
const MOST_PACKS: u16 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_git() {
        assert_eq!(Id::EMPTY_TREE.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert_eq!(Id::from_hex("4b825dc642cb6eb9a060e54bf8d69288fbee4904"), Some(Id::EMPTY_TREE));
        assert_eq!(Id::from_hex("4b825dc6"), None);
        assert_eq!(sha1(b"").unwrap().to_string(), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }
}
