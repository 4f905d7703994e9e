//! When a machine is told something, and by chance: what spreads watches that began together.

use std::time::Duration;

use tokio::time::Instant;

/// How long the server is asked to keep a stream open (`timeoutSeconds`), at least. Up to a quarter more, so that watches
/// that began together don't come back together.
pub(super) const LIFETIME: Duration = Duration::from_secs(240);

/// When something came in, and a number that nobody can foretell.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) random: u64,
}

impl Moment {
    pub(super) fn lifetime(self) -> Duration {
        let lifetime = LIFETIME + LIFETIME.mul_f64(self.fraction() / 4.0);
        Duration::from_secs(lifetime.as_secs())
    }

    /// Returns up to a third more than `wait`.
    pub(super) fn spread(self, wait: Duration) -> Duration {
        wait + wait.mul_f64(self.fraction() / 3.0)
    }

    /// Returns a number from 0 to 1.
    fn fraction(self) -> f64 {
        f64::from(u16::try_from(self.random >> 48).unwrap_or(u16::MAX)) / f64::from(u16::MAX)
    }
}
