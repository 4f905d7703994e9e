//! Git objects: ids, what is in the repository, and what a batch adds to it. The only file that names gix.

use std::{fmt, path::Path, sync::Arc};

use crate::{
    deflate::CompressionLevel,
    delta::Kept,
    pack::{Pack, PackError, Packing},
    sink::{CommitId, SinkError},
};

/// The objects of one repository, with those of the batch that is being built on top.
pub(crate) struct Objects {
    repository: gix::Repository,
    format: ObjectFormat,
    /// What the batch has added.
    added: Packing,
    /// For errors.
    sink: String,
}

impl Objects {
    /// Opens the bare repository without a look at any configuration but its own; what is added will be compressed so.
    pub(crate) fn open(git_dir: &Path, compression: CompressionLevel) -> Result<Self, SinkError> {
        let sink = git_dir.display().to_string();
        let repository = gix::open::Options::isolated()
            .object_store_slots(gix::odb::store::init::Slots::Given(MOST_PACKS))
            .open_path_as_is(true)
            // The lock says that it is ours.
            .with(gix::sec::Trust::Full)
            .open(git_dir)
            .map_err(|error| SinkError::store("open", &sink, error))?
            .to_thread_local();
        let format = match repository.object_hash() {
            gix::hash::Kind::Sha256 => ObjectFormat::Sha256,
            _ => ObjectFormat::Sha1,
        };
        Ok(Self { repository, format, added: Packing::new(format, compression), sink })
    }

    pub(crate) fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Returns the id of the tree without entries, which every git knows.
    pub(crate) fn empty_tree(&self) -> Id {
        self.format.empty_tree()
    }

    /// Adds an object to the batch; returns its id.
    pub(crate) fn add(&mut self, kind: Kind, data: Vec<u8>) -> Result<Id, SinkError> {
        let id = self.hash(kind, &data)?;
        self.add_hashed(id, kind, data)?;
        Ok(id)
    }

    /// Adds an object whose id is known to the batch.
    pub(crate) fn add_hashed(&mut self, id: Id, kind: Kind, data: Vec<u8>) -> Result<(), SinkError> {
        let added = self.added.add(id, kind, data);
        added.map_err(|error| self.unpacked(error))
    }

    /// Adds the tree that takes the place of `before`: as what is different, where that one is of this batch, too.
    pub(crate) fn add_tree(&mut self, data: &[u8], before: Option<Id>, kept: Kept) -> Result<Id, SinkError> {
        let id = self.hash(Kind::Tree, data)?;
        if before != Some(id) {
            let added = self.added.add_version(id, Kind::Tree, data, before, kept);
            added.map_err(|error| self.unpacked(error))?;
        }
        Ok(id)
    }

    /// Returns the pack of what the batch has added, which begins anew.
    pub(crate) fn take_pack(&mut self) -> Result<Pack, SinkError> {
        self.added.take().finish().map_err(|error| self.unpacked(error))
    }

    /// Forgets what the batch has added.
    pub(crate) fn discard_added(&mut self) {
        self.added.take();
    }

    fn unpacked(&self, source: PackError) -> SinkError {
        SinkError::Store { action: "write a pack into", sink: self.sink.clone(), source }
    }

    /// Returns an object's content, from the batch or from the repository.
    pub(crate) fn read(&self, id: Id, kind: Kind) -> Result<Vec<u8>, SinkError> {
        let mismatch = || SinkError::store("read from", &self.sink, format!("{id} is not a {kind:?}"));
        if let Some((found, data)) = self.added.read(&id) {
            return if found == kind { data.ok_or_else(|| self.malformed(id)) } else { Err(mismatch()) };
        }
        if id == self.empty_tree() {
            return Ok(Vec::new());
        }
        let object =
            self.repository.find_object(id.0).map_err(|error| SinkError::store("read from", &self.sink, error))?;
        if object.kind != kind.into() {
            return Err(mismatch());
        }
        Ok(object.detach().data)
    }

    /// Returns whether an object is here.
    pub(crate) fn has(&self, id: Id) -> bool {
        id == self.empty_tree() || self.added.read(&id).is_some() || self.repository.has_object(id.0)
    }

    /// Returns the id that an object of this content has.
    pub(crate) fn hash(&self, kind: Kind, data: &[u8]) -> Result<Id, SinkError> {
        let hashed = self.format.hash_object(kind, data);
        hashed.map_err(|source| SinkError::Store { action: "hash an object for", sink: self.sink.clone(), source })
    }

    /// Returns the error for an object that isn't what its type says.
    pub(crate) fn malformed(&self, id: Id) -> SinkError {
        SinkError::store("read from", &self.sink, format!("{id} is malformed"))
    }

    /// Returns what a ref names, or `None` when there is no such ref.
    pub(crate) fn reference(&self, name: &str) -> Result<Option<Id>, SinkError> {
        let failed = |error: gix::Error| SinkError::store("read a ref of", &self.sink, error);
        let Some(reference) = self.repository.try_find_reference(name).map_err(failed)? else { return Ok(None) };
        Ok(reference.try_id().map(|id| Id(id.detach())))
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("sink", &self.sink).field("added", &self.added.len()).finish_non_exhaustive()
    }
}

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

/// By what a repository names its objects: `extensions.objectFormat` in git-config(1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectFormat {
    /// Ids of 40 digits, with collision detection.
    #[default]
    Sha1,
    /// Ids of 64 digits.
    Sha256,
}

impl ObjectFormat {
    /// Returns git's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// Returns how many bytes an id has.
    pub(crate) fn id_bytes(self) -> usize {
        gix::hash::Kind::from(self).len_in_bytes()
    }

    /// Returns the id of the tree without entries.
    pub(crate) fn empty_tree(self) -> Id {
        Id(gix::ObjectId::empty_tree(self.into()))
    }

    /// Returns the id of an object of this content; an error when it is made for a collision.
    pub(crate) fn hash_object(self, kind: Kind, data: &[u8]) -> Result<Id, HashError> {
        let name = match kind {
            Kind::Blob => "blob",
            Kind::Commit => "commit",
            Kind::Tree => "tree",
        };
        self.hash(&[format!("{name} {}\0", data.len()).as_bytes(), data])
    }

    /// Returns the hash of all parts: what everything that is written has gone through.
    pub(crate) fn hash(self, parts: &[&[u8]]) -> Result<Id, HashError> {
        let mut hasher = gix::hash::hasher(self.into());
        parts.iter().for_each(|part| hasher.update(part));
        let id = hasher.try_finalize().map_err(Box::<dyn std::error::Error + Send + Sync>::from)?;
        Ok(Id(id))
    }
}

pub(crate) type HashError = Arc<dyn std::error::Error + Send + Sync>;

impl fmt::Display for ObjectFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ObjectFormat> for gix::hash::Kind {
    fn from(format: ObjectFormat) -> Self {
        match format {
            ObjectFormat::Sha1 => Self::Sha1,
            ObjectFormat::Sha256 => Self::Sha256,
        }
    }
}

/// An object's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(gix::ObjectId);

impl Id {
    /// Reads 40 or 64 hexadecimal digits.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        gix::ObjectId::from_hex(text.as_bytes()).ok().map(Self)
    }

    /// Reads as many bytes as an id of one of the formats has.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        gix::ObjectId::try_from(bytes).ok().map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<&CommitId> for Id {
    type Error = SinkError;

    fn try_from(id: &CommitId) -> Result<Self, SinkError> {
        let no_id = || SinkError::store("use", id.as_str(), "it isn't an object's id");
        Self::from_hex(id.as_str()).ok_or_else(no_id)
    }
}

impl From<Id> for CommitId {
    fn from(id: Id) -> Self {
        Self::new(id)
    }
}

/// How many packs gix can see at once; far more than consolidation lets stand.
const MOST_PACKS: u16 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_git() {
        let empty = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        assert_eq!(ObjectFormat::Sha1.empty_tree().to_string(), empty);
        assert_eq!(ObjectFormat::Sha1.hash_object(Kind::Tree, b"").unwrap().to_string(), empty);
        assert_eq!(Id::from_hex(empty), Some(ObjectFormat::Sha1.empty_tree()));
        assert_eq!(Id::from_hex("4b825dc6"), None);
        let empty = "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321";
        assert_eq!(ObjectFormat::Sha256.empty_tree().to_string(), empty);
        assert_eq!(ObjectFormat::Sha256.hash_object(Kind::Tree, b"").unwrap().to_string(), empty);
        assert_eq!(Id::from_hex(empty), Some(ObjectFormat::Sha256.empty_tree()));
        assert_eq!(ObjectFormat::Sha1.hash(&[]).unwrap().to_string(), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }

    /// Both texts of SHAttered have one SHA-1, and everything that goes through [`ObjectFormat::hash`] would be fooled.
    #[test]
    fn a_text_that_is_made_for_a_collision_has_no_id() {
        let hex = include_str!("objects/shattered.hex");
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap();
        let texts: Vec<u8> =
            digits.chunks(2).map(|pair| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).unwrap()).collect();
        let (one, other) = texts.split_at(texts.len() / 2);
        assert!(one.len() == 320 && one != other);
        for text in [one, other] {
            let error = ObjectFormat::Sha1.hash(&[text]).unwrap_err().to_string();
            assert!(error.contains("collision"), "{error}");
            // Nor in parts, which is how objects are hashed; cut short, it is a text like any other.
            ObjectFormat::Sha1.hash(&[&text[..100], &text[100..]]).unwrap_err();
            ObjectFormat::Sha1.hash(&[&text[..256]]).unwrap();
        }
        assert_ne!(ObjectFormat::Sha256.hash(&[one]).unwrap(), ObjectFormat::Sha256.hash(&[other]).unwrap());
    }
}
