//! The `reverser` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    reverser_bin::main()
}
