//! The `reverser` command, for the suite.

use std::process::ExitCode;

fn main() -> ExitCode {
    reverser_bin::main()
}
