//! Who made a change, as the API server asked whether they may.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use reverser_core::{Attribution, Change, Fingerprinter};
use tokio::sync::Notify;

use super::{
    ActorSource,
    fact::Fact,
    facts::{Facts, Limits},
    journal::{self, AdmissionError, Journal},
    review::{Request, ReviewError},
};

/// How long it may take until a large request is read that has been answered already.
const WAIT: Duration = Duration::from_millis(250);

/// Up to which size a request is read before it is answered: so that what is allowed is known, in memory and on disk, before it
/// can be done, and the answer takes less than a millisecond all the same.
const READ_FIRST_BYTES: usize = 64 << 10;

/// Knows who made changes from the reviews of a validating admission webhook; clones are the same one.
///
/// ```no_run
/// use std::path::Path;
///
/// use reverser_k8s::attribute::Admission;
///
/// # fn example(body: bytes::Bytes) -> Result<(), Box<dyn std::error::Error>> {
/// let admission = Admission::open(Path::new("state/admission"))?;
/// // For each request to the webhook:
/// let reviewed = admission.review(body)?;
/// // Send `reviewed.answer`, with status 200, then:
/// if let Some(lesson) = reviewed.lesson {
///     lesson.learn();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    fingerprinter: Fingerprinter,
    // A `std` mutex: held for a search in memory, never across an await.
    facts: Mutex<Facts>,
    journal: Journal,
    news: Notify,
    /// How many requests are answered, and not read yet.
    lessons: AtomicUsize,
    unreadable: AtomicU64,
}

/// What becomes of a review.
#[derive(Debug)]
pub struct Reviewed {
    /// The body of the answer: an `AdmissionReview` that allows whatever it is.
    pub answer: Vec<u8>,
    /// What is left to do once the answer is given; of large requests only.
    pub lesson: Option<Lesson>,
}

/// A request that is answered, and not read yet.
pub struct Lesson {
    admission: Admission,
    body: Bytes,
}

/// What a source of facts has to tell of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that are known, and may join a change.
    pub kept: usize,
    /// Requests that were pushed out by others before any change joined them: their authors stay unknown.
    pub dropped: u64,
    /// Facts that could not be written to the state folder: a restart forgets them.
    pub unwritten: u64,
    /// Reviews that were answered though their objects couldn't be read.
    pub unreadable: u64,
}

impl Admission {
    /// Opens what an earlier run has left in `folder`, and makes what isn't there: a key, and a file of facts. Nobody else may
    /// have the folder open.
    ///
    /// # Errors
    /// The folder or a file in it can't be made, read or written.
    pub fn open(folder: &Path) -> Result<Self, AdmissionError> {
        let fingerprinter = Fingerprinter::new(journal::key(folder)?);
        let mut facts = Facts::new(fingerprinter.clone(), Limits::default());
        let now = now();
        let journal = Journal::open(folder, now, |at, fact| facts.recall(at, fact))?;
        facts.age(now);
        Ok(Self(Arc::new(Inner {
            fingerprinter,
            facts: Mutex::new(facts),
            journal,
            news: Notify::new(),
            lessons: AtomicUsize::new(0),
            unreadable: AtomicU64::new(0),
        })))
    }

    /// Returns what makes the fingerprints of changes that are to be attributed: those of another one join nothing.
    pub fn fingerprinter(&self) -> Fingerprinter {
        self.0.fingerprinter.clone()
    }

    /// Returns how to answer a request to the webhook. What it says is known by then, but of a large one.
    ///
    /// # Errors
    /// It is no review that can be answered: the caller says so with status 400.
    pub fn review(&self, body: Bytes) -> Result<Reviewed, ReviewError> {
        let request = Request::parse(&body)?;
        let answer = request.allowed();
        if body.len() <= READ_FIRST_BYTES {
            self.learn(&request);
            return Ok(Reviewed { answer, lesson: None });
        }
        drop(request);
        self.0.lessons.fetch_add(1, Ordering::SeqCst);
        Ok(Reviewed { answer, lesson: Some(Lesson { admission: self.clone(), body }) })
    }

    /// Returns what there is to tell of it.
    pub fn counts(&self) -> Counts {
        let facts = self.facts();
        Counts {
            kept: facts.len(),
            dropped: facts.dropped(),
            unwritten: self.0.journal.unwritten(),
            unreadable: self.0.unreadable.load(Ordering::Relaxed),
        }
    }

    fn learn(&self, request: &Request<'_>) {
        match request.fact(&self.0.fingerprinter) {
            Ok(Some(fact)) => self.know(&fact),
            Ok(None) => {}
            // Deeper than any object that the API server would take, or without metadata.
            Err(_) => _ = self.0.unreadable.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn know(&self, fact: &Fact) {
        let now = now();
        let mut facts = self.facts();
        facts.age(now);
        facts.learn(now, fact);
        drop(facts);
        self.0.journal.append(now, fact);
        self.0.news.notify_one();
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl ActorSource for Admission {
    fn attribute(&self, change: &Change) -> Attribution {
        self.facts().who(now(), change)
    }

    fn patience(&self, _change: &Change, attribution: &Attribution) -> Duration {
        match attribution {
            Attribution::Unknown if self.0.lessons.load(Ordering::SeqCst) > 0 => WAIT,
            Attribution::Known { .. } | Attribution::Ambiguous(_) | Attribution::Manager(_) | Attribution::Unknown => {
                Duration::ZERO
            }
        }
    }

    fn saw(&self, change: &Change) {
        let now = now();
        let mut facts = self.facts();
        facts.age(now);
        facts.saw(now, change);
        drop(facts);
        self.0.journal.age(now);
    }

    async fn learned(&self) {
        self.0.news.notified().await;
    }
}

/// Never shows the key, or names.
impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admission").field(&self.counts()).finish()
    }
}

impl Lesson {
    /// Reads the request. It takes as long as reading the same object elsewhere does: 10 ms for one of a megabyte.
    pub fn learn(self) {
        // It was parsed before it was answered.
        if let Ok(request) = Request::parse(&self.body) {
            self.admission.learn(&request);
        }
    }
}

/// Whether it was learned or not, nobody needs to wait for it any more.
impl Drop for Lesson {
    fn drop(&mut self) {
        self.admission.0.lessons.fetch_sub(1, Ordering::SeqCst);
        self.admission.0.news.notify_one();
    }
}

impl fmt::Debug for Lesson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lesson").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Returns the seconds since 1970.
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
