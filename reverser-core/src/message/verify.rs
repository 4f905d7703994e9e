//! The commit that repairs what a verification has found.

use std::fmt::Write;

use super::{clean, group::LISTED};
use crate::{Drift, Drifted};

/// `[VERIFY] 3 objects: 1 missing, 2 different`, with a line for each in the body.
pub(super) fn default(repaired: &[Drifted]) -> String {
    let plural = if repaired.len() == 1 { "" } else { "s" };
    let mut message = format!(
        "[VERIFY] {} object{plural}: {}\n\nGit was changed here, or changes were missed: it is as the cluster is again.\n",
        repaired.len(),
        counts(repaired)
    );
    for drifted in repaired.iter().take(LISTED) {
        let _infallible = write!(message, "\n- {}", clean::line(&drifted.to_string()));
    }
    if repaired.len() > LISTED {
        let _infallible = write!(message, "\n- … and {} more", repaired.len() - LISTED);
    }
    message
}

fn counts(repaired: &[Drifted]) -> String {
    let of = |drift| repaired.iter().filter(|drifted| !drifted.is_left_out && drifted.drift == drift).count();
    let left_out = repaired.iter().filter(|drifted| drifted.is_left_out).count();
    let counts = Drift::ALL.into_iter().map(|drift| (of(drift), drift.name())).chain([(left_out, "left out")]);
    let counts = counts.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    counts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ObjectRef, Resource};

    #[test]
    fn a_repair_says_what_was_wrong_with_each_object() {
        let drifted = |drift, name: &str, is_left_out| {
            let resource = Resource::new("apps", "v1", "Deployment", "deployments").into();
            let object = ObjectRef { resource, namespace: Some("shop".into()), name: name.into(), uid: None };
            Drifted { drift, object, is_left_out }
        };
        let one = drifted(Drift::Different, "web", false);
        insta::assert_snapshot!(default(std::slice::from_ref(&one)), @r"
        [VERIFY] 1 object: 1 different

        Git was changed here, or changes were missed: it is as the cluster is again.

        - different apps/v1/deployments/shop/web
        ");
        let several = [one, drifted(Drift::Extra, "old\nx: y", false), drifted(Drift::Missing, "bot's", true)];
        insta::assert_snapshot!(default(&several), @r"
        [VERIFY] 3 objects: 1 extra, 1 different, 1 left out

        Git was changed here, or changes were missed: it is as the cluster is again.

        - different apps/v1/deployments/shop/web
        - extra apps/v1/deployments/shop/old x: y
        - left out (missing) apps/v1/deployments/shop/bot's
        ");
        let many = vec![several[1].clone(); LISTED + 2];
        assert!(default(&many).ends_with("\n- … and 2 more"));
    }
}
