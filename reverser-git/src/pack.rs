//! One pack and its index, as gitformat-pack(5) has them.

use std::{collections::HashMap, io::Read, mem, sync::Arc};

use flate2::read::ZlibDecoder;

use crate::{
    deflate::{CompressionLevel, Content, deflate_all},
    delta::{self, Kept},
    objects::{Id, Kind, ObjectFormat},
};

/// A pack and its index, ready to be written.
pub(crate) struct Pack {
    /// `pack-<name>.pack`.
    pub(crate) name: Id,
    pub(crate) pack: Vec<u8>,
    pub(crate) index: Vec<u8>,
}

/// A pack that is being made. Objects are compressed while others come, a few megabytes at a time, so that a large batch is in
/// memory once, and small.
pub(crate) struct Packing {
    format: ObjectFormat,
    level: CompressionLevel,
    /// As far as it is made; the number of objects is still missing.
    pack: Vec<u8>,
    /// In the order in which they were added, as the pack has them.
    entries: Vec<Entry>,
    /// Which of the entries an object is.
    places: HashMap<Id, usize>,
    /// What the last ones of the entries have, before it is compressed.
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
}

struct Entry {
    id: Id,
    kind: Kind,
    /// Which entry it has to be made from, before this one.
    base: Option<usize>,
    /// How many objects have to be read for it besides.
    depth: usize,
    /// How long its content, or the delta, is.
    size: usize,
    /// Where it begins in the pack, and where what is compressed does; zero while it waits.
    offset: usize,
    stream: usize,
    crc32: u32,
}

impl Packing {
    pub(crate) fn new(format: ObjectFormat, level: CompressionLevel) -> Self {
        Self {
            format,
            level,
            pack: Vec::new(),
            entries: Vec::new(),
            places: HashMap::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
        }
    }

    /// Returns it, and begins anew.
    pub(crate) fn take(&mut self) -> Self {
        mem::replace(self, Self::new(self.format, self.level))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an object, unless it is there already.
    pub(crate) fn add(&mut self, id: Id, kind: Kind, data: Vec<u8>) -> Result<(), PackError> {
        if self.places.contains_key(&id) { Ok(()) } else { self.push(id, kind, data, None) }
    }

    /// Adds the version that follows `before`, unless it is there already: as what is different, where that one is there and
    /// much is kept of it.
    pub(crate) fn add_version(
        &mut self,
        id: Id,
        kind: Kind,
        data: &[u8],
        before: Option<Id>,
        kept: Kept,
    ) -> Result<(), PackError> {
        if self.places.contains_key(&id) {
            return Ok(());
        }
        let base = before.and_then(|before| self.places.get(&before).copied());
        let base = base.filter(|base| self.entries[*base].depth < DEEPEST && kept.head + kept.tail > data.len() / 2);
        match base {
            Some(base) => self.push(id, kind, delta::delta(data, kept), Some(base)),
            None => self.push(id, kind, data.to_vec(), None),
        }
    }

    fn push(&mut self, id: Id, kind: Kind, data: Vec<u8>, base: Option<usize>) -> Result<(), PackError> {
        let depth = base.map_or(0, |base| self.entries[base].depth + 1);
        self.places.insert(id, self.entries.len());
        self.entries.push(Entry { id, kind, base, depth, size: data.len(), offset: 0, stream: 0, crc32: 0 });
        self.waiting_bytes += data.len() + size_of::<Vec<u8>>();
        self.waiting.push(data);
        if self.waiting_bytes < MOST_WAITING { Ok(()) } else { self.compress() }
    }

    /// Returns an object's kind and content, if it is there. Without content it can't be read again.
    pub(crate) fn read(&self, id: &Id) -> Option<(Kind, Option<Vec<u8>>)> {
        let place = *self.places.get(id)?;
        Some((self.entries[place].kind, self.content(place)))
    }

    fn content(&self, place: usize) -> Option<Vec<u8>> {
        let entry = self.entries.get(place)?;
        let packed = match place.checked_sub(self.entries.len() - self.waiting.len()) {
            Some(waiting) => self.waiting.get(waiting)?.clone(),
            None => {
                let mut packed = vec![0; entry.size];
                ZlibDecoder::new(self.pack.get(entry.stream..)?).read_exact(&mut packed).ok()?;
                packed
            }
        };
        match entry.base {
            Some(base) => delta::apply(&packed, &self.content(base)?),
            None => Some(packed),
        }
    }

    /// Moves all that waits into the pack.
    fn compress(&mut self) -> Result<(), PackError> {
        if self.pack.is_empty() {
            self.pack.extend_from_slice(b"PACK\0\0\0\x02\0\0\0\0");
        }
        let waiting = mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let mut place = self.entries.len() - waiting.len();
        let levels = self.entries[place..].iter().map(|entry| self.level_of(entry));
        let contents: Vec<_> = waiting.iter().zip(levels).map(|(bytes, level)| Content { bytes, level }).collect();
        let (pack, entries) = (&mut self.pack, &mut self.entries);
        deflate_all(&contents, |stream| {
            let offset = pack.len();
            let (base, kind, size) = (entries[place].base, entries[place].kind, entries[place].size);
            match base {
                Some(base) => {
                    write_entry_header(pack, OFS_DELTA, size);
                    write_distance(pack, offset - entries[base].offset);
                }
                None => write_entry_header(pack, entry_type(kind), size),
            }
            let entry = &mut entries[place];
            (entry.offset, entry.stream) = (offset, pack.len());
            pack.extend_from_slice(stream);
            entry.crc32 = crc32fast::hash(&pack[offset..]);
            place += 1;
        })
    }

    /// A whole folder is mostly ids, which no level makes smaller: beyond the first, twice the time wins a twentieth. A commit
    /// of its own has one, and nothing takes longer.
    fn level_of(&self, entry: &Entry) -> CompressionLevel {
        if entry.kind == Kind::Tree && entry.base.is_none() {
            self.level.min(CompressionLevel::FAST)
        } else {
            self.level
        }
    }

    /// Returns the whole pack.
    pub(crate) fn finish(mut self) -> Result<Pack, PackError> {
        self.compress()?;
        let Self { format, mut pack, mut entries, .. } = self;
        let count = u32::try_from(entries.len()).map_err(|error| PackError::from(Box::from(error)))?;
        pack[COUNT..COUNT + 4].copy_from_slice(&count.to_be_bytes());
        let name = format.hash(&[&pack])?;
        pack.extend_from_slice(name.as_bytes());
        entries.sort_unstable_by_key(|entry| entry.id);
        Ok(Pack { name, pack, index: index(&entries, name, format)? })
    }
}

pub(crate) type PackError = Arc<dyn std::error::Error + Send + Sync>;

/// How many deltas may stand on one another: what `git fast-import` allows, so that reading the last one stays cheap.
const DEEPEST: usize = 50;

/// So many bytes are compressed at once: enough for all cores, and little beside the trees.
const MOST_WAITING: usize = 2 << 20;

/// Where a pack says how many objects it has.
const COUNT: usize = 8;

fn entry_type(kind: Kind) -> u8 {
    match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 3,
    }
}

/// The type of an entry that is made from one before it in the pack.
const OFS_DELTA: u8 = 6;

/// Type in three bits, size in four and then in sevens, the least significant first.
fn write_entry_header(pack: &mut Vec<u8>, kind: u8, size: usize) {
    let low_bits = |size: usize, mask: u8| size.to_le_bytes()[0] & mask;
    let mut byte = kind << 4 | low_bits(size, 0x0f);
    let mut rest = size >> 4;
    while rest > 0 {
        pack.push(byte | 0x80);
        byte = low_bits(rest, 0x7f);
        rest >>= 7;
    }
    pack.push(byte);
}

/// How far back a delta's base begins: in sevens, the most significant first, and each but the last stands for one more.
fn write_distance(pack: &mut Vec<u8>, distance: usize) {
    let low_bits = |distance: usize| distance.to_le_bytes()[0] & 0x7f;
    let mut bytes = vec![low_bits(distance)];
    let mut rest = distance >> 7;
    while rest > 0 {
        rest -= 1;
        bytes.push(0x80 | low_bits(rest));
        rest >>= 7;
    }
    pack.extend(bytes.iter().rev());
}

/// Version 2: how many ids begin with up to each byte, ids, CRC-32s, offsets (those of 2 GiB and more in a table of their
/// own), the pack's checksum, the index's own.
fn index(entries: &[Entry], pack: Id, format: ObjectFormat) -> Result<Vec<u8>, PackError> {
    let mut index = Vec::with_capacity(1072 + entries.len() * (format.id_bytes() + 8));
    index.extend_from_slice(b"\xfftOc\0\0\0\x02");
    let mut below = 0_u32;
    let mut rest = entries.iter().peekable();
    for first_byte in 0..=u8::MAX {
        while rest.next_if(|entry| entry.id.as_bytes().first() == Some(&first_byte)).is_some() {
            below += 1;
        }
        index.extend_from_slice(&below.to_be_bytes());
    }
    for entry in entries {
        index.extend_from_slice(entry.id.as_bytes());
    }
    for entry in entries {
        index.extend_from_slice(&entry.crc32.to_be_bytes());
    }
    let mut far = Vec::new();
    for entry in entries {
        let offset = match u32::try_from(entry.offset) {
            Ok(offset) if offset < FAR => offset,
            _ => {
                far.extend_from_slice(&(entry.offset as u64).to_be_bytes());
                FAR | u32::try_from(far.len() / 8 - 1).map_err(|error| PackError::from(Box::from(error)))?
            }
        };
        index.extend_from_slice(&offset.to_be_bytes());
    }
    index.extend_from_slice(&far);
    index.extend_from_slice(pack.as_bytes());
    let checksum = format.hash(&[&index])?;
    index.extend_from_slice(checksum.as_bytes());
    Ok(index)
}

/// The bit that says that an offset is an index into the table of far ones.
const FAR: u32 = 0x8000_0000;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn add(packing: &mut Packing, kind: Kind, data: Vec<u8>) -> Id {
        let id = packing.format.hash_object(kind, &data).unwrap();
        packing.add(id, kind, data).unwrap();
        id
    }

    /// `git index-pack --strict` reads the pack, and its index is the same as ours.
    #[test]
    fn git_reads_the_pack_and_makes_the_same_index() {
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            git_reads_a_pack_of(format);
        }
    }

    fn git_reads_a_pack_of(format: ObjectFormat) {
        let mut noise = 1_u32;
        let incompressible = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        });
        let mut packing = Packing::new(format, CompressionLevel::default());
        add(&mut packing, Kind::Blob, vec![]);
        // More than waits at once, and twice the same.
        let noise: Vec<u8> = incompressible.take(MOST_WAITING).collect();
        let first = add(&mut packing, Kind::Blob, noise.clone());
        add(&mut packing, Kind::Tree, vec![]);
        for n in 1..500 {
            add(&mut packing, Kind::Blob, format!("{n}\n").repeat(n).into_bytes());
        }
        add(&mut packing, Kind::Blob, noise.clone());
        assert_eq!(packing.len(), 502);
        assert!(packing.read(&first).unwrap().1.unwrap() == noise);
        let pack = packing.finish().unwrap();

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.pack");
        std::fs::write(&file, &pack.pack).unwrap();
        let output = Command::new("git")
            .arg("index-pack")
            .arg("--strict")
            .arg(format!("--object-format={format}"))
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), pack.name.to_string());
        assert!(std::fs::read(folder.path().join("x.idx")).unwrap() == pack.index);
    }

    /// Each tree is made from the one before it, and the packs that git makes of them hold the same.
    #[test]
    fn git_reads_trees_that_are_made_from_one_another() {
        let repository = tempfile::tempdir().unwrap();
        crate::store::create(repository.path(), &crate::BranchName::default()).unwrap();
        let mut packing = Packing::new(ObjectFormat::Sha1, CompressionLevel::default());
        let row = |name: usize, id: u8| [format!("100644 {name:05}.yaml\0").as_bytes(), &[id.max(1); 20]].concat();
        let width = row(0, 1).len();
        let mut before = None;
        let mut ids = vec![];
        for n in 0..200_usize {
            let (id, place) = (n.to_le_bytes()[0], n * 3 % 600);
            let tree: Vec<u8> = (0..600).flat_map(|name| row(name, if name == place { id } else { 1 })).collect();
            // The row of the version before is as it was again.
            let last = n.saturating_sub(1) * 3 % 600;
            let (head, tail) = (place.min(last) * width, (599 - place.max(last)) * width);
            let kept = Kept { head, tail, before: tree.len() };
            let id = ObjectFormat::Sha1.hash_object(Kind::Tree, &tree).unwrap();
            packing.add_version(id, Kind::Tree, &tree, before, kept).unwrap();
            if n % 70 == 69 {
                packing.compress().unwrap();
            }
            before = Some(id);
            ids.push((id, tree));
        }
        for (id, tree) in &ids {
            assert!(packing.read(id).unwrap().1.unwrap() == *tree, "{id}");
        }
        let whole = packing.entries.iter().filter(|entry| entry.base.is_none()).count();
        assert!((4..=6).contains(&whole), "{whole} of {} are whole", packing.len());
        let pack = packing.finish().unwrap();
        let file = repository.path().join("objects/pack/pack-x.pack");
        std::fs::write(&file, &pack.pack).unwrap();
        let git = |arguments: &[&str]| {
            let output = Command::new("git").arg("--git-dir").arg(repository.path()).args(arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout
        };
        git(&["index-pack", file.to_str().unwrap()]);
        assert!(std::fs::read(file.with_extension("idx")).unwrap() == pack.index);
        for (id, tree) in ids.iter().step_by(7) {
            assert!(git(&["cat-file", "tree", &id.to_string()]) == *tree, "{id}");
        }
        let objects = crate::objects::Objects::open(repository.path(), CompressionLevel::default()).unwrap();
        let (id, tree) = ids.last().unwrap();
        assert!(objects.read(*id, Kind::Tree).unwrap() == *tree);
    }

    #[test]
    fn offsets_beyond_two_gibibytes_have_a_table_of_their_own() {
        let entry = |byte, offset| {
            let id = Id::from_bytes(&[byte; 20]).unwrap();
            Entry { id, kind: Kind::Blob, base: None, depth: 0, size: 0, offset, stream: 0, crc32: 0 }
        };
        let index = index(
            &[entry(1, 12), entry(2, 1 << 31), entry(3, 1 << 40)],
            ObjectFormat::Sha1.empty_tree(),
            ObjectFormat::Sha1,
        )
        .unwrap();
        let offsets = 8 + 256 * 4 + 3 * 20 + 3 * 4;
        let expected = [12_u32.to_be_bytes(), FAR.to_be_bytes(), (FAR | 1).to_be_bytes()].concat();
        assert_eq!(index[offsets..offsets + 12], expected);
        let far = [(1_u64 << 31).to_be_bytes(), (1_u64 << 40).to_be_bytes()].concat();
        assert_eq!(index[offsets + 12..offsets + 28], far);
    }
}
