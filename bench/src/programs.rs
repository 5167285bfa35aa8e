//! Where the programs are: beside this one, whatever the target folder is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Problem;

/// The programs that are started.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The proxy.
    pub(crate) pinion: PathBuf,
    /// The load generator and origin.
    pub(crate) load: PathBuf,
    /// This program.
    pub(crate) bench: PathBuf,
}

impl Programs {
    /// Finds the programs beside this one, after building them if `build` says so.
    ///
    /// # Errors
    /// The build failed, or a program is not there.
    pub(crate) fn find(build: bool) -> Result<Self, Problem> {
        let bench = own()?;
        let folder = folder_of(&bench)?;
        if build {
            run_build(&folder)?;
        }
        Ok(Programs {
            pinion: program(&folder, "pinion", "PINION_BIN")?,
            load: program(&folder, "pinion-load", "PINION_LOAD_BIN")?,
            bench,
        })
    }
}

/// This program.
///
/// # Errors
/// The system does not say where it is.
pub(crate) fn own() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(|e| format!("can't tell where this program is: {e}"))
}

/// The load generator alone, after building it if `build` says so.
///
/// # Errors
/// The build failed, or it is not there.
pub(crate) fn load(build: bool) -> Result<PathBuf, Problem> {
    let folder = folder_of(&own()?)?;
    if build {
        run_build(&folder)?;
    }
    program(&folder, "pinion-load", "PINION_LOAD_BIN")
}

/// Cargo's target folder, in which this program was built.
///
/// # Errors
/// It is in no build folder.
pub(crate) fn target_folder(bench: &Path) -> Result<PathBuf, Problem> {
    folder_of(&folder_of(bench)?)
}

fn folder_of(path: &Path) -> Result<PathBuf, Problem> {
    path.parent().map(Path::to_owned).ok_or_else(|| format!("{} is in no folder", path.display()))
}

/// A program in `folder`, unless a variable of the environment says where else it is.
fn program(folder: &Path, name: &str, variable: &str) -> Result<PathBuf, Problem> {
    let path = std::env::var_os(variable).map_or_else(|| folder.join(name), PathBuf::from);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{} is not there; build it with `cargo build --release --bin {name}`, or say --build",
        path.display()
    ))
}

/// Builds the programs into the folder where this one is.
fn run_build(folder: &Path) -> Result<(), Problem> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
        .join("../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(build_arguments(folder)?).arg("--manifest-path").arg(manifest);
    let status = command.status().map_err(|e| format!("can't run cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err("the build failed".to_owned()) }
}

/// What to tell cargo so that its output lands in `folder`, which is `TARGET/PROFILE` with the profile
/// `dev` in a folder called `debug`.
fn build_arguments(folder: &Path) -> Result<Vec<String>, Problem> {
    let (Some(profile), Some(target)) = (folder.file_name(), folder.parent()) else {
        return Err(format!("{} is no build folder", folder.display()));
    };
    let profile = match profile.to_string_lossy().as_ref() {
        "debug" => "dev".to_owned(),
        name => name.to_owned(),
    };
    let mut arguments: Vec<String> =
        ["build", "--bin", "pinion", "--bin", "pinion-load"].map(str::to_owned).to_vec();
    arguments.extend([
        "--profile".to_owned(),
        profile,
        "--target-dir".to_owned(),
        target.display().to_string(),
    ]);
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_goes_to_the_folder_of_this_program() {
        let line = build_arguments(Path::new("/t/release")).unwrap().join(" ");
        assert!(line.ends_with("--profile release --target-dir /t"), "{line}");
        let line = build_arguments(Path::new("/t/debug")).unwrap().join(" ");
        assert!(line.ends_with("--profile dev --target-dir /t"), "{line}");
        assert!(build_arguments(Path::new("/")).is_err());
    }
}
