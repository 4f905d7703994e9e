//! One text for all the ways to write a repository's address.

use std::{
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::branch::{percent_decode, percent_encode};

/// A repository's address in the one spelling that all of its addresses share; what [`RemoteUrl::canonical`] returns.
///
/// It is compared and hashed, and names the default state folder; git never gets it. Two addresses that mean one repository
/// and stay apart cost speed: their writers race, and the compare-and-swap of their pushes keeps both from losing anything.
/// Two repositories under one spelling would get each other's commits. So addresses are joined only where a server that
/// keeps them apart would be odd:
///
/// | written | joined, since |
/// |---|---|
/// | `Host`, `:22`, `:80`, `:443` | hosts fold case, and these are the ports of ssh, http and https |
/// | `user@` | it says who asks, not what for; but see homes |
/// | `a//b`, `a/./b`, `b/`, `b.git`, `b/.git`, `%62` | servers and forges take them for `a/b` and `b`; git, for a path, too |
/// | `git@host:a/b` | `ssh://host/a/b`: a forge's account `git` has no home |
/// | `alice@host:a`, `ssh://alice@host/~/a`, `ssh://host/~alice/a` | all are in Alice's home; `host:a` is in whose home the ssh configuration says |
/// | `file:///a`, a path, a link to it | the place on the disk, links resolved as far as they can be read |
///
/// What stays apart: http, https and ssh, whose servers need not be the same; names that DNS, the ssh configuration or
/// `url.<base>.insteadOf` take for one; `b` and `b.git` on this machine, which may be two folders.
///
/// [`RemoteUrl::canonical`]: crate::RemoteUrl::canonical
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CanonicalUrl(String);

impl CanonicalUrl {
    /// Returns the text: a URL or an absolute path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a path on this machine. Reads links.
    pub(super) fn of_path(path: &Path) -> Self {
        let mut path = without_links(path);
        // `…/repo/.git` is a repository inside its working tree.
        if path.file_name().is_some_and(|name| name == ".git") {
            path.pop();
        }
        Self(path.to_string_lossy().into_owned())
    }

    /// Of an http(s) or ssh URL, or `[user@]host:path`.
    pub(super) fn of_url(text: &str) -> Self {
        let Some((scheme, rest)) = text.split_once("://") else { return Self(scp_like(text)) };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let decode = |segment: &str| percent_decode(segment).unwrap_or_else(|| segment.to_owned());
        let segments = path.split('/').map(decode).collect();
        Self(if scheme == "ssh" { ssh(authority, segments, true) } else { url(scheme, authority, segments) })
    }
}

impl fmt::Display for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[user@]host:path`, with brackets about an IPv6 address or a host with its port.
fn scp_like(text: &str) -> String {
    let bracket = text.find('[').filter(|at| *at == 0 || text[..*at].ends_with('@'));
    let (authority, path) = match bracket.and_then(|_| text.split_once("]:")) {
        Some((head, path)) => {
            let head = head.replacen('[', "", 1);
            let (user, host) = head.rsplit_once('@').map_or(("", head.as_str()), |(user, host)| (user, host));
            let is_ipv6 = host.matches(':').count() > 1;
            (if is_ipv6 { format!("{user}@[{host}]") } else { head }, path)
        }
        None => text.split_once(':').map_or_else(|| (text.to_owned(), ""), |(head, path)| (head.to_owned(), path)),
    };
    // Nothing is decoded here: git takes such a path as it is.
    let segments = path.split('/').map(str::to_owned).collect();
    ssh(&authority, segments, path.starts_with('/'))
}

fn ssh(authority: &str, segments: Vec<String>, is_absolute: bool) -> String {
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let mut segments = tidy(segments);
    let home = match segments.first().and_then(|first| first.strip_prefix('~')) {
        Some(name) => {
            let home = if name.is_empty() { user } else { name }.to_owned();
            segments.remove(0);
            Some(home)
        }
        None if is_absolute => None,
        None => Some(user.to_owned()),
    };
    if let Some(home) = home.filter(|home| home != "git") {
        segments.insert(0, format!("~{home}"));
    }
    url("ssh", authority, segments)
}

fn url(scheme: &str, authority: &str, segments: Vec<String>) -> String {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => ":22",
    };
    let host = host.strip_suffix(default_port).or_else(|| host.strip_suffix(':')).unwrap_or(&host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
    let segments: Vec<_> = tidy(segments).iter().map(|segment| percent_encode(segment, plain)).collect();
    format!("{scheme}://{host}/{}", segments.join("/"))
}

/// Without what doesn't tell repositories apart; something is always left.
fn tidy(mut segments: Vec<String>) -> Vec<String> {
    segments.retain(|segment| !segment.is_empty() && segment != ".");
    while let Some(name) = segments.last().and_then(|last| last.strip_suffix(".git")).map(str::to_owned) {
        let is_alone = segments.len() == 1;
        match name.as_str() {
            "" | "." if is_alone => break,
            "" | "." => drop(segments.pop()),
            _ => {
                segments.pop();
                segments.push(name);
            }
        }
    }
    segments
}

/// Follows links like fs::canonicalize, and needs nothing to be there: the remote may be away.
fn without_links(path: &Path) -> PathBuf {
    let reversed = |path: &Path| path.iter().rev().map(OsString::from).collect::<Vec<_>>();
    let (mut rest, mut real, mut links) = (reversed(path), PathBuf::from("/"), 0);
    while let Some(name) = rest.pop() {
        if name == ".." {
            real.pop();
            continue;
        }
        // A root, where a link's target begins with one, takes the place of all before it.
        let next = real.join(name);
        match fs::read_link(&next) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                rest.extend(reversed(&target));
            }
            _ => real = next,
        }
    }
    real
}

/// As many as Linux follows; path_resolution(7).
const MOST_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::RemoteUrl;

    fn canonical(text: &str) -> String {
        let url: RemoteUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        url.canonical().to_string()
    }

    #[test]
    fn all_addresses_of_a_repository_have_one_spelling() {
        for (expected, addresses) in [
            (
                "ssh://host/a/b",
                &[
                    "git@host:a/b.git",
                    "ssh://git@host/a/b",
                    "git@host:a/b/",
                    "git@HOST:/a/b.git/",
                    "[git@host:22]:a/b",
                    "git@[host]:a/b",
                    "ssh://host/a/b.git",
                    "ssh://alice@host:22//a/./b/.git",
                    "ssh://git@host/~/a/b",
                    "ssh://git@Host:/%61/b",
                    "alice@host:/a/b",
                ][..],
            ),
            ("ssh://host:2222/a/b", &["ssh://git@host:2222/a/b.git", "[git@host:2222]:a/b"]),
            ("ssh://[::1]/a", &["ssh://git@[::1]:22/a", "git@[::1]:a.git"]),
            (
                "ssh://host/~alice/a",
                &["alice@host:a", "ssh://alice@host/~/a", "bob@host:~alice/a.git", "alice@host:./a"],
            ),
            ("ssh://host/~/a", &["host:a", "ssh://host/~/a"]),
            ("https://host/a/b", &["https://host/a/b.git", "https://bot:pw@HOST:443/a//b/", "https://bot@host/a/%62"]),
            ("http://host:8080/a", &["http://host:8080/a.git/"]),
            ("http://host/a", &["http://host:80/a"]),
            ("https://host/a%20b%25", &["https://host/a b%25", "https://host/a%20b%25.git"]),
        ] {
            for address in addresses {
                assert_eq!(canonical(address), expected, "{address}");
            }
        }
    }

    #[test]
    fn what_may_be_another_repository_has_a_spelling_of_its_own() {
        let mut all: Vec<_> = [
            "ssh://host/a/b",
            "https://host/a/b",
            "http://host/a/b",
            "https://host:8443/a/b",
            "https://host/a/B",
            "https://host/a%2Fb",
            "git@elsewhere:a/b",
            "alice@host:a/b",
            "bob@host:a/b",
            "host:a/b",
            "git@host:a%2Fb",
            "git@host:b",
            "/a/b",
            "/a/b.git",
        ]
        .map(canonical)
        .into();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "{all:?}");
    }

    #[test]
    fn a_path_is_the_place_on_the_disk_whether_it_is_there_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        for (link, target) in [("link", "real"), ("absolute", root.join("real").to_str().unwrap()), ("loop", "loop")] {
            std::os::unix::fs::symlink(target, root.join(link)).unwrap();
        }
        std::os::unix::fs::symlink("../link/./absent", root.join("real/dangling")).unwrap();
        let of = |path: &str| canonical(&format!("{}/{path}", root.display()));
        let expected = of("real/absent/x.git");
        for path in
            ["link/absent/x.git", "absolute/absent/x.git/", "real/dangling/x.git", "link/../link//absent/x.git/.git"]
        {
            assert_eq!(of(path), expected, "{path}");
        }
        let encoded = format!("file://localhost{}/link/abs%65nt/x.git", root.display());
        assert_eq!(canonical(&encoded), expected);
        assert_ne!(of("real/absent/x"), expected);
        assert_eq!(of("loop"), root.join("loop").to_str().unwrap());
    }

    proptest! {
        #[test]
        fn a_canonical_address_is_its_own(
            head in prop::sample::select(vec![
                "git@host:", "host:", "al@Host:", "[git@host:22]:", "git@[::1]:/", "ssh://h:22/", "ssh://git@h/", "https://h:443/",
                "http://u@h/", "/srv/",
            ]),
            path in prop::collection::vec("[a-z~.%]{0,3}(/|\\.git|%2F|%41|\u{e4}| )?", 1..5),
        ) {
            let text = format!("{head}a{}", path.concat());
            prop_assume!(text.parse::<RemoteUrl>().is_ok());
            let once = canonical(&text);
            prop_assert_eq!(canonical(&once), once.clone(), "{}", text);
            prop_assert_eq!(canonical(&format!("{}/", text)), once, "{}", text);
        }
    }
}
