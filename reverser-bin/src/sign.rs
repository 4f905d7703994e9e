//! From flags to who signs commits.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::{Args, ValueEnum};
use reverser_git::{ProgramSigner, SignFormat, Signer, SshSigner};

use crate::args::SIGNING;

/// Who signs commits; nobody without these.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SignArgs {
    /// Sign commits with this SSH private key: ed25519 or ecdsa
    ///
    /// The key is in OpenSSH's format. No program or agent is needed. The file is read again when it changes. While it
    /// can't be read nothing is committed.
    #[arg(long, help_heading = SIGNING, value_name = "FILE", conflicts_with = "sign_key_id")]
    pub(crate) sign_key: Option<PathBuf>,
    /// The file that holds the passphrase of --sign-key
    #[arg(long, help_heading = SIGNING, value_name = "FILE", requires = "sign_key")]
    pub(crate) sign_passphrase_file: Option<PathBuf>,
    /// Sign commits through a program, with this key
    ///
    /// It is named as for git's user.signingKey: for openpgp and x509 a key id, fingerprint or e-mail address; for ssh
    /// a file with a key, or with the public key of one that is in the agent. The program is run as git runs it, has no
    /// terminal to ask at, and 30 s for a signature. While it fails nothing is committed.
    #[arg(long, help_heading = SIGNING, value_name = "KEY")]
    pub(crate) sign_key_id: Option<String>,
    /// What that program makes, as git's gpg.format
    ///
    /// openpgp when nothing is said.
    #[arg(long, help_heading = SIGNING, value_name = "FORMAT", value_enum, requires = "sign_key_id")]
    pub(crate) sign_format: Option<FormatName>,
    /// That program, as git's gpg.program [default: the format's]
    ///
    /// gpg for openpgp, gpgsm for x509, ssh-keygen for ssh.
    #[arg(long, help_heading = SIGNING, value_name = "PROGRAM", requires = "sign_key_id")]
    pub(crate) sign_program: Option<PathBuf>,
}

/// The name of a format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// OpenPGP, by gpg
    #[default]
    Openpgp,
    /// SSH, by ssh-keygen: for keys that only an agent or a security key has, and RSA
    Ssh,
    /// X.509, by gpgsm
    X509,
}

impl SignArgs {
    /// Returns who signs, and that in words.
    pub(crate) fn signer(&self) -> anyhow::Result<Option<(Arc<dyn Signer>, String)>> {
        if let Some(file) = &self.sign_key {
            let signer = SshSigner::open(file, self.sign_passphrase_file.clone()).context("--sign-key")?;
            let words = format!("{}, which is {}", file.display(), signer.public_key());
            return Ok(Some((Arc::new(signer), words)));
        }
        let Some(key) = &self.sign_key_id else { return Ok(None) };
        let format = match self.sign_format.unwrap_or_default() {
            FormatName::Openpgp => SignFormat::OpenPgp,
            FormatName::Ssh => SignFormat::Ssh,
            FormatName::X509 => SignFormat::X509,
        };
        let program = self.sign_program.clone().unwrap_or_else(|| format.program().into());
        let words = format!("{key}, by {}", program.display());
        Ok(Some((Arc::new(ProgramSigner::new(format, key).program(program)), words)))
    }
}
