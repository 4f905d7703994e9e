//! What git, curl, ssh and servers say, sorted by what it means.

use crate::remote::Refusal;

/// Why git failed before it could say anything about a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Authentication,
    Certificate,
    ChangedHostKey,
    Network,
    NotFound,
    OtherFormat,
    UnknownHostKey,
}

impl Class {
    pub(super) fn of(words: &str) -> Option<Self> {
        CLASSES.iter().find(|(part, _)| words.contains(part)).map(|(_, class)| *class)
    }
}

impl Refusal {
    /// Tells which rule refused a push, by git's reason and the server's words.
    pub(super) fn of(reason: &str, words: &str) -> Self {
        let said = format!("{reason} {words}").to_lowercase();
        REFUSALS.iter().find(|(part, _)| said.contains(part)).map_or(Self::Other, |(_, by)| *by)
    }

    /// Tells a refusal of the transfer itself, before anything is said of a ref.
    pub(super) fn of_transfer(words: &str) -> Option<Self> {
        TRANSFER_REFUSALS.iter().find(|(part, _)| words.contains(part)).map(|(_, by)| *by)
    }
}

/// Parts of messages of git, curl and ssh. The first that is found counts: what is particular stands before what
/// accompanies other failures too.
const CLASSES: [(&str, Class); 65] = [
    ("mismatched algorithms", Class::OtherFormat), // fetch
    ("does not support this repository's hash algorithm", Class::OtherFormat), // push
    ("unexpected capabilities^{}", Class::OtherFormat), // push to an empty one, which has an id of another length
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Class::ChangedHostKey),
    ("has changed and you have requested strict checking", Class::ChangedHostKey),
    ("REVOKED HOST KEY", Class::ChangedHostKey),
    ("Host key verification failed", Class::UnknownHostKey),
    ("certificate verification failed", Class::Certificate), // GnuTLS
    ("SSL certificate problem", Class::Certificate),         // OpenSSL
    ("SSL: no alternative certificate", Class::Certificate), // another host's
    ("SSL: certificate subject name", Class::Certificate),   // GnuTLS: another host's
    ("certificate has expired", Class::Certificate),
    ("error setting certificate", Class::Certificate), // curl: the CA file
    ("SSL CA cert", Class::Certificate),               // curl: the CA file
    ("local SSL certificate", Class::Certificate),     // curl: the client's
    ("error reading X.509", Class::Certificate),       // GnuTLS: the client's
    ("alert certificate required", Class::Certificate), // OpenSSL: the server wants one
    ("Certificate is required", Class::Certificate),   // GnuTLS: the same
    ("Authentication failed", Class::Authentication),
    ("could not read Username", Class::Authentication),
    ("could not read Password", Class::Authentication),
    ("terminal prompts disabled", Class::Authentication),
    ("Permission denied (", Class::Authentication), // ssh, with the methods that it tried
    ("Too many authentication failures", Class::Authentication), // ssh, an agent with many keys
    ("Permission to ", Class::Authentication),      // GitHub
    ("HTTP Basic: Access denied", Class::Authentication), // GitLab
    ("Invalid username or", Class::Authentication), // GitHub
    ("returned error: 401", Class::Authentication),
    ("returned error: 403", Class::Authentication),
    ("returned error: 407", Class::Authentication), // the proxy, over http
    ("code 407 from proxy", Class::Authentication), // the same, over https; older curl
    ("response 407", Class::Authentication),        // newer curl
    ("not allowed to push", Class::Authentication), // GitLab
    ("key you are authenticating with has been marked as read only", Class::Authentication), // GitHub, a deploy key
    ("deploy key does not have write access", Class::Authentication), // GitLab
    ("is not authorized to ", Class::Authentication), // Gitea: Deploy Key: 1:deploy is not authorized to write to a/b
    ("does not appear to be a git repository", Class::NotFound),
    ("Repository not found", Class::NotFound), // GitHub, over ssh
    ("repository not found", Class::NotFound), // Gitea
    ("' not found", Class::NotFound),          // http 404: repository 'https://…' not found
    ("could not be found", Class::NotFound),   // GitLab
    ("returned error: 404", Class::NotFound),
    ("returned error: 301", Class::NotFound), // a redirect that isn't followed, with a token
    ("returned error: 302", Class::NotFound),
    ("returned error: 307", Class::NotFound),
    ("returned error: 308", Class::NotFound),
    ("' does not exist", Class::NotFound),
    ("Could not resolve", Class::Network), // a host or a proxy
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

/// Parts, in lower case, of what accompanies `[remote rejected]`. The first that is found counts: nearly all rules of
/// forges are hooks to git.
const REFUSALS: [(&str, Refusal); 26] = [
    ("currently checked out", Refusal::CheckedOut),
    ("push protection", Refusal::Hook), // GitHub, a GH013 about contents: they look like a secret
    ("gh001", Refusal::TooLarge),       // GitHub: Large files detected
    ("file size limit", Refusal::TooLarge), // GitHub, Bitbucket
    ("larger than", Refusal::TooLarge), // GitLab: File … is larger than the allowed size of 100 MiB
    ("maximum allowed size", Refusal::TooLarge), // git: receive.maxInputSize
    ("too large", Refusal::TooLarge),
    ("too big", Refusal::TooLarge),
    ("quota", Refusal::Quota),                   // Gitea, a file system's
    ("no space left on device", Refusal::Quota), // the server's disk
    ("allocated storage", Refusal::Quota),       // GitLab: has exceeded the allocated storage for your project
    ("exceeded its size limit", Refusal::Quota), // GitLab
    ("over its size limit", Refusal::Quota),     // Bitbucket
    ("repository size", Refusal::Quota),         // Bitbucket, Gitea
    ("storage limit", Refusal::Quota),
    ("gh006", Refusal::ProtectedBranch), // GitHub: Protected branch update failed
    ("gh013", Refusal::ProtectedBranch), // GitHub: Repository rule violations found
    ("protected branch", Refusal::ProtectedBranch), // GitHub, GitLab, Gitea
    ("is protected", Refusal::ProtectedBranch), // Gitea: branch main is protected
    ("denied to update branch", Refusal::ProtectedBranch), // Bitbucket
    ("tf402455", Refusal::ProtectedBranch), // Azure: you must use a pull request
    ("tf401027", Refusal::ProtectedBranch), // Azure: You need the Git 'GenericContribute' permission
    ("not permitted: update", Refusal::ProtectedBranch), // Gerrit
    ("not allowed to push", Refusal::ProtectedBranch), // GitLab, of a branch
    ("pull request", Refusal::ProtectedBranch),
    ("hook", Refusal::Hook),
];

/// Parts of what curl says when a server takes no more.
const TRANSFER_REFUSALS: [(&str, Refusal); 3] = [
    ("HTTP 413", Refusal::TooLarge),
    ("returned error: 413", Refusal::TooLarge),
    ("returned error: 507", Refusal::Quota),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_classified_by_their_most_particular_words() {
        for (words, class) in [
            (
                "git@h: Permission denied (publickey).; fatal: Could not read from remote repository.",
                Some(Class::Authentication),
            ),
            ("fatal: Authentication failed for 'https://h/a/'", Some(Class::Authentication)),
            ("fatal: could not read Username for 'https://h': terminal prompts disabled", Some(Class::Authentication)),
            (
                "fatal: unable to access 'https://h/a/': The requested URL returned error: 403",
                Some(Class::Authentication),
            ),
            (
                "fatal: unable to access 'https://h/a/': Received HTTP code 407 from proxy after CONNECT",
                Some(Class::Authentication),
            ),
            (
                "fatal: unable to access 'https://h/a/': CONNECT tunnel failed, response 407",
                Some(Class::Authentication),
            ),
            (
                "ERROR: The key you are authenticating with has been marked as read only.; fatal: Could not read from \
                 remote repository.",
                Some(Class::Authentication),
            ),
            (
                "error: Deploy Key: 1:deploy is not authorized to write to team/a.; fatal: Could not read from remote repository.",
                Some(Class::Authentication),
            ),
            (
                "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!; IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!; \
                 Host key verification failed.",
                Some(Class::ChangedHostKey),
            ),
            (
                "No ED25519 host key is known for h and you have requested strict checking.; Host key verification \
                 failed.; fatal: Could not read from remote repository.",
                Some(Class::UnknownHostKey),
            ),
            (
                "fatal: unable to access 'https://h/a/': server certificate verification failed. CAfile: none CRLfile: none",
                Some(Class::Certificate),
            ),
            (
                "fatal: unable to access 'https://h/a/': SSL certificate problem: self-signed certificate in certificate chain",
                Some(Class::Certificate),
            ),
            ("fatal: repository 'https://h/a/' not found", Some(Class::NotFound)),
            ("ERROR: Repository not found.; fatal: Could not read from remote repository.", Some(Class::NotFound)),
            ("fatal: '/srv/a.git' does not appear to be a git repository", Some(Class::NotFound)),
            ("fatal: unable to access 'http://h/a/': Could not resolve host: h", Some(Class::Network)),
            ("ssh: connect to host h port 22: Connection refused", Some(Class::Network)),
            ("error: RPC failed; curl 56 GnuTLS recv error; fatal: early EOF", Some(Class::Network)),
            ("fatal: unable to access 'http://h/a/': The requested URL returned error: 503", Some(Class::Network)),
            ("fatal: unable to access 'http://h/a/': The requested URL returned error: 429", Some(Class::Network)),
            ("fatal: something else", None),
        ] {
            assert_eq!(Class::of(words), class, "{words}");
        }
    }

    #[test]
    fn a_refusal_is_told_by_the_rule_behind_it() {
        for (reason, words, by) in [
            ("pre-receive hook declined", "no pushes on Friday", Refusal::Hook),
            ("hook declined", "", Refusal::Hook),
            (
                "protected branch hook declined",
                "error: GH006: Protected branch update failed",
                Refusal::ProtectedBranch,
            ),
            (
                "push declined due to repository rule violations",
                "error: GH013: Repository rule violations found for refs/heads/main.\nChanges must be made through a pull request.",
                Refusal::ProtectedBranch,
            ),
            (
                "push declined due to repository rule violations",
                "error: GH013: Repository rule violations found for refs/heads/main.\nGITHUB PUSH PROTECTION\nPush cannot contain secrets",
                Refusal::Hook,
            ),
            (
                "pre-receive hook declined",
                "GitLab: You are not allowed to push code to protected branches on this project.",
                Refusal::ProtectedBranch,
            ),
            (
                "pre-receive hook declined",
                "Gitea: Not allowed to push to protected branch main",
                Refusal::ProtectedBranch,
            ),
            ("pre-receive hook declined", "Forgejo: branch main is protected from changing", Refusal::ProtectedBranch),
            (
                "TF402455: Pushes to this branch are not permitted; you must use a pull request to update this branch.",
                "",
                Refusal::ProtectedBranch,
            ),
            (
                "pre-receive hook declined",
                "error: GH001: Large files detected.\nerror: File a is 120.00 MB; this exceeds GitHub's file size limit of 100.00 MB",
                Refusal::TooLarge,
            ),
            (
                "pre-receive hook declined",
                "GitLab: File \"a\" is larger than the allowed size of 100 MiB. Use Git LFS to manage this file.",
                Refusal::TooLarge,
            ),
            ("unpacker error", "fatal: pack exceeds maximum allowed size (1.00 KiB)", Refusal::TooLarge),
            (
                "pre-receive hook declined",
                "GitLab: Your push has been rejected, because this repository has exceeded its size limit of 10 GB by 1 MB.",
                Refusal::Quota,
            ),
            ("pre-receive hook declined", "Gitea: Quota exceeded", Refusal::Quota),
            ("unpacker error", "fatal: write error: Disk quota exceeded", Refusal::Quota),
            ("unpacker error", "error: file write error: No space left on device", Refusal::Quota),
            ("branch is currently checked out", "", Refusal::CheckedOut),
            ("unpacker error", "fatal: unpack-objects abnormal exit", Refusal::Other),
            ("unpacker error", "error: insufficient permission for adding an object", Refusal::Other),
        ] {
            assert_eq!(Refusal::of(reason, words), by, "{reason}: {words}");
        }
    }

    #[test]
    fn a_transfer_that_is_cut_off_is_no_outage() {
        let cut = "error: RPC failed; HTTP 413 curl 22 The requested URL returned error: 413; fatal: the remote end hung up unexpectedly";
        assert_eq!(Refusal::of_transfer(cut), Some(Refusal::TooLarge));
        let full = "error: RPC failed; HTTP 507 curl 22 The requested URL returned error: 507";
        assert_eq!(Refusal::of_transfer(full), Some(Refusal::Quota));
        assert_eq!(Refusal::of_transfer("error: RPC failed; HTTP 500 curl 22"), None);
    }
}
