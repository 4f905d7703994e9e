//! `RepoPath`: where a file stands below a repository's root.
//!
//! Two ways lead to one. A path that a person wrote is parsed and refused when a checkout on Linux, macOS or Windows
//! couldn't hold it. A path made from names of the API can't be refused, so [`RepoPath::from_segments`] percent-encodes
//! what would be.

use std::{fmt, str::FromStr, sync::Arc};

use sha2::{Digest, Sha256};

/// A relative path below a repository's root that a checkout on Linux, macOS and Windows can hold, and that leads
/// nowhere else: no `..`, nothing absolute, no `.git`. Ordered by bytes, as git orders the names within one tree.
///
/// ```
/// use reverser_core::RepoPath;
///
/// assert!("clusters/../../etc/passwd".parse::<RepoPath>().is_err());
/// let path = RepoPath::from_segments(["v1", "clusterroles", "system:node.yaml"]);
/// assert_eq!(path.as_str(), "v1/clusterroles/system%3anode.yaml");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoPath(Arc<str>);

impl RepoPath {
    /// Returns the path of the names, one segment each, with `%xx` for each byte that a checkout would refuse, fold or
    /// change. Never fails, never changes its mind, and gives two lists two paths, also on a file system that folds
    /// case or normalizes Unicode.
    ///
    /// - Plain are `a`–`z`, `0`–`9`, `-`, `_` and `.`; so upper-case letters are encoded too, as are the dot that a
    ///   segment ends with or `.git…` begins with, and the first letter of a Windows device name (`%63on.yaml`).
    /// - An empty name is `%`. No names at all are one empty name.
    /// - A segment over 240 bytes keeps its beginning and its `.yaml`, `.yml` or `.sops.yaml`; `%h` and 160 bits of its SHA-256
    ///   stand between. Objects can have such names: 253 bytes are legal for most kinds, more for RBAC.
    /// - A path over [`MAX_BYTES`] becomes one such segment. No API nests names that deep.
    ///
    /// ```
    /// use reverser_core::RepoPath;
    ///
    /// assert_eq!(RepoPath::from_segments(["shop", "Web.yaml"]).as_str(), "shop/%57eb.yaml");
    /// assert_eq!(RepoPath::from_segments(["..", "a/b", ""]).as_str(), ".%2e/a%2fb/%");
    /// let long = RepoPath::from_segments([format!("{}.yaml", "n".repeat(253)).as_str()]);
    /// assert!(long.as_str().len() < 240 && long.as_str().ends_with(".yaml"));
    /// ```
    pub fn from_segments<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let segments: Vec<String> = names.into_iter().map(|name| shorten(encode(name))).collect();
        let path = if segments.is_empty() { encode("") } else { segments.join("/") };
        // Hashed with its slashes, which no single segment has.
        Self(if path.len() > MAX_BYTES { shorten(path).replace('/', "%") } else { path }.into())
    }

    /// Returns the path with `below` appended.
    ///
    /// ```
    /// use reverser_core::RepoPath;
    ///
    /// let root: RepoPath = "clusters/east".parse()?;
    /// assert_eq!(root.join(&"v1/nodes".parse()?).as_str(), "clusters/east/v1/nodes");
    /// # Ok::<(), reverser_core::RepoPathError>(())
    /// ```
    #[must_use]
    pub fn join(&self, below: &Self) -> Self {
        Self(format!("{self}/{below}").into())
    }

    /// Returns the whole path; segments are separated by `/`.
    ///
    /// ```
    /// assert_eq!("v1/nodes".parse::<reverser_core::RepoPath>()?.as_str(), "v1/nodes");
    /// # Ok::<(), reverser_core::RepoPathError>(())
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the names of the folders and of the file.
    ///
    /// ```
    /// let path: reverser_core::RepoPath = "v1/nodes/n-1.yaml".parse()?;
    /// assert!(path.segments().eq(["v1", "nodes", "n-1.yaml"]));
    /// # Ok::<(), reverser_core::RepoPathError>(())
    /// ```
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns whether the path is below `folder`. A path isn't below itself.
    ///
    /// ```
    /// use reverser_core::RepoPath;
    ///
    /// let path: RepoPath = "v1/nodes/n-1.yaml".parse()?;
    /// assert!(path.starts_with_folder(&"v1/nodes".parse()?));
    /// assert!(!path.starts_with_folder(&"v1/node".parse()?) && !path.starts_with_folder(&path));
    /// # Ok::<(), reverser_core::RepoPathError>(())
    /// ```
    pub fn starts_with_folder(&self, folder: &Self) -> bool {
        self.below(folder).is_some()
    }

    /// Returns the rest of the path below `folder`, or `None` when it stands elsewhere.
    ///
    /// ```
    /// use reverser_core::RepoPath;
    ///
    /// let path: RepoPath = "clusters/east/v1/nodes/n-1.yaml".parse()?;
    /// assert_eq!(path.strip_prefix(&"clusters/east".parse()?), Some("v1/nodes/n-1.yaml".parse()?));
    /// assert_eq!(path.strip_prefix(&"clusters/west".parse()?), None);
    /// # Ok::<(), reverser_core::RepoPathError>(())
    /// ```
    pub fn strip_prefix(&self, folder: &Self) -> Option<Self> {
        self.below(folder).map(|rest| Self(rest.into()))
    }

    fn below(&self, folder: &Self) -> Option<&str> {
        self.0.strip_prefix(folder.as_str())?.strip_prefix('/')
    }
}

impl FromStr for RepoPath {
    type Err = RepoPathError;

    fn from_str(path: &str) -> Result<Self, RepoPathError> {
        let refuse = |segment: &str, reason| RepoPathError { path: path.into(), segment: segment.into(), reason };
        if path.len() > MAX_BYTES {
            return Err(refuse(path, Refusal::TooLong));
        }
        match path.split('/').find_map(|segment| Some((segment, refusal(segment)?))) {
            Some((segment, reason)) => Err(refuse(segment, reason)),
            None => Ok(Self(path.into())),
        }
    }
}

impl AsRef<str> for RepoPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In bytes. Linux' PATH_MAX, beyond which git can't check out.
///
/// ```
/// use reverser_core::{RepoPath, repo_path::MAX_BYTES};
///
/// let folders = |count| vec!["f"; count].join("/");
/// assert_eq!(folders(MAX_BYTES / 2).len(), MAX_BYTES - 1);
/// assert!(folders(MAX_BYTES / 2).parse::<RepoPath>().is_ok());
/// assert!(folders(MAX_BYTES / 2 + 1).parse::<RepoPath>().is_err());
/// ```
pub const MAX_BYTES: usize = 4096;

/// In bytes; file systems take 255. Leaves room for the encoding of a first and a last byte.
const MAX_SEGMENT_BYTES: usize = 255;

/// Returns why no checkout everywhere can hold the segment, or `None` when all can.
fn refusal(segment: &str) -> Option<Refusal> {
    if segment.is_empty() {
        return Some(Refusal::Empty);
    }
    if segment == "." || segment == ".." {
        return Some(Refusal::Dots);
    }
    if segment.len() > MAX_SEGMENT_BYTES {
        return Some(Refusal::TooLong);
    }
    if let Some(c) = segment.chars().find(|c| is_forbidden(*c)) {
        return Some(Refusal::Character(c));
    }
    if segment.ends_with('.') || segment.ends_with(char::is_whitespace) {
        return Some(Refusal::End);
    }
    // `git~1` is the short name that NTFS gives `.git`; other spellings have a forbidden character or end.
    if segment.eq_ignore_ascii_case(".git") || segment.eq_ignore_ascii_case("git~1") {
        return Some(Refusal::Git);
    }
    is_device(segment).then_some(Refusal::Device)
}

/// Returns whether Windows refuses the character, or HFS+ ignores it when it compares names (git's `utf8.c` has the
/// list): `.g\u{200c}it` is `.git` there.
fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
        || matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// Returns whether Windows takes the name for a device, whatever its extension. "Naming Files, Paths, and Namespaces"
/// in the Windows documentation has the list.
fn is_device(segment: &str) -> bool {
    let stem = segment.split('.').next().unwrap_or(segment).trim_end().to_ascii_lowercase();
    match stem.as_str() {
        "con" | "prn" | "aux" | "nul" | "conin$" | "conout$" => true,
        stem => stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt")).is_some_and(|port| {
            matches!(port, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
        }),
    }
}

/// Writes a name in the alphabet that every file system keeps as it is.
fn encode(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned();
    }
    let last = name.len() - 1;
    let is_reserved = is_device(name) || name.starts_with(".git");
    let mut segment = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        let is_plain = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if is_plain && !(byte == b'.' && at == last) && !(is_reserved && at == 0) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02x}"));
        }
    }
    segment
}

/// Puts a hash in the middle of an encoded segment (so it is ASCII) that is too long. `%h` begins no encoded byte, so
/// no other name gives the result; the hash is a cryptographic one because names are chosen by users, and one user's
/// object must not be able to take another's file.
fn shorten(segment: String) -> String {
    const LONGEST: usize = 240;
    const HEAD: usize = 160;
    if segment.len() <= LONGEST {
        return segment;
    }
    let suffix =
        [".sops.yaml", ".yaml", ".yml"].into_iter().find(|suffix| segment.ends_with(suffix)).unwrap_or_default();
    // Not in the middle of an encoded byte.
    let head = match segment[..HEAD].rfind('%') {
        Some(at) if at + 3 > HEAD => &segment[..at],
        _ => &segment[..HEAD],
    };
    let digest: String = Sha256::digest(&segment)[..20].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{head}%h{digest}{suffix}")
}

/// The text is no path that every checkout could hold.
///
/// ```
/// let error = "notes/con.txt".parse::<reverser_core::RepoPath>().unwrap_err();
/// assert_eq!(error.segment(), "con.txt");
/// assert_eq!(error.to_string(), r#"path "notes/con.txt" is refused: segment "con.txt" names a device on Windows"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?} is refused: segment {segment:?} {reason}")]
pub struct RepoPathError {
    path: String,
    segment: String,
    reason: Refusal,
}

impl RepoPathError {
    /// Returns the part of the path that is refused.
    pub fn segment(&self) -> &str {
        &self.segment
    }
}

/// Why a segment is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Character(char),
    Device,
    Dots,
    Empty,
    End,
    Git,
    TooLong,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(c) => write!(f, "has the character {c:?}, which not every file system takes"),
            Self::Device => f.write_str("names a device on Windows"),
            Self::Dots => f.write_str("leads out of its folder or nowhere"),
            Self::Empty => f.write_str("is empty: write a relative path, with single slashes and none at its ends"),
            Self::End => f.write_str("ends with a dot or a blank, which Windows cuts off"),
            Self::Git => f.write_str("is git's own folder on some file systems"),
            Self::TooLong => write!(f, "is too long: {MAX_SEGMENT_BYTES} bytes a segment, {MAX_BYTES} in all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_some_checkout_refuses_or_folds_is_refused() {
        for path in [
            "",
            "/etc",
            "a/",
            "a//b",
            ".",
            "a/../b",
            "./a",
            "..",
            ".git/config",
            "a/.GIT",
            "a/GIT~1/b",
            "a/.git.",
            ".git ",
            ".g\u{200c}it",
            "a:b",
            "a\\b",
            "a*",
            "a?",
            "a\"",
            "<a",
            "a>",
            "a|b",
            "a\nb",
            "a\0",
            "a\u{85}",
            "a\u{202e}b",
            "con",
            "a/Nul.yaml",
            "COM1",
            "lpt9.tar.gz",
            "com¹",
            "aux .txt",
            "conin$",
            "a.",
            "a ",
            "a\u{a0}",
            "\u{feff}a",
        ] {
            assert!(path.parse::<RepoPath>().is_err(), "{path:?}");
        }
        assert!("a".repeat(255).parse::<RepoPath>().is_ok() && "a".repeat(256).parse::<RepoPath>().is_err());
        assert!("a/".repeat(2048).parse::<RepoPath>().is_err());
    }

    #[test]
    fn what_people_write_is_taken() {
        for path in [
            "README.md",
            "clusters/prod/Füße.yaml",
            ".github/workflows/a b.yaml",
            "config/com10",
            "a~1",
            "..a",
            "a/.gitignore",
            "%",
        ] {
            assert_eq!(path.parse::<RepoPath>().map(|path| path.to_string()), Ok(path.to_owned()));
        }
    }

    #[test]
    fn a_refusal_names_path_segment_and_reason() {
        let refused = |path: &str| path.parse::<RepoPath>().unwrap_err().to_string();
        insta::assert_snapshot!(["apps/../v1", "a/b:c", "a/nul.yaml", "a//b", "x/.git"].map(refused).join("\n"), @r#"
        path "apps/../v1" is refused: segment ".." leads out of its folder or nowhere
        path "a/b:c" is refused: segment "b:c" has the character ':', which not every file system takes
        path "a/nul.yaml" is refused: segment "nul.yaml" names a device on Windows
        path "a//b" is refused: segment "" is empty: write a relative path, with single slashes and none at its ends
        path "x/.git" is refused: segment ".git" is git's own folder on some file systems
        "#);
    }

    #[test]
    fn names_of_the_api_become_safe_segments() {
        let path = |names: &[&str]| RepoPath::from_segments(names.iter().copied()).to_string();
        assert_eq!(path(&["apps", "v1", "deployments", "shop", "web.yaml"]), "apps/v1/deployments/shop/web.yaml");
        assert_eq!(path(&["system:node.yaml"]), "system%3anode.yaml");
        assert_eq!(path(&["a/b.yaml"]), "a%2fb.yaml");
        assert_eq!(path(&["..", ".", ""]), ".%2e/%2e/%");
        assert_eq!(path(&["con.yaml", "com1", "console"]), "%63on.yaml/%63om1/console");
        assert_eq!(path(&[".git", ".gitmodules", "git~1"]), "%2egit/%2egitmodules/git%7e1");
        assert_eq!(path(&["Admin", "100%", "ü"]), "%41dmin/100%25/%c3%bc");
        assert_eq!(path(&[]), "%");
    }

    /// These are in users' repositories: another hash or another length would move their files.
    #[test]
    fn a_long_name_keeps_its_beginning_and_its_extension() {
        let name = |count| "n".repeat(count);
        assert_eq!(
            RepoPath::from_segments([format!("{}.yaml", name(235)).as_str()]).to_string(),
            format!("{}.yaml", name(235))
        );
        assert_eq!(
            RepoPath::from_segments([format!("{}.yaml", name(253)).as_str()]).to_string(),
            format!("{}%h482532c99b24ac1c651cef00da3a2d3bde471408.yaml", name(160)),
        );
        let sealed = RepoPath::from_segments([format!("{}Ä.sops.yaml", name(253)).as_str()]);
        assert!(sealed.as_str().ends_with(".sops.yaml") && sealed.as_str().len() <= 255, "{sealed}");
        let cut = RepoPath::from_segments([format!("{}{}", name(158), "Ä".repeat(40)).as_str()]);
        assert!(cut.as_str().starts_with(&format!("{}%h", name(158))), "{cut}");
        let deep = |last| RepoPath::from_segments(vec!["n"; 2100].into_iter().chain([last]));
        assert_eq!(deep("a.yaml").segments().count(), 1);
        assert!(deep("a.yaml") != deep("b.yaml") && deep("a.yaml").as_str().parse() == Ok(deep("a.yaml")));
    }

    #[test]
    fn a_path_is_below_its_folders_and_not_below_names_that_only_begin_alike() {
        let path = |text: &str| text.parse::<RepoPath>().unwrap();
        let file = path("apps/v1/web.yaml");
        assert!(file.starts_with_folder(&path("apps")) && file.starts_with_folder(&path("apps/v1")));
        assert!(!file.starts_with_folder(&path("app")) && !file.starts_with_folder(&file));
        assert_eq!(file.strip_prefix(&path("apps")), Some(path("v1/web.yaml")));
        assert_eq!(path("apps").join(&path("v1/web.yaml")), file);
        assert_eq!(file.segments().next_back(), Some("web.yaml"));
    }

    /// What a file system may take for the same name: without case, in ASCII and beyond, and in any normal form.
    #[test]
    fn names_that_fold_into_one_another_have_paths_that_do_not() {
        let folds = [
            &["a", "A"][..],
            &["é", "É", "e\u{301}", "E\u{301}"],
            &["ß", "ẞ", "ss", "SS", "ſs"],
            &["i", "I", "İ", "ı", "i\u{307}"],
            &["k", "K", "\u{212a}"],
            &["å", "\u{212b}", "a\u{30a}"],
            &["ﬁ", "fi", "FI"],
            &["σ", "ς", "Σ"],
            &["가", "\u{1100}\u{1161}"],
            &[".git", ".GIT", ".g\u{200c}it", "git~1", ".git ", ".git."],
            &["con", "CON", "con.yaml", "Con.yaml", "con ", "con."],
            &["a", "a.", "a ", "a\u{200d}", "\u{feff}a"],
            &["a/b", "a%2fb", "a%2Fb", "a\\b", "a\u{2215}b"],
        ];
        for names in folds {
            let paths: Vec<_> = names.iter().map(|name| RepoPath::from_segments([*name])).collect();
            for (at, path) in paths.iter().enumerate() {
                assert!(
                    path.as_str().is_ascii() && !path.as_str().contains(|c: char| c.is_ascii_uppercase()),
                    "{path}"
                );
                assert_eq!(path.segments().count(), 1, "{path}");
                assert!(!paths[at + 1..].contains(path), "{names:?}: {path}");
            }
        }
    }

    /// 253 bytes are the most for most kinds, 255 for a file system, and RBAC has no limit but a request's.
    #[test]
    fn names_of_any_length_have_paths_of_their_own_that_every_file_system_takes() {
        for bytes in [235, 236, 240, 241, 253, 255, 256, 4096, 100_000] {
            for letter in ["n", "N", "/"] {
                let name = |end: &str| format!("{}{end}.yaml", letter.repeat(bytes - 6));
                let (one, other) = (name("a"), name("b"));
                let [one, other] = [one, other].map(|name| RepoPath::from_segments(["v1", &name]));
                assert_ne!(one, other);
                for path in [one, other] {
                    assert!(path.segments().all(|segment| segment.len() <= 240) && path.as_str().ends_with(".yaml"));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_names_give_a_path_that_parses(names in prop::collection::vec(name(), 0..20)) {
            let path = RepoPath::from_segments(names.iter().map(String::as_str));
            prop_assert_eq!(path.as_str().parse(), Ok(path.clone()));
        }

        #[test]
        fn different_names_give_paths_that_differ_on_every_file_system(a in names(), b in names()) {
            let path = |names: &[String]| RepoPath::from_segments(names.iter().map(String::as_str));
            let (path_a, path_b) = (path(&a), path(&b));
            prop_assert!(path_a.as_str().is_ascii());
            prop_assert_eq!(path_a.as_str().to_lowercase(), path_a.as_str());
            prop_assert_eq!(path_a == path_b, a == b, "{} {}", path_a, path_b);
        }

        #[test]
        fn whatever_parses_stays_where_it_is(text in name()) {
            if let Ok(path) = text.parse::<RepoPath>() {
                prop_assert!(path.segments().all(|segment| !segment.is_empty() && !segment.trim_matches('.').is_empty()));
                prop_assert!(!path.as_str().to_lowercase().split('/').any(|segment| segment == ".git"));
            }
        }
    }

    /// At least one name: no names are one empty name.
    fn names() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(name(), 1..4)
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "(?i)(con|nul|com1|lpt9|aux|\\.git|git~1|\\.|\\.\\.|a|b|%2f|%h|%|/|:|)(\\.yaml|\\.| |)",
            "[aAbB%/.:2f~-]{0,6}",
            "[eEéÉ\u{301}\u{212a}kKßẞſsS\u{200c}\u{feff}]{1,4}",
            "(\\.\\./|/|\\./|~/|[a-z]:\\\\){1,3}[a-z]{0,3}",
            "(a|A|ä){230,250}(\\.yaml|\\.yml|\\.sops\\.yaml|)",
        ]
    }
}
