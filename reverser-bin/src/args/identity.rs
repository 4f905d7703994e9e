//! Who is called how in commits.

use std::path::PathBuf;

use clap::Args;
use reverser_core::identity::EmailDomain;
use reverser_k8s::identities::IdentitySource;

use super::heading::ATTRIBUTION;

#[derive(Debug, Default, Args)]
pub(crate) struct IdentityArgs {
    /// The domain of authors whose user name is no e-mail address
    ///
    /// Best one in which nobody has an address: users.example.com.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "DOMAIN", default_value_t)]
    pub(crate) author_domain: EmailDomain,
    /// Rules that give users names and addresses: a YAML file
    ///
    /// Or configmap:NAMESPACE/NAME[/KEY], with identities.yaml as the key unless another is given; it takes the verb get.
    /// Followed while it runs: a wrong version is told of, and the former one stays. docs/ATTRIBUTION.md has the format.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "SOURCE")]
    pub(crate) identities: Option<IdentitySource>,
    /// Write pseudonyms in place of user names, made with this key
    ///
    /// Where there is no such file it is made, for its owner alone. Keep it: with it pseudonyms can be told from names,
    /// and with another one the same users have other pseudonyms. Groups, user agents and field managers are left out.
    #[arg(long, help_heading = ATTRIBUTION, value_name = "FILE", conflicts_with_all = ["identities", "record_groups"])]
    pub(crate) pseudonyms_key: Option<PathBuf>,
    /// Name the groups of users in trailers, where they are known
    ///
    /// Without those that Kubernetes itself gives them, system:....
    #[arg(long, help_heading = ATTRIBUTION)]
    pub(crate) record_groups: bool,
}
