//! Programs that are ended together with all that they have started.

use rustix::process::{Pid, kill_process_group};

pub(crate) use rustix::process::Signal;

/// A process that was started with a group of its own, and what it has started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessGroup(Pid);

impl ProcessGroup {
    /// Returns the group that the process of this id leads.
    pub(crate) fn of(leader: u32) -> Option<Self> {
        i32::try_from(leader).ok().and_then(Pid::from_raw).map(Self)
    }

    /// Ends it, as far as the signal does; one that has ended in this moment is as good.
    pub(crate) fn end(self, signal: Signal) {
        let _ended = kill_process_group(self.0, signal);
    }
}
