//! From credentials to what git and ssh read.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use crate::{
    credentials::{AccessError, Credentials, KnownHosts, RemoteAccess, Secret},
    url::RemoteUrl,
};

/// What one command is given. Two that are equal need no writing in between.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Material {
    /// By name, each readable by its owner alone.
    pub(super) files: BTreeMap<&'static str, String>,
    /// Without secrets.
    pub(super) variables: Vec<(&'static str, OsString)>,
    /// Variables that git doesn't get.
    pub(super) without: Vec<&'static str>,
    /// Removed from whatever is said.
    pub(super) secrets: Vec<String>,
    /// For `GIT_SSH_COMMAND`.
    pub(super) ssh_command: Option<String>,
    /// Whether git sees nothing of the user's and the system's configuration.
    pub(super) is_isolated: bool,
}

impl Material {
    /// Reads all that is configured.
    pub(super) fn read(url: &RemoteUrl, access: &RemoteAccess) -> Result<Self, AccessError> {
        let mut material = Self { is_isolated: access.credentials != Credentials::FromGit, ..Self::default() };
        let config = [material.log_in(url, &access.credentials)?, material.connect(url, access)?].concat();
        if !config.is_empty() {
            material.files.insert(CONFIG, config);
        }
        Ok(material)
    }

    pub(super) fn has_key(&self) -> bool {
        self.files.contains_key(KEY)
    }

    /// Returns lines of git's configuration.
    fn log_in(&mut self, url: &RemoteUrl, credentials: &Credentials) -> Result<String, AccessError> {
        match credentials {
            Credentials::Basic { username, password } => {
                let origin = origin(url, "a user name and password")?;
                let (username, password) = (username.read()?, self.secret(password)?);
                // One of them may be empty: some forges take a token in the place of either.
                line("user name and password", &format!("{username}{password}"))?;
                self.files.insert(CREDENTIALS, format!("username={username}\npassword={password}\n"));
                // Saves the round trip that ends in a 401; unknown before 2.46, and ignored.
                let http = section("http", origin, &[("proactiveAuth", "basic")]);
                let helper = format!("!f() {{ test \"$1\" != get || cat {CREDENTIALS}; }}; f");
                // Only this origin gets the answer, so a redirect to another host doesn't.
                Ok(http + &section("credential", origin, &[("helper", &helper)]))
            }
            Credentials::Bearer { token } => {
                let (origin, token) = (origin(url, "a bearer token")?, self.secret(token)?);
                line("bearer token", &token)?;
                let header = format!("Authorization: Bearer {token}");
                // git sends extra headers to wherever a redirect leads.
                Ok(section("http", origin, &[("extraHeader", &header), ("followRedirects", "false")]))
            }
            Credentials::Command { program, arguments } => {
                let origin = origin(url, "a credential command")?;
                let helper = helper(program, arguments)?;
                // The path is what some services issue credentials for; others don't mind.
                Ok(section("credential", origin, &[("helper", &helper), ("useHttpPath", "true")]))
            }
            Credentials::FromGit => Ok(String::new()),
            Credentials::Ssh { key, passphrase, known_hosts } => {
                self.host_keys(url, "an ssh key", known_hosts)?;
                self.key(key, passphrase.as_ref())?;
                Ok(String::new())
            }
            Credentials::SshAgent { socket, known_hosts } => {
                self.host_keys(url, "an ssh agent", known_hosts)?;
                let socket = socket.clone().or_else(|| std::env::var_os("SSH_AUTH_SOCK").map(Into::into));
                let socket = socket.filter(|socket| !socket.as_os_str().is_empty()).ok_or(AccessError::NoAgent)?;
                let socket = std::path::absolute(&socket).unwrap_or(socket);
                fs::metadata(&socket).map_err(|error| unreadable(&socket, &error))?;
                self.variables.push(("SSH_AUTH_SOCK", socket.into()));
                self.ssh("-o IdentityFile=none -o BatchMode=yes");
                Ok(String::new())
            }
        }
    }

    /// Returns lines of git's configuration: the way to the server and who it has to be.
    fn connect(&mut self, url: &RemoteUrl, access: &RemoteAccess) -> Result<String, AccessError> {
        let mut values = vec![];
        if let Some(proxy) = &access.proxy {
            origin(url, "a proxy")?;
            let proxy = proxy.read()?;
            line("proxy's address", &proxy)?;
            if let Some((userinfo, _)) = proxy.rsplit_once('@') {
                let (_, password) = userinfo.rsplit_once(':').unwrap_or_default();
                self.hide(password);
                self.hide(&crate::branch::percent_decode(password).unwrap_or_default());
            }
            // It was asked for, for this remote.
            self.without.extend(["no_proxy", "NO_PROXY"]);
            values.push(("proxy", proxy));
        }
        if let Some(ca_file) = &access.ca_file {
            origin(url, "a certificate authority")?;
            values.push(("sslCAInfo", pem(ca_file, "CERTIFICATE")?));
            self.without.extend(["GIT_SSL_CAINFO", "GIT_SSL_CAPATH"]);
        }
        if let Some(client) = &access.client_certificate {
            origin(url, "a client certificate")?;
            values.push(("sslCert", pem(&client.certificate, "CERTIFICATE")?));
            values.push(("sslKey", pem(&client.key, "PRIVATE KEY")?));
        }
        let values: Vec<_> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Ok(if values.is_empty() { String::new() } else { section("http", url.origin().unwrap_or_default(), &values) })
    }

    /// A copy of the key, since ssh refuses files that others may read, as a mounted Secret is.
    fn key(&mut self, key: &Secret, passphrase: Option<&Secret>) -> Result<(), AccessError> {
        // OpenSSH wants each line to end, and with a line feed alone.
        let key = key.read()?.replace("\r\n", "\n");
        if !key.contains("PRIVATE KEY-----") {
            return Err(AccessError::Text { what: "private key", fault: "no private key in PEM or OpenSSH's format" });
        }
        self.files.insert(KEY, format!("{}\n", key.trim_end()));
        let Some(passphrase) = passphrase else {
            self.ssh("-o IdentityFile=key -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes");
            return Ok(());
        };
        let passphrase = self.secret(passphrase)?;
        line("passphrase", &passphrase)?;
        self.files.insert(PASSPHRASE, format!("{passphrase}\n"));
        self.files.insert(ASKPASS, format!("#!/bin/sh\nexec cat {PASSPHRASE}\n"));
        self.variables.push(("SSH_ASKPASS", format!("./{ASKPASS}").into()));
        self.variables.push(("SSH_ASKPASS_REQUIRE", "force".into()));
        // In batch mode ssh asks nobody, the program neither.
        self.ssh("-o IdentityFile=key -o IdentitiesOnly=yes -o IdentityAgent=none -o NumberOfPasswordPrompts=1");
        Ok(())
    }

    fn host_keys(&mut self, url: &RemoteUrl, given: &'static str, known: &KnownHosts) -> Result<(), AccessError> {
        if !url.is_ssh() {
            return Err(AccessError::OtherScheme { given, wanted: "ssh" });
        }
        let lines = match known {
            KnownHosts::File(file) => Secret::File(file.clone()).read()?,
            KnownHosts::Lines(lines) => lines.clone(),
            KnownHosts::None => String::new(),
            KnownHosts::TrustOnFirstUse => {
                let options = "-o UserKnownHostsFile=../known_hosts -o StrictHostKeyChecking=accept-new";
                self.ssh_command = Some(options.to_owned());
                // So that the folder exists in which the path begins.
                self.files.insert(KNOWN_HOSTS, String::new());
                return Ok(());
            }
        };
        if lines.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) {
            let (host, keyscan) = keyscan(url.as_str());
            return Err(AccessError::NoHostKey { host, keyscan });
        }
        self.files.insert(KNOWN_HOSTS, format!("{}\n", lines.replace("\r\n", "\n").trim_end()));
        self.ssh_command = Some(format!("-o UserKnownHostsFile={KNOWN_HOSTS} -o StrictHostKeyChecking=yes"));
        Ok(())
    }

    /// Completes the command that has the options for host keys.
    fn ssh(&mut self, identity: &str) {
        let host_keys = self.ssh_command.take().unwrap_or_default();
        self.ssh_command = Some(format!("ssh {} {host_keys} {identity}", ISOLATED_SSH.join(" ")));
        self.variables.push(("GIT_SSH_VARIANT", "ssh".into()));
    }

    fn secret(&mut self, secret: &Secret) -> Result<String, AccessError> {
        let secret = secret.read()?;
        self.hide(&secret);
        Ok(secret)
    }

    fn hide(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.secrets.push(secret.to_owned());
        }
    }
}

fn origin<'a>(url: &'a RemoteUrl, given: &'static str) -> Result<&'a str, AccessError> {
    url.origin().ok_or(AccessError::OtherScheme { given, wanted: "http and https" })
}

/// Neither the credential protocol nor a header has a way to write a line break.
fn line(what: &'static str, text: &str) -> Result<(), AccessError> {
    match text {
        "" => Err(AccessError::Text { what, fault: "empty" }),
        _ if text.contains(|c: char| c.is_control()) => {
            Err(AccessError::Text { what, fault: "not one line: it has a line break or another control character" })
        }
        _ => Ok(()),
    }
}

/// Returns the absolute path of a file that has such a block.
fn pem(file: &Path, label: &str) -> Result<String, AccessError> {
    let file = std::path::absolute(file).map_err(|error| unreadable(file, &error))?;
    if !Secret::File(file.clone()).read()?.contains(&format!("{label}-----")) {
        let reason = format!("it has no {label} block in PEM");
        return Err(AccessError::File { file, reason });
    }
    match file.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err(AccessError::File { file, reason: "its path is not UTF-8".into() }),
    }
}

/// Returns a credential helper as git's configuration has it; git appends the operation.
fn helper(program: &Path, arguments: &[String]) -> Result<String, AccessError> {
    let program = match program.components().count() {
        1 => program.to_owned(),
        _ => std::path::absolute(program).map_err(|error| unreadable(program, &error))?,
    };
    let Some(text) = program.to_str() else {
        return Err(AccessError::File { file: program, reason: "its path is not UTF-8".into() });
    };
    for argument in [text].into_iter().chain(arguments.iter().map(String::as_str)) {
        if argument.contains(['\0', '\n']) {
            return Err(AccessError::Text { what: "credential command", fault: "not one line" });
        }
    }
    let words: Vec<_> = [text].into_iter().chain(arguments.iter().map(String::as_str)).map(shell_quoted).collect();
    // It is the user's, and gets back the home that git doesn't have.
    let home = std::env::var("HOME").ok().filter(|home| !home.contains(['\0', '\n']));
    let home = home.map(|home| format!("HOME={} ", shell_quoted(&home))).unwrap_or_default();
    Ok(format!("!{home}{}", words.join(" ")))
}

/// Returns an ssh URL's host, and the command that asks it for its host keys.
fn keyscan(url: &str) -> (String, String) {
    let authority = match url.strip_prefix("ssh://") {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        // `[user@]host:path`, where the host may be `[::1]`.
        None => url.split("]:").next().filter(|host| *host != url).or(url.split(':').next()).unwrap_or_default(),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host.strip_prefix('[') {
        Some(host) => host.split_once(']').map_or((host, None), |(host, port)| (host, port.strip_prefix(':'))),
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
    (host.to_owned(), format!("ssh-keyscan {port}{host}"))
}

/// Returns a section of git's configuration, by the quoting rules of git-config(1).
fn section(name: &str, origin: &str, values: &[(&str, &str)]) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let values = values.iter().map(|(name, value)| format!("\t{name} = \"{}\"\n", quoted(value)));
    format!("[{name} \"{}\"]\n{}", quoted(origin), values.collect::<String>())
}

/// Quotes for the shell that runs a credential helper.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn unreadable(file: &Path, error: &std::io::Error) -> AccessError {
    AccessError::File { file: file.to_owned(), reason: error.to_string() }
}

pub(super) const ASKPASS: &str = "askpass";
pub(super) const CONFIG: &str = "config";
pub(super) const CREDENTIALS: &str = "credentials";
pub(super) const KEY: &str = "key";
const KNOWN_HOSTS: &str = "known_hosts";
const PASSPHRASE: &str = "passphrase";

/// All that there may be.
pub(super) const FILES: [&str; 6] = [ASKPASS, CONFIG, CREDENTIALS, KEY, KNOWN_HOSTS, PASSPHRASE];

/// Nothing of the user's; nothing but a command there; gives up on a host that doesn't answer, and on a connection that died.
const ISOLATED_SSH: [&str; 11] = [
    "-F /dev/null",
    "-a -x -T",
    "-o GlobalKnownHostsFile=/dev/null",
    "-o UpdateHostKeys=no",
    "-o PreferredAuthentications=publickey",
    "-o PasswordAuthentication=no",
    "-o KbdInteractiveAuthentication=no",
    "-o ClearAllForwardings=yes",
    "-o ControlPath=none",
    "-o ConnectTimeout=15",
    "-o ServerAliveInterval=15",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_asks_for_host_keys_has_the_port() {
        for (url, host, command) in [
            ("git@host:a/b.git", "host", "ssh-keyscan host"),
            ("ssh://git@host:2222/a", "host", "ssh-keyscan -p 2222 host"),
            ("ssh://host/a:b", "host", "ssh-keyscan host"),
            ("ssh://git@[::1]:22/a", "::1", "ssh-keyscan -p 22 ::1"),
            ("ssh://[fe80::1]/a", "fe80::1", "ssh-keyscan fe80::1"),
            ("git@[::1]:a.git", "::1", "ssh-keyscan ::1"),
        ] {
            assert_eq!(keyscan(url), (host.to_owned(), command.to_owned()), "{url}");
        }
    }

    #[test]
    fn a_word_with_quotes_stays_one_word_of_the_shell() {
        assert_eq!(shell_quoted("/a b/c'd"), r"'/a b/c'\''d'");
    }

    #[test]
    fn values_are_quoted_for_git() {
        let text = section("http", "https://h", &[("proxy", "a\"b\\c#d")]);
        assert_eq!(text, "[http \"https://h\"]\n\tproxy = \"a\\\"b\\\\c#d\"\n");
    }
}
