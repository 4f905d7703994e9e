//! What is removed of each object.

use clap::{Args, ValueEnum, builder::PossibleValue};
use reverser_core::{
    FieldPath, FieldPathError, Profile, Sanitizer,
    sanitize::{DropError, FieldRule},
};

use super::heading::MANIFESTS;

/// What is removed of each object.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CleanArgs {
    /// How much is removed of each object
    #[arg(long, help_heading = MANIFESTS, value_name = "PROFILE", value_enum, default_value_t)]
    pub(crate) profile: ProfileName,
    /// Keep what stands at this path: Pod:.spec.nodeName
    ///
    /// Whatever else would remove it. [KIND[.GROUP]:]PATH, in kubectl's JSONPath:
    /// .metadata.annotations["example.com/x"], .spec.containers[*].image, .spec.containers[?(@.name=="istio-proxy")];
    /// .metadata.labels["kro.run/"*] is all keys that begin so.
    #[arg(long, help_heading = MANIFESTS, value_name = "[KIND:]PATH", value_parser = rule)]
    pub(crate) keep: Vec<FieldRule>,
    /// Remove what stands at this path, whoever wrote it
    #[arg(long, help_heading = MANIFESTS, value_name = "[KIND:]PATH", value_parser = drop_rule)]
    pub(crate) drop: Vec<FieldRule>,
}

impl CleanArgs {
    /// Returns what removes it.
    pub(crate) fn sanitizer(&self) -> Result<Sanitizer, DropError> {
        let sanitizer = self.keep.iter().cloned().fold(Sanitizer::new(self.profile.0), Sanitizer::keep);
        self.drop.iter().cloned().try_fold(sanitizer, Sanitizer::drop)
    }
}

/// The name of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProfileName(pub(crate) Profile);

impl ValueEnum for ProfileName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [ProfileName; Profile::ALL.len()] = {
            let [a, b, c] = Profile::ALL;
            [ProfileName(a), ProfileName(b), ProfileName(c)]
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(match self.0 {
            Profile::Faithful => "what servers own; defaults stay, so that the manifest says what the cluster runs",
            Profile::Minimal => "also what defaulting filled in, where the object shows that nobody wrote it",
            Profile::Neat => "what kubectl-neat removes: also authored values that equal a default, and most metadata",
        }))
    }
}

/// Reads a path without a kind.
pub(super) fn field_path(text: &str) -> Result<FieldPath, String> {
    text.parse().map_err(|error: FieldPathError| pointed(&error))
}

fn rule(text: &str) -> Result<FieldRule, String> {
    text.parse().map_err(|error: FieldPathError| pointed(&error))
}

fn drop_rule(text: &str) -> Result<FieldRule, String> {
    let rule = rule(text)?;
    match Sanitizer::faithful().drop(rule.clone()) {
        Ok(_) => Ok(rule),
        Err(error) => Err(error.to_string()),
    }
}

/// What is wrong, above the text with a caret below the character.
fn pointed(error: &FieldPathError) -> String {
    format!("{}\n\n  {}\n  {:>column$}", error.reason(), error.text(), '^', column = error.at())
}
