//! How to log in to a remote.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// How to log in to a remote.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// A user name and a password or token, over http and https.
    Basic {
        /// The user name; forges take any that isn't empty beside a token.
        username: String,
        /// The password or token.
        password: String,
    },
    /// Whatever the user's own git finds: credential helpers, the ssh agent, keys in `~/.ssh`.
    #[default]
    FromGit,
}

/// Never shows a password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => f.debug_struct("Basic").field("username", username).finish_non_exhaustive(),
            Self::FromGit => f.write_str("FromGit"),
        }
    }
}

/// Writes the answer of a credential helper as gitcredentials(7) has it, readable by its owner alone.
///
/// A file, since arguments and environments of processes can be read by others. Not in the format of
/// git-credential-store(1): that helper deletes what a server refuses once, also in an outage.
pub(crate) fn write_answer(file: &Path, username: &str, password: &str) -> io::Result<()> {
    if [username, password].iter().any(|text| text.contains(['\n', '\0'])) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a line break in the user name or the password"));
    }
    // A file that stands there may have wider permissions, and `mode` doesn't narrow those.
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut answer = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    answer.write_all(format!("username={username}\npassword={password}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let credentials = Credentials::Basic { username: "bot".into(), password: "s3cret".into() };
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }

    #[test]
    fn an_answer_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        fs::write(&file, "old").unwrap();
        write_answer(&file, "bot", "s3cret").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "username=bot\npassword=s3cret\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_answer(&file, "bot", "a\nurl=https://elsewhere").is_err());
    }
}
