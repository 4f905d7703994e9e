//! From flags to who is called how in commits.

use std::{
    convert::Infallible,
    fs::OpenOptions,
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, bail};
use kube::Client;
use reverser_core::identity::{Identities, Pseudonyms};
use reverser_k8s::{Reporter, identities::FollowedIdentities};

use crate::{args::IdentityArgs, output::Output};

/// Names for users, and where their rules come from, to be followed.
pub(crate) struct Named {
    pub(crate) identities: Identities,
    followed: Option<FollowedIdentities>,
}

impl Named {
    /// Reads what the flags name; `client` is for a ConfigMap.
    pub(crate) async fn open(args: IdentityArgs, client: Option<Client>, output: &Output) -> anyhow::Result<Self> {
        let mut identities = Identities::default().at(args.author_domain);
        if args.record_groups {
            identities = identities.record_groups();
        }
        if let Some(path) = &args.pseudonyms_key {
            let key = pseudonyms(path, output).with_context(|| format!("--pseudonyms-key {}", path.display()))?;
            identities = identities.pseudonyms(key);
        }
        let followed = match args.identities {
            Some(source) => {
                let opened = FollowedIdentities::open(source, client, identities.clone()).await;
                Some(opened.context("--identities")?)
            }
            None => None,
        };
        Ok(Self { identities, followed })
    }

    /// Follows the rules for as long as this is polled.
    pub(crate) async fn follow(self, reporter: &dyn Reporter) -> Infallible {
        match self.followed {
            Some(followed) => followed.follow(reporter).await,
            None => std::future::pending().await,
        }
    }
}

/// Reads the key, or makes one.
fn pseudonyms(path: &Path, output: &Output) -> anyhow::Result<Pseudonyms> {
    let key = match std::fs::read(path) {
        Ok(key) => key,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = make_key(path).context("could not make it")?;
            output.say(&format!(
                "made a key for pseudonyms, {}: whoever has it can tell who is who, and nobody can without it",
                path.display()
            ));
            key
        }
        Err(error) => return Err(error).context("could not read it"),
    };
    let Some(pseudonyms) = Pseudonyms::new(key.trim_ascii_end()) else {
        bail!("a key has at least {} bytes; where there is no file, one is made", Pseudonyms::MIN_KEY_BYTES);
    };
    Ok(pseudonyms)
}

/// 32 bytes by chance, in hex: a line that other programs can take, too.
fn make_key(path: &Path) -> io::Result<Vec<u8>> {
    let mut chance = [0; 32];
    getrandom::fill(&mut chance).map_err(io::Error::other)?;
    let mut key: String = chance.iter().map(|byte| format!("{byte:02x}")).collect();
    key.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    Ok(key.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use reverser_core::{Actor, identity::IdentityRules};

    use super::*;

    #[test]
    fn the_rules_in_the_documentation_are_rules() {
        let page = include_str!("../../docs/ATTRIBUTION.md");
        let is_example = |block: &&str| block.starts_with("yaml\nrules:\n- user:");
        let examples: Vec<_> = page.split("```").filter(is_example).collect();
        assert_eq!(examples.len(), 1);
        let identities = Identities::default();
        identities.set_rules(examples[0].trim_start_matches("yaml").parse::<IdentityRules>().unwrap());
        let author = identities.author(&Actor::user("oidc:ann.lee@corp.example"));
        assert_eq!(author.to_string(), "Ann Lee <ann.lee@corp.example>");
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_a_short_one_is_refused() {
        let folder = std::env::temp_dir().join(format!("reverser-key-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("key");
        let first = pseudonyms(&path, &Output::Log).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(pseudonyms(&path, &Output::Log).unwrap().of("alice"), first.of("alice"));
        // What editors and Secrets add at the end makes no other key.
        fs::write(&path, fs::read_to_string(&path).unwrap() + "\r\n").unwrap();
        assert_eq!(pseudonyms(&path, &Output::Log).unwrap().of("alice"), first.of("alice"));
        fs::write(&path, "short\n").unwrap();
        assert!(pseudonyms(&path, &Output::Log).unwrap_err().to_string().contains("at least 16 bytes"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
