//! What the flow reports, and when.

use std::sync::PoisonError;

use reverser_core::churn::Verdict;
use reverser_git::{Outcome, Receipt};

use super::{Reverser, commit_id, recording::Told};
use crate::{api_error::ApiError, report::Notice};

impl Reverser {
    pub(super) fn failed(&self, source: &str, error: &ApiError) {
        let is_news = self.troubles.lock().unwrap_or_else(PoisonError::into_inner).failed(source, error);
        self.reporter.report(Notice::Failed { source, error, is_news });
    }

    pub(super) fn went_on(&self, source: &str) {
        let went_on = self.troubles.lock().unwrap_or_else(PoisonError::into_inner).went_on(source);
        if let Some(is_news) = went_on {
            self.reporter.report(Notice::Recovered { source, is_news });
        }
    }

    /// A source is no longer read, and whatever kept it from going on is over.
    pub(super) fn unwatched(&self, source: &str) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).went_on(source);
        self.reporter.report(Notice::Unwatched { source });
    }

    pub(super) fn tell_obstructed(&self, receipt: &Receipt) {
        receipt.obstructed.iter().for_each(|obstructed| self.reporter.report(Notice::Obstructed(obstructed)));
    }

    pub(super) fn tell(&self, changes: &[Told], outcome: &Outcome) {
        if *outcome == Outcome::Unchanged {
            changes.iter().for_each(|told| self.untell_reason(&told.change));
            return;
        }
        for Told { change, arrived, stands_for, .. } in changes {
            let (commit, took) = (commit_id(outcome), arrived.elapsed());
            self.reporter.report(Notice::Committed { change, commit, took, stands_for: *stands_for });
        }
    }

    pub(super) fn tell_churn(&self, verdict: &Verdict) {
        self.reporter.report(match verdict {
            Verdict::Began { object, per_minute, actor } => {
                Notice::Churning { object, per_minute: *per_minute, actor: actor.as_ref() }
            }
            Verdict::Ended { object, changes, lasted } => Notice::Calmed { object, changes: *changes, lasted: *lasted },
        });
    }
}
