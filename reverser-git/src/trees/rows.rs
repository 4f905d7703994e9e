//! One tree object's bytes, edited in place: what is kept in memory is what is hashed.

use std::cmp::Ordering;

use crate::{
    delta::Kept,
    objects::Id,
    trees::{FOLDER, File, Name},
};

/// `<mode> <name>\0<id>` over and over, in git's order, and where each begins: some four bytes a file more than the tree
/// itself.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    kept: Kept,
}

impl Rows {
    /// Reads a tree whose ids have `id_bytes` bytes; `None` when it is malformed. One that isn't in order, or has a name
    /// twice, is put in order.
    pub(super) fn read(bytes: Vec<u8>, id_bytes: usize) -> Option<Self> {
        let mut starts = Vec::new();
        let (mut at, mut before, mut is_sorted) = (0, None, true);
        while at < bytes.len() {
            starts.push(u32::try_from(at).ok()?);
            let row = Row::first(&bytes[at..], id_bytes)?;
            is_sorted &= before.is_none_or(|before: Row<'_>| before.name != row.name && before.order(row).is_lt());
            at += row.length;
            before = Some(row);
        }
        starts.shrink_to_fit();
        let rows = Self { kept: Kept::all(bytes.len()), bytes, starts };
        if is_sorted { Some(rows) } else { rows.sorted(id_bytes) }
    }

    fn sorted(&self, id_bytes: usize) -> Option<Self> {
        let mut sorted = Self::default();
        for start in &self.starts {
            let row = Row::first(self.bytes.get(*start as usize..)?, id_bytes)?;
            sorted.set(row.name, row.file()?);
        }
        sorted.kept = Kept { head: 0, tail: 0, before: self.bytes.len() };
        Some(sorted)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns what is as it was since this was last asked, or since the tree was read.
    pub(super) fn take_kept(&mut self) -> Kept {
        std::mem::replace(&mut self.kept, Kept::all(self.bytes.len()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Returns what has a name, a folder too.
    pub(super) fn get(&self, name: &[u8]) -> Option<File> {
        self.find(name).and_then(|index| self.row(index).file())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], File)> {
        (0..self.starts.len()).filter_map(|index| {
            let row = self.row(index);
            Some((row.name, row.file()?))
        })
    }

    /// Gives a name to an entry, in the place of the one that has it.
    pub(super) fn set(&mut self, name: &[u8], file: File) {
        if let Some(index) = self.find(name) {
            if self.row(index).mode == file.mode {
                let (id, end) = (file.id.as_bytes(), self.end(index));
                let at = end - id.len();
                self.bytes[at..end].copy_from_slice(id);
                self.kept.narrow(at, self.bytes.len() - end);
                return;
            }
            self.take(index);
        }
        let index = self.search(name, file.mode).unwrap_or_else(|index| index);
        let at = self.starts.get(index).map_or(self.bytes.len(), |start| *start as usize);
        let row = [format!("{:o} ", file.mode).as_bytes(), name, b"\0", file.id.as_bytes()].concat();
        self.starts[index..].iter_mut().for_each(|start| *start += length(&row));
        self.starts.insert(index, length(&self.bytes[..at]));
        self.kept.narrow(at, self.bytes.len() - at);
        self.bytes.splice(at..at, row);
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some(index) = self.find(name) {
            self.take(index);
        }
    }

    fn take(&mut self, index: usize) {
        let range = self.starts[index] as usize..self.end(index);
        let taken = length(&self.bytes[range.clone()]);
        self.kept.narrow(range.start, self.bytes.len() - range.end);
        self.bytes.drain(range);
        self.starts.remove(index);
        self.starts[index..].iter_mut().for_each(|start| *start -= taken);
    }

    /// A folder stands elsewhere than a file of its name.
    fn find(&self, name: &[u8]) -> Option<usize> {
        self.search(name, 0).or_else(|_| self.search(name, FOLDER)).ok()
    }

    fn search(&self, name: &[u8], mode: u32) -> Result<usize, usize> {
        let sought = Row { mode, name, id: &[], length: 0 };
        self.starts.binary_search_by(|start| Row::head(&self.bytes[*start as usize..]).order(sought))
    }

    fn row(&self, index: usize) -> Row<'_> {
        let row = &self.bytes[self.starts[index] as usize..self.end(index)];
        let head = Row::head(row);
        Row { id: &row[head.length..], length: row.len(), ..head }
    }

    fn end(&self, index: usize) -> usize {
        self.starts.get(index + 1).map_or(self.bytes.len(), |start| *start as usize)
    }
}

/// Reads a tree into rows of its own; `None` when it is malformed.
pub(super) fn parse(bytes: &[u8], id_bytes: usize) -> Option<Vec<(Name, File)>> {
    let (mut rows, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let row = Row::first(rest, id_bytes)?;
        rows.push((row.name.into(), row.file()?));
        rest = &rest[row.length..];
    }
    Some(rows)
}

/// Returns what has a name in a tree that nobody has looked at.
pub(super) fn find(tree: &[u8], name: &[u8], id_bytes: usize) -> Option<File> {
    let mut rest = tree;
    while !rest.is_empty() {
        let row = Row::first(rest, id_bytes)?;
        if row.name == name {
            return row.file();
        }
        rest = &rest[row.length..];
    }
    None
}

/// Trees of four gigabytes are none that anybody reads.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[derive(Clone, Copy)]
struct Row<'a> {
    mode: u32,
    name: &'a [u8],
    id: &'a [u8],
    /// In bytes, of all that was read.
    length: usize,
}

impl<'a> Row<'a> {
    /// Reads the first row of a tree that nobody has looked at.
    fn first(tree: &'a [u8], id_bytes: usize) -> Option<Self> {
        let blank = tree.iter().position(|byte| *byte == b' ')?;
        let mode = u32::from_str_radix(std::str::from_utf8(&tree[..blank]).ok()?, 8).ok()?;
        let end = blank + 1 + tree[blank + 1..].iter().position(|byte| *byte == 0)?;
        let id = tree.get(end + 1..end + 1 + id_bytes)?;
        Some(Self { mode, name: &tree[blank + 1..end], id, length: end + 1 + id_bytes })
    }

    /// Reads mode and name of a row that was read before.
    fn head(row: &'a [u8]) -> Self {
        let mut mode = 0;
        let mut at = 0;
        while let Some(digit @ b'0'..=b'7') = row.get(at) {
            mode = mode << 3 | u32::from(digit - b'0');
            at += 1;
        }
        let name = row.get(at + 1..).unwrap_or_default();
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        Self { mode, name: &name[..end], id: &[], length: at + 1 + end + 1 }
    }

    /// By name, and a folder in the place that its name would have with a slash behind it.
    fn order(self, other: Self) -> Ordering {
        let common = self.name.len().min(other.name.len());
        let next = |row: Self| match row.name.get(common) {
            Some(byte) => *byte,
            None if row.mode == FOLDER => b'/',
            None => 0,
        };
        let heads = self.name[..common].cmp(&other.name[..common]);
        heads.then_with(|| next(self).cmp(&next(other)))
    }

    fn file(self) -> Option<File> {
        Some(File { id: Id::from_bytes(self.id)?, mode: self.mode })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::delta::{apply, delta};
    use crate::trees::REGULAR;

    fn id(byte: u8) -> Id {
        Id::from_bytes(&[byte; 20]).unwrap()
    }

    /// In git's order, made the obvious way.
    fn tree(entries: &BTreeMap<String, File>) -> Vec<u8> {
        let mut rows: Vec<_> = entries.iter().collect();
        rows.sort_by_key(|(name, file)| if file.mode == FOLDER { format!("{name}/") } else { (*name).clone() });
        let rows = rows
            .into_iter()
            .map(|(name, file)| [format!("{:o} {name}\0", file.mode).as_bytes(), file.id.as_bytes()].concat());
        rows.collect::<Vec<_>>().concat()
    }

    proptest! {
        #[test]
        fn edits_in_place_give_what_a_new_tree_has(edits in prop::collection::vec(("[a-c.]{1,3}", 0..5_u8, any::<u8>()), 0..60)) {
            let (mut rows, mut entries) = (Rows::default(), BTreeMap::new());
            let mut written = vec![];
            for (name, action, byte) in edits {
                let mode = [REGULAR, FOLDER, 0o120_000, 0o160_000][usize::from(action % 4)];
                if action == 4 {
                    rows.remove(name.as_bytes());
                    entries.remove(&name);
                } else {
                    rows.set(name.as_bytes(), File { id: id(byte), mode });
                    entries.insert(name.clone(), File { id: id(byte), mode });
                }
                prop_assert_eq!(rows.get(name.as_bytes()), entries.get(&name).copied());
                // Sometimes several edits make one version.
                if byte % 3 == 0 {
                    let delta = delta(rows.as_bytes(), rows.kept);
                    prop_assert_eq!(apply(&delta, &written).unwrap(), rows.as_bytes());
                    rows.take_kept();
                    written = rows.as_bytes().to_vec();
                }
            }
            prop_assert_eq!(rows.as_bytes(), tree(&entries));
            let again = Rows::read(rows.as_bytes().to_vec(), 20).unwrap();
            prop_assert_eq!(&again.starts, &rows.starts);
            prop_assert_eq!(again.iter().count(), entries.len());
        }
    }

    #[test]
    fn a_tree_that_is_out_of_order_is_put_in_order() {
        let row = |name: &str, byte| [format!("100644 {name}\0").as_bytes(), &[byte; 20]].concat();
        let rows = Rows::read([row("b", 1), row("a", 2), row("b", 3)].concat(), 20).unwrap();
        assert!(rows.as_bytes() == [row("a", 2), row("b", 3)].concat());
    }

    /// Some old tools wrote `040000`; git hashes what stands there.
    #[test]
    fn rows_of_others_stay_as_they_are() {
        let theirs = [&b"040000 a\0"[..], &[1; 20], b"100664 b\0", &[2; 20]].concat();
        let mut rows = Rows::read(theirs.clone(), 20).unwrap();
        assert_eq!(rows.get(b"a").unwrap().mode, FOLDER);
        rows.set(b"c", File { id: id(3), mode: REGULAR });
        assert!(rows.as_bytes().starts_with(&theirs));
    }
}
