//! What a keeper of certificates does next. No clock, no I/O.

use std::time::Duration;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// How long what is issued is valid. It is renewed when a third of that is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lives {
    pub(super) authority: Duration,
    pub(super) leaf: Duration,
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// How long the authority is valid that signs last.
    pub(super) newest: Timestamp,
    /// The same of the one before, where it counts still.
    pub(super) older: Option<Timestamp>,
    /// How long the certificate that is served is valid, and whose it is.
    pub(super) leaf: (Timestamp, By),
    /// From when on all API servers trust the newest authority; `None`: nobody has said so.
    pub(super) trusted_from: Option<Timestamp>,
    /// When no certificate of the older one is valid any more, since those of the newest are served.
    pub(super) retire_at: Option<Timestamp>,
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Newest,
    Older,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make an authority that will be the newest, and announce it beside the one that there is.
    AddAuthority,
    /// Make an authority and a certificate, and forget all others.
    Remake,
    /// Forget the older authority, and announce the newest alone.
    Retire,
    /// Serve another certificate.
    Sign(By),
    /// Nothing until then, unless something else happens.
    Wait(Timestamp),
}

impl View {
    /// Returns what to do now.
    pub(super) fn step(&self, lives: Lives, now: Timestamp) -> Step {
        if self.newest <= now {
            return Step::Remake;
        }
        let succession = before(self.newest, lives.authority / 3);
        match (self.older, self.leaf.1) {
            (None, _) if succession <= now => Step::AddAuthority,
            (None, _) => self
                .renew(By::Newest, self.newest, lives, now)
                .unwrap_or_else(|| wait([Some(self.renewal(lives)), Some(succession)], now)),
            (Some(_), By::Newest) if self.retire_at.is_none_or(|at| at <= now) => Step::Retire,
            (Some(_), By::Newest) => self
                .renew(By::Newest, self.newest, lives, now)
                .unwrap_or_else(|| wait([Some(self.renewal(lives)), self.retire_at], now)),
            // Nobody trusts one that has expired: what isn't trusted yet is no worse.
            (Some(older), By::Older) if older <= now || self.trusted_from.is_some_and(|from| from <= now) => {
                Step::Sign(By::Newest)
            }
            (Some(older), By::Older) => self
                .renew(By::Older, older, lives, now)
                .unwrap_or_else(|| wait([Some(self.renewal(lives)), self.trusted_from, Some(older)], now)),
        }
    }

    /// Signs when it is time to, and what is signed is valid for longer: no certificate outlives its authority.
    fn renew(&self, by: By, authority: Timestamp, lives: Lives, now: Timestamp) -> Option<Step> {
        let is_longer = end(now, lives.leaf).min(authority) > self.leaf.0;
        (self.renewal(lives) <= now && is_longer).then_some(Step::Sign(by))
    }

    fn renewal(&self, lives: Lives) -> Timestamp {
        before(self.leaf.0, lives.leaf / 3)
    }
}

/// Returns the end of what lives so long from now on, in seconds: certificates know no fractions.
pub(super) fn end(now: Timestamp, life: Duration) -> Timestamp {
    let end = now.checked_add(life).unwrap_or(Timestamp::MAX);
    end.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc)).unwrap_or(end)
}

fn before(end: Timestamp, left: Duration) -> Timestamp {
    end.checked_sub(left).unwrap_or(Timestamp::MIN)
}

/// Until the first of what is to come.
fn wait<const N: usize>(moments: [Option<Timestamp>; N], now: Timestamp) -> Step {
    Step::Wait(moments.into_iter().flatten().filter(|at| *at > now).min().unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIVES: Lives = Lives { authority: Duration::from_secs(3_000), leaf: Duration::from_secs(90) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn alone(newest: i64, leaf: i64) -> View {
        View { newest: at(newest), older: None, leaf: (at(leaf), By::Newest), trusted_from: None, retire_at: None }
    }

    fn both(older: i64, leaf: (i64, By)) -> View {
        View {
            newest: at(5_000),
            older: Some(at(older)),
            leaf: (at(leaf.0), leaf.1),
            trusted_from: None,
            retire_at: None,
        }
    }

    #[test]
    fn each_thing_is_done_when_it_is_time_and_not_before() {
        let trusted = |view: View, from| View { trusted_from: Some(at(from)), ..view };
        let retiring = |view: View, from| View { retire_at: Some(at(from)), ..view };
        let older = |until, leaf| both(until, (leaf, By::Older));
        let newest = |until, leaf| both(until, (leaf, By::Newest));
        for (what, view, now, step) in [
            ("alone, nothing to do", alone(3_000, 90), 59, Step::Wait(at(60))),
            ("alone, the certificate is old", alone(3_000, 90), 60, Step::Sign(By::Newest)),
            ("alone, the certificate has expired", alone(3_000, 90), 1_000, Step::Sign(By::Newest)),
            ("alone, the authority is old", alone(3_000, 2_085), 2_000, Step::AddAuthority),
            ("alone, the authority has expired", alone(3_000, 3_000), 3_000, Step::Remake),
            ("announced, nobody has said so", older(3_000, 2_090), 2_050, Step::Wait(at(2_060))),
            ("announced, and the certificate is old", older(3_000, 2_090), 2_060, Step::Sign(By::Older)),
            ("announced a moment ago", trusted(older(3_000, 2_090), 2_055), 2_050, Step::Wait(at(2_055))),
            ("trusted", trusted(older(3_000, 2_090), 2_055), 2_055, Step::Sign(By::Newest)),
            ("never trusted, until the old one ends", older(3_000, 3_000), 2_999, Step::Wait(at(3_000))),
            ("never trusted, and the old one is no better", older(3_000, 3_000), 3_000, Step::Sign(By::Newest)),
            (
                "served, others may be of the old one",
                retiring(newest(3_000, 2_145), 2_145),
                2_056,
                Step::Wait(at(2_115)),
            ),
            ("served, and old", retiring(newest(3_000, 2_145), 2_145), 2_115, Step::Sign(By::Newest)),
            ("no other is of the old one", retiring(newest(3_000, 2_205), 2_145), 2_145, Step::Retire),
        ] {
            assert_eq!(view.step(LIVES, at(now)), step, "{what}");
        }
    }

    /// A keeper and API servers, in which whatever has to be done takes no time.
    struct Model {
        view: View,
        bundle: Vec<Timestamp>,
        trusted: Vec<Timestamp>,
    }

    impl Model {
        fn run(&mut self, now: Timestamp) -> Timestamp {
            // More steps than that at a time would be turning in circles.
            for _ in 0..5 {
                let until = end(now, LIVES.authority);
                let view = &mut self.view;
                match view.step(LIVES, now) {
                    Step::AddAuthority => {
                        (view.older, view.newest) = (Some(view.newest), until);
                        (view.leaf.1, view.trusted_from) = (By::Older, None);
                        self.bundle.push(until);
                    }
                    Step::Remake => {
                        *view = alone(until.as_second(), end(now, LIVES.leaf).as_second());
                        (self.bundle, self.trusted) = (vec![until], vec![until]);
                    }
                    Step::Retire => {
                        (view.older, view.retire_at) = (None, None);
                        self.bundle = vec![view.newest];
                    }
                    Step::Sign(by) => {
                        if view.leaf.1 == By::Older && by == By::Newest {
                            view.retire_at = view.older.map(|older| older.min(end(now, LIVES.leaf)));
                        }
                        let authority = if by == By::Newest { view.newest } else { view.older.unwrap() };
                        view.leaf = (end(now, LIVES.leaf).min(authority), by);
                    }
                    Step::Wait(until) => return until,
                }
            }
            panic!("no end of steps at {now}: {:?}", self.view);
        }
    }

    proptest! {
        /// Whenever anybody looks, and however late a bundle is published, as long as it is before the old one has expired.
        #[test]
        fn what_is_served_is_valid_and_trusted(pauses in prop::collection::vec((1i64..25, 0usize..40), 1..1_000)) {
            let mut now = at(0);
            let mut model = Model { view: alone(0, 0), bundle: vec![], trusted: vec![] };
            model.run(now);
            let mut unpublished = 0;
            for (pause, patience) in pauses {
                now += Duration::from_secs(pause.unsigned_abs());
                model.run(now);
                let (until, by) = model.view.leaf;
                let authority = if by == By::Newest { model.view.newest } else { model.view.older.unwrap() };
                prop_assert!(until > now, "served at {now}, valid until {until}");
                prop_assert!(until <= authority && model.bundle.contains(&authority));
                prop_assert!(model.trusted.contains(&authority), "{:?} at {now}", model.view);
                if model.trusted != model.bundle {
                    unpublished += 1;
                    if unpublished > patience {
                        (model.trusted, unpublished) = (model.bundle.clone(), 0);
                        model.view.trusted_from = Some(now);
                    }
                }
            }
        }
    }
}
