//! The `reverser` command: arguments, wiring, output. Everything that it does, a program that embeds `reverser-k8s` and
//! `reverser-git` can do.

mod access;
mod args;
mod attribution;
mod blame;
mod check;
mod connect;
#[cfg(feature = "demo")]
mod demo;
mod diff;
mod identity;
mod output;
mod replay;
mod repository;
mod restore;
mod sanitize;
mod sign;
mod size;
mod snapshot;
mod telemetry;
mod unified;
mod watch;

use std::{io::Write, process::ExitCode};

use args::{Cli, Command};

/// Runs the command that was typed; returns 0 when it did what was asked, 1 when it failed, 2 when it was asked wrongly.
pub fn main() -> ExitCode {
    let cli = Cli::parse_as(std::env::args_os().next().unwrap_or_default().as_ref());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("could not start")),
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Blame(args) => blame::run(args).await,
            Command::Check(args) => check::run(args).await,
            #[cfg(feature = "demo")]
            Command::Demo(args) => demo::run(args).await,
            Command::Diff(args) => Ok(diff::run(args).await),
            Command::Replay(args) => replay::run(args).await,
            Command::Restore(args) => restore::run(args).await,
            Command::Sanitize(args) => sanitize::run(args).await,
            Command::Snapshot(args) => snapshot::run(args).await,
            Command::Watch(args) => watch::run(args).await,
        }
    });
    // A read of standard input may still be waiting for a line; nobody needs it any more.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// Says on standard error what has failed.
fn tell(error: &anyhow::Error) {
    // Nothing is left to do about a closed one.
    let _closed = writeln!(std::io::stderr(), "error: {}", reverser_k8s::report::chain(error.as_ref()));
}

/// What was typed can't be right, as is seen only later than by the parser of arguments.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn fail(error: &anyhow::Error) -> ExitCode {
    tell(error);
    if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}
