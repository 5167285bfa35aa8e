//! The two sides of a comparison: what they are, and how they are built and started.
//!
//! Programs of Pinion are copied to folders whose names have the same length: how long a program's path
//! is moves its stack, and that alone can make a percent of difference.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::repository::Repository;
use super::scenario::Scenario;
use crate::Problem;

/// What the user named as base or candidate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    /// A git revision.
    Revision(String),
    /// The work tree as it is.
    Worktree,
    /// A built `pinion`.
    Binary(PathBuf),
    /// Any command, with `{listen}`, `{upstream}` and their like.
    Command(String),
}

/// One side, ready to be started.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// How tables call it.
    pub(crate) label: String,
    /// The commit it was built from; `+` behind it: with changes.
    pub(crate) commit: Option<String>,
    launch: Launch,
}

#[derive(Clone, Debug)]
enum Launch {
    Pinion(PathBuf),
    /// The words of a command line.
    Command(Vec<String>),
}

/// Where a side's program meets the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) upstream: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Pinion's driver.
    pub(crate) driver: &'a str,
    /// For its configuration.
    pub(crate) folder: &'a Path,
}

impl Side {
    /// Makes a side from a command line or from a program that is there.
    ///
    /// # Errors
    /// The command line has unmatched quotes or is empty, or the program can't be copied to `folder`.
    fn given(given: &Given, folder: &Path) -> Result<Self, Problem> {
        match given {
            Given::Binary(path) => {
                let label =
                    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                Ok(Side { label, commit: None, launch: Launch::Pinion(copied(path, folder)?) })
            }
            Given::Command(line) => {
                let words = shlex::split(line).filter(|words| !words.is_empty());
                let words = words.ok_or_else(|| format!("`{line}` is empty, or a quote in it has no end"))?;
                Ok(Side { label: line.clone(), commit: None, launch: Launch::Command(words) })
            }
            Given::Revision(_) | Given::Worktree => Err("a revision has to be built first".to_owned()),
        }
    }

    /// Whether it is Pinion, which gets a configuration.
    pub(crate) fn is_pinion(&self) -> bool {
        matches!(self.launch, Launch::Pinion(_))
    }

    /// The command that starts it. For Pinion it writes the scenario's configuration first.
    ///
    /// # Errors
    /// The configuration can't be written.
    pub(crate) fn command(&self, scenario: &Scenario, place: Place<'_>) -> Result<Command, Problem> {
        match &self.launch {
            Launch::Pinion(program) => {
                self.configure(scenario, place, 0)?;
                let mut command = Command::new(program);
                command.arg("run").arg("--config").arg(place.folder.join("pinion.toml"));
                Ok(command)
            }
            Launch::Command(words) => {
                let mut words = words.iter().map(|word| filled(word, place));
                let mut command = Command::new(words.next().unwrap_or_default());
                command.args(words);
                Ok(command)
            }
        }
    }

    /// Writes Pinion's configuration, as it is after so many reloads. Other programs have none.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn configure(
        &self,
        scenario: &Scenario,
        place: Place<'_>,
        reloads: u32,
    ) -> Result<(), Problem> {
        if !self.is_pinion() {
            return Ok(());
        }
        let turn = if reloads.is_multiple_of(2) { "30" } else { "31" };
        let text = scenario
            .config()
            .replace("@LISTEN@", &place.listen.to_string())
            .replace("@UPSTREAM@", &place.upstream.to_string())
            .replace("@ADMIN@", &place.admin.to_string())
            .replace("@DRIVER@", place.driver)
            .replace("@TURN@", turn);
        let (path, new) = (place.folder.join("pinion.toml"), place.folder.join("pinion.toml.new"));
        // In one step: the proxy watches the file.
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.map_err(|e| format!("can't write {}: {e}", path.display()))
    }
}

/// One word of a command line with its placeholders filled in.
fn filled(word: &str, place: Place<'_>) -> String {
    word.replace("{listen}", &place.listen.to_string())
        .replace("{upstream}", &place.upstream.to_string())
        .replace("{port}", &place.listen.port().to_string())
        .replace("{upstream_port}", &place.upstream.port().to_string())
        .replace("{folder}", &place.folder.display().to_string())
}

/// Builds sides, each into a folder of its own under `folder`.
///
/// ```text
/// TARGET/release        the work tree's build
/// TARGET/gate/tree      where a revision is checked out while it is built
/// TARGET/gate/target    its build: begins as a copy of the work tree's, so that dependencies are there
/// TARGET/gate/COMMIT    what came of it; kept, for a commit never changes
/// ```
///
/// Revisions do not build in the work tree's folder: cargo takes the packages of two checkouts for the
/// same ones, and each build would undo the other.
pub(crate) struct Builder<'a> {
    /// The repository of revisions, if there is one.
    pub(crate) repository: Option<&'a Repository>,
    /// Cargo's target folder.
    pub(crate) target: &'a Path,
    /// Where programs are copied to.
    pub(crate) folder: &'a Path,
}

impl Builder<'_> {
    /// Builds base and candidate, the work tree first: its dependencies are the base's, too.
    ///
    /// # Errors
    /// A build failed, or a program is not there.
    pub(crate) fn both(&self, base: &Given, candidate: &Given) -> Result<[Side; 2], Problem> {
        let places = [self.folder.join("side-a"), self.folder.join("side-b")];
        for place in &places {
            fs::create_dir_all(place).map_err(|e| format!("can't make {}: {e}", place.display()))?;
        }
        if *candidate == Given::Worktree {
            let candidate = self.side(candidate, &places[1])?;
            return Ok([self.side(base, &places[0])?, candidate]);
        }
        Ok([self.side(base, &places[0])?, self.side(candidate, &places[1])?])
    }

    fn side(&self, given: &Given, place: &Path) -> Result<Side, Problem> {
        let repository = || self.repository.ok_or("revisions need a git repository, and this is none");
        match given {
            Given::Revision(revision) => {
                let commit = repository()?.commit(revision)?;
                let label = if commit.starts_with(revision) {
                    short(&commit)
                } else {
                    format!("{revision} ({})", short(&commit))
                };
                // Kept from run to run: a commit never changes.
                let kept = self.target.join("gate").join(&commit);
                if !kept.join("pinion").is_file() {
                    self.build_commit(repository()?, &commit, &kept)?;
                }
                let program = copied(&kept.join("pinion"), place)?;
                Ok(Side { label, commit: Some(commit), launch: Launch::Pinion(program) })
            }
            Given::Worktree => {
                let commit = repository()?.described()?;
                build(repository()?.root(), self.target)?;
                let program = copied(&self.target.join("release/pinion"), place)?;
                let label = format!("work tree ({})", short(&commit));
                Ok(Side { label, commit: Some(commit), launch: Launch::Pinion(program) })
            }
            given => Side::given(given, place),
        }
    }

    fn build_commit(&self, repository: &Repository, commit: &str, kept: &Path) -> Result<(), Problem> {
        let gate = self.target.join("gate");
        let tree = repository.worktree(commit, &gate.join("tree"))?;
        let target = gate.join("target");
        seed(&self.target.join("release"), &target.join("release"))?;
        build(tree.folder(), &target)?;
        fs::create_dir_all(kept).map_err(|e| format!("can't make {}: {e}", kept.display()))?;
        copied(&target.join("release/pinion"), kept).map(drop)
    }
}

/// Copies what cargo knows and has built, times of change included, by which it tells what is fresh.
fn seed(from: &Path, to: &Path) -> Result<(), Problem> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).map_err(|e| format!("can't make {}: {e}", to.display()))?;
    for part in ["deps", "build", ".fingerprint"].iter().filter(|part| from.join(part).is_dir()) {
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from.join(part)).arg(to).status();
        if !copied.is_ok_and(|status| status.success()) {
            return Err(format!("can't copy {} to {}", from.join(part).display(), to.display()));
        }
    }
    Ok(())
}

/// Builds `pinion` of a source folder.
fn build(source: &Path, target: &Path) -> Result<(), Problem> {
    eprintln!("building {} …", source.display());
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // All packages of the workspace choose the features of dependencies, as in `cargo demo`: its build and
    // this one share them.
    command.args(["build", "--release", "--locked", "--bin", "pinion", "--target-dir"]);
    command.arg(target).arg("--manifest-path").arg(source.join("Cargo.toml"));
    let status = command.status().map_err(|e| format!("can't run cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("building {} failed", source.display())) }
}

/// Copies a program into a folder, under its name `pinion`.
fn copied(program: &Path, folder: &Path) -> Result<PathBuf, Problem> {
    let copy = folder.join("pinion");
    fs::copy(program, &copy).map_err(|e| format!("can't copy {}: {e}", program.display()))?;
    Ok(copy)
}

/// A commit as people write it; the mark of changes stays.
fn short(commit: &str) -> String {
    let mark = if commit.ends_with('+') { "+" } else { "" };
    format!("{}{mark}", commit.get(..10).unwrap_or(commit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: &Path) -> Place<'_> {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Place { listen: address(81), upstream: address(82), admin: address(83), driver: "epoll", folder }
    }

    #[test]
    fn commands_are_split_as_a_shell_would_and_filled_in() {
        let folder = tempfile::tempdir().unwrap();
        let scenario = &super::super::scenario::choose(&[], &[] as &[&str]).unwrap()[0];
        let given =
            Given::Command("server --at '{listen}' --to=http://{upstream}/ -n 'a b' {port}".to_owned());
        let side = Side::given(&given, folder.path()).unwrap();
        let command = side.command(scenario, place(folder.path())).unwrap();
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(words, ["--at", "127.0.0.1:81", "--to=http://127.0.0.1:82/", "-n", "a b", "81"]);
        assert!(Side::given(&Given::Command("a 'b".to_owned()), folder.path()).is_err());
        assert!(Side::given(&Given::Command(String::new()), folder.path()).is_err());
    }

    #[test]
    fn pinion_gets_its_configuration_and_another_one_after_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("some-build");
        fs::write(&program, "").unwrap();
        let scenarios = super::super::scenario::choose(&["reload-under-load".to_owned()], &[] as &[&str]);
        let scenario = &scenarios.unwrap()[0];
        let side = Side::given(&Given::Binary(program), folder.path()).unwrap();
        assert_eq!(side.label, "some-build");
        side.command(scenario, place(folder.path())).unwrap();
        let read = || fs::read_to_string(folder.path().join("pinion.toml")).unwrap();
        let first = read();
        assert!(
            !first.contains('@') && first.contains("127.0.0.1:82") && first.contains("\"epoll\""),
            "{first}"
        );
        side.configure(scenario, place(folder.path()), 1).unwrap();
        assert_ne!(read(), first);
    }

    #[test]
    fn a_seed_keeps_what_is_fresh_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for file in ["deps/a", ".fingerprint/b/c", "incremental/d"] {
            fs::create_dir_all(from.join(file).parent().unwrap()).unwrap();
            fs::write(from.join(file), file).unwrap();
        }
        fs::create_dir_all(to.join("deps/stale")).unwrap();
        seed(&from, &to).unwrap();
        let changed = |file: PathBuf| fs::metadata(file).unwrap().modified().unwrap();
        assert_eq!(changed(to.join(".fingerprint/b/c")), changed(from.join(".fingerprint/b/c")));
        assert!(
            to.join("deps/a").is_file()
                && !to.join("deps/stale").exists()
                && !to.join("incremental").exists()
        );
    }

    #[test]
    fn both_sides_have_paths_of_one_length() {
        let folder = tempfile::tempdir().unwrap();
        let programs = ["one", "another"].map(|name| folder.path().join(name));
        for program in &programs {
            fs::write(program, "").unwrap();
        }
        let builder = Builder { repository: None, target: folder.path(), folder: folder.path() };
        let [one, another] = programs.map(Given::Binary);
        let lengths = builder.both(&one, &another).unwrap().map(|side| match side.launch {
            Launch::Pinion(path) => path.as_os_str().len(),
            Launch::Command(_) => 0,
        });
        assert!(lengths[0] > 0 && lengths[0] == lengths[1]);
        let revision = Given::Revision("HEAD".to_owned());
        assert!(builder.both(&revision, &revision).unwrap_err().contains("git"));
    }
}
