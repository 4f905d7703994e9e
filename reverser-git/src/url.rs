//! Where a remote repository is, parsed from what a user wrote.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use crate::{
    branch::{percent_decode, percent_encode},
    credentials::Credentials,
    remedy::Remedy,
};

mod canonical;

pub use canonical::CanonicalUrl;

/// The address of a Git repository: a path, or a `file://`, `http://`, `https://`, `ssh://` or `[user@]host:path` URL.
///
/// A relative path becomes absolute when it is parsed. A password in an http(s) URL is taken out of it and becomes
/// [`credentials`]; neither `Display` nor `Debug` shows it, nor does any command line.
///
/// [`credentials`]: Self::credentials
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    /// Shared, since every error about a remote names it.
    parts: Arc<Parts>,
}

#[derive(PartialEq, Eq)]
struct Parts {
    /// What git is given; never has a password.
    text: String,
    place: Place,
}

#[derive(PartialEq, Eq)]
enum Place {
    Http { origin: String, credentials: Credentials },
    Local(PathBuf),
    Ssh,
}

impl RemoteUrl {
    /// Returns the address of a folder on this machine, whatever its name looks like.
    pub fn from_path(folder: &Path) -> Result<Self, RemoteUrlError> {
        let text = folder.to_str().ok_or(RemoteUrlError::NotUtf8)?;
        if text.contains(|c: char| c.is_control()) {
            return Err(RemoteUrlError::ControlCharacter);
        }
        if text.is_empty() { Err(RemoteUrlError::Empty) } else { local(text) }
    }

    /// Returns the folder when the repository is on this machine's disk.
    pub fn is_local_path(&self) -> Option<&Path> {
        match &self.parts.place {
            Place::Local(path) => Some(path),
            Place::Http { .. } | Place::Ssh => None,
        }
    }

    /// Returns the user name and password that the URL had; [`Credentials::FromGit`] when it had none.
    pub fn credentials(&self) -> Credentials {
        match &self.parts.place {
            Place::Http { credentials, .. } => credentials.clone(),
            Place::Local(_) | Place::Ssh => Credentials::FromGit,
        }
    }

    /// Returns the repository's name, its last path segment without `.git`: `my-cluster`. Not unique.
    pub fn name(&self) -> &str {
        name(&self.parts.text)
    }

    /// Returns the spelling that all addresses of this repository share. Reads links when it is a path.
    pub fn canonical(&self) -> CanonicalUrl {
        match &self.parts.place {
            Place::Local(path) => CanonicalUrl::of_path(path),
            Place::Http { .. } | Place::Ssh => CanonicalUrl::of_url(&self.parts.text),
        }
    }

    fn new(text: String, place: Place) -> Self {
        Self { parts: Arc::new(Parts { text, place }) }
    }

    /// Returns what git is given. Never has a password.
    pub(crate) fn as_str(&self) -> &str {
        &self.parts.text
    }

    /// Returns scheme, host and port of an http(s) URL: the scope of its credentials.
    pub(crate) fn origin(&self) -> Option<&str> {
        match &self.parts.place {
            Place::Http { origin, .. } => Some(origin),
            Place::Local(_) | Place::Ssh => None,
        }
    }

    /// Returns whether git reaches it over ssh.
    pub(crate) fn is_ssh(&self) -> bool {
        matches!(self.parts.place, Place::Ssh)
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.text)
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteUrl({})", self.parts.text)
    }
}

impl FromStr for RemoteUrl {
    type Err = RemoteUrlError;

    /// Tells the forms apart as git-clone(1) does: with `://` it is a URL, with a colon before the first slash
    /// `host:path`, otherwise a path.
    fn from_str(text: &str) -> Result<Self, RemoteUrlError> {
        if text.is_empty() {
            return Err(RemoteUrlError::Empty);
        }
        if text.contains(|c: char| c.is_control()) {
            return Err(RemoteUrlError::ControlCharacter);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme {
                "file" => file(rest),
                "http" | "https" => http(scheme, rest),
                "ssh" => ssh(text, rest),
                _ => Err(RemoteUrlError::Scheme { scheme: scheme.to_owned() }),
            };
        }
        match text.split_once(':') {
            Some((host, path)) if !host.contains('/') => scp_like(text, host, path),
            _ => local(text),
        }
    }
}

fn file(rest: &str) -> Result<RemoteUrl, RemoteUrlError> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let path = percent_decode(path).ok_or_else(|| RemoteUrlError::Encoding { url: format!("file://{rest}") })?;
    if !path.starts_with('/') {
        return Err(RemoteUrlError::FileHost { url: format!("file://{rest}") });
    }
    local(&path)
}

fn local(path: &str) -> Result<RemoteUrl, RemoteUrlError> {
    let path =
        std::path::absolute(path).map_err(|source| RemoteUrlError::CurrentFolder { path: path.into(), source })?;
    let text = path.to_str().ok_or(RemoteUrlError::NotUtf8)?.to_owned();
    Ok(RemoteUrl::new(text, Place::Local(path)))
}

fn http(scheme: &str, rest: &str) -> Result<RemoteUrl, RemoteUrlError> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (userinfo, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let origin = format!("{scheme}://{host}");
    if host.is_empty() || host.starts_with(':') {
        return Err(RemoteUrlError::Host { url: format!("{origin}{path}") });
    }
    if path.trim_matches('/').is_empty() {
        return Err(RemoteUrlError::Path { url: origin });
    }
    let Some((username, password)) = userinfo.and_then(|userinfo| userinfo.split_once(':')) else {
        let user = userinfo.map(|user| format!("{user}@")).unwrap_or_default();
        let text = format!("{scheme}://{user}{host}{path}");
        return Ok(RemoteUrl::new(text, Place::Http { origin, credentials: Credentials::FromGit }));
    };
    let decode = |text| percent_decode(text).ok_or_else(|| RemoteUrlError::Encoding { url: format!("{origin}{path}") });
    let credentials = Credentials::Basic { username: decode(username)?.into(), password: decode(password)?.into() };
    Ok(RemoteUrl::new(format!("{origin}{path}"), Place::Http { origin, credentials }))
}

fn ssh(text: &str, rest: &str) -> Result<RemoteUrl, RemoteUrlError> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (userinfo, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if userinfo.is_some_and(|userinfo| userinfo.contains(':')) {
        return Err(RemoteUrlError::SshPassword { url: format!("ssh://{host}{path}") });
    }
    // ssh would take a host that begins with a dash for an option.
    if host.is_empty() || host.starts_with(['-', ':']) || authority.starts_with('-') {
        return Err(RemoteUrlError::Host { url: text.to_owned() });
    }
    if path.trim_matches('/').is_empty() {
        return Err(RemoteUrlError::Path { url: text.to_owned() });
    }
    Ok(RemoteUrl::new(text.to_owned(), Place::Ssh))
}

fn scp_like(text: &str, host: &str, path: &str) -> Result<RemoteUrl, RemoteUrlError> {
    if host.is_empty() || host.starts_with('-') || host.ends_with('@') {
        return Err(RemoteUrlError::Host { url: text.to_owned() });
    }
    if path.trim_matches('/').is_empty() {
        return Err(RemoteUrlError::Path { url: text.to_owned() });
    }
    Ok(RemoteUrl::new(text.to_owned(), Place::Ssh))
}

/// The text doesn't say where a repository is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteUrlError {
    /// It has a line break or another control character.
    #[error("the repository's address has a control character")]
    ControlCharacter,
    /// A relative path, and there is no current folder.
    #[error("{} is relative, and the current folder can't be read: write the whole path", path.display())]
    CurrentFolder {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing.
    #[error("the repository's address is empty: write a path or a URL")]
    Empty,
    /// A `%` isn't followed by two hexadecimal digits.
    #[error("{url} has a '%' without two hexadecimal digits: write '%25' for the character itself")]
    Encoding {
        /// The URL without user and password.
        url: String,
    },
    /// A `file://` URL names another machine or a relative path.
    #[error("{url} is not of the form 'file:///absolute/path'")]
    FileHost {
        /// The URL.
        url: String,
    },
    /// The host is missing or would be taken for an option.
    #[error("{url} names no host")]
    Host {
        /// The URL without password.
        url: String,
    },
    /// The path isn't UTF-8.
    #[error("the repository's path is not UTF-8")]
    NotUtf8,
    /// The path on the host is missing.
    #[error("{url} names a host and no repository on it")]
    Path {
        /// The URL without password.
        url: String,
    },
    /// None of the schemes that are supported.
    #[error("'{scheme}://' is not supported: use file, http, https or ssh, or '[user@]host:path'")]
    Scheme {
        /// What stands before `://`.
        scheme: String,
    },
    /// An ssh URL has a password, which ssh can't use.
    #[error("{url} was given a password, which ssh doesn't take from a URL: use a key")]
    SshPassword {
        /// The URL without user and password.
        url: String,
    },
}

impl RemoteUrlError {
    /// Returns what helps.
    pub fn remedy(&self) -> Remedy {
        Remedy::FixConfiguration
    }
}

/// Returns the default state folder of a branch of a repository: `$XDG_STATE_HOME/reverser/<name>-<fingerprint>-<branch>`,
/// below `~/.local/state` when that variable isn't set (XDG Base Directory Specification). `None` without a home.
///
/// All addresses of a repository have the same one, so that their processes meet at its lock.
pub fn default_state_dir(url: &RemoteUrl, branch: &crate::BranchName) -> Option<PathBuf> {
    let absolute = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    let url = url.canonical();
    let name = percent_encode(name(url.as_str()), |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    // FNV-1a: tells this repository from others of its name, the same in every run.
    let fingerprint =
        url.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    Some(state.join("reverser").join(format!("{name}-{fingerprint:08x}-{}", branch.encoded())))
}

/// The last path segment without `.git`.
fn name(address: &str) -> &str {
    let path = address.trim_end_matches('/');
    let last = path.rsplit(['/', ':']).next().unwrap_or_default();
    match last.strip_suffix(".git").unwrap_or(last) {
        // `…/repo/.git` is a repository inside its working tree.
        "" => path.trim_end_matches(".git").trim_end_matches('/').rsplit('/').next().unwrap_or_default(),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RemoteUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_form_that_git_takes_is_told_apart() {
        assert_eq!(parse("/srv/a.git").is_local_path(), Some(Path::new("/srv/a.git")));
        assert_eq!(parse("file:///srv/a%20b.git").is_local_path(), Some(Path::new("/srv/a b.git")));
        assert!(parse("ssh://git@host:22/a/b.git").is_ssh());
        assert!(parse("git@host:a/b.git").is_ssh());
        assert_eq!(parse("https://host:8443/a/b").origin(), Some("https://host:8443"));
        assert_eq!(parse("./a:b").is_local_path().map(Path::is_absolute), Some(true));
    }

    #[test]
    fn a_relative_path_becomes_absolute() {
        let url = parse("./my-cluster.git");
        let path = url.is_local_path().unwrap();
        assert!(path.is_absolute() && path.ends_with("my-cluster.git"));
    }

    #[test]
    fn a_password_becomes_credentials_and_is_never_shown() {
        let url = parse("https://bot:s3%40cret@host/a.git");
        assert_eq!(url.credentials(), Credentials::Basic { username: "bot".into(), password: "s3@cret".into() });
        assert_eq!(url.to_string(), "https://host/a.git");
        assert!(!format!("{url:?}").contains("cret"));
        assert_eq!(parse("https://bot@host/a.git").to_string(), "https://bot@host/a.git");
    }

    #[test]
    fn an_error_names_no_password() {
        for text in
            ["https://bot:s3cret%@host/a", "https://bot:s3cret@/a", "https://b:s3cret@host", "ssh://b:s3cret@h/a"]
        {
            let error = text.parse::<RemoteUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn what_names_no_repository_is_refused() {
        for text in ["", "https://", "https:///a", "https://host", "ftp://host/a", "git@host:", ":a", "ssh://host"] {
            assert!(text.parse::<RemoteUrl>().is_err(), "{text:?}");
        }
        for text in ["-oProxyCommand=x:a", "ssh://-oProxyCommand=x/a", "file://host/a", "a\nb"] {
            assert!(text.parse::<RemoteUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_name_is_that_of_the_repository() {
        for text in ["./x/web.git", "/srv/web/", "/srv/web/.git", "git@host:web.git", "https://host/a/web.git/"] {
            assert_eq!(parse(text).name(), "web", "{text}");
        }
    }

    #[test]
    fn repositories_of_one_name_have_state_folders_of_their_own() {
        let branch = crate::BranchName::default();
        let folder = |text| default_state_dir(&parse(text), &branch);
        assert_ne!(folder("/a/web.git"), folder("/b/web.git"));
        assert_eq!(folder("/a/web.git"), folder("/a/web.git/"));
        assert_eq!(folder("git@host:a/web.git"), folder("ssh://git@host/a/web"));
    }
}
