//! Executable files.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
};

use crate::error::Error;

/// Writes a shell script, which has its name only once it is whole and executable.
///
/// A process of its own does it: were it this one that has the file open for writing, a child that another thread starts in that
/// moment would have it open as well until it runs its own program, and until then the script could not be run ("Text file busy").
pub fn write_script(file: &Path, lines: &str) -> Result<(), Error> {
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$0.draft" && chmod +x "$0.draft" && mv "$0.draft" "$0""#;
    let mut shell = Command::new("sh");
    let written = shell.args(["-c", write]).arg(file).arg(lines).stdin(Stdio::null()).status();
    let written = written.and_then(|status| {
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("a shell ended with {status}"))) }
    });
    written.map_err(Error::io("write", file))
}
