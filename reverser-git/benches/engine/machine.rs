//! What the figures were measured on.

use std::{env, fs, process::Command};

/// Returns the processor, the memory, the systems and the file system of the folder for temporary files on one line.
pub(crate) fn description() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
        value.map(|(_, value)| value.trim().to_owned()).unwrap_or_else(|| "?".to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kernel = read("/proc/sys/kernel/osrelease");
    let git = Command::new("git").arg("version").output().unwrap();
    format!(
        "{cores} cores of {}, {memory}, Linux {}, {}, {} below {}",
        field(&read("/proc/cpuinfo"), "model name"),
        kernel.trim(),
        String::from_utf8_lossy(&git.stdout).trim(),
        file_system(&read("/proc/mounts")),
        env::temp_dir().display(),
    )
}

/// The type of the mount that the folder for temporary files is on.
fn file_system(mounts: &str) -> String {
    let folder = env::temp_dir();
    let rows = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let mount = rows.filter(|(place, _)| folder.starts_with(place)).max_by_key(|(place, _)| place.len());
    mount.map_or("?", |(_, kind)| kind).to_owned()
}
