//! The file of facts: what a crash of ours must not lose.
//!
//! ```text
//! admission.key       16 random bytes, which make the digests; neither is of use without the other
//! admission.facts     a line for each user and each fact: CRC-32 of the rest in hexadecimal, a blank, JSON
//! admission.facts.1   the lines before those
//! ```
//!
//! A line is written, not fsynced, before its request is answered: what the process has written survives its end, however it
//! comes. What the machine hasn't written at its own end is lost, and a half line is skipped. A user has a number, which is
//! never used again, so that a lost line costs facts and never names somebody else.
//!
//! A disk that hangs holds up one request: the others leave their lines in memory for whoever waits there, up to a bound.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, VecDeque},
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use reverser_core::Actor;
use serde::{Deserialize, Serialize};

use super::fact::{Deed, Fact};

const KEY: &str = "admission.key";
const FACTS: &str = "admission.facts";
const OLD_FACTS: &str = "admission.facts.1";

/// How long a file is filled: as long as its longest-lived facts count.
const KEEP_SECONDS: u32 = 3600;

/// How large a file becomes: more than what is kept in memory, at about 200 bytes a fact.
const FILE_BYTES: usize = 16 << 20;

/// How much waits while a disk hangs. What comes then is known, and forgotten by a crash.
const WAITING_BYTES: usize = 4 << 20;

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {}", path.display())]
#[non_exhaustive]
pub struct AdmissionError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl AdmissionError {
    fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }
}

/// Appends facts to a file that is read back by the next run.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    lines: Mutex<Lines>,
    /// Locked by whoever writes, last: nobody waits for it.
    file: Mutex<File>,
    unwritten: AtomicU64,
    /// Whether the last write failed, which is told.
    is_failing: AtomicBool,
}

#[derive(Debug)]
struct Lines {
    waiting: VecDeque<Piece>,
    waiting_bytes: usize,
    /// The numbers of the users in this file, by their lines.
    users: HashMap<String, u64>,
    next_user: u64,
    /// When the file was begun, in seconds since 1970.
    begun: u32,
    bytes: usize,
}

#[derive(Debug)]
enum Piece {
    /// Whole lines.
    Append(Vec<u8>),
    /// What follows belongs into another file.
    Rotate,
}

#[derive(Serialize, Deserialize)]
enum Line<'a> {
    Fact {
        /// In seconds since 1970.
        at: u32,
        /// The user's number.
        by: u64,
        deed: Cow<'a, Deed>,
    },
    User {
        number: u64,
        name: String,
        groups: Vec<String>,
        extra: BTreeMap<String, Vec<String>>,
    },
}

impl Journal {
    /// Opens the file in that folder, which is made if there is none; hands on what is in it, with its time.
    pub(super) fn open(folder: &Path, now: u32, mut recall: impl FnMut(u32, &Fact)) -> Result<Self, AdmissionError> {
        let mut reader = Reader::default();
        let (old, path) = (folder.join(OLD_FACTS), folder.join(FACTS));
        reader.read(&old, &mut recall).map_err(AdmissionError::of("read", &old))?;
        if reader.last.is_some_and(|last| now.saturating_sub(last) > KEEP_SECONDS) {
            fs::remove_file(&old).map_err(AdmissionError::of("remove", &old))?;
        }
        reader.first = None;
        let (bytes, is_torn) = reader.read(&path, &mut recall).map_err(AdmissionError::of("read", &path))?;
        let open = || {
            let mut file = private().append(true).create(true).open(&path)?;
            restrict(&file)?;
            // A half line of a crash must not begin the next one.
            if is_torn { file.write_all(b"\n") } else { Ok(()) }.map(|()| file)
        };
        let file = open().map_err(AdmissionError::of("open", &path))?;
        let lines = Lines {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            users: HashMap::new(),
            next_user: reader.next_user,
            begun: reader.first.unwrap_or(now),
            bytes,
        };
        let (lines, file) = (Mutex::new(lines), Mutex::new(file));
        Ok(Self {
            folder: folder.to_owned(),
            lines,
            file,
            unwritten: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
        })
    }

    /// Appends a fact; when this returns it is in the file, or another thread is about to write it.
    pub(super) fn append(&self, now: u32, fact: &Fact) {
        if !self.lines().add(now, fact) {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
        }
        self.write();
    }

    /// Begins another file where this one is full or old.
    pub(super) fn age(&self, now: u32) {
        if self.lines().rotate_if_due(now) {
            self.write();
        }
    }

    /// Returns how many facts could not be written.
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Writes what waits, unless somebody does: they look again after they have let go of the file.
    fn write(&self) {
        while !self.lines().waiting.is_empty() {
            let mut file = match self.file.try_lock() {
                Ok(file) => file,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            while let Some(piece) = self.next() {
                match self.put(&mut file, &piece) {
                    Ok(()) if self.is_failing.swap(false, Ordering::Relaxed) => {
                        tracing::info!(folder = %self.folder.display(), "facts about requests are written again");
                    }
                    Ok(()) => {}
                    Err(error) => return self.lose(&piece, &error),
                }
            }
        }
    }

    /// Counts what could not be written, and says so once until something could be.
    fn lose(&self, piece: &Piece, error: &io::Error) {
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "could not write facts about requests; a restart will not know them");
        }
        let lines = match piece {
            Piece::Append(text) => text.iter().filter(|&&byte| byte == b'\n').count(),
            Piece::Rotate => 0,
        };
        self.unwritten.fetch_add(lines as u64, Ordering::Relaxed);
        // Lines of users may be among what is lost, and half of a line before what comes next.
        let mut lines = self.lines();
        lines.users.clear();
        lines.waiting.push_front(Piece::Append(b"\n".to_vec()));
    }

    fn next(&self) -> Option<Piece> {
        let mut lines = self.lines();
        let piece = lines.waiting.pop_front()?;
        if let Piece::Append(text) = &piece {
            lines.waiting_bytes = lines.waiting_bytes.saturating_sub(text.len());
        }
        Some(piece)
    }

    fn put(&self, file: &mut File, piece: &Piece) -> io::Result<()> {
        match piece {
            Piece::Append(text) => file.write_all(text),
            Piece::Rotate => {
                let path = self.folder.join(FACTS);
                fs::rename(&path, self.folder.join(OLD_FACTS))?;
                *file = private().append(true).create(true).open(path)?;
                Ok(())
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Returns whether there was room for it.
    fn add(&mut self, now: u32, fact: &Fact) -> bool {
        if self.waiting_bytes > WAITING_BYTES {
            return false;
        }
        self.rotate_if_due(now);
        let Actor { name, groups, extra } = fact.actor.clone();
        let user = format!("{name}\0{groups:?}\0{extra:?}");
        let by = match self.users.get(&user) {
            Some(number) => *number,
            None => {
                let number = self.next_user;
                self.next_user += 1;
                self.users.insert(user, number);
                self.push(&Line::User { number, name, groups, extra });
                number
            }
        };
        self.push(&Line::Fact { at: now, by, deed: Cow::Borrowed(&fact.deed) });
        true
    }

    fn rotate_if_due(&mut self, now: u32) -> bool {
        let is_due = self.bytes > FILE_BYTES || now.saturating_sub(self.begun) > KEEP_SECONDS;
        if is_due {
            self.waiting.push_back(Piece::Rotate);
            self.users.clear();
            self.begun = now;
            self.bytes = 0;
        }
        is_due
    }

    fn push(&mut self, line: &Line<'_>) {
        let Ok(json) = serde_json::to_string(line) else { return };
        let text = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
        self.bytes += text.len();
        self.waiting_bytes += text.len();
        match self.waiting.back_mut() {
            Some(Piece::Append(lines)) => lines.extend_from_slice(text.as_bytes()),
            _ => self.waiting.push_back(Piece::Append(text.into_bytes())),
        }
    }
}

/// Reads files back.
#[derive(Default)]
struct Reader {
    users: HashMap<u64, Actor>,
    next_user: u64,
    first: Option<u32>,
    last: Option<u32>,
}

impl Reader {
    /// Hands on the facts of a file; returns its length, and whether its last line has no end.
    fn read(&mut self, path: &Path, recall: &mut impl FnMut(u32, &Fact)) -> io::Result<(usize, bool)> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, false)),
            text => text?,
        };
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            match parse(line.strip_suffix(b"\n").unwrap_or(line)) {
                Some(Line::User { number, name, groups, extra }) => {
                    self.next_user = self.next_user.max(number.saturating_add(1));
                    self.users.insert(number, Actor { name, groups, extra });
                }
                Some(Line::Fact { at, by, deed }) => {
                    self.first = self.first.or(Some(at));
                    self.last = self.last.max(Some(at));
                    if let Some(actor) = self.users.get(&by) {
                        recall(at, &Fact { actor: actor.clone(), deed: deed.into_owned() });
                    }
                }
                None => {}
            }
        }
        Ok((text.len(), text.last().is_some_and(|&byte| byte != b'\n')))
    }
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?.trim_end(), 16).ok()?;
    (crc32fast::hash(json) == sum).then(|| serde_json::from_slice(json).ok())?
}

/// Returns the key in that folder; made by chance where there is none.
pub(super) fn key(folder: &Path) -> Result<[u8; 16], AdmissionError> {
    let path = folder.join(KEY);
    let read = || -> io::Result<[u8; 16]> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        match fs::read(&path) {
            Ok(key) if key.len() == 16 => {
                restrict(&File::open(&path)?)?;
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&key);
                return Ok(bytes);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // Half of one is none: what it has digested is lost, and nothing else.
            _ => {}
        }
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let draft = folder.join(format!("{KEY}.new"));
        let mut file = private().write(true).create(true).truncate(true).open(&draft)?;
        restrict(&file)?;
        file.write_all(&key)?;
        file.sync_all()?;
        fs::rename(draft, &path)?;
        Ok(key)
    };
    read().map_err(AdmissionError::of("read or make", &path))
}

/// Returns options for a file that only its owner may read: it has names.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Takes from others what an older or copied file allows them.
fn restrict(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests;
