//! `pinion-control` is not built yet: it says so, points to its README, and exits with the usage status.

use std::process::Command;

#[test]
fn says_that_it_is_not_built_and_exits_2() {
    for arguments in [&[][..], &["run", "--config", "x.toml"], &["--help"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_pinion-control")).args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(
            errors.contains("not built yet") && errors.contains("control/README.md"),
            "{arguments:?}: {errors}"
        );
        assert!(output.stdout.is_empty(), "{arguments:?}: an error belongs on stderr");
    }
}
