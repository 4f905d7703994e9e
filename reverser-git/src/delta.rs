//! Deltas between two versions of a tree, as gitformat-pack(5) has them.

/// Where a tree is as it was when it was last written: known to whoever edits it, so that versions need no comparing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// So many bytes at the beginning, and so many at the end.
    pub(crate) head: usize,
    pub(crate) tail: usize,
    /// How long it was.
    pub(crate) before: usize,
}

impl Kept {
    /// Nothing has changed in so many bytes.
    pub(crate) fn all(length: usize) -> Self {
        Self { head: length, tail: length, before: length }
    }

    /// Something has changed behind the first `head` bytes and before the last `tail` ones.
    pub(crate) fn narrow(&mut self, head: usize, tail: usize) {
        (self.head, self.tail) = (self.head.min(head), self.tail.min(tail));
    }
}

/// Returns what makes `data` from the version before it: copies of what is kept, and the bytes between. Two versions of a tree
/// differ at one place, when one file has changed.
pub(crate) fn delta(data: &[u8], kept: Kept) -> Vec<u8> {
    let Kept { head, before, .. } = kept;
    // Where nothing has changed, both are all of it.
    let tail = kept.tail.min(data.len() - head).min(before - head);
    let middle = &data[head..data.len() - tail];
    let mut delta = Vec::with_capacity(middle.len() + 32);
    write_size(&mut delta, before);
    write_size(&mut delta, data.len());
    write_copy(&mut delta, 0, head);
    for piece in middle.chunks(LONGEST_INSERT) {
        delta.push(piece.len().to_le_bytes()[0]);
        delta.extend_from_slice(piece);
    }
    write_copy(&mut delta, before - tail, tail);
    delta
}

/// Returns what a delta makes from `base`; `None` when it was made for another one.
pub(crate) fn apply(delta: &[u8], base: &[u8]) -> Option<Vec<u8>> {
    let mut rest = delta;
    let (before, after) = (read_number(&mut rest)?, read_number(&mut rest)?);
    if before != base.len() {
        return None;
    }
    let mut made = Vec::with_capacity(after);
    while let Some((&instruction, arguments)) = rest.split_first() {
        rest = arguments;
        if instruction & COPY == 0 {
            let (inserted, others) = rest.split_at_checked(usize::from(instruction))?;
            made.extend_from_slice(inserted);
            rest = others;
        } else {
            let offset = read_bytes(&mut rest, instruction, 0..4)?;
            let length = read_bytes(&mut rest, instruction, 4..7)?;
            made.extend_from_slice(base.get(offset..)?.get(..length)?);
        }
    }
    (made.len() == after).then_some(made)
}

/// The bit of an instruction to copy.
const COPY: u8 = 0x80;

/// In sevens, the least significant first.
fn read_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let (&byte, others) = rest.split_first()?;
        *rest = others;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Reads those bytes of a number, the least significant first, whose bits are set.
fn read_bytes(rest: &mut &[u8], instruction: u8, bits: std::ops::Range<u8>) -> Option<usize> {
    let mut number = 0;
    for (place, _) in bits.enumerate().filter(|(_, bit)| instruction & (1 << bit) != 0) {
        let (&byte, others) = rest.split_first()?;
        *rest = others;
        number |= usize::from(byte) << (8 * place);
    }
    Some(number)
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
        bytes.push(COPY);
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

    /// Returns the delta of two texts that are the same as far as can be at both ends.
    fn of(base: &[u8], data: &[u8]) -> Vec<u8> {
        let head = base.iter().zip(data).take_while(|(a, b)| a == b).count();
        let (base_rest, data_rest) = (&base[head..], &data[head..]);
        let tail = base_rest.iter().rev().zip(data_rest.iter().rev()).take_while(|(a, b)| a == b).count();
        delta(data, Kept { head, tail, before: base.len() })
    }

    #[test]
    fn long_runs_are_copied_in_pieces() {
        let base = vec![7; LONGEST_COPY + 0x10000];
        let data = [&base[..], b"x"].concat();
        let delta = of(&base, &data);
        assert!(delta.len() < 40, "{}", delta.len());
        assert!(applied(&delta, &base) == data && apply(&delta, &base).unwrap() == data);
    }

    #[test]
    fn a_delta_of_another_text_makes_nothing() {
        let delta = of(b"abcdef", b"abXdef");
        assert_eq!(apply(&delta, b"abcdef").unwrap(), b"abXdef");
        assert_eq!(apply(&delta, b"abcde"), None);
        for length in 0..delta.len() {
            assert_eq!(apply(&delta[..length], b"abcdef"), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn a_delta_makes_what_it_was_made_for(base in "[ab]{0,400}", data in "[ab]{0,400}") {
            let (base, data) = (base.as_bytes(), data.as_bytes());
            let delta = of(base, data);
            prop_assert_eq!(applied(&delta, base), data);
            prop_assert_eq!(apply(&delta, base).unwrap(), data);
        }

        #[test]
        fn an_edit_in_the_middle_costs_what_it_is_long(head in "[a-z]{0,300}", old in "[a-z]{0,30}", new in "[a-z]{0,30}", tail in "[a-z]{0,300}") {
            let (base, data) = (format!("{head}{old}{tail}"), format!("{head}{new}{tail}"));
            let delta = of(base.as_bytes(), data.as_bytes());
            prop_assert_eq!(applied(&delta, base.as_bytes()), data.as_bytes());
            prop_assert!(delta.len() <= new.len() + 20, "{}", delta.len());
        }
    }
}
