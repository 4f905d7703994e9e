//! A Python that reads YAML, as much of the world does: what is there already, else PyYAML beside the built servers.
//!
//! 1. a `python3` on `PATH` that can `import yaml`: taken as it is;
//! 2. PyYAML for a `python3` on `PATH`, by its pip or one from a venv, once, into `<target>/reverser-testbed/`;
//! 3. Debian's python3-yaml, where we are root and apt-get is there.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::{interval, timeout};

use crate::{
    binaries::build::{lock, say, target},
    error::{Error, tail},
};

/// A Python that can `import yaml`.
#[derive(Clone, Debug)]
pub struct Python {
    program: PathBuf,
    /// Where its PyYAML is, when it isn't its own.
    packages: Option<PathBuf>,
}

impl Python {
    /// Returns a command that runs it, without arguments yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Not the user's modules, and no bytecode beside ours.
        command.env_remove("PYTHONPATH").env_remove("PYTHONSTARTUP").env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(packages) = &self.packages {
            command.env("PYTHONPATH", packages);
        }
        command
    }

    fn reads_yaml(&self) -> bool {
        let status = self
            .command()
            .args(["-c", "import yaml; yaml.safe_load('a: 1')"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }
}

/// Returns a Python that can `import yaml`, installing PyYAML where it is missing; that takes seconds the first time and
/// minutes at most. Processes that install at the same time wait for one another.
///
/// # Errors
/// What was tried, and what to install.
pub async fn python() -> Result<Python, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let programs: Vec<_> =
        env::split_paths(&path).map(|folder| folder.join("python3")).filter(|it| it.is_file()).collect();
    let folder = target().join("reverser-testbed").join(PYYAML);
    match find(&programs, &folder).await {
        Ok(python) => Ok(python),
        Err(tried) => from_debian(tried).await,
    }
}

/// Returns the first of the programs that has PyYAML, else one with a PyYAML in the folder; the error is what was tried.
async fn find(programs: &[PathBuf], folder: &Path) -> Result<Python, Error> {
    let own = programs.iter().map(|program| Python { program: program.clone(), packages: None });
    let ours =
        programs.iter().map(|program| Python { program: program.clone(), packages: Some(folder.join(PACKAGES)) });
    if let Some(python) = own.chain(ours.clone()).find(Python::reads_yaml) {
        return Ok(python);
    }
    let mut tried = String::from("there is no python3 on PATH");
    for python in ours {
        match install(&python.program, folder).await? {
            Ok(()) if python.reads_yaml() => return Ok(python),
            Ok(()) => tried = format!("{} can't import the PyYAML that pip installed", python.program.display()),
            Err(output) => tried = output,
        }
    }
    Err(Error::PythonMissing { tried })
}

/// Installs PyYAML into the folder; what comes last is a rename, so that nothing stays half-done.
async fn install(python: &Path, folder: &Path) -> Result<Result<(), String>, Error> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let (packages, path) = (folder.join(PACKAGES), folder.join("lock"));
    let _lock = match tokio::task::spawn_blocking(move || lock(&path)).await {
        Ok(lock) => lock?,
        Err(error) => std::panic::resume_unwind(error.into_panic()), // nobody cancels it
    };
    if packages.exists() {
        return Ok(Ok(())); // somebody else installed while we waited
    }
    let work = tempfile::tempdir_in(folder).map_err(Error::io("create", folder))?;
    let (output, venv) = (work.path().join(PACKAGES), work.path().join("venv"));
    let pip = |python: &Path| {
        let mut pip = Command::new(python);
        let quiet = ["--disable-pip-version-check", "--no-input", "--no-cache-dir"];
        pip.args(["-m", "pip", "install"]).args(quiet).arg("--target").arg(&output).arg(PYYAML.replace('-', "=="));
        pip
    };
    say(&format!("installing {PYYAML} with pip, once"));
    let mut tried = run(pip(python)).await;
    if tried.is_err() {
        // Debian's python3 has no pip of its own; its venv brings one, where python3-venv is there.
        let mut make = Command::new(python);
        make.args(["-m", "venv"]).arg(&venv);
        tried = match run(make).await {
            Ok(()) => run(pip(&venv.join("bin/python"))).await,
            Err(_) => tried,
        };
    }
    if let Err(output) = tried {
        return Ok(Err(output));
    }
    fs::rename(&output, &packages).map_err(Error::io("move", &output))?;
    Ok(Ok(()))
}

/// Installs Debian's package where that is ours to do, else returns what was tried before.
async fn from_debian(tried: Error) -> Result<Python, Error> {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root || !Path::new("/etc/debian_version").exists() {
        return Err(tried);
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.arg("-y").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    say("installing python3-yaml with apt-get");
    let install = ["install", "--no-install-recommends", "python3-yaml"];
    let mut installed = run(apt(&install)).await;
    if installed.is_err() {
        // A container's image has no lists of packages.
        installed = run(apt(&["update"])).await;
        if installed.is_ok() {
            installed = run(apt(&install)).await;
        }
    }
    let python = Python { program: "/usr/bin/python3".into(), packages: None };
    match installed {
        Ok(()) if python.reads_yaml() => Ok(python),
        Ok(()) => Err(tried),
        Err(output) => Err(Error::PythonMissing { tried: format!("{tried}\n{output}") }),
    }
}

/// Runs a command to its end, in [`LIMIT`]; the error is what it was and how it failed.
async fn run(command: Command) -> Result<(), String> {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words = words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let mut says = interval(SAY_EVERY);
    says.tick().await; // the first comes at once
    let ended = timeout(LIMIT, async {
        tokio::pin!(output);
        loop {
            tokio::select! {
                output = &mut output => return output,
                _ = says.tick() => say(&format!("still running: {words}")),
            }
        }
    });
    match ended.await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = [output.stdout, output.stderr].concat();
            Err(format!("{words}: {}\n{}", output.status, tail(&String::from_utf8_lossy(&said))))
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(format!("{words}: not found")),
        Ok(Err(error)) => Err(format!("{words}: {error}")),
        Err(_) => Err(format!("{words}: not done after {LIMIT:?}")),
    }
}

/// What pip installs, with `==` for the dash.
const PYYAML: &str = "PyYAML-6.0.3";

/// The folder with PyYAML in it.
const PACKAGES: &str = "packages";

/// For one command: pip needs seconds, apt-get on a slow line a minute or two.
const LIMIT: Duration = Duration::from_secs(300);

/// As the builds do.
const SAY_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a `python3` of a shell script, which is asked to import, to run pip, or to make a venv.
    fn script(folder: &Path, import: &str, pip: &str, venv: &str) -> PathBuf {
        let program = folder.join("python3");
        let cases = format!("case \"$1 $2\" in\n-c*) {import};;\n'-m pip') {pip};;\n'-m venv') {venv};;\nesac");
        crate::write_script(&program, &format!("for last; do :; done\n{cases}")).unwrap();
        program
    }

    const IMPORT: &str = "[ -e \"$PYTHONPATH/yaml\" ]";
    const PIP: &str = "while [ \"$1\" != --target ]; do shift; done; mkdir \"$2\"; : >\"$2/yaml\"";

    #[tokio::test]
    async fn a_python_that_has_pyyaml_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "exit 0", "exit 1", "exit 1");
        let python = find(std::slice::from_ref(&program), &folder.path().join("ours")).await.unwrap();
        assert_eq!((python.program, python.packages), (program, None));
        assert!(!folder.path().join("ours").exists());
    }

    #[tokio::test]
    async fn pip_installs_once() {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("ours");
        let python = find(&[script(folder.path(), IMPORT, PIP, "exit 1")], &ours).await.unwrap();
        assert_eq!(python.packages, Some(ours.join(PACKAGES)));
        find(&[script(folder.path(), IMPORT, "exit 1", "exit 1")], &ours).await.unwrap();
    }

    #[tokio::test]
    async fn without_pip_that_of_a_venv_installs() {
        let folder = tempfile::tempdir().unwrap();
        let inner = tempfile::tempdir().unwrap();
        let inner = script(inner.path(), "exit 1", PIP, "exit 1").display().to_string();
        let venv = format!("mkdir -p \"$last/bin\"; cp {inner} \"$last/bin/python\"");
        let program = script(folder.path(), IMPORT, "echo no module named pip; exit 1", &venv);
        find(&[program], &folder.path().join("ours")).await.unwrap();
    }

    #[tokio::test]
    async fn what_fails_is_quoted_and_says_what_to_install() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "exit 1", "echo no module named pip; exit 1", "exit 1");
        let ours = folder.path().join("ours");
        let text = find(&[program], &ours).await.unwrap_err().to_string();
        assert!(text.contains("PyYAML==6.0.3: exit status: 1\nno module named pip"), "{text}");
        let text = find(&[], &ours).await.unwrap_err().to_string();
        assert!(text.starts_with("no python3 that can import yaml: there is no python3 on PATH"), "{text}");
        assert!(text.contains("python3-yaml"), "{text}");
    }
}
