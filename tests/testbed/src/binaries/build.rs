//! Builds the tools with `go` from the module proxy alone, once for each version of `go/`.
//!
//! ```text
//! <target>/reverser-testbed/<version>-<hash of the recipe>/
//!     etcd, kube-apiserver, …     appear by a rename, each complete
//!     lock                        held by whoever builds
//!     build-<random>/             sources and output of a build; a killed one leaves it, the next removes it
//! ```

use std::{
    collections::VecDeque,
    env,
    fs::{self, File, TryLockError},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Tool, kubernetes_version};
use crate::error::Error;

/// What is built, to the byte.
pub(super) const GO_MOD: &str = include_str!("../../go/go.mod");
const GO_SUM: &str = include_str!("../../go/go.sum");
const TOOLS_GO: &str = include_str!("../../go/tools.go");

/// Returns the folder in which [`build`] leaves its binaries.
pub(super) fn folder() -> PathBuf {
    let mut recipe = DefaultHasher::new();
    (GO_MOD, GO_SUM, TOOLS_GO, ldflags()).hash(&mut recipe);
    let version = format!("{}-{:016x}", kubernetes_version(), recipe.finish());
    target().join("reverser-testbed").join(version)
}

/// Builds those of the tools that are not in the folder yet.
pub(super) fn build(tools: &[Tool], folder: &Path) -> Result<(), Error> {
    let missing = || tools.iter().copied().filter(|tool| !folder.join(tool.name()).exists()).collect::<Vec<_>>();
    if missing().is_empty() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let _lock = lock(&folder.join("lock"))?;
    let missing = missing(); // somebody else may have built them while we waited
    if missing.is_empty() {
        return Ok(());
    }
    remove_leftovers(folder)?;
    let work = tempfile::Builder::new().prefix(LEFTOVER).tempdir_in(folder).map_err(Error::io("create", folder))?;
    let output = work.path().join("bin");
    fs::create_dir(&output).map_err(Error::io("create", &output))?;
    for (name, text) in [("go.mod", GO_MOD), ("go.sum", GO_SUM), ("tools.go", TOOLS_GO)] {
        let path = work.path().join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))?;
    }
    compile(&missing, work.path(), &output)?;
    for tool in missing {
        // etcd's main package is called `server`.
        let built = output.join(if tool == Tool::Etcd { "server" } else { tool.name() });
        fs::rename(&built, folder.join(tool.name())).map_err(Error::io("move", &built))?;
    }
    Ok(())
}

/// Returns once no other process builds; the lock ends with the file that is returned, or with the process.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let file = File::options().create(true).append(true).open(path).map_err(Error::io("open", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
    }
    say("waiting for another process that builds or installs the same");
    file.lock().map_err(Error::io("lock", path))?;
    Ok(file)
}

/// Removes what killed builds have left. Their go may still be writing there; then the next build removes it.
fn remove_leftovers(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        if entry.file_name().to_string_lossy().starts_with(LEFTOVER) {
            let _ = fs::remove_dir_all(entry.path()); // costs space only
        }
    }
    Ok(())
}

fn compile(tools: &[Tool], module: &Path, output: &Path) -> Result<(), Error> {
    let names = tools.iter().map(|tool| tool.name()).collect::<Vec<_>>().join(", ");
    let packages: Vec<_> = tools.iter().map(|tool| tool.package()).collect();
    // Before anything is said of a build: without go there is none.
    go(&names, module, |go| go.arg("version"), |_| {})?;
    let mut progress =
        Progress::start(format!("building {names} {} with go, once; this takes minutes", kubernetes_version()));
    let all = go(
        &names,
        module,
        |go| go.args(["list", "-mod=readonly", "-deps"]).args(&packages),
        |line| progress.show(line),
    )?;
    progress.count_up_to(all.lines().count());
    go(
        &names,
        module,
        |go| {
            go.args(["build", "-mod=readonly", "-v", "-trimpath", "-buildvcs=false", "-ldflags", &ldflags(), "-o"])
                .arg(output)
                .args(&packages)
        },
        |package| progress.advance(package),
    )?;
    progress.finish();
    Ok(())
}

/// Runs go in the module's folder; returns what it prints on stdout, and shows each line of its stderr as it comes.
pub(crate) fn go(
    tools: &str,
    module: &Path,
    arguments: impl FnOnce(&mut Command) -> &mut Command,
    mut show: impl FnMut(&str),
) -> Result<String, Error> {
    let mut command = Command::new("go");
    command
        .env("CGO_ENABLED", "0") // no C compiler needed, and static binaries
        .env("GOWORK", "off") // the target folder may lie below somebody's go.work
        .env_remove("GOOS") // the binaries run here, whatever else the user builds for
        .env_remove("GOARCH");
    arguments(&mut command).current_dir(module).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |source| Error::Io { action: "run", what: "go".into(), source };
    let mut child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::GoMissing { tools: tools.into() },
        _ => failed(source),
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut last = VecDeque::new();
    let output = thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut text = String::new();
            stdout.map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut text)).map(|_| text)
        });
        for line in stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
            let line = line?;
            show(&line);
            if last.len() == TAIL_LINES {
                last.pop_front();
            }
            last.push_back(line);
        }
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let status = child.wait().map_err(failed)?;
    let output = output.map_err(failed)?;
    if !status.success() {
        return Err(Error::GoFailed { tools: tools.into(), status, tail: Vec::from(last).join("\n") });
    }
    Ok(output)
}

/// Returns what makes the server report its real version, which clients parse: Kubernetes' own build sets these.
fn ldflags() -> String {
    let version = kubernetes_version();
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let values = [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor), ("gitTreeState", "clean")];
    let mut flags = String::from("-s -w");
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in values {
            flags += &format!(" -X {package}.{name}={value}");
        }
    }
    flags
}

/// Returns cargo's target folder where we run from one, which cargo marks with a `CACHEDIR.TAG`, else the user's cache.
pub(crate) fn target() -> PathBuf {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let marked = || {
        let program = env::current_exe().ok()?;
        program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
    };
    absolute("CARGO_TARGET_DIR").or_else(marked).unwrap_or_else(|| {
        absolute("XDG_CACHE_HOME")
            .or_else(|| env::home_dir().map(|home| home.join(".cache")))
            .unwrap_or_else(env::temp_dir)
            .join("reverser")
    })
}

/// A bar on a terminal, else a line now and then.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// When a line was printed last; `None` on a terminal.
    said: Option<Instant>,
}

impl Progress {
    pub(crate) fn start(what: String) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100)); // linking prints nothing for half a minute
        if io::stderr().is_terminal() {
            bar.println(what);
            Self { bar, said: None }
        } else {
            say(&what);
            Self { bar, said: Some(Instant::now()) }
        }
    }

    fn count_up_to(&mut self, packages: usize) {
        let style = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} packages {elapsed} {wide_msg}");
        self.bar.set_style(style.expect("the template is a constant"));
        self.bar.set_length(packages as u64);
    }

    pub(crate) fn advance(&mut self, package: &str) {
        self.bar.inc(1);
        self.show(package);
    }

    fn show(&mut self, line: &str) {
        self.bar.set_message(line.to_owned());
        if let Some(said) = self.said.as_mut().filter(|said| said.elapsed() >= SAY_EVERY) {
            *said = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length());
            say(&all.map_or_else(|| line.into(), |all| format!("{done} of at most {all} packages: {line}")));
        }
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
        if self.said.is_some() {
            say(&format!("built in {} s", self.bar.elapsed().as_secs()));
        }
    }
}

/// Prints a line where neither a test's captured output nor a pipe's reader takes it.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "reverser-testbed: {line}"); // a closed stderr is no reason to stop
}

/// Prefix of the folders in which builds work.
const LEFTOVER: &str = "build-";

/// Long enough not to fill a CI log, short enough to show that it lives.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Go's errors are short; a compiler error repeats at most ten times per package.
const TAIL_LINES: usize = 25;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate;

    #[test]
    fn without_go_the_error_says_what_to_install() {
        let text = locate_with_go(None);
        assert!(text.starts_with("go is missing: etcd, kube-apiserver not found, and no `go` on PATH"), "{text}");
        assert!(text.contains("install Go 1.26 or later") && text.contains("KUBEBUILDER_ASSETS"), "{text}");
    }

    #[test]
    fn a_go_that_is_too_old_is_quoted() {
        let text = locate_with_go(Some("echo 'go: go.mod requires go >= 1.26.0 (running go 1.20)' >&2; exit 1"));
        assert!(text.starts_with("failed: go could not build etcd, kube-apiserver (exit status: 1)"), "{text}");
        assert!(text.ends_with("go: go.mod requires go >= 1.26.0 (running go 1.20)"), "{text}");
    }

    #[test]
    fn what_go_builds_is_found_under_the_tools_names() {
        let text = locate_with_go(Some(
            r#"[ "$1" = version ] && exit
            [ "$1" = list ] && { echo internal/abi; exit; }
            while [ "$1" != -o ]; do shift; done
            : >"$2/server"; : >"$2/kube-apiserver""#,
        ));
        assert_eq!(text, "found etcd, kube-apiserver beside lock");
    }

    /// Calls [`locate`] in a process that sees this script as its only `go`, and returns what it prints.
    fn locate_with_go(script: Option<&str>) -> String {
        let folder = tempfile::tempdir().unwrap();
        if let Some(script) = script {
            crate::write_script(&folder.path().join("go"), script).unwrap();
        }
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "binaries::build::tests::locate_in_a_process_of_its_own", "--nocapture"])
            .env_remove("KUBEBUILDER_ASSETS")
            .env("CARGO_TARGET_DIR", folder.path())
            .env("PATH", folder.path())
            .env(ALONE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, text) = text.split_once("<<").unwrap_or_else(|| panic!("{text}"));
        text.split_once(">>").unwrap().0.to_owned()
    }

    /// Not a test of its own: what [`locate_with_go`] runs, since the environment belongs to a whole process.
    #[tokio::test]
    async fn locate_in_a_process_of_its_own() {
        if env::var_os(ALONE).is_none() {
            return;
        }
        let text = match locate([Tool::Etcd, Tool::KubeApiserver]).await {
            Ok(paths) => {
                let folder = paths[0].parent().unwrap();
                let mut others: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
                others.retain(|path| !paths.contains(path));
                let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
                let names = |paths: &[PathBuf]| paths.iter().map(name).collect::<Vec<_>>().join(", ");
                assert!(paths.iter().all(|path| path.is_file()), "{paths:?}");
                format!("found {} beside {}", names(&paths), names(&others))
            }
            Err(error) if error.is_go_missing() => format!("go is missing: {error}"),
            Err(error) => format!("failed: {error}"),
        };
        write!(io::stdout(), "<<{text}>>").unwrap();
    }

    const ALONE: &str = "REVERSER_TESTBED_LOCATE";
}
