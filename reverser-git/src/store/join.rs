//! Which packs are joined, and when: a pure choice over what lies in the folder.
//!
//! Git knows two classes of packs in a repository that left contents at its remote: those that the remote sent, marked
//! `.promisor`, and ours. They are never mixed: what an object of the remote's names may be absent, what one of ours names
//! that isn't the remote's may not.
//!
//! Each pack that a batch makes has one full copy of every folder that it touches, and a state that the next batch replaces.
//! So small packs weigh more than what they say, until they are joined. The rest beside the largest packs is kept below a
//! fifth of these; whatever is in it, all packs together are then at most 1.2 times one that has everything once.

/// A pack with its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackFile {
    /// `pack-<id>`, without an extension.
    pub(crate) name: String,
    /// What pack and index take.
    pub(crate) bytes: u64,
    /// Whether it came from the remote, which can send again what it names.
    pub(crate) is_promised: bool,
}

/// How packs become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// All that these packs hold, of one class.
    Merge { packs: Vec<String>, is_promised: bool },
    /// What refs reach of our own packs, and nothing that is in one of the `kept`.
    Rewrite { packs: Vec<String>, kept: Vec<String> },
}

impl Join {
    /// Returns the packs that are no longer needed afterwards.
    pub(crate) fn packs(&self) -> &[String] {
        match self {
            Self::Merge { packs, .. } | Self::Rewrite { packs, .. } => packs,
        }
    }

    /// Returns the join that is due, if any, and fits into `room`: the bytes that a joined pack may take beside those that it is
    /// made of. Where everything can't be written once more, small packs still can.
    pub(crate) fn due(packs: &[PackFile], room: u64) -> Option<Self> {
        let classes = [false, true].map(|is_promised| Class::of(packs, is_promised));
        let (rest, whole) = (classes[0].rest() + classes[1].rest(), classes[0].largest() + classes[1].largest());
        let smaller = packs.len().saturating_sub(classes.iter().filter(|class| !class.0.is_empty()).count());
        if rest * REST_PART > whole && (smaller >= FEW_PACKS || rest >= SMALL_REST) {
            let [ours, promised] = &classes;
            let is_promised = promised.rest() > ours.rest();
            if classes[usize::from(is_promised)].bytes() <= room {
                return Some(if is_promised {
                    Self::Merge { packs: promised.names(promised.0.len()), is_promised }
                } else {
                    Self::Rewrite { packs: ours.names(ours.0.len()), kept: promised.names(promised.0.len()) }
                });
            }
        }
        let is_promised = classes[1].0.len() > classes[0].0.len();
        let class = &classes[usize::from(is_promised)];
        let joined = class.smallest(room);
        (packs.len() >= MANY_PACKS && joined > 1).then(|| Self::Merge { packs: class.names(joined), is_promised })
    }
}

/// The packs of one class, the smallest first.
struct Class<'a>(Vec<&'a PackFile>);

impl<'a> Class<'a> {
    fn of(packs: &'a [PackFile], is_promised: bool) -> Self {
        let mut packs: Vec<_> = packs.iter().filter(|pack| pack.is_promised == is_promised).collect();
        packs.sort_by_key(|pack| pack.bytes);
        Self(packs)
    }

    fn bytes(&self) -> u64 {
        self.largest() + self.rest()
    }

    fn largest(&self) -> u64 {
        self.0.last().map_or(0, |pack| pack.bytes)
    }

    fn rest(&self) -> u64 {
        self.0.iter().rev().skip(1).map(|pack| pack.bytes).sum()
    }

    /// Returns how many of the smallest are joined: those that are cheap in any case, then those that are less than twice as
    /// large as what is joined already, so that each byte is copied a few times only; as far as there is room.
    fn smallest(&self, room: u64) -> usize {
        let mut bytes = 0;
        self.0
            .iter()
            .take_while(|pack| {
                pack.bytes < (2 * bytes).max(CHEAP) && {
                    bytes += pack.bytes;
                    bytes <= room
                }
            })
            .count()
    }

    fn names(&self, count: usize) -> Vec<String> {
        self.0.iter().take(count).map(|pack| pack.name.clone()).collect()
    }
}

/// What the packs beside the largest may be of it: a fifth.
const REST_PART: u64 = 5;

/// Fewer packs beside the largest aren't worth a join, unless they have so many bytes.
const FEW_PACKS: usize = 8;
const SMALL_REST: u64 = 16 << 10;

/// From here on small packs are joined, whatever they weigh: half of what there may be.
const MANY_PACKS: usize = 24;

/// Packs up to this size are joined with any smaller ones: git needs less than a second.
const CHEAP: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn packs(ours: &[u64], promised: &[u64]) -> Vec<PackFile> {
        let pack = |is_promised, name: &str| {
            let name = name.to_owned();
            move |(n, bytes): (usize, &u64)| PackFile { name: format!("{name}-{n}"), bytes: *bytes, is_promised }
        };
        let ours = ours.iter().enumerate().map(pack(false, "ours"));
        ours.chain(promised.iter().enumerate().map(pack(true, "promised"))).collect()
    }

    fn due(packs: &[PackFile]) -> Option<Join> {
        Join::due(packs, u64::MAX)
    }

    #[test]
    fn a_few_small_packs_stay() {
        assert_eq!(due(&[]), None);
        assert_eq!(due(&packs(&[10, 20, 30], &[])), None);
        assert_eq!(due(&packs(&[100 << 20, 1 << 20, 1 << 20], &[300 << 20, 5 << 20])), None);
    }

    #[test]
    fn what_has_grown_by_a_fifth_is_rewritten_in_its_class() {
        let many = [vec![1 << 20], vec![30 << 10; 7]].concat();
        let names = |class: &str, count| (0..count).map(|n| format!("{class}-{n}")).collect::<Vec<_>>();
        let Some(Join::Rewrite { mut packs, kept }) = due(&packs(&many, &[1 << 10])) else { panic!("no rewrite") };
        packs.sort();
        assert_eq!((packs, kept), (names("ours", 8), names("promised", 1)));
        let of_promised = due(&self::packs(&[1 << 10], &many));
        assert!(matches!(of_promised, Some(Join::Merge { is_promised: true, packs }) if packs.len() == 8));
        // Beside a large pack of the other class it isn't worth it.
        assert_eq!(due(&self::packs(&many, &[100 << 20])), None);
    }

    #[test]
    fn what_does_not_fit_is_left_and_small_packs_are_joined_as_far_as_they_do() {
        let many = packs(&[vec![1 << 20], vec![30 << 10; 7]].concat(), &[]);
        let bytes = many.iter().map(|pack| pack.bytes).sum();
        assert!(matches!(Join::due(&many, bytes), Some(Join::Rewrite { .. })));
        assert_eq!(Join::due(&many, bytes - 1), None);
        let more = packs(&[vec![1 << 20], vec![30 << 10; 23]].concat(), &[]);
        let fit = |room| Join::due(&more, room).map_or(0, |join| join.packs().len());
        assert_eq!([0, 59 << 10, 60 << 10, 10 * (30 << 10)].map(fit), [0, 0, 2, 10]);
    }

    #[test]
    fn many_packs_are_joined_from_the_smallest_on() {
        let large = [vec![1 << 30, 30 << 20], vec![30 << 10; 22]].concat();
        let Some(Join::Merge { packs, is_promised: false }) = due(&packs(&large, &[])) else { panic!("no merge") };
        assert_eq!(packs.len(), 22, "neither of the large ones");
    }

    /// However commits and fetches come, packs stay few, and no byte is copied often.
    #[test]
    fn packs_stay_few_and_the_rest_small_while_a_repository_grows() {
        for (first, each) in [(0, 2 << 10), (600 << 10, 27 << 10), (1 << 30, 27 << 10), (1 << 30, 300 << 10)] {
            let mut standing = packs(&[], &[first]);
            let (mut copied, mut written) = (0, first);
            for n in 0..5_000_u64 {
                let bytes = each + n % 7 * 100;
                written += bytes;
                standing.push(PackFile { name: n.to_string(), bytes, is_promised: n % 5 == 0 });
                if let Some(join) = due(&standing) {
                    let is_joined = |pack: &PackFile| join.packs().contains(&pack.name);
                    let bytes = standing.iter().filter(|pack| is_joined(pack)).map(|pack| pack.bytes).sum();
                    let is_promised = matches!(join, Join::Merge { is_promised: true, .. });
                    copied += bytes;
                    standing.retain(|pack| !is_joined(pack));
                    standing.push(PackFile { name: format!("joined-{n}"), bytes, is_promised });
                }
                assert!(standing.len() < 30, "{} packs after {n}", standing.len());
            }
            assert!(copied < written * 40, "{copied} of {written} bytes copied");
        }
    }
}
