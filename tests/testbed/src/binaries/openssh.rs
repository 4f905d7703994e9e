//! Where `sshd` comes from: what is installed, else Debian's package, unpacked and not installed.
//!
//! ```text
//! <target>/reverser-testbed/openssh/
//!     root/             what the packages hold; appears by a rename, complete
//!     lock              held by whoever downloads
//! ```
//!
//! apt gets lists and a cache of its own there, so that it needs no root and leaves the machine's as they are.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::build::{lock, say, target};
use crate::error::{Error, tail};

/// An OpenSSH server that runs here.
#[derive(Debug)]
pub(crate) struct OpenSsh {
    pub(crate) sshd: PathBuf,
    /// Where the packages were unpacked; `None` for a server that is installed.
    root: Option<PathBuf>,
}

impl OpenSsh {
    /// Returns folders with libraries that the machine lacks, for `LD_LIBRARY_PATH`.
    pub(crate) fn libraries(&self) -> Vec<PathBuf> {
        let multiarch = |usr: PathBuf| fs::read_dir(usr.join("lib")).into_iter().flatten().flatten();
        let folders = self.root.iter().flat_map(|root| [root.clone(), root.join("usr")]).flat_map(multiarch);
        folders.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with("-linux-gnu")).collect()
    }

    /// Returns lines of `sshd_config` that name programs elsewhere than where they would be installed: sshd is several
    /// since 9.8.
    pub(crate) fn config(&self) -> String {
        let parts = [("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")];
        let root = self.root.as_deref();
        let there = parts.iter().filter_map(|(option, name)| {
            let program = root?.join("usr/lib/openssh").join(name);
            program.is_file().then(|| format!("{option} \"{}\"\n", program.display()))
        });
        there.collect()
    }
}

/// Returns an OpenSSH server, downloading it where there is none: seconds, once. Processes that download at the same time
/// wait for one another.
///
/// # Errors
/// What was tried, and what to install.
pub(crate) fn locate_openssh() -> Result<OpenSsh, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    if let Some(sshd) = folders.map(|folder| folder.join("sshd")).find(|program| program.is_file()) {
        return Ok(OpenSsh { sshd, root: None });
    }
    let folder = target().join("reverser-testbed").join("openssh");
    let root = folder.join("root");
    if !root.exists() {
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let _lock = lock(&folder.join("lock"))?;
        // Somebody else may have done it while we waited.
        if !root.exists() {
            download(&folder, &root)?;
        }
    }
    Ok(OpenSsh { sshd: root.join("usr/sbin/sshd"), root: Some(root) })
}

/// Unpacks the package and what it needs beyond what is installed; what comes last is a rename.
fn download(folder: &Path, root: &Path) -> Result<(), Error> {
    say("downloading Debian's openssh-server, once");
    let work = tempfile::tempdir_in(folder).map_err(Error::io("create", folder))?;
    let (lists, cache, draft) = (work.path().join("lists"), work.path().join("cache"), work.path().join("root"));
    for folder in [&lists.join("partial"), &cache.join("archives/partial"), &draft] {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.arg("-o").arg(format!("Dir::State::Lists={}", lists.display()));
        apt.arg("-o").arg(format!("Dir::Cache={}", cache.display()));
        // It changes nothing of the machine's, and its own user may not look into our folder.
        apt.args(["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o", "Acquire::http::Timeout=30"]);
        apt.args(["-q", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    run(apt(&["update"]))?;
    run(apt(&["install", "--download-only", "--no-install-recommends", "openssh-server"]))?;
    let archives = cache.join("archives");
    for entry in fs::read_dir(&archives).map_err(Error::io("read", &archives))? {
        let package = entry.map_err(Error::io("read", &archives))?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(package).arg(&draft);
            run(unpack)?;
        }
    }
    if !draft.join("usr/sbin/sshd").is_file() {
        return Err(Error::SshdMissing { tried: "the package openssh-server has no usr/sbin/sshd".into() });
    }
    fs::rename(&draft, root).map_err(Error::io("move", &draft))
}

fn run(mut command: Command) -> Result<(), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |why: String| Error::SshdMissing { tried: format!("{program}: {why}") };
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(failed(tail(String::from_utf8_lossy(&said).trim_end())))
}
