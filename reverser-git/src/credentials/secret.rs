//! What must not be shown: a password, a token, a private key.

use std::{fmt, fs::File, io, io::Read, path::PathBuf};

/// A secret, or the file that holds it. Never shown by `Debug`.
///
/// A file is read again before each command that needs it, so that a changed one counts without a restart: it may be a key
/// of a Kubernetes Secret that is mounted as a volume. One line's end at its end isn't part of the secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The path of a regular file, at most 1 MiB of UTF-8.
    File(PathBuf),
    /// The secret itself.
    Literal(String),
}

impl Secret {
    /// Returns the secret as it is at this moment.
    pub(crate) fn read(&self) -> Result<String, SecretError> {
        match self {
            Self::File(file) => read(file).map_err(|source| SecretError { file: file.clone(), source }),
            Self::Literal(secret) => Ok(secret.clone()),
        }
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self::Literal(secret)
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self::Literal(secret.to_owned())
    }
}

/// Without the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
            Self::Literal(_) => f.write_str("Literal(***)"),
        }
    }
}

/// A file with a secret can't be read.
#[derive(Debug)]
pub(crate) struct SecretError {
    pub(crate) file: PathBuf,
    pub(crate) source: io::Error,
}

fn read(path: &PathBuf) -> io::Result<String> {
    // Opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut secret = String::new();
    File::open(path)?.take(LARGEST + 1).read_to_string(&mut secret)?;
    if secret.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than 1 MiB"));
    }
    if secret.ends_with('\n') {
        secret.pop();
        if secret.ends_with('\r') {
            secret.pop();
        }
    }
    if secret.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(secret)
}

/// As large as a Kubernetes Secret may be.
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?} {:?}", Secret::from("s3cret"), Secret::File("/run/token".into()));
        assert_eq!(shown, r#"Literal(***) File("/run/token")"#);
    }

    #[test]
    fn a_file_is_read_again_without_the_last_lines_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let secret = Secret::File(file.clone());
        for (content, expected) in [("one", "one"), ("two\n", "two"), ("three\r\n", "three"), ("a\n\n", "a\n")] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(secret.read().unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_small_regular_file_with_something_in_it_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("large");
        std::fs::write(&file, vec![b'x'; (1 << 20) + 1]).unwrap();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        for path in [file.as_path(), empty.as_path(), folder.path(), std::path::Path::new("/dev/zero")] {
            assert!(Secret::File(path.to_owned()).read().is_err(), "{}", path.display());
        }
    }
}
