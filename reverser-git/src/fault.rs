//! The points at which a crash or a full disk meets the writer: tests kill the process there, or make the disk fail.
//!
//! Without the feature `testing` there is nothing of it; with it, only what the environment says:
//! `REVERSER_FAULT=<point>:<n>` ends the process by SIGKILL when it comes to the point for the n-th time,
//! `REVERSER_FAULT=<point>:<n>:full` makes that write fail as on a full disk, and `REVERSER_FAULT_LOG=<file>` gets a line
//! for each point that is passed.

use std::{io, path::Path};

/// What has been done with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The file is there under its temporary name, empty.
    Created,
    /// A folder's entries are durable.
    FolderSynced,
    /// The file has its name.
    Renamed,
    /// The file's content is durable.
    Synced,
    /// The content is written, and may be lost.
    Written,
}

/// A file or folder that the writer keeps was brought to this step; fails when a test wants it to.
#[cfg(not(feature = "testing"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature it may fail")]
pub(crate) const fn on_disk(_step: Step, _path: &Path) -> io::Result<()> {
    Ok(())
}

/// The writer came to a point between its work on files.
#[cfg(not(feature = "testing"))]
pub(crate) const fn reached(_point: &'static str) {}

#[cfg(feature = "testing")]
pub(crate) use armed::{on_disk, reached};

#[cfg(feature = "testing")]
pub(crate) mod armed {
    use std::{
        env,
        fs::{File, OpenOptions},
        io::Write,
        sync::{
            LazyLock,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use rustix::{
        io::Errno,
        process::{Signal, getpid, kill_process},
    };

    use super::*;

    /// All points at which a file or folder may fail, each of which is also one to die at.
    pub const ON_DISK: [&str; 31] = [
        "config-created",
        "config-written",
        "config-synced",
        "config-renamed",
        "head-created",
        "head-written",
        "head-synced",
        "head-renamed",
        "pack-created",
        "pack-written",
        "pack-synced",
        "pack-renamed",
        "index-created",
        "index-written",
        "index-synced",
        "index-renamed",
        "pack-folder-synced",
        "state-created",
        "state-written",
        "state-synced",
        "state-renamed",
        "state-folder-synced",
        "branch-created",
        "branch-written",
        "branch-renamed",
        "seen-created",
        "seen-written",
        "seen-synced",
        "seen-renamed",
        "seen-folder-synced",
        "repository-folder-synced",
    ];

    /// The points between: where work is handed on.
    pub const BETWEEN: [&str; 11] = [
        "leftovers-cleared",
        "remote-seen",
        "batch-durable",
        "push-begun",
        "push-answered",
        "tip-fetched",
        "replay-begun",
        "replay-made",
        "consolidation-begun",
        "consolidation-made",
        "pack-removed",
    ];

    /// The points that only some histories lead to, of which the crash tests play one each.
    pub const SELDOM: [&str; 13] = [
        "aside-created",
        "aside-written",
        "aside-synced",
        "aside-renamed",
        "aside-folder-synced",
        "restore-made",
        "loss-noted",
        "contents-fetched",
        "unpushed-signed",
        "branch-moved",
        "note-durable",
        "notes-made",
        "notes-pushed",
    ];

    struct Armed {
        point: String,
        nth: usize,
        is_full: bool,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let value = env::var("REVERSER_FAULT").ok()?;
        let mut fields = value.split(':');
        let (point, nth, is_full) = (fields.next()?, fields.next()?, fields.next() == Some("full"));
        let (point, nth) = (point.to_owned(), nth.parse().ok()?);
        Some(Armed { point, nth, is_full })
    });

    static LOG: LazyLock<Option<File>> = LazyLock::new(|| {
        let path = env::var_os("REVERSER_FAULT_LOG")?;
        OpenOptions::new().create(true).append(true).open(path).ok()
    });

    static PASSED: AtomicUsize = AtomicUsize::new(0);

    pub(crate) fn on_disk(step: Step, path: &Path) -> io::Result<()> {
        let Some(point) = point_of(step, path) else { return Ok(()) };
        if meets(&point) { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }

    pub(crate) fn reached(point: &'static str) {
        meets(point);
    }

    /// Dies when that is what the test wants; returns whether the disk is full.
    fn meets(point: &str) -> bool {
        if let Some(mut log) = LOG.as_ref() {
            // One write a line, so that threads don't mix theirs; a test that reads it misses what is lost.
            let _ = log.write_all(format!("{point}\n").as_bytes());
        }
        let Some(armed) = ARMED.as_ref().filter(|armed| armed.point == point) else { return false };
        if PASSED.fetch_add(1, Ordering::Relaxed) + 1 != armed.nth {
            return false;
        }
        if !armed.is_full {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        armed.is_full
    }

    /// Returns the point's name, or `None` for what is nobody's loss.
    fn point_of(step: Step, path: &Path) -> Option<String> {
        let path = path.to_string_lossy();
        let inside = path.split_once("repository.git").map(|(_, inside)| inside)?;
        let what = match inside {
            "" => "repository",
            "/HEAD" => "head",
            "/config" => "config",
            _ if inside.ends_with(".idx") => "index",
            _ if inside.starts_with("/objects/pack") => "pack",
            _ if inside.starts_with("/refs/heads") => "branch",
            _ if inside.starts_with("/refs/aside") => "aside",
            _ if inside.starts_with("/refs/remotes/origin") || inside.starts_with("/refs/reverser-moved") => "seen",
            _ if inside.starts_with("/refs/reverser") => "state",
            _ => return None,
        };
        let step = match step {
            Step::Created => "created",
            Step::FolderSynced => "folder-synced",
            Step::Renamed => "renamed",
            Step::Synced => "synced",
            Step::Written => "written",
        };
        Some(format!("{what}-{step}"))
    }
}
