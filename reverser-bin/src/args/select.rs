//! What is captured.

use clap::{Args, ValueEnum, builder::PossibleValue};
use reverser_core::{Filter, Glob, LabelSelector, NOISE, Term, Test};

use super::heading::SELECTION;
use crate::Usage;

#[derive(Debug, Args)]
pub(crate) struct SelectArgs {
    /// Only these: deployments.apps, cm [default: all but noise]
    #[arg(short, long, help_heading = SELECTION, value_name = "RESOURCE", value_delimiter = ',', num_args = 1..)]
    pub(crate) resource: Vec<String>,
    /// Only these namespaces
    #[arg(short, long, help_heading = SELECTION, value_name = "NAMESPACE", value_delimiter = ',', num_args = 1..)]
    pub(crate) namespace: Vec<String>,
    /// Only objects with these labels: app=web,tier!=test
    #[arg(short = 'l', long, help_heading = SELECTION, value_name = "SELECTOR")]
    pub(crate) selector: Option<LabelSelector>,
    /// Also capture this kind of noise, which no user authors
    ///
    /// `reverser watch --help` lists the kinds at its end, with reasons.
    #[arg(long, help_heading = SELECTION, value_name = "NOISE", value_delimiter = ',', hide_possible_values = true)]
    pub(crate) include: Vec<Include>,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

#[derive(Debug, Default, Args)]
pub(crate) struct FilterArgs {
    /// Only what this filter takes: 'namespace=a-* user!=bot'
    ///
    /// May be repeated: what one of them takes is recorded. A filter is terms that all have to hold, separated by
    /// blanks: resource, group, version, kind, namespace, name, label, annotation (KEY or KEY=VALUE), owner (KIND or
    /// KIND/NAME), manager (a field manager), user, operation (create, update, delete). TERM=VALUE, or TERM!=VALUE for
    /// the opposite; * and ? are wildcards, | separates alternatives, and a value with a blank stands in double quotes:
    /// label="app in (web,api)". Users and operations say which changes are recorded, the others which objects.
    #[arg(long, help_heading = SELECTION, value_name = "FILTER", value_parser = filter)]
    pub(crate) only: Vec<Filter>,
    /// Nothing that this filter takes
    ///
    /// May be repeated: what one of them takes is left out.
    #[arg(long, help_heading = SELECTION, value_name = "FILTER", value_parser = filter)]
    pub(crate) except: Vec<Filter>,
    /// No changes by this field manager, such as a GitOps tool: kustomize-*
    ///
    /// May be repeated; * and ? are wildcards. A change counts as a manager's when the object's managed fields show
    /// that nobody else can have made it. Its file stays as it is until somebody else changes the object, or until the
    /// next complete list; deletions are recorded. To leave out objects by their managers, say --except 'manager=...'.
    #[arg(long, help_heading = SELECTION, value_name = "MANAGER", value_parser = manager)]
    pub(crate) ignore_manager: Vec<Glob>,
    /// No changes by this user: system:serviceaccount:flux-system:*
    ///
    /// May be repeated; * and ? are wildcards. It needs --attribution or --audit-log. The file stays as it is,
    /// also where the user deletes the object, until somebody else changes it, or until the next verification or complete
    /// list: nothing is lost. Changes of which nobody knows for certain who made them are recorded. It is short for
    /// --except 'user=...', and wins over --only.
    #[arg(long, help_heading = SELECTION, value_name = "USER", value_parser = user)]
    pub(crate) ignore_user: Vec<Glob>,
}

/// An empty name would match nobody.
fn manager(text: &str) -> Result<Glob, String> {
    if text.is_empty() { Err("a field manager has a name".into()) } else { Ok(Glob::new(text)) }
}

fn user(text: &str) -> Result<Glob, String> {
    if text.is_empty() { Err("a user has a name".into()) } else { Ok(Glob::new(text)) }
}

impl FilterArgs {
    /// Returns whether one says which changes are recorded, which means nothing where objects are looked at.
    pub(crate) fn ask_about_changes(&self) -> bool {
        let asks =
            |filter: &Filter| filter.terms.iter().any(|term| matches!(term.test, Test::Operation(_) | Test::User(_)));
        self.only.iter().chain(&self.excluded()).any(asks) || !self.ignore_manager.is_empty()
    }

    /// Returns what is left out, the changes of ignored users among it.
    pub(crate) fn excluded(&self) -> Vec<Filter> {
        let by = |user: &Glob| Filter { terms: vec![Term::is(Test::User(vec![user.clone()]))] };
        self.except.iter().cloned().chain(self.ignore_user.iter().map(by)).collect()
    }

    /// Refuses to ignore users where nobody knows who made a change; `knows_users`: somebody does.
    pub(crate) fn check_users(&self, knows_users: bool) -> Result<(), Usage> {
        if knows_users || self.ignore_user.is_empty() {
            return Ok(());
        }
        Err(Usage("--ignore-user needs --attribution: without it nobody knows whose change is whose".into()))
    }
}

/// A row of [`NOISE`], or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Include(pub(crate) &'static str);

/// Stands for every row.
pub(crate) const ALL: Include = Include("all");

impl ValueEnum for Include {
    fn value_variants<'a>() -> &'a [Self] {
        static ROWS: std::sync::LazyLock<Vec<Include>> =
            std::sync::LazyLock::new(|| NOISE.iter().map(|row| Include(row.name)).chain([ALL]).collect());
        &ROWS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0))
    }
}

/// An error shows the place.
pub(super) fn filter(text: &str) -> Result<Filter, String> {
    text.parse().map_err(|error: reverser_core::FilterError| {
        let lines: Vec<_> = error.pointed().lines().map(|line| format!("  {line}")).collect();
        format!("it is wrong at character {}:\n\n{}", error.at(), lines.join("\n"))
    })
}

pub(super) fn noise_help() -> String {
    // Two lines a row: the parser's wrapping knows no columns.
    let rows = NOISE.iter().map(|row| format!("  {}\n      {}\n", row.name, row.reason));
    format!(
        "What no user authors is left out; --include NAME captures it all the same (--include all: everything):\n\n{}\n\
         Secrets are never written: there is nothing to encrypt them with yet.",
        rows.collect::<String>()
    )
}
