//! Objects compressed for a pack: on all cores, in their order, and the same bytes however many cores there are.

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroUsize,
    str::FromStr,
    sync::{Arc, LazyLock},
    thread,
};

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::remedy::Remedy;

/// How hard packs are compressed: zlib's levels, from 0 (not at all) to 9 (as small as it gets); 6 by default, as git's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompressionLevel(u8);

impl CompressionLevel {
    pub(crate) const FAST: Self = Self(1);

    /// Returns zlib's number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for CompressionLevel {
    fn default() -> Self {
        Self(6)
    }
}

impl fmt::Display for CompressionLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl TryFrom<u8> for CompressionLevel {
    type Error = CompressionLevelError;

    fn try_from(level: u8) -> Result<Self, CompressionLevelError> {
        if level <= 9 { Ok(Self(level)) } else { Err(CompressionLevelError { level: level.to_string() }) }
    }
}

impl FromStr for CompressionLevel {
    type Err = CompressionLevelError;

    fn from_str(level: &str) -> Result<Self, CompressionLevelError> {
        let is_out_of_range = || CompressionLevelError { level: level.to_owned() };
        Self::try_from(level.parse::<u8>().map_err(|_| is_out_of_range())?)
    }
}

/// It isn't one of zlib's levels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{level:?} is no compression level: give a number from 0 (none) to 9 (smallest)")]
pub struct CompressionLevelError {
    level: String,
}

impl CompressionLevelError {
    /// Returns what helps.
    pub fn remedy(&self) -> Remedy {
        Remedy::FixConfiguration
    }
}

/// Something to compress.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Content<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) level: CompressionLevel,
}

/// Calls `each` with the zlib stream of every one of `contents`, in their order.
pub(crate) fn deflate_all(contents: &[Content<'_>], mut each: impl FnMut(&[u8])) -> Result<(), DeflateError> {
    let shares = shares(contents, *CORES);
    if let [only] = shares[..] {
        deflated(only)?.iter().for_each(each);
        return Ok(());
    }
    thread::scope(|scope| {
        let threads: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || deflated(share))).collect();
        for thread in threads {
            let deflated = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            deflated.iter().for_each(&mut each);
        }
        Ok(())
    })
}

/// Asked for once: on Linux it takes a dozen reads of the control groups, more than a small pack does.
static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, NonZeroUsize::get));

pub(crate) type DeflateError = Arc<dyn std::error::Error + Send + Sync>;

/// Splits into at most `most` shares of about the same work.
fn shares<'a, 'b>(contents: &'b [Content<'a>], most: usize) -> Vec<&'b [Content<'a>]> {
    let work = |content: &Content<'_>| content.bytes.len() + WORK_OF_AN_OBJECT;
    let each = (contents.iter().map(work).sum::<usize>() / most.max(1)).max(WORK_OF_A_THREAD);
    let (mut shares, mut rest) = (Vec::with_capacity(most), contents);
    while !rest.is_empty() {
        let mut done = 0;
        let count = rest
            .iter()
            .take_while(|content| {
                done < each && {
                    done += work(content);
                    true
                }
            })
            .count();
        let (share, others) = rest.split_at(count);
        shares.push(share);
        rest = others;
    }
    shares
}

/// As many bytes take the time that an object takes however small it is.
const WORK_OF_AN_OBJECT: usize = 256;

/// Some milliseconds, beside which a thread's start is nothing. The folder of a single commit stays below it.
const WORK_OF_A_THREAD: usize = 512 << 10;

/// zlib streams, one behind the other.
#[derive(Default)]
struct Deflated {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Deflated {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

fn deflated(contents: &[Content<'_>]) -> Result<Deflated, DeflateError> {
    let mut zlibs = BTreeMap::new();
    let mut deflated = Deflated::default();
    let mut piece = [0; 16 << 10];
    for Content { bytes, level } in contents {
        if bytes.len() <= SHORT {
            store(bytes, &mut deflated.bytes);
        } else {
            let zlib = zlibs.entry(level.0);
            let zlib = zlib.or_insert_with(|| Compress::new(Compression::new(u32::from(level.0)), true));
            deflate(zlib, bytes, &mut piece, &mut deflated.bytes)?;
        }
        deflated.ends.push(deflated.bytes.len());
    }
    Ok(deflated)
}

/// Up to here nothing is gained: most of it are the new ids in a tree's delta. zlib would clear 128 KiB for each, and
/// most objects are such deltas.
const SHORT: usize = 64;

/// A zlib stream (RFC 1950) of one stored block (RFC 1951, 3.2.4).
fn store(content: &[u8], stream: &mut Vec<u8>) {
    let [low, high, ..] = content.len().to_le_bytes();
    stream.extend_from_slice(&[0x78, 0x01, 0x01, low, high, !low, !high]);
    stream.extend_from_slice(content);
    let (a, b) = content.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    stream.extend_from_slice(&(b << 16 | a).to_be_bytes());
}

/// In pieces through a small buffer: flate2's `compress_vec` fills all of the vector's spare room with zeros at each call,
/// which for a large pack is more work than everything else together.
fn deflate(zlib: &mut Compress, content: &[u8], piece: &mut [u8], stream: &mut Vec<u8>) -> Result<(), DeflateError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| DeflateError::from(error);
    zlib.reset();
    loop {
        let consumed = usize::try_from(zlib.total_in()).map_err(|error| failed(error.into()))?;
        let before = zlib.total_out();
        let status =
            zlib.compress(&content[consumed..], piece, FlushCompress::Finish).map_err(|error| failed(error.into()))?;
        let made = usize::try_from(zlib.total_out() - before).map_err(|error| failed(error.into()))?;
        stream.extend_from_slice(&piece[..made]);
        if status == Status::StreamEnd {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn inflated(stream: &[u8]) -> Vec<u8> {
        let mut content = vec![];
        flate2::read::ZlibDecoder::new(stream).read_to_end(&mut content).unwrap();
        content
    }

    #[test]
    fn streams_read_back_at_every_level() {
        let contents: Vec<Vec<u8>> =
            [0, 1, SHORT, SHORT + 1, 40_000].iter().map(|length| (0..=250).cycle().take(*length).collect()).collect();
        let levels = (0..=9).map(CompressionLevel);
        let each: Vec<_> =
            levels.flat_map(|level| contents.iter().map(move |bytes| Content { bytes, level })).collect();
        let mut read = vec![];
        deflate_all(&each, |stream| read.push(inflated(stream))).unwrap();
        assert!(read.iter().zip(&each).all(|(read, content)| read == content.bytes) && read.len() == each.len());
    }

    #[test]
    fn shares_have_everything_in_order_and_bytes_do_not_depend_on_cores() {
        let contents: Vec<Vec<u8>> = (0..3_000_usize).map(|n| n.to_string().repeat(n % 90).into_bytes()).collect();
        let level = CompressionLevel::default();
        let contents: Vec<_> = contents.iter().map(|bytes| Content { bytes, level }).collect();
        let alone = deflated(&contents).unwrap();
        for cores in [1, 2, 3, 64] {
            let shares = shares(&contents, cores);
            assert!(shares.len() <= cores && (cores == 1 || shares.len() > 1), "{} of {cores}", shares.len());
            assert!(shares.concat() == contents);
            let parts = shares.iter().map(|share| deflated(share).unwrap().bytes);
            assert!(parts.collect::<Vec<_>>().concat() == alone.bytes);
        }
        let mut streams = vec![];
        deflate_all(&contents, |stream| streams.extend_from_slice(stream)).unwrap();
        assert!(streams == alone.bytes);
        assert!(shares(&[], 4).is_empty());
    }

    #[test]
    fn levels_are_those_of_zlib() {
        assert_eq!(CompressionLevel::default().get(), 6);
        assert_eq!("9".parse::<CompressionLevel>().unwrap().to_string(), "9");
        for level in ["10", "-1", "", "best", "256"] {
            let error = level.parse::<CompressionLevel>().unwrap_err();
            assert!(error.to_string().contains("from 0 (none) to 9 (smallest)"), "{error}");
        }
        assert!(CompressionLevel::try_from(10).is_err());
    }
}
