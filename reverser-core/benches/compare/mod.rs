//! Two ways to do the same, measured in turns.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Returns the seconds that each takes. Both take turns, and of each the fastest turn counts: what else the machine does
/// only ever adds time.
pub(crate) fn seconds<T>(mut one: impl FnMut() -> T, mut other: impl FnMut() -> T) -> (f64, f64) {
    let turn = |work: &mut dyn FnMut() -> T| {
        let (started, mut runs) = (Instant::now(), 0);
        while started.elapsed() < Duration::from_millis(25) {
            black_box(work());
            runs += 1;
        }
        started.elapsed().as_secs_f64() / f64::from(runs)
    };
    (0..40).fold((f64::MAX, f64::MAX), |(first, second), _| (first.min(turn(&mut one)), second.min(turn(&mut other))))
}
