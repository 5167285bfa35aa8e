//! What the tests of the built program share.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The load generator beside the tested program; built if it is not there.
pub(crate) fn load_program() -> PathBuf {
    let bench = Path::new(env!("CARGO_BIN_EXE_pinion-bench"));
    let program = bench.with_file_name("pinion-load");
    if !program.exists() {
        let target = bench.parent().unwrap().parent().unwrap();
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "pinion-load", "--bin", "pinion-load", "--target-dir"])
            .arg(target)
            .status()
            .unwrap();
        assert!(status.success());
    }
    program
}
