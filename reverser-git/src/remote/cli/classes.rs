//! What git, curl, ssh and servers say, sorted by what it means.

/// Why git failed before it could say anything about a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Authentication,
    Network,
    NotFound,
}

impl Class {
    pub(super) fn of(words: &str) -> Option<Self> {
        CLASSES.iter().find(|(part, _)| words.contains(part)).map(|(_, class)| *class)
    }
}

/// Parts of messages of git, curl and ssh. The first that is found counts: what is particular stands before what
/// accompanies other failures too.
const CLASSES: [(&str, Class); 36] = [
    ("Authentication failed", Class::Authentication),
    ("could not read Username", Class::Authentication),
    ("could not read Password", Class::Authentication),
    ("terminal prompts disabled", Class::Authentication),
    ("Permission denied (", Class::Authentication), // ssh, with the methods that it tried
    ("Permission to ", Class::Authentication),      // GitHub
    ("Host key verification failed", Class::Authentication),
    ("HTTP Basic: Access denied", Class::Authentication), // GitLab
    ("returned error: 401", Class::Authentication),
    ("returned error: 403", Class::Authentication),
    ("not allowed to push", Class::Authentication), // GitLab
    ("does not appear to be a git repository", Class::NotFound),
    ("Repository not found", Class::NotFound), // GitHub, over ssh
    ("repository not found", Class::NotFound), // Gitea
    ("' not found", Class::NotFound),          // http 404: repository 'https://…' not found
    ("could not be found", Class::NotFound),   // GitLab
    ("returned error: 404", Class::NotFound),
    ("' does not exist", Class::NotFound),
    ("Could not resolve host", Class::Network),
    ("Temporary failure in name resolution", Class::Network),
    ("Failed to connect", Class::Network),
    ("Couldn't connect", Class::Network),
    ("Connection refused", Class::Network),
    ("Connection reset", Class::Network),
    ("Connection timed out", Class::Network),
    ("Connection closed", Class::Network),
    ("Operation timed out", Class::Network),
    ("No route to host", Class::Network),
    ("Network is unreachable", Class::Network),
    ("Empty reply from server", Class::Network),
    ("RPC failed", Class::Network),
    ("early EOF", Class::Network),
    ("hung up unexpectedly", Class::Network),
    ("unexpected disconnect", Class::Network),
    ("returned error: 5", Class::Network),
    ("unable to access", Class::Network),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_classified_by_their_most_particular_words() {
        let class = |words: &str| Class::of(words);
        assert_eq!(
            class("git@h: Permission denied (publickey).; fatal: Could not read from remote repository."),
            Some(Class::Authentication)
        );
        assert_eq!(
            class("fatal: unable to access 'https://h/a/': The requested URL returned error: 403"),
            Some(Class::Authentication)
        );
        assert_eq!(class("fatal: repository 'https://h/a/' not found"), Some(Class::NotFound));
        assert_eq!(class("fatal: unable to access 'http://h/a/': Could not resolve host: h"), Some(Class::Network));
        assert_eq!(
            class("fatal: unable to access 'http://h/a/': The requested URL returned error: 503"),
            Some(Class::Network)
        );
        assert_eq!(class("fatal: something else"), None);
    }
}
