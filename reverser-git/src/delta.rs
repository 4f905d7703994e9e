//! Deltas between two versions of a tree, as gitformat-pack(5) has them.

/// What makes an object from another one.
#[derive(Debug)]
pub(crate) struct Delta {
    bytes: Vec<u8>,
    /// The bytes that both have at their beginning and at their end, and those between.
    head: usize,
    middle: Vec<u8>,
    tail: usize,
}

impl Delta {
    /// Returns what makes `data` from `base`: what is between their common beginning and their common end. Two versions of
    /// a tree differ at one place, when one file has changed.
    pub(crate) fn new(base: &[u8], data: &[u8]) -> Self {
        let head = common_head(base, data);
        let (base_rest, data_rest) = (&base[head..], &data[head..]);
        let tail = common_tail(base_rest, data_rest);
        let middle = data_rest[..data_rest.len() - tail].to_vec();
        let mut bytes = Vec::with_capacity(middle.len() + 32);
        write_size(&mut bytes, base.len());
        write_size(&mut bytes, data.len());
        write_copy(&mut bytes, 0, head);
        for piece in middle.chunks(LONGEST_INSERT) {
            bytes.push(piece.len().to_le_bytes()[0]);
            bytes.extend_from_slice(piece);
        }
        write_copy(&mut bytes, base.len() - tail, tail);
        Self { bytes, head, middle, tail }
    }

    /// Returns the object that it makes from the one that it was made for.
    pub(crate) fn apply(&self, base: &[u8]) -> Vec<u8> {
        [&base[..self.head], &self.middle, &base[base.len() - self.tail..]].concat()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Many bytes at once: trees of large folders are compared for each commit.
const STRIDE: usize = 64;

fn common_head(a: &[u8], b: &[u8]) -> usize {
    let strides = a.chunks_exact(STRIDE).zip(b.chunks_exact(STRIDE)).take_while(|(a, b)| a == b).count();
    let done = strides * STRIDE;
    done + a[done..].iter().zip(&b[done..]).take_while(|(a, b)| a == b).count()
}

fn common_tail(a: &[u8], b: &[u8]) -> usize {
    let strides = a.rchunks_exact(STRIDE).zip(b.rchunks_exact(STRIDE)).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - strides * STRIDE], &b[..b.len() - strides * STRIDE]);
    strides * STRIDE + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

/// An instruction to insert has its length in seven bits.
const LONGEST_INSERT: usize = 127;

/// An instruction to copy has its length in three bytes.
const LONGEST_COPY: usize = 0xff_ffff;

/// In sevens, the least significant first.
fn write_size(bytes: &mut Vec<u8>, mut size: usize) {
    while size > 0x7f {
        bytes.push(0x80 | size.to_le_bytes()[0]);
        size >>= 7;
    }
    bytes.push(size.to_le_bytes()[0]);
}

/// A bit for each byte of offset and length that isn't zero, then those bytes.
fn write_copy(bytes: &mut Vec<u8>, mut offset: usize, mut length: usize) {
    while length > 0 {
        let size = length.min(LONGEST_COPY);
        let at = bytes.len();
        bytes.push(0x80);
        let numbers = offset.to_le_bytes().into_iter().take(4).chain(size.to_le_bytes().into_iter().take(3));
        for (bit, byte) in numbers.enumerate().filter(|(_, byte)| *byte != 0) {
            bytes[at] |= 1 << bit;
            bytes.push(byte);
        }
        offset += size;
        length -= size;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads the instructions, as git does.
    fn applied(delta: &[u8], base: &[u8]) -> Vec<u8> {
        let mut bytes = delta.iter().copied();
        let mut size = || {
            let mut size = 0;
            for shift in (0..).step_by(7) {
                let byte = bytes.next().unwrap();
                size |= usize::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            size
        };
        let (before, after) = (size(), size());
        assert_eq!(before, base.len());
        let mut made = vec![];
        while let Some(instruction) = bytes.next() {
            if instruction < 0x80 {
                assert!(instruction > 0, "a reserved instruction");
                made.extend(bytes.by_ref().take(usize::from(instruction)));
                continue;
            }
            let mut number = |bits: std::ops::Range<u8>| {
                bits.clone()
                    .filter(|bit| instruction & (1 << bit) != 0)
                    .fold(0, |number, bit| number | usize::from(bytes.next().unwrap()) << (8 * (bit - bits.start)))
            };
            let (offset, length) = (number(0..4), number(4..7));
            let length = if length == 0 { 0x10000 } else { length };
            made.extend_from_slice(&base[offset..offset + length]);
        }
        assert_eq!(made.len(), after);
        made
    }

    #[test]
    fn long_runs_are_copied_in_pieces() {
        let base = vec![7; LONGEST_COPY + 0x10000];
        let data = [&base[..], b"x"].concat();
        let delta = Delta::new(&base, &data);
        assert!(delta.len() < 40, "{}", delta.len());
        assert!(applied(delta.as_bytes(), &base) == data && delta.apply(&base) == data);
    }

    proptest! {
        #[test]
        fn a_delta_makes_what_it_was_made_for(base in "[ab]{0,400}", data in "[ab]{0,400}") {
            let (base, data) = (base.as_bytes(), data.as_bytes());
            let delta = Delta::new(base, data);
            prop_assert_eq!(applied(delta.as_bytes(), base), data);
            prop_assert_eq!(delta.apply(base), data);
        }

        #[test]
        fn an_edit_in_the_middle_costs_what_it_is_long(head in "[a-z]{0,300}", old in "[a-z]{0,30}", new in "[a-z]{0,30}", tail in "[a-z]{0,300}") {
            let (base, data) = (format!("{head}{old}{tail}"), format!("{head}{new}{tail}"));
            let delta = Delta::new(base.as_bytes(), data.as_bytes());
            prop_assert_eq!(applied(delta.as_bytes(), base.as_bytes()), data.as_bytes());
            prop_assert!(delta.len() <= new.len() + 20, "{}", delta.len());
        }
    }
}
