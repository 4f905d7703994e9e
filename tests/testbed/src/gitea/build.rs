//! Builds Gitea with `go` from the module proxy alone, once.
//!
//! ```text
//! <target>/reverser-testbed/gitea-<version>/
//!     gitea     appears by a rename, complete
//!     static    where its templates are: a line with the module's folder
//!     lock      held by whoever builds
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    binaries::build::{Progress, go, lock, target},
    error::Error,
};

/// Where a built Gitea is, and the files that it reads.
#[derive(Clone, Debug)]
pub(super) struct Built {
    pub(super) program: PathBuf,
    /// Its `STATIC_ROOT_PATH`: templates, translations, labels.
    pub(super) static_root: PathBuf,
}

/// What `go mod download -json` says of a module.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    dir: PathBuf,
}

/// Returns a Gitea, building it where there is none.
pub(super) fn build() -> Result<Built, Error> {
    let folder = target().join("reverser-testbed").join(format!("gitea-{VERSION}"));
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let _lock = lock(&folder.join("lock"))?;
    let program = folder.join("gitea");
    // Asked each time: Go's cache of modules, where the templates are, may have been cleared since.
    let module = download(&folder)?;
    if !program.exists() {
        compile(&module.dir, &program)?;
    }
    Ok(Built { program, static_root: module.dir })
}

fn download(folder: &Path) -> Result<Module, Error> {
    let module = format!("{MODULE}@{VERSION}");
    let said = go("gitea", folder, |go| go.args(["mod", "download", "-json", &module]), |_| {})?;
    serde_json::from_str(&said).map_err(|source| Error::Io {
        action: "read",
        what: format!("what go says of {module}"),
        source: source.into(),
    })
}

/// Inside the module's folder: it has `replace` lines, which count in a main module only.
fn compile(module: &Path, program: &Path) -> Result<(), Error> {
    let mut progress = Progress::start(format!("building gitea {VERSION} with go, once; this takes minutes"));
    let draft = program.with_extension("draft");
    go(
        "gitea",
        module,
        |go| {
            go.args(["build", "-mod=readonly", "-v", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"])
                .args(["-tags", "sqlite sqlite_unlock_notify", "-o"])
                .arg(&draft)
                .arg(".")
                .env("CGO_ENABLED", "1") // SQLite
        },
        |package| progress.advance(package),
    )?;
    progress.finish();
    fs::rename(&draft, program).map_err(Error::io("move", &draft))
}

const MODULE: &str = "code.gitea.io/gitea";

/// Not all of 1.27's modules are there.
const VERSION: &str = "v1.26.0";
