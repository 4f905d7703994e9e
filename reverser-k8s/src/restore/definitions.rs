//! CustomResourceDefinitions: when what they define is served.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Chosen, Failure, Outcome, Restore, Restored, Told};
use crate::{
    discover::{DiscoverError, defines},
    report::chain,
};

/// How often it is looked whether they are served.
const LOOK: Duration = Duration::from_millis(100);

impl Restore {
    /// Waits until the API server serves what the definitions define that were applied; the others have failed.
    pub(super) async fn establish(
        &mut self,
        definitions: &[Chosen],
        done: &mut [Restored],
        told: Told<'_>,
    ) -> Result<(), DiscoverError> {
        let limit = self.options.establish_limit;
        let deadline = Instant::now() + limit;
        let applied = |chosen: &&Chosen| done.iter().any(|done| !done.is_failed() && done.name == chosen.manifest.name);
        let mut missing: Vec<_> = definitions.iter().filter(applied).collect();
        loop {
            let catalog = &self.catalog;
            missing
                .retain(|chosen| !defines(&chosen.manifest.body).all(|(resource, _)| catalog.serves_kind(&resource)));
            if missing.is_empty() {
                return Ok(());
            }
            let is_late = Instant::now() >= deadline;
            let mut waiting = Vec::new();
            for chosen in missing {
                let found = self.definition(chosen).await;
                if !is_late && !found.as_ref().is_ok_and(is_refused) {
                    waiting.push(chosen);
                    continue;
                }
                let why = found.map_or_else(|why| why, |found| words(&found));
                let Some(done) = done.iter_mut().find(|done| done.name == chosen.manifest.name) else { continue };
                done.outcome = Outcome::Failed(Failure::Establish { limit, why });
                told(done);
            }
            missing = waiting;
            tokio::time::sleep(LOOK).await;
            self.catalog = self.requests.discover().await?;
        }
    }

    async fn definition(&self, chosen: &Chosen) -> Result<Value, String> {
        let Some(object) = &chosen.object else { return Ok(Value::Null) };
        let found = self.requests.get(&object.resource, object).await;
        found.map(Option::unwrap_or_default).map_err(|error| chain(&error))
    }
}

/// Whether its names are another definition's, which nobody but a person ends.
fn is_refused(definition: &Value) -> bool {
    let is_no = |condition: &&Value| condition["type"] == "NamesAccepted" && condition["status"] == "False";
    conditions(definition).iter().find(is_no).is_some()
}

/// Returns what a definition says of itself.
fn words(definition: &Value) -> String {
    let bad = conditions(definition).iter().filter(|one| one["status"] != "True" && one["type"] != "Terminating");
    let words = bad.map(|condition| {
        let text = |key: &str| condition[key].as_str().unwrap_or_default();
        format!("{} is {}: {}", text("type"), text("status"), text("message"))
    });
    match words.collect::<Vec<_>>().join("; ") {
        words if words.is_empty() => "it says nothing".to_owned(),
        words => words,
    }
}

fn conditions(definition: &Value) -> &[Value] {
    definition["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default()
}
