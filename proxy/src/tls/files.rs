//! Reads the files of one context together, as they stood at one moment.
//!
//! ```text
//!   look at all ─▶ read all ─▶ look again: the same? ─yes─▶ a set
//!        ▲                                   │ no
//!        └───────────── up to TRIES ◀────────┘
//! ```
//!
//! Kubernetes swaps one symbolic link for all files of a volume, other tools rename file by file: a set that
//! changed while it was read is read again, so that a certificate never meets the key of another day.
//!
//! Invariants: a set holds every file that was asked for; no file is larger than [`TLS_FILE_BYTES_MAX`].
//!
//! Not here: what is in the files (`material`), when they are read (`config::reload`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use pinion_core::limits::TLS_FILE_BYTES_MAX;
use rustls::pki_types::pem::PemObject;

use super::material::Finding;
use crate::config::file::{Fingerprint, fingerprint};

/// How often a set that changes under our hands is read again. A swap takes microseconds.
const TRIES: usize = 5;

/// The contents of some files at one moment.
pub(super) struct FileSet(BTreeMap<PathBuf, Box<[u8]>>);

impl FileSet {
    /// Reads `paths`; every file that can't be read is a finding.
    pub(super) fn read<'a>(paths: impl Iterator<Item = &'a Path> + Clone) -> Result<Self, Vec<Finding>> {
        let mut last = Err(Vec::new());
        for _ in 0..TRIES {
            let before = look(paths.clone());
            last = Self::read_once(paths.clone());
            if before == look(paths.clone()) {
                return last;
            }
        }
        last
    }

    fn read_once<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<Self, Vec<Finding>> {
        let (mut set, mut findings) = (BTreeMap::new(), Vec::new());
        for path in paths {
            if set.contains_key(path) {
                continue;
            }
            match read_one(path) {
                Ok(bytes) => {
                    set.insert(path.to_owned(), bytes.into_boxed_slice());
                }
                Err(error) => findings.push(unreadable(path, &error)),
            }
        }
        if findings.is_empty() { Ok(FileSet(set)) } else { Err(findings) }
    }

    /// The contents of one of the files.
    pub(super) fn bytes(&self, path: &Path) -> &[u8] {
        self.0.get(path).map_or(&[], |bytes| bytes)
    }

    /// What tells these contents from others.
    pub(super) fn digests(&self) -> Digests {
        let digest = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().into();
        Digests(self.0.iter().map(|(path, bytes)| (path.clone(), digest(bytes))).collect())
    }
}

/// What tells one set from another: keys and long lists need not be kept for that.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Digests(BTreeMap<PathBuf, Box<[u8]>>);

impl Digests {
    /// Whether all of `paths` have the same contents in `other`.
    pub(super) fn same<'a>(&self, other: &Digests, mut paths: impl Iterator<Item = &'a Path>) -> bool {
        paths.all(|path| self.0.get(path) == other.0.get(path))
    }
}

/// The PEM sections of one kind in `bytes`; `Err` when one is damaged.
pub(super) fn sections<T: PemObject>(bytes: &[u8]) -> Result<Vec<T>, String> {
    T::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn look<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<Fingerprint> {
    paths.map(fingerprint).collect()
}

fn read_one(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A folder can't be read, and a pipe would keep us waiting for whoever writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let file = File::open(path)?;
    file.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > TLS_FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// What is wrong with a file that can't be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let shown = path.display();
    let (what, help) = match error.kind() {
        io::ErrorKind::NotFound => (
            format!("there is no file `{shown}`"),
            "relative paths start at the folder of the configuration file".to_owned(),
        ),
        io::ErrorKind::PermissionDenied => (
            format!("`{shown}` may not be read"),
            "let the user that runs the proxy read it, and its folders be entered".to_owned(),
        ),
        io::ErrorKind::FileTooLarge => {
            (format!("`{shown}` is larger than 32 MiB"), "is this the right file?".to_owned())
        }
        _ => (format!("`{shown}` can't be read: {error}"), "is this the right file?".to_owned()),
    };
    Finding::error(path, what).help(help)
}
