//! What the gate asks git: revisions, ancestry, files of old revisions, temporary worktrees.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Problem;

/// A git repository with a work tree.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    root: PathBuf,
}

impl Repository {
    /// The repository around `folder`.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn around(folder: &Path) -> Result<Self, Problem> {
        let root = output(folder, &["rev-parse", "--show-toplevel"])?;
        Ok(Repository { root: PathBuf::from(root) })
    }

    /// The folder of its work tree.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The full name of a commit.
    ///
    /// # Errors
    /// There is no such commit.
    pub(crate) fn commit(&self, revision: &str) -> Result<String, Problem> {
        output(&self.root, &["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")])
            .map_err(|_| format!("there is no revision {revision}"))
    }

    /// The commit of the work tree, with `+` behind it if files differ from it.
    ///
    /// # Errors
    /// git fails.
    pub(crate) fn described(&self) -> Result<String, Problem> {
        let head = self.commit("HEAD")?;
        let changes = output(&self.root, &["status", "--porcelain", "--untracked-files=no"])?;
        Ok(if changes.is_empty() { head } else { head + "+" })
    }

    /// The last landed revision: where the work branched off `origin/main`; if that is where we are, or
    /// there is no such branch, the commit before.
    ///
    /// # Errors
    /// The history ends here.
    pub(crate) fn landed(&self) -> Result<String, Problem> {
        let head = self.commit("HEAD")?;
        match output(&self.root, &["merge-base", "HEAD", "origin/main"]) {
            Ok(base) if base != head => Ok(base),
            _ => self.commit("HEAD~1"),
        }
    }

    /// Whether `revision` is `HEAD` or comes before it.
    pub(crate) fn is_ancestor(&self, revision: &str) -> bool {
        run(&self.root, &["merge-base", "--is-ancestor", revision, "HEAD"])
            .is_ok_and(|output| output.status.success())
    }

    /// The commit that added a line (counted from 1) of a file, or `None` if none has yet.
    pub(crate) fn added_line(&self, path: &str, line: usize) -> Option<String> {
        let blame =
            output(&self.root, &["blame", "--porcelain", "-L", &format!("{line},{line}"), "--", path]);
        let commit = blame.ok()?.split_whitespace().next()?.to_owned();
        commit.chars().any(|c| c != '0').then_some(commit)
    }

    /// A file as it was in a revision, or `None` if it was not there.
    pub(crate) fn file(&self, revision: &str, path: &str) -> Option<String> {
        let output = run(&self.root, &["show", &format!("{revision}:{path}")]).ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The files of a folder in a revision.
    ///
    /// # Errors
    /// There is no such revision.
    pub(crate) fn files(&self, revision: &str, folder: &str) -> Result<Vec<String>, Problem> {
        let list = output(&self.root, &["ls-tree", "--name-only", revision, &format!("{folder}/")])?;
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// Checks a commit out into `folder`, until the result is dropped.
    ///
    /// # Errors
    /// git fails, or the folder is in use.
    pub(crate) fn worktree(&self, commit: &str, folder: &Path) -> Result<Worktree, Problem> {
        // What a killed run left behind.
        if folder.exists() {
            let _ = run(&self.root, &["worktree", "remove", "--force", &folder.display().to_string()]);
            let _ = std::fs::remove_dir_all(folder);
        }
        let _ = run(&self.root, &["worktree", "prune"]);
        output(&self.root, &["worktree", "add", "--detach", &folder.display().to_string(), commit])?;
        Ok(Worktree { repository: self.clone(), folder: folder.to_owned() })
    }
}

/// A checked-out commit; removed when dropped.
pub(crate) struct Worktree {
    repository: Repository,
    folder: PathBuf,
}

impl Worktree {
    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        let folder = self.folder.display().to_string();
        // What stays is removed by the next run.
        let _ = run(&self.repository.root, &["worktree", "remove", "--force", &folder]);
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Result<Output, Problem> {
    let mut command = Command::new("git");
    // A hook that calls us sets these for its own repository.
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    command.arg("-C").arg(folder).args(arguments);
    command.output().map_err(|e| format!("can't run git: {e}"))
}

fn output(folder: &Path, arguments: &[&str]) -> Result<String, Problem> {
    let output = run(folder, arguments)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("git {}: {words}", arguments.join(" ")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A repository of its own, with one commit of one file per text.
    pub(in super::super) fn repository(folder: &Path, file: &str, texts: &[&str]) -> Repository {
        let git = |arguments: &[&str]| output(folder, arguments).unwrap();
        git(&["init", "--quiet", "--initial-branch", "main"]);
        git(&["config", "user.name", "a"]);
        git(&["config", "user.email", "a@example.com"]);
        for text in texts {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            git(&["add", "--all"]);
            git(&["commit", "--quiet", "--message", "a change"]);
        }
        Repository::around(folder).unwrap()
    }

    #[test]
    fn history_is_asked_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path(), "runs/a.txt", &["1", "2", "3"]);
        let first = repository.commit("HEAD~2").unwrap();
        assert!(repository.is_ancestor(&first) && !repository.is_ancestor("nonsense"));
        assert_eq!(repository.added_line("runs/a.txt", 1), repository.commit("HEAD").ok());
        assert_eq!(repository.file(&first, "runs/a.txt").as_deref(), Some("1"));
        assert_eq!(repository.file(&first, "runs/b.txt"), None);
        assert_eq!(repository.files(&first, "runs").unwrap(), ["runs/a.txt"]);
        assert_eq!(repository.landed().unwrap(), repository.commit("HEAD~1").unwrap());
        assert!(repository.commit("nonsense").unwrap_err().contains("nonsense"));
        assert!(!repository.described().unwrap().ends_with('+'));
        std::fs::write(folder.path().join("runs/a.txt"), "4").unwrap();
        assert!(repository.described().unwrap().ends_with('+'));
        assert_eq!(repository.added_line("runs/a.txt", 1), None);
    }

    #[test]
    fn a_worktree_lasts_as_long_as_it_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path(), "a.txt", &["1", "2"]);
        let first = repository.commit("HEAD~1").unwrap();
        let place = folder.path().join("elsewhere");
        // One that was left behind is no hindrance.
        std::mem::forget(repository.worktree(&first, &place).unwrap());
        let tree = repository.worktree(&first, &place).unwrap();
        assert_eq!(std::fs::read_to_string(tree.folder().join("a.txt")).unwrap(), "1");
        drop(tree);
        assert!(!place.exists());
    }
}
