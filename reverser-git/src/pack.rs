//! One pack and its index, as gitformat-pack(5) has them.

use std::{collections::HashMap, sync::Arc};

use crate::{
    deflate::{CompressionLevel, deflate_all},
    objects::{Body, Id, Kind, Object, ObjectFormat},
};

/// A pack and its index, ready to be written.
pub(crate) struct Pack {
    /// `pack-<name>.pack`.
    pub(crate) name: Id,
    pub(crate) pack: Vec<u8>,
    pub(crate) index: Vec<u8>,
}

impl Pack {
    /// Packs objects in their order; no id may be there twice, and what a delta is made from comes before it.
    pub(crate) fn new(objects: &[Object], format: ObjectFormat, level: CompressionLevel) -> Result<Self, PackError> {
        let count = u32::try_from(objects.len()).map_err(|error| PackError::from(Box::from(error)))?;
        let mut pack = Vec::new();
        pack.extend_from_slice(b"PACK\0\0\0\x02");
        pack.extend_from_slice(&count.to_be_bytes());
        let contents: Vec<&[u8]> = objects.iter().map(|object| object.body.packed()).collect();
        let mut entries = Vec::with_capacity(objects.len());
        let mut offsets = HashMap::with_capacity(objects.len());
        let mut orphan = None;
        let mut rest = objects.iter();
        deflate_all(&contents, level, |stream| {
            let Some(object) = rest.next() else { return };
            let offset = pack.len();
            match &object.body {
                Body::Delta { base, delta, .. } => {
                    write_entry_header(&mut pack, OFS_DELTA, delta.len());
                    match offsets.get(base) {
                        Some(base) => write_distance(&mut pack, offset - base),
                        None => orphan = Some(object.id),
                    }
                }
                Body::Whole(data) => write_entry_header(&mut pack, entry_type(object.kind), data.len()),
            }
            pack.extend_from_slice(stream);
            offsets.insert(object.id, offset);
            entries.push(Entry { id: object.id, crc32: crc32fast::hash(&pack[offset..]), offset: offset as u64 });
        })?;
        if let Some(id) = orphan {
            return Err(PackError::from(Box::from(format!("{id} comes before what it is made from"))));
        }
        let name = format.hash(&[&pack])?;
        pack.extend_from_slice(name.as_bytes());
        entries.sort_unstable_by_key(|entry| entry.id);
        Ok(Self { name, pack, index: index(&entries, name, format)? })
    }
}

type PackError = Arc<dyn std::error::Error + Send + Sync>;

struct Entry {
    id: Id,
    crc32: u32,
    offset: u64,
}

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
                far.extend_from_slice(&entry.offset.to_be_bytes());
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

    fn object(format: ObjectFormat, kind: Kind, data: Vec<u8>) -> Object {
        Object { id: format.hash_object(kind, &data).unwrap(), kind, body: Body::Whole(data) }
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
        let mut objects = vec![
            object(format, Kind::Blob, vec![]),
            object(format, Kind::Blob, incompressible.take(100_000).collect()),
            object(format, Kind::Tree, vec![]),
        ];
        objects.extend((0..500).map(|n| object(format, Kind::Blob, format!("{n}\n").repeat(n).into_bytes())).skip(1));
        let pack = Pack::new(&objects, format, CompressionLevel::default()).unwrap();

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
        let mut objects = crate::objects::Objects::open(repository.path()).unwrap();
        let row = |name: usize, id: u8| [format!("100644 {name:05}.yaml\0").as_bytes(), &[id.max(1); 20]].concat();
        let mut before = None;
        let mut ids = vec![];
        for n in 0..200_usize {
            let id = n.to_le_bytes()[0];
            let tree =
                (0..600).map(|name| row(name, if name == n * 3 % 600 { id } else { 1 })).collect::<Vec<_>>().concat();
            before = Some(objects.add_tree(&tree, before).unwrap());
            ids.push((before.unwrap(), tree));
        }
        for (id, tree) in &ids {
            assert!(objects.read(*id, Kind::Tree).unwrap() == *tree, "{id}");
        }
        let added = objects.take_added();
        let whole = added.iter().filter(|object| matches!(object.body, Body::Whole(_))).count();
        assert!((4..=5).contains(&whole), "{whole} of {} are whole", added.len());
        let pack = Pack::new(&added, ObjectFormat::Sha1, CompressionLevel::default()).unwrap();
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
        let objects = crate::objects::Objects::open(repository.path()).unwrap();
        let (id, tree) = ids.last().unwrap();
        assert!(objects.read(*id, Kind::Tree).unwrap() == *tree);
    }

    #[test]
    fn offsets_beyond_two_gibibytes_have_a_table_of_their_own() {
        let entry = |byte, offset| Entry { id: Id::from_bytes(&[byte; 20]).unwrap(), crc32: 0, offset };
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
